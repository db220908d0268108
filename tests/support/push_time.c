/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long latentd_submit() takes the caller:
 *
 *     push_time URL JOBS KIB
 *
 * pushes JOBS latents of KIB KiB (float16, sdxl) to a running daemon, collects
 * while pushing, and prints the quantiles in microseconds.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "latentd/client.h"

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int
compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
take_all(struct latentd_client *client, int timeout_ms)
{
	struct latentd_result *result;

	while (latentd_collect(client, timeout_ms, &result) == LATENTD_OK)
		latentd_result_free(result);
}

int
main(int argc, char **argv)
{
	struct latentd_client_options options = {.url = argv[1]};
	struct latentd_client *client;
	struct latentd_request request = {.model = "sdxl"};
	size_t jobs, bytes;
	void *latent;
	double *us;

	assert(argc == 4);
	jobs = strtoul(argv[2], NULL, 10);
	bytes = strtoul(argv[3], NULL, 10) * 1024;
	us = calloc(jobs, sizeof(*us));
	latent = calloc(1, bytes);
	assert(jobs > 0 && bytes > 0 && us != NULL && latent != NULL);
	request.data = latent;
	request.data_bytes = bytes;
	request.tensor =
	    (struct latentd_tensor){LATENTD_F16, 4, {1, 4, 128, bytes / 1024}};
	if (latentd_client_open(&client, &options) != LATENTD_OK) {
		fprintf(stderr, "%s\n", latentd_client_error(NULL));
		return 1;
	}
	for (size_t i = 0; i < jobs; i++) {
		double start_us = now_us();
		enum latentd_err err =
		    latentd_submit(client, &request, -1, NULL);

		us[i] = now_us() - start_us;
		assert(err == LATENTD_OK);
		take_all(client, 0);
	}
	take_all(client, -1);
	qsort(us, jobs, sizeof(*us), compare);
	printf("%zu pushes of %zu KiB: median %.0f us, 90%% %.0f us, 99%% "
	       "%.0f us, most %.0f us\n",
	    jobs, bytes / 1024, us[jobs / 2], us[jobs * 9 / 10],
	    us[jobs * 99 / 100], us[jobs - 1]);
	latentd_client_close(client);
	free(latent);
	free(us);
	return 0;
}
