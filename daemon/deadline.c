/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches open jobs, whichever stage has them: a tree by deadline, and one
 * timer at its head.
 */
#include "deadline.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"

struct deadlines {
	uv_timer_t timer;
	struct job_tree jobs;
	void (*on_expired)(struct job *job, void *arg);
	void *arg;
};

static int
compare(const struct job *a, const struct job *b)
{
	if (a->deadline_ns != b->deadline_ns)
		return a->deadline_ns > b->deadline_ns ? 1 : -1;
	return (a->id > b->id) - (a->id < b->id);
}

TREE_GENERATE_STATIC(job_tree, job, by_deadline, compare)

struct deadlines *
deadlines_open(
    uv_loop_t *loop, void (*on_expired)(struct job *job, void *arg), void *arg)
{
	struct deadlines *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	RB_INIT(&d->jobs);
	d->on_expired = on_expired;
	d->arg = arg;
	uv_timer_init(loop, &d->timer);
	d->timer.data = d;
	return d;
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
deadlines_close(struct deadlines *d)
{
	if (d == NULL)
		return;
	assert(RB_EMPTY(&d->jobs));
	uv_close((uv_handle_t *)&d->timer, on_closed);
}

static void on_timer(uv_timer_t *timer);

static void
arm(struct deadlines *d)
{
	const struct job *first = RB_MIN(job_tree, &d->jobs);
	uint64_t now_ns = uv_hrtime(), wait_ms = 0;

	if (first == NULL) {
		uv_timer_stop(&d->timer);
		return;
	}
	if (first->deadline_ns > now_ns)
		wait_ms = (first->deadline_ns - now_ns + MS_NS - 1) / MS_NS;
	uv_timer_start(&d->timer, on_timer, wait_ms, 0);
}

static void
on_timer(uv_timer_t *timer)
{
	struct deadlines *d = timer->data;
	struct job *job;

	while ((job = RB_MIN(job_tree, &d->jobs)) != NULL && job_is_late(job)) {
		deadlines_forget(d, job);
		d->on_expired(job, d->arg);
	}
	arm(d);
}

void
deadlines_watch(struct deadlines *d, struct job *job)
{
	if (job->deadline_ns == 0)
		return;
	RB_INSERT(job_tree, &d->jobs, job);
	job->deadline_watched = true;
	if (RB_MIN(job_tree, &d->jobs) == job)
		arm(d);
}

void
deadlines_forget(struct deadlines *d, struct job *job)
{
	bool first;

	if (!job->deadline_watched)
		return;
	first = RB_MIN(job_tree, &d->jobs) == job;
	RB_REMOVE(job_tree, &d->jobs, job);
	job->deadline_watched = false;
	if (first)
		arm(d);
}
