/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a step of the queue costs while so many jobs wait in it: of 1,000
 * producers, in four classes, from 512 squares to videos.  Each depth is filled
 * once; then batches of jobs go in and out, so that it stays what it is, and
 * the clock is read around a batch of steps of one kind.  Making and freeing
 * the jobs themselves is not counted.  Prints JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deadline.h"
#include "queue.h"
#include "tool.h"

#define PRODUCERS_N 1000u
#define BATCH_N 50u
#define BATCHES_N 4000u
#define AGE_MS 60000u

struct bench {
	uv_loop_t loop;
	struct jobs jobs;
	struct queue *queue;
	struct deadlines *deadlines;
	struct lane lane;
	struct producer *producers[PRODUCERS_N];
	struct job **waiting; /* in no order */
	size_t waiting_n;
	uint64_t random, keys_n;
	uint64_t push_ns, pop_ns, remove_ns, watch_ns, forget_ns;
};

/* splitmix64 */
static uint64_t
below(struct bench *b, uint64_t n)
{
	uint64_t x = b->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) % n;
}

static void
on_move(const struct job *job, enum job_state from, void *arg)
{
	(void)job;
	(void)from;
	(void)arg;
}

static void
on_ready(void *arg)
{
	(void)arg;
}

static void
on_expired(struct job *job, void *arg)
{
	(void)job;
	(void)arg;
	tool_check(
	    false, "a deadline passed; the machine is too slow for this");
}

static struct job *
make(struct bench *b)
{
	static const uint64_t sides_px[] = {512, 768, 1024, 2048};
	char key[32];
	int key_bytes = snprintf(
	    key, sizeof(key), "k%llu", (unsigned long long)++b->keys_n);
	uint64_t side_px = sides_px[below(b, 4)];
	struct job *job;

	tool_check(job_create(&b->jobs, b->producers[below(b, PRODUCERS_N)],
		       (struct text){key, (size_t)key_bytes}, 1, &job,
		       NULL) == LATENTD_OK,
	    "out of memory");
	job->lane = &b->lane;
	job->class = (unsigned)below(b, JOB_CLASSES);
	job->cost_px = side_px * side_px * (below(b, 10) == 0 ? 61 : 1);
	job->deadline_ns =
	    uv_hrtime() + UINT64_C(1000000000) * (3600 + below(b, 3600));
	return job;
}

/* ---- one batch of each kind ---- */

static void
push_batch(struct bench *b, size_t n)
{
	struct job **jobs = b->waiting + b->waiting_n;
	uint64_t start_ns, middle_ns;

	for (size_t i = 0; i < n; i++)
		jobs[i] = make(b);
	start_ns = uv_hrtime();
	for (size_t i = 0; i < n; i++)
		tool_check(queue_push(b->queue, jobs[i]), "out of memory");
	middle_ns = uv_hrtime();
	for (size_t i = 0; i < n; i++)
		deadlines_watch(b->deadlines, jobs[i]);
	b->watch_ns += uv_hrtime() - middle_ns;
	b->push_ns += middle_ns - start_ns;
	/* Where it is in the array, for when it is popped. */
	for (size_t i = 0; i < n; i++)
		jobs[i]->tag = b->waiting_n++;
}

static void
destroy_batch(struct bench *b, struct job **jobs, size_t n)
{
	uint64_t start_ns = uv_hrtime();

	for (size_t i = 0; i < n; i++)
		deadlines_forget(b->deadlines, jobs[i]);
	b->forget_ns += uv_hrtime() - start_ns;
	for (size_t i = 0; i < n; i++) {
		struct job *last = b->waiting[--b->waiting_n];

		last->tag = jobs[i]->tag;
		b->waiting[last->tag] = last;
		job_destroy(&b->jobs, jobs[i]);
	}
}

static void
pop_batch(struct bench *b)
{
	struct job *jobs[BATCH_N];
	uint64_t start_ns = uv_hrtime();

	for (size_t i = 0; i < BATCH_N; i++) {
		jobs[i] = queue_pop(b->queue, &b->lane);
		tool_check(jobs[i] != NULL, "nothing waits");
		job_move(&b->jobs, jobs[i], JOB_ACTIVE);
	}
	b->pop_ns += uv_hrtime() - start_ns;
	destroy_batch(b, jobs, BATCH_N);
}

