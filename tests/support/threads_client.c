/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads on one client:
 *
 *     threads_client URL THREADS JOBS
 *
 * Each thread runs JOBS jobs with latentd_run() and checks that every result
 * is its own, while the main thread asks for the status.
 */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "latentd/client.h"

#define SIDE 8
#define THREADS_MAX 64

static struct latentd_client *client;
static unsigned long jobs;
static atomic_ulong running;

static void *
run_jobs(void *arg)
{
	const unsigned *number = arg;
	uint16_t latent[4 * SIDE * SIDE] = {0};
	char key[LATENTD_MAX_NAME_BYTES + 1];
	const struct latentd_request request = {
	    .model = "sdxl",
	    .tensor = {LATENTD_F16, 4, {1, 4, SIDE, SIDE}},
	    .data = latent,
	    .data_bytes = sizeof(latent),
	    .key = key,
	};

	for (unsigned long i = 0; i < jobs; i++) {
		struct latentd_result *result;
		enum latentd_err err;

		snprintf(key, sizeof(key), "thread-%u-%lu", *number, i);
		err = latentd_run(client, &request, -1, &result);
		if (err != LATENTD_OK) {
			fprintf(stderr, "%s: %s\n", key,
			    latentd_client_error(client));
			exit(1);
		}
		assert(strcmp(latentd_result_key(result), key) == 0);
		assert(latentd_result_error(result) == LATENTD_OK);
		assert(latentd_result_width_px(result) == 8 * SIDE);
		latentd_result_free(result);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

int
main(int argc, char **argv)
{
	struct latentd_client_options options = {0};
	pthread_t threads[THREADS_MAX];
	unsigned numbers[THREADS_MAX], n;
	char *json;

	assert(argc == 4);
	options.url = argv[1];
	n = (unsigned)strtoul(argv[2], NULL, 10);
	jobs = strtoul(argv[3], NULL, 10);
	assert(n <= THREADS_MAX);
	if (latentd_client_open(&client, &options) != LATENTD_OK) {
		fprintf(stderr, "%s\n", latentd_client_error(NULL));
		return 1;
	}
	atomic_store(&running, n);
	for (unsigned i = 0; i < n; i++) {
		numbers[i] = i;
		if (pthread_create(&threads[i], NULL, run_jobs, &numbers[i]) !=
		    0)
			abort();
	}
	while (atomic_load(&running) > 0) {
		if (latentd_status(client, 60000, &json) != LATENTD_OK)
			return 1;
		free(json);
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	assert(latentd_client_pending(client) == 0);
	latentd_client_close(client);
	printf("%lu results\n", n * jobs);
	return 0;
}
