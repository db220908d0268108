/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the jobs that wait: in their lane when they may start, in ${later}, by
 * time, when a failed attempt has to be slept on.  One uv timer stands at the
 * head of ${later}.
 */
#include "queue.h"

#include <assert.h>
#include <stdlib.h>

#define MS_NS 1000000u

struct queue {
	struct jobs *jobs;
	struct queue_options options;
	uv_loop_t *loop;
	uv_timer_t timer;
	struct job_list later;
	uint64_t last_end_ns;
	uint64_t pace_ns; /* mean time between ends, exponential */
};

struct queue *
queue_open(
    uv_loop_t *loop, struct jobs *jobs, const struct queue_options *options)
{
	struct queue *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return NULL;
	q->jobs = jobs;
	q->options = *options;
	q->loop = loop;
	TAILQ_INIT(&q->later);
	uv_timer_init(loop, &q->timer);
	q->timer.data = q;
	return q;
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
queue_close(struct queue *q)
{
	if (q == NULL)
		return;
	assert(TAILQ_EMPTY(&q->later));
	uv_close((uv_handle_t *)&q->timer, on_closed);
}

enum queue_room
queue_room(const struct queue *q, uint64_t message_bytes)
{
	if (q->jobs->n >= q->options.jobs_max)
		return QUEUE_FULL_JOBS;
	/* The first one always fits, so that none can be too large for ever. */
	if (q->jobs->input_bytes > 0 &&
	    (q->jobs->input_bytes > q->options.bytes_max ||
		message_bytes > q->options.bytes_max - q->jobs->input_bytes))
		return QUEUE_FULL_BYTES;
	return QUEUE_ROOM;
}

uint64_t
queue_retry_after_ms(const struct queue *q)
{
	uint64_t ms = q->pace_ns / MS_NS;

	return ms < 50 ? 50 : ms > 5000 ? 5000 : ms;
}

void
queue_note_end(struct queue *q)
{
	uint64_t now_ns = uv_hrtime();

	if (q->last_end_ns != 0)
		q->pace_ns = (7 * q->pace_ns + (now_ns - q->last_end_ns)) / 8;
	q->last_end_ns = now_ns;
}

/* In front of those never tried, behind those tried before. */
static void
insert_again(struct job *job)
{
	struct lane *lane = job->lane;

	if (lane->again != NULL)
		TAILQ_INSERT_AFTER(&lane->waiting, lane->again, job, link);
	else
		TAILQ_INSERT_HEAD(&lane->waiting, job, link);
	lane->again = job;
	lane->waiting_n++;
}

static void on_timer(uv_timer_t *timer);

static void
arm(struct queue *q)
{
	struct job *first = TAILQ_FIRST(&q->later);
	uint64_t now_ns = uv_hrtime(), wait_ms = 0;

	if (first == NULL) {
		uv_timer_stop(&q->timer);
		return;
	}
	if (first->retry_at_ns > now_ns)
		wait_ms = (first->retry_at_ns - now_ns + MS_NS - 1) / MS_NS;
	uv_timer_start(&q->timer, on_timer, wait_ms, 0);
}

static void
on_timer(uv_timer_t *timer)
{
	struct queue *q = timer->data;
	uint64_t now_ns = uv_hrtime();
	struct job *job;

	while ((job = TAILQ_FIRST(&q->later)) != NULL &&
	    job->retry_at_ns <= now_ns) {
		TAILQ_REMOVE(&q->later, job, link);
		job->retry_at_ns = 0;
		insert_again(job);
	}
	arm(q);
	q->options.on_ready(q->options.arg);
}

static void
push_later(struct queue *q, struct job *job)
{
	struct job *before;

	/* Delays are alike, so the place is near the end. */
	TAILQ_FOREACH_REVERSE(before, &q->later, job_list, link)
	{
		if (before->retry_at_ns <= job->retry_at_ns)
			break;
	}
	if (before == NULL)
		TAILQ_INSERT_HEAD(&q->later, job, link);
	else
		TAILQ_INSERT_AFTER(&q->later, before, job, link);
	arm(q);
}

void
queue_push(struct queue *q, struct job *job)
{
	bool again = job->state == JOB_ACTIVE;

	job_move(q->jobs, job, JOB_QUEUED);
	if (job->retry_at_ns != 0) {
		push_later(q, job);
		return;
	}
	if (again) {
		insert_again(job);
	} else {
		TAILQ_INSERT_TAIL(&job->lane->waiting, job, link);
		job->lane->waiting_n++;
	}
	q->options.on_ready(q->options.arg);
}

struct job *
queue_pop(struct queue *q, struct lane *lane)
{
	struct job *job = TAILQ_FIRST(&lane->waiting);

	if (job != NULL)
		queue_remove(q, job);
	return job;
}

void
queue_remove(struct queue *q, struct job *job)
{
	assert(job->state == JOB_QUEUED);
	if (job->retry_at_ns != 0) {
		TAILQ_REMOVE(&q->later, job, link);
		job->retry_at_ns = 0;
		arm(q);
		return;
	}
	assert(job->lane->waiting_n > 0);
	if (job == job->lane->again)
		job->lane->again = TAILQ_PREV(job, job_list, link);
	TAILQ_REMOVE(&job->lane->waiting, job, link);
	job->lane->waiting_n--;
}

size_t
queue_position(const struct queue *q, const struct job *job)
{
	const struct job *before;
	size_t n = 0;

	(void)q;
	if (job->state != JOB_QUEUED)
		return 0;
	if (job->retry_at_ns != 0 ||
	    job == TAILQ_LAST(&job->lane->waiting, job_list))
		return job->lane->waiting_n - (job->retry_at_ns == 0);
	TAILQ_FOREACH(before, &job->lane->waiting, link)
	{
		if (before == job)
			break;
		n++;
	}
	return n;
}