static void
cancel_batch(struct bench *b)
{
	struct job *jobs[BATCH_N];
	uint64_t start_ns;

	/* Distinct ones: swapped to the end of what is chosen from. */
	for (size_t i = 0; i < BATCH_N; i++) {
		size_t end = b->waiting_n - 1 - i, at = below(b, end + 1);
		struct job *job = b->waiting[at];

		b->waiting[at] = b->waiting[end];
		b->waiting[at]->tag = at;
		b->waiting[end] = job;
		job->tag = end;
		jobs[i] = job;
	}
	start_ns = uv_hrtime();
	for (size_t i = 0; i < BATCH_N; i++)
		queue_remove(b->queue, jobs[i]);
	b->remove_ns += uv_hrtime() - start_ns;
	destroy_batch(b, jobs, BATCH_N);
}

/* ---- one depth ---- */

static void
open_bench(struct bench *b, size_t depth)
{
	const struct queue_options options = {.jobs_max = SIZE_MAX,
	    .bytes_max = UINT64_MAX,
	    .on_ready = on_ready};
	struct producer_identity identity;
	char name[16];

	memset(b, 0, sizeof(*b));
	b->random = 1;
	uv_loop_init(&b->loop);
	jobs_init(&b->jobs, on_move, NULL);
	b->jobs.producers.bounds =
	    (struct producer_bounds){SIZE_MAX, UINT64_MAX, 1};
	b->queue = queue_open(&b->loop, &b->jobs, &options);
	b->deadlines = deadlines_open(&b->loop, on_expired, NULL);
	order_init(&b->lane.waiting, AGE_MS);
	b->waiting = calloc(depth + BATCH_N, sizeof(struct job *));
	tool_check(
	    b->queue != NULL && b->deadlines != NULL && b->waiting != NULL,
	    "out of memory");
	for (size_t i = 0; i < PRODUCERS_N; i++) {
		int n = snprintf(name, sizeof(name), "p%zu", i);

		producer_identity(1000, (struct text){name, (size_t)n},
		    (struct text){NULL, 0}, &identity);
		b->producers[i] = producers_get(&b->jobs.producers, &identity);
		tool_check(b->producers[i] != NULL, "out of memory");
		b->producers[i]->bounds.weight = 1 + (unsigned)below(b, 4);
		producers_hold(b->producers[i]);
	}
}

static void
close_bench(struct bench *b)
{
	while (b->waiting_n > 0) {
		struct job *job = b->waiting[--b->waiting_n];

		queue_remove(b->queue, job);
		deadlines_forget(b->deadlines, job);
		job_destroy(&b->jobs, job);
	}
	for (size_t i = 0; i < PRODUCERS_N; i++)
		producers_release(&b->jobs.producers, b->producers[i]);
	order_fini(&b->lane.waiting);
	queue_close(b->queue);
	deadlines_close(b->deadlines);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	tool_check(uv_loop_close(&b->loop) == 0, "a handle is open");
	free(b->waiting);
}

static void
measure(size_t depth, bool last)
{
	static struct bench b;
	double steps_n = (double)BATCHES_N * BATCH_N;

	open_bench(&b, depth);
	while (b.waiting_n < depth)
		push_batch(&b, BATCH_N);
	b.push_ns = b.watch_ns = 0;
	for (size_t i = 0; i < BATCHES_N; i++) {
		pop_batch(&b);
		push_batch(&b, BATCH_N);
		cancel_batch(&b);
		push_batch(&b, BATCH_N);
	}
	/* Of pushes, watches and forgets there are two a turn. */
	printf(" {\"depth\": %zu, \"push_ns\": %.0f, \"pop_ns\": %.0f, "
	       "\"cancel_ns\": %.0f, \"deadline_ns\": %.0f}%s\n",
	    depth, (double)b.push_ns / steps_n / 2, (double)b.pop_ns / steps_n,
	    (double)b.remove_ns / steps_n,
	    (double)(b.watch_ns + b.forget_ns) / steps_n / 2, last ? "" : ",");
	fflush(stdout);
	close_bench(&b);
}

int
main(void)
{
	static const size_t depths[] = {100, 10000, 100000};

	printf("[\n");
	for (size_t i = 0; i < 3; i++)
		measure(depths[i], i == 2);
	printf("]\n");
	return EXIT_SUCCESS;
}
