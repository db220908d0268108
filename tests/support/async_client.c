/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A producer as an application writes it: push, go on, and take results when
 * poll() says so.
 *
 *     async_client URL JOBS [PRODUCER]
 *
 * Prints "KEY OUTCOME BYTES" for each result, in the order in which they came,
 * and at the end how often poll() woke it.  Exits with 1 when anything is not
 * as the header promises.
 */
#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "latentd/client.h"

#define SIDE 16
#define ELEMENTS (4 * SIDE * SIDE)

static struct latentd_client *client;

static int
fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, latentd_client_error(client));
	return 1;
}

/* A latent of zeros with one element that tells the jobs apart. */
static int
push(unsigned i, uint64_t *ticket)
{
	static uint16_t latent[ELEMENTS];
	char key[LATENTD_MAX_NAME_BYTES + 1];
	const struct latentd_request request = {
	    .model = "sdxl",
	    .tensor = {LATENTD_F16, 4, {1, 4, SIDE, SIDE}},
	    .data = latent,
	    .data_bytes = sizeof(latent),
	    .output = LATENTD_OUT_PNG,
	    .key = key,
	};

	latent[0] = (uint16_t)(0x3c00 + i % 64);
	snprintf(key, sizeof(key), "job-%u", i);
	if (latentd_submit(client, &request, -1, ticket) != LATENTD_OK)
		return fail("submit");
	/* The payload was copied: the application goes on with its buffer. */
	memset(latent, 0, sizeof(latent));
	return 0;
}

static int
take(unsigned *taken)
{
	struct latentd_result *result;
	enum latentd_err err;
	size_t bytes = 0;

	while ((err = latentd_collect(client, 0, &result)) == LATENTD_OK) {
		const void *data = latentd_result_part(result, 0, &bytes);

		if (latentd_result_error(result) == LATENTD_OK &&
		    (bytes < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8) != 0))
			return fail("no PNG");
		printf("%s %s %zu\n", latentd_result_key(result),
		    latentd_err_name(latentd_result_error(result)), bytes);
		fflush(stdout);
		latentd_result_free(result);
		++*taken;
	}
	if (err != LATENTD_ERR_TIMEOUT && err != LATENTD_ERR_NOT_FOUND)
		return fail("collect");
	return 0;
}

int
main(int argc, char **argv)
{
	struct latentd_client_options options = {.software = "async_client/1"};
	unsigned jobs, taken = 0, wakes = 0;
	uint64_t ticket, last = 0;
	struct pollfd fd;

	assert(argc >= 3);
	options.url = argv[1];
	jobs = (unsigned)strtoul(argv[2], NULL, 10);
	options.producer = argc > 3 ? argv[3] : NULL;
	if (latentd_client_open(&client, &options) != LATENTD_OK)
		return fail("open");
	fd = (struct pollfd){latentd_client_fd(client), POLLIN, 0};
	for (unsigned i = 0; i < jobs; i++) {
		if (push(i, &ticket) != 0)
			return 1;
		if (ticket <= last)
			return fail("a ticket that does not grow");
		last = ticket;
		/* Collect while pushing, as a generating process does. */
		if (poll(&fd, 1, 0) == 1 && take(&taken) != 0)
			return 1;
	}
	while (taken < jobs) {
		if (poll(&fd, 1, 60000) != 1)
			return fail("poll");
		wakes++;
		if (take(&taken) != 0)
			return 1;
	}
	if (latentd_client_pending(client) != 0)
		return fail("something is pending");
	latentd_client_close(client);
	printf("end %u wakes\n", wakes);
	return 0;
}
