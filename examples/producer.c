/* SPDX-License-Identifier: Apache-2.0 */
/*
 * producer: how a generation process uses liblatentd.
 *
 *     producer --url ipc:///run/latentd/latentd.sock --name p1 --out pictures
 *         --generate-ms 200 sdxl=a.safetensors flux=b.safetensors
 *
 * The shape of every such program: generate a latent, push it, go on
 * generating; take finished pictures whenever there are some; at the end
 * collect what is still on its way.  One thread is enough, because nothing
 * here waits for the network: latentd_submit() returns at once, and
 * latentd_client_fd() tells poll() when a result is there.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <latentd/client.h>

#include "work.h"

/* One producer's run. */
struct producer {
	struct work work;
	struct latentd_client *client;
	uint64_t *tickets; /* of each job, to know a result by */
	size_t submitted;
	size_t failed;
};

static const char *
extension_of(enum latentd_output output)
{
	if (output == LATENTD_OUT_MP4)
		return "mp4";
	return output == LATENTD_OUT_JPG ? "jpg" : "png";
}

/* Which job ${ticket} was. */
static size_t
job_of(const struct producer *p, uint64_t ticket)
{
	size_t i = 0;

	while (i < p->submitted && p->tickets[i] != ticket)
		i++;
	return i;
}

/*
 * Save a result and free it, in this order: freeing acknowledges, and until
 * then the daemon keeps it, so that a crash in between loses nothing.
 */
static void
take_result(struct producer *p, struct latentd_result *result)
{
	size_t i = job_of(p, latentd_result_ticket(result));
	size_t bytes = 0;
	const void *data = latentd_result_part(result, 0, &bytes);

	if (latentd_result_error(result) != LATENTD_OK) {
		fprintf(stderr, "%s: job %zu: %s\n", p->work.name, i + 1,
		    latentd_result_message(result));
		p->failed++;
	} else if (work_save(&p->work, i,
		       extension_of(latentd_result_output(result)), data,
		       bytes) != 0) {
		p->failed++;
	}
	latentd_result_free(result);
}

/*
 * Stands for the GPU: ${generate_ms} pass until the next latent is there.  A
 * real program runs its model here, and looks at the descriptor between steps.
 */
static int
generate(struct producer *p)
{
	double end_ms = work_now_ms() + p->work.generate_ms;
	struct pollfd poll_fd = {
	    .fd = latentd_client_fd(p->client), .events = POLLIN};
	struct latentd_result *result;
	double left_ms;

	while ((left_ms = end_ms - work_now_ms()) > 0) {
		if (poll(&poll_fd, 1, (int)left_ms + 1) < 0 && errno != EINTR)
			return -1;
		while (latentd_collect(p->client, 0, &result) == LATENTD_OK)
			take_result(p, result);
	}
	return 0;
}

/* Push job ${i}; the payload may be reused as soon as this returns. */
static int
push(struct producer *p, size_t i)
{
	const struct latent *latent = work_latent(&p->work, i);
	struct latentd_request request = {
	    .task = LATENTD_DECODE,
	    .model = latent->model,
	    .tensor = latent->tensor,
	    .data = latent->data,
	    .data_bytes = latent->data_bytes,
	    .space = LATENTD_SPACE_MODEL,
	};
	double begin_ms = work_now_ms();
	enum latentd_err err =
	    latentd_submit(p->client, &request, -1, &p->tickets[i]);

	p->work.push_ms[i] = work_now_ms() - begin_ms;
	if (err != LATENTD_OK) {
		fprintf(stderr, "%s: job %zu: %s\n", p->work.name, i + 1,
		    latentd_client_error(p->client));
		return -1;
	}
	p->submitted = i + 1;
	return 0;
}

static int
produce(struct producer *p)
{
	struct latentd_result *result;
	size_t i;

	for (i = 0; i < p->work.jobs_n; i++) {
		if (generate(p) != 0 || push(p, i) != 0)
			return -1;
	}
	while (latentd_client_pending(p->client) > 0) {
		if (latentd_collect(p->client, -1, &result) != LATENTD_OK) {
			fprintf(stderr, "%s: %s\n", p->work.name,
			    latentd_client_error(p->client));
			return -1;
		}
		take_result(p, result);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct producer p = {.client = NULL};
	struct latentd_client_options options = {.software = "producer"};
	double begin_ms;
	int status = 2;

	if (work_init(&p.work, argc, argv) != 0)
		goto fini_work;
	status = 1;
	p.tickets = calloc(p.work.jobs_n, sizeof(*p.tickets));
	if (p.tickets == NULL)
		goto fini_work;
	options.url = p.work.url;
	if (latentd_client_open(&p.client, &options) != LATENTD_OK) {
		fprintf(stderr, "%s: %s\n", p.work.name,
		    latentd_client_error(NULL));
		goto free_tickets;
	}
	begin_ms = work_now_ms();
	if (produce(&p) == 0 && p.failed == 0)
		status = 0;
	work_report(&p.work, p.failed, work_now_ms() - begin_ms);
	latentd_client_close(p.client);
free_tickets:
	free(p.tickets);
fini_work:
	work_fini(&p.work);
	return status;
}
