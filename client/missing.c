/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon says that it works on nothing of this producer: jobs that it had
 * accepted before it was asked went elsewhere, to another client of the same
 * name perhaps.  Their keys make it safe to submit them again.
 *
 * Their results may as well be here and not seen yet, on another COLLECT that
 * was answered before this one: nng gives replies to several threads.  So they
 * have a while to appear, in which nothing else is held up.
 */
#include "missing.h"

#include "deliver.h"
#include "timer.h"

#define APPEAR_MS 1000u

static bool
is_missing(const struct job *job, uint64_t serial)
{
	return job->stage == STAGE_ACCEPTED && job->accepted_at <= serial;
}

static void
submit_again(struct latentd_client *c, uint64_t serial)
{
	struct job *job, *next;

	for (job = TAILQ_FIRST(&c->jobs.sent); job != NULL; job = next) {
		next = TAILQ_NEXT(job, entry);
		if (is_missing(job, serial))
			job_requeue(&c->jobs, job);
	}
	deliver_cancelled(c);
}

void
missing_look(struct latentd_client *c, uint64_t serial)
{
	const struct job *job;

	if (c->closing) {
		submit_again(c, serial);
		return;
	}
	/* What is asked about later has its turn with a later answer. */
	if (c->missing_before != 0)
		return;
	TAILQ_FOREACH(job, &c->jobs.sent, entry)
	{
		if (is_missing(job, serial))
			break;
	}
	if (job == NULL)
		return;
	c->missing_before = serial;
	timer_hold(&c->missing_timer, APPEAR_MS);
}

void
missing_end(struct latentd_client *c)
{
	uint64_t serial = c->missing_before;

	if (serial == 0 || c->missing_timer.armed)
		return;
	c->missing_before = 0;
	submit_again(c, serial);
}
