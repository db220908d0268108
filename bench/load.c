/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps a number of SDXL latents in flight through a daemon and measures what
 * a producer sees: the time of one push, p50_us and p99_us, and the jobs
 * finished per second.  The same latent goes every time, so that an endpoint
 * with --cache-mib is not limited by its decoder.
 */
#include <stdio.h>
#include <stdlib.h>

#include "latentd/client.h"
#include "tally.h"
#include "tool.h"

#define LATENT_BYTES ((size_t)4 * 128 * 128 * 2)
#define PATIENCE_MS 60000

static void
check(enum latentd_err err, const char *what)
{
	if (err != LATENTD_OK)
		tool_fail(what, latentd_client_error(NULL));
}

static void
push(struct latentd_client *client, const uint8_t *latent, uint64_t *took_ns)
{
	struct latentd_request request = {.task = LATENTD_DECODE,
	    .model = "sdxl",
	    .tensor = {LATENTD_F16, 4, {1, 4, 128, 128}},
	    .data = latent,
	    .data_bytes = LATENT_BYTES,
	    .output = LATENTD_OUT_JPG};
	uint64_t start_ns = tally_now_ns();

	check(latentd_submit(client, &request, 0, NULL), "submit");
	*took_ns = tally_now_ns() - start_ns;
}

static void
collect(struct latentd_client *client)
{
	struct latentd_result *result;

	check(latentd_collect(client, PATIENCE_MS, &result), "collect");
	if (latentd_result_error(result) != LATENTD_OK)
		tool_fail("result", latentd_result_message(result));
	latentd_result_free(result);
}

int
main(int argc, char **argv)
{
	struct latentd_client *client;
	struct latentd_client_options options = {.software = "bench-load"};
	size_t jobs_n, in_flight, sent_n = 0;
	struct tally *tally;
	uint8_t *latent;

	if (argc != 4) {
		fprintf(stderr, "Usage: bench-load URL JOBS IN_FLIGHT\n");
		return 2;
	}
	options.url = argv[1];
	jobs_n = strtoul(argv[2], NULL, 10);
	in_flight = strtoul(argv[3], NULL, 10);
	tool_check(jobs_n > 0 && in_flight > 0,
	    "JOBS and IN_FLIGHT must be at least 1");
	latent = calloc(1, LATENT_BYTES);
	tool_check(latent != NULL, "out of memory");
	tally = tally_create(jobs_n);
	check(latentd_client_open(&client, &options), "open");
	tally_begin(tally);
	for (size_t done_n = 0; done_n < jobs_n; done_n++) {
		for (; sent_n < jobs_n && sent_n - done_n < in_flight; sent_n++)
			push(client, latent, &tally_took_ns(tally)[sent_n]);
		collect(client);
	}
	tally_report(tally, LATENTD_VERSION);
	latentd_client_close(client);
	free(latent);
	return EXIT_SUCCESS;
}
