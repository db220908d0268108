/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the jobs that wait: in their lane's order when they may start, in
 * ${later}, by time, when a failed attempt has to be slept on.  One uv timer
 * stands at the head of ${later}.
 */
#include "queue.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"

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

void
queue_change(struct queue *q, size_t jobs_max, uint64_t bytes_max)
{
	q->options.jobs_max = jobs_max;
	q->options.bytes_max = bytes_max;
}

/* The bounds of all producers of ${p}'s user together. */
static enum queue_room
user_room(const struct queue *q, const struct producer *p, uint64_t bytes)
{
	const struct user_bounds *bounds = &q->jobs->producers.users.bounds;
	const struct user *user = p->user;

	if (user == NULL || bounds->jobs_max == 0)
		return QUEUE_ROOM;
	if (user->jobs_n >= bounds->jobs_max)
		return QUEUE_FULL_USER_JOBS;
	if (user->bytes > 0 &&
	    (user->bytes > bounds->bytes_max ||
		bytes > bounds->bytes_max - user->bytes))
		return QUEUE_FULL_USER_BYTES;
	return QUEUE_ROOM;
}

enum queue_room
queue_room(const struct queue *q, const struct producer *p, uint64_t bytes)
{
	uint64_t held_bytes = p != NULL ? p->input_bytes + p->result_bytes : 0;

	if (q->jobs->n >= q->options.jobs_max)
		return QUEUE_FULL_JOBS;
	if (p != NULL && p->jobs_n >= p->bounds.jobs_max)
		return QUEUE_FULL_PRODUCER_JOBS;
	/* The first one always fits, so that none can be too large for ever. */
	if (q->jobs->input_bytes > 0 &&
	    (q->jobs->input_bytes > q->options.bytes_max ||
		bytes > q->options.bytes_max - q->jobs->input_bytes))
		return QUEUE_FULL_BYTES;
	if (held_bytes > 0 &&
	    (held_bytes > p->bounds.bytes_max ||
		bytes > p->bounds.bytes_max - held_bytes))
		return QUEUE_FULL_PRODUCER_BYTES;
	return p != NULL ? user_room(q, p, bytes) : QUEUE_ROOM;
}

const char *
queue_room_name(enum queue_room room)
{
	static const char *const names[] = {[QUEUE_FULL_JOBS] = "jobs",
	    [QUEUE_FULL_BYTES] = "bytes",
	    [QUEUE_FULL_PRODUCER_JOBS] = "producer_jobs",
	    [QUEUE_FULL_PRODUCER_BYTES] = "producer_bytes",
	    [QUEUE_FULL_USER_JOBS] = "user_jobs",
	    [QUEUE_FULL_USER_BYTES] = "user_bytes"};

	return names[room];
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

/* Behind those that failed before it; they go before all that are new, but
 * dispatch holds them to a part of what is in flight. */
static void
push_again(struct job *job)
{
	job->retry_at_ns = 0;
	TAILQ_INSERT_TAIL(&job->lane->again, job, link);
	job->lane->again_n++;
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
		push_again(job);
	}
	arm(q);
	q->options.on_ready(q->options.arg);
}

bool
queue_push(struct queue *q, struct job *job)
{
	if (job->state == JOB_NEW) {
		if (!order_push(&job->lane->waiting, job, uv_hrtime()))
			return false;
		job_move(q->jobs, job, JOB_QUEUED);
	} else {
		job_move(q->jobs, job, JOB_QUEUED);
		if (job->retry_at_ns != 0)
			push_later(q, job);
		else
			push_again(job);
		/* It brings nothing for now, so its like have room. */
		queue_unpark(q, job->producer);
	}
	if (job->retry_at_ns == 0)
		q->options.on_ready(q->options.arg);
	return true;
}

/* Whether its producer has room for what may come of it; the first result
 * always has. */
static bool
result_fits(const struct job *job, void *arg)
{
	const struct producer *p = job->producer;
	uint64_t bytes = p->result_bytes + p->expected_bytes;

	(void)arg;
	return bytes == 0 ||
	    (bytes <= p->bounds.bytes_max &&
		job_expected_bytes(job) <= p->bounds.bytes_max - bytes);
}

struct job *
queue_pop(struct queue *q, struct lane *lane)
{
	(void)q;
	return order_pop(&lane->waiting, uv_hrtime(), result_fits, NULL);
}

bool
queue_take(struct queue *q, struct job *job)
{
	if (!result_fits(job, NULL))
		return false;
	queue_remove(q, job);
	return true;
}

void
queue_unpark(struct queue *q, struct producer *producer)
{
	if (order_unpark(producer))
		q->options.on_ready(q->options.arg);
}

void
queue_remove(struct queue *q, struct job *job)
{
	assert(job->state == JOB_QUEUED);
	if (job->share != NULL) {
		order_remove(&job->lane->waiting, job);
	} else if (job->retry_at_ns != 0) {
		TAILQ_REMOVE(&q->later, job, link);
		job->retry_at_ns = 0;
		arm(q);
	} else {
		TAILQ_REMOVE(&job->lane->again, job, link);
		job->lane->again_n--;
	}
}

/* ---- how long it will take ---- */

static struct order_rank
rank_of(const struct job *job)
{
	struct order_rank none = {.jobs_n = 0};

	if (job->state != JOB_QUEUED)
		return none;
	if (job->share != NULL)
		return order_rank(&job->lane->waiting, job);
	/* It was tried before and goes first. */
	return none;
}

size_t
queue_position(const struct job *job)
{
	return rank_of(job).jobs_n;
}

/* Active jobs are half done on the average; while a slot is free they hold up
 * nobody. */
static uint64_t
ahead_px(const struct lane *lane, uint64_t waiting_px)
{
	if (lane->active_n >= lane_slots_n(lane))
		waiting_px += lane->active_px / 2;
	return waiting_px;
}

uint64_t
queue_estimate_ms(const struct job *job)
{
	if (job->state != JOB_QUEUED)
		return 0;
	return lane_estimate_ms(
	    job->lane, ahead_px(job->lane, rank_of(job).cost_px), job->cost_px);
}

uint64_t
queue_estimate_new_ms(const struct lane *lane, const struct producer *producer,
    unsigned class, uint64_t cost_px)
{
	struct order_rank rank =
	    order_rank_new(&lane->waiting, producer, class, cost_px);

	return lane_estimate_ms(lane, ahead_px(lane, rank.cost_px), cost_px);
}
