/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arrows of the service's side: what a drain waits for, and what the
 * service manager hears of it and of the jobs.
 *
 *   jobs, outbox, gateway → drain → service
 */
#include "pipeline_private.h"

static size_t
on_open_n(void *arg)
{
	return pipeline_open_n(arg);
}

size_t
pipeline_unsafe_n(const struct pipeline *p)
{
	const struct job *job;
	size_t n = 0;
	uint64_t id = 0;

	/* Only while draining, so it may take its time. */
	while ((job = jobs_after(&p->jobs, id)) != NULL) {
		id = job->id;
		n += job->storing ||
		    (!job->spooled && !job->buried && job->call == NULL &&
			job->state > JOB_ACTIVE);
	}
	return n;
}

static size_t
on_kept_n(void *arg)
{
	struct pipeline *p = arg;

	return pipeline_unsafe_n(p) + gateway_sending_n(p->gateway);
}

static void
on_going(void *arg)
{
	struct pipeline *p = arg;

	service_stopping(p->service);
}

/* Jobs that have ended, wherever their results are on their way. */
static size_t
ended_n(const struct pipeline *p)
{
	const size_t *state_n = p->jobs.state_n;

	return state_n[JOB_DONE] + state_n[JOB_FAILED] +
	    state_n[JOB_CANCELLED] + state_n[JOB_EXPIRED] - p->jobs.buried_n;
}

static void
on_count(struct service_counts *counts, void *arg)
{
	const struct pipeline *p = arg;
	size_t all_n;

	counts->queued_n = p->jobs.state_n[JOB_QUEUED];
	counts->active_n = p->jobs.state_n[JOB_ACTIVE];
	counts->kept_n = ended_n(p) + gateway_sending_n(p->gateway);
	counts->draining = drain_started(p->drain);
	if (!counts->draining)
		return;
	/* What is in the spool is safe, so nobody waits for it. */
	all_n = p->left_n + counts->kept_n;
	counts->kept_n = on_kept_n(arg);
	counts->stay_n = all_n > counts->kept_n ? all_n - counts->kept_n : 0;
	counts->drain_left_ms = drain_left_ms(p->drain);
}

static void
on_drained_all(void *arg)
{
	struct pipeline *p = arg;

	p->sinks.on_drained(p->sinks.arg);
}

void
pipeline_ready(struct pipeline *p)
{
	service_ready(p->service);
}

void
pipeline_drain(struct pipeline *p)
{
	if (!drain_started(p->drain))
		pipeline_leave_queued(p);
	drain_start(p->drain);
}

const struct drain_options pipeline_drain_options = {.open_n = on_open_n,
    .kept_n = on_kept_n,
    .on_drained = on_drained_all,
    .on_going = on_going};

const struct service_options pipeline_service = {.count = on_count};
