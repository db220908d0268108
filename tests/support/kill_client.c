/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An application over liblatentd whose daemon is killed again and again:
 *
 *     kill_client URL PRODUCER MOST
 *
 * It pushes latents as fast as there is room, takes results, and after
 * end-of-file on standard input pushes no more and waits for what is pending.
 * At most MOST jobs are pending.  Job number N has the key "lib-N" and a latent
 * of the elements 0x3000 + (N % 16 * 64 + INDEX * 37) % 2048 as float16.
 *
 * Prints "KEY OUTCOME HASH" for each result, HASH being the FNV-1a of what it
 * holds, and at the end "end PUSHED".  Exits with 1 when a call fails that must
 * not.
 */
#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "latentd/client.h"

#define SIDE 8
#define ELEMENTS (4 * SIDE * SIDE)
#define KINDS 16

static struct latentd_client *client;

static int
fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, latentd_client_error(client));
	return 1;
}

static int
push(unsigned n)
{
	uint16_t latent[ELEMENTS];
	char key[LATENTD_MAX_NAME_BYTES + 1];
	const struct latentd_request request = {
	    .model = "sd-v1",
	    .tensor = {LATENTD_F16, 4, {1, 4, SIDE, SIDE}},
	    .data = latent,
	    .data_bytes = sizeof(latent),
	    .output = LATENTD_OUT_PIXELS,
	    .key = key,
	};

	for (unsigned i = 0; i < ELEMENTS; i++)
		latent[i] =
		    (uint16_t)(0x3000 + (n % KINDS * 64 + i * 37) % 2048);
	snprintf(key, sizeof(key), "lib-%u", n);
	if (latentd_submit(client, &request, -1, NULL) != LATENTD_OK)
		return fail("submit");
	return 0;
}

static uint64_t
hash(const uint8_t *data, size_t bytes)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < bytes; i++)
		h = (h ^ data[i]) * UINT64_C(0x100000001b3);
	return h;
}

static int
take(void)
{
	struct latentd_result *result;
	enum latentd_err err;

	while ((err = latentd_collect(client, 0, &result)) == LATENTD_OK) {
		size_t bytes = 0;
		const void *data = latentd_result_error(result) == LATENTD_OK
		    ? latentd_result_part(result, 0, &bytes)
		    : NULL;

		printf("%s %s %016" PRIx64 "\n", latentd_result_key(result),
		    latentd_err_name(latentd_result_error(result)),
		    hash(data, bytes));
		fflush(stdout);
		latentd_result_free(result);
	}
	if (err != LATENTD_ERR_TIMEOUT && err != LATENTD_ERR_NOT_FOUND)
		return fail("collect");
	return 0;
}

int
main(int argc, char **argv)
{
	struct latentd_client_options options = {.software = "kill_client/1"};
	unsigned pushed = 0, most;
	struct pollfd fds[2];
	bool more = true;

	assert(argc == 4);
	options.url = argv[1];
	options.producer = argv[2];
	options.connect_timeout_ms = 60000;
	most = (unsigned)strtoul(argv[3], NULL, 10);
	if (latentd_client_open(&client, &options) != LATENTD_OK)
		return fail("open");
	fds[0] = (struct pollfd){latentd_client_fd(client), POLLIN, 0};
	fds[1] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
	while (more || latentd_client_pending(client) > 0) {
		while (more && latentd_client_pending(client) < most) {
			if (push(pushed) != 0)
				return 1;
			pushed++;
		}
		if (poll(fds, more ? 2 : 1, -1) < 1)
			return fail("poll");
		if (fds[1].revents != 0)
			more = false;
		if (take() != 0)
			return 1;
	}
	latentd_client_close(client);
	printf("end %u\n", pushed);
	return 0;
}
