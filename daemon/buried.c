/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the jobs that failed and whose producers know it: with their latent and
 * their reason, until somebody kicks or purges them or their time is over.
 * That is the same for all, so the list is in order of ending and one timer
 * stands at its head.
 */
#include "buried.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"

struct buried {
	struct jobs *jobs;
	struct buried_options options;
	uv_timer_t timer;
	struct job_list list;
	uint64_t dropped_n;
};

struct buried *
buried_open(
    uv_loop_t *loop, struct jobs *jobs, const struct buried_options *options)
{
	struct buried *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	b->jobs = jobs;
	b->options = *options;
	TAILQ_INIT(&b->list);
	uv_timer_init(loop, &b->timer);
	b->timer.data = b;
	return b;
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
buried_close(struct buried *b)
{
	struct job *job;

	if (b == NULL)
		return;
	while ((job = TAILQ_FIRST(&b->list)) != NULL) {
		TAILQ_REMOVE(&b->list, job, kept_link);
		job_destroy(b->jobs, job);
	}
	uv_close((uv_handle_t *)&b->timer, on_closed);
}

static uint64_t
end_ns(const struct buried *b, const struct job *job)
{
	return job->buried_ns + b->options.bury_ms * MS_NS;
}

static void on_timer(uv_timer_t *timer);

static void
arm(struct buried *b)
{
	const struct job *first = TAILQ_FIRST(&b->list);
	uint64_t now_ns = uv_hrtime(), wait_ms = 0;

	if (first == NULL) {
		uv_timer_stop(&b->timer);
		return;
	}
	if (end_ns(b, first) > now_ns)
		wait_ms = (end_ns(b, first) - now_ns) / MS_NS + 1;
	uv_timer_start(&b->timer, on_timer, wait_ms, 0);
}

static void
on_timer(uv_timer_t *timer)
{
	struct buried *b = timer->data;
	uint64_t now_ns = uv_hrtime();
	struct producer *producer;
	struct job *job;

	while (
	    (job = TAILQ_FIRST(&b->list)) != NULL && end_ns(b, job) <= now_ns) {
		producer = job->producer;
		TAILQ_REMOVE(&b->list, job, kept_link);
		b->dropped_n++;
		b->options.on_dropped(job, b->options.arg);
		producers_hold(producer);
		job_destroy(b->jobs, job);
		b->options.on_room(producer, b->options.arg);
		producers_release(&b->jobs->producers, producer);
	}
	arm(b);
}

void
buried_change(struct buried *b, uint64_t bury_ms)
{
	b->options.bury_ms = bury_ms;
	arm(b);
}

void
buried_put(struct buried *b, struct job *job)
{
	job_bury(b->jobs, job);
	TAILQ_INSERT_TAIL(&b->list, job, kept_link);
	if (TAILQ_FIRST(&b->list) == job)
		arm(b);
}

void
buried_remove(struct buried *b, struct job *job)
{
	bool first = TAILQ_FIRST(&b->list) == job;

	assert(job->buried);
	TAILQ_REMOVE(&b->list, job, kept_link);
	if (first)
		arm(b);
}

uint64_t
buried_dropped_n(const struct buried *b)
{
	return b->dropped_n;
}
