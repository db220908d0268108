/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps a number of SDXL latents in flight through a daemon and measures what
 * a producer sees: the time one push takes and the jobs finished per second.
 * The same latent goes every time, so that an endpoint with --cache-mib is
 * not limited by its decoder.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "latentd/client.h"

#define LATENT_BYTES ((size_t)4 * 128 * 128 * 2)

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
check(enum latentd_err err, const char *what)
{
	if (err == LATENTD_OK)
		return;
	fprintf(
	    stderr, "bench-load: %s: %s\n", what, latentd_client_error(NULL));
	exit(EXIT_FAILURE);
}

static void
push(struct latentd_client *client, const uint8_t *latent, uint64_t *push_us)
{
	struct latentd_request request = {.task = LATENTD_DECODE,
	    .model = "sdxl",
	    .tensor = {LATENTD_F16, 4, {1, 4, 128, 128}},
	    .data = latent,
	    .data_bytes = LATENT_BYTES,
	    .output = LATENTD_OUT_JPG};
	uint64_t start_us = now_us();

	check(latentd_submit(client, &request, 0, NULL), "submit");
	*push_us = now_us() - start_us;
}

static void
collect(struct latentd_client *client, size_t *failed_n)
{
	struct latentd_result *result;

	check(latentd_collect(client, 60000, &result), "collect");
	if (latentd_result_error(result) != LATENTD_OK) {
		(*failed_n)++;
		fprintf(
		    stderr, "bench-load: %s\n", latentd_result_message(result));
	}
	latentd_result_free(result);
}

int
main(int argc, char **argv)
{
	struct latentd_client *client;
	struct latentd_client_options options = {.software = "bench-load"};
	size_t jobs_n, in_flight, sent_n = 0, done_n = 0, failed_n = 0;
	uint64_t *push_us, start_us, wall_us;
	uint8_t *latent;

	if (argc != 4) {
		fprintf(stderr, "Usage: bench-load URL JOBS IN_FLIGHT\n");
		return 2;
	}
	options.url = argv[1];
	jobs_n = strtoul(argv[2], NULL, 10);
	in_flight = strtoul(argv[3], NULL, 10);
	push_us = calloc(jobs_n + 1, sizeof(*push_us));
	latent = calloc(1, LATENT_BYTES);
	if (jobs_n == 0 || in_flight == 0 || push_us == NULL || latent == NULL)
		return 2;
	check(latentd_client_open(&client, &options), "open");
	start_us = now_us();
	while (done_n < jobs_n) {
		while (sent_n < jobs_n && sent_n - done_n < in_flight) {
			push(client, latent, &push_us[sent_n]);
			sent_n++;
		}
		collect(client, &failed_n);
		done_n++;
	}
	wall_us = now_us() - start_us;
	latentd_client_close(client);
	qsort(push_us, jobs_n, sizeof(*push_us), compare);
	printf("{\"jobs\": %zu, \"failed\": %zu, \"in_flight\": %zu, "
	       "\"jobs_per_s\": %.1f, \"push_p50_us\": %llu, "
	       "\"push_p99_us\": %llu}\n",
	    jobs_n, failed_n, in_flight, (double)jobs_n * 1e6 / (double)wall_us,
	    (unsigned long long)push_us[jobs_n / 2],
	    (unsigned long long)push_us[jobs_n * 99 / 100]);
	free(push_us);
	free(latent);
	return failed_n == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
