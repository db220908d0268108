/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producers of liblatentd, a thread and a client each, that keep a number of
 * jobs in flight through a daemon.  A job's time is from before its submit to
 * when its result is there.  A result must have the length that is expected, 0
 * for any; anything else ends the program.  With EVERY, the number of
 * results goes to stderr, on a line of its own, whenever so many more are there.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "latentd/client.h"
#include "tally.h"
#include "tool.h"

#define PRODUCERS_MAX 64
#define IN_FLIGHT_MAX 1024 /* of a producer */
#define PATIENCE_MS 120000

struct load {
	pthread_barrier_t begin;
	const char *url;
	struct latentd_request request;
	size_t reply_bytes;
	size_t every; /* results between two lines; 0: no lines */
	atomic_size_t done_n;
};

struct producer {
	pthread_t thread;
	struct load *load;
	struct latentd_client *client;
	size_t jobs_n, in_flight;
	uint64_t *took_ns;
	uint64_t tickets[IN_FLIGHT_MAX], start_ns[IN_FLIGHT_MAX];
};

static void
check(enum latentd_err err, const char *what)
{
	if (err != LATENTD_OK)
		tool_fail(what, latentd_client_error(NULL));
}

static void
push(struct producer *p, size_t slot)
{
	p->start_ns[slot] = tally_now_ns();
	check(
	    latentd_submit(p->client, &p->load->request, -1, &p->tickets[slot]),
	    "submit");
}

/* Wait for any result; the slot of its job, which is free now. */
static size_t
collect(struct producer *p, uint64_t *took_ns)
{
	struct latentd_result *result;
	size_t slot = 0, bytes = 0;

	check(latentd_collect(p->client, PATIENCE_MS, &result), "collect");
	if (latentd_result_error(result) != LATENTD_OK)
		tool_fail("result", latentd_result_message(result));
	while (slot < p->in_flight &&
	    p->tickets[slot] != latentd_result_ticket(result))
		slot++;
	latentd_result_part(result, 0, &bytes);
	if (slot == p->in_flight ||
	    (p->load->reply_bytes != 0 && bytes != p->load->reply_bytes))
		tool_fail(
		    "result", "nobody waits for it, or its length is wrong");
	*took_ns = tally_now_ns() - p->start_ns[slot];
	latentd_result_free(result);
	return slot;
}

/* One more result is there. */
static void
tell(struct load *l)
{
	size_t done_n = atomic_fetch_add(&l->done_n, 1) + 1;

	if (l->every != 0 && done_n % l->every == 0)
		fprintf(stderr, "%zu\n", done_n);
}

static void *
produce(void *arg)
{
	struct producer *p = arg;
	size_t slot, sent_n = 0;

	pthread_barrier_wait(&p->load->begin);
	for (; sent_n < p->in_flight; sent_n++)
		push(p, sent_n);
	for (size_t i = 0; i < p->jobs_n; i++) {
		slot = collect(p, &p->took_ns[i]);
		if (sent_n < p->jobs_n) {
			push(p, slot);
			sent_n++;
		}
		tell(p->load);
	}
	/* The time ends here, not with the connections. */
	pthread_barrier_wait(&p->load->begin);
	return NULL;
}

static void
open_all(struct load *l, struct producer *p, size_t n, size_t jobs_n,
    size_t in_flight, uint64_t *took_ns)
{
	struct latentd_client_options options = {
	    .url = l->url, .software = "bench"};

	pthread_barrier_init(&l->begin, NULL, (unsigned)n + 1);
	for (size_t i = 0; i < n; i++) {
		p[i].load = l;
		p[i].jobs_n = jobs_n / n;
		p[i].in_flight = in_flight / n;
		p[i].took_ns = took_ns + i * p[i].jobs_n;
		check(latentd_client_open(&p[i].client, &options), "open");
		/* Nothing of opening it is measured. */
		(void)latentd_client_fd(p[i].client);
		if (pthread_create(&p[i].thread, NULL, produce, &p[i]) != 0)
			tool_fail("pthread_create", "refused");
	}
}

static void
read_shape(struct latentd_request *r, const char *text)
{
	char *end;

	r->tensor.dtype = LATENTD_F16;
	while (*text != '\0' && r->tensor.ndim < 5) {
		r->tensor.shape[r->tensor.ndim++] = strtoul(text, &end, 10);
		text = *end == ',' ? end + 1 : end;
	}
	/* Packed latents do not say how large the picture is. */
	if (r->tensor.ndim == 3)
		r->height_px = r->width_px = 1024;
}

static enum latentd_output
read_output(const char *name)
{
	static const struct {
		const char *name;
		enum latentd_output output;
	} outputs[] = {{"jpg", LATENTD_OUT_JPG}, {"png", LATENTD_OUT_PNG},
	    {"uint8", LATENTD_OUT_PIXELS}, {"mp4", LATENTD_OUT_MP4}};

	for (size_t i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++) {
		if (strcmp(name, outputs[i].name) == 0)
			return outputs[i].output;
	}
	tool_fail(name, "must be jpg, png, uint8 or mp4");
	return LATENTD_OUT_NONE;
}

int
main(int argc, char **argv)
{
	static struct producer producers[PRODUCERS_MAX];
	struct load l = {.request.task = LATENTD_DECODE};
	size_t jobs_n, in_flight, n;
	struct tally *tally;
	void *body;

	if (argc != 10 && argc != 11) {
		fprintf(stderr,
		    "Usage: bench-producers URL MODEL SHAPE OUTPUT BODY_FILE "
		    "REPLY_BYTES JOBS IN_FLIGHT PRODUCERS [EVERY]\n");
		return 2;
	}
	l.url = argv[1];
	l.request.model = argv[2];
	read_shape(&l.request, argv[3]);
	l.request.output = read_output(argv[4]);
	l.request.data = body = tool_read(argv[5], &l.request.data_bytes);
	l.reply_bytes = strtoul(argv[6], NULL, 10);
	jobs_n = strtoul(argv[7], NULL, 10);
	in_flight = strtoul(argv[8], NULL, 10);
	n = strtoul(argv[9], NULL, 10);
	l.every = argc == 11 ? strtoul(argv[10], NULL, 10) : 0;
	if (n == 0 || n > PRODUCERS_MAX || in_flight == 0 ||
	    in_flight / n > IN_FLIGHT_MAX || jobs_n < in_flight ||
	    in_flight % n != 0 || jobs_n % n != 0)
		tool_fail(
		    "IN_FLIGHT", "must be at most JOBS, both of PRODUCERS");
	tally = tally_create(jobs_n);
	open_all(&l, producers, n, jobs_n, in_flight, tally_took_ns(tally));
	tally_begin(tally);
	pthread_barrier_wait(&l.begin);
	pthread_barrier_wait(&l.begin);
	tally_report(tally, LATENTD_VERSION);
	for (size_t i = 0; i < n; i++) {
		pthread_join(producers[i].thread, NULL);
		latentd_client_close(producers[i].client);
	}
	pthread_barrier_destroy(&l.begin);
	free(body);
	return EXIT_SUCCESS;
}
