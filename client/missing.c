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
#include "due.h"
#include "timer.h"

#define APPEAR_MS 1000u

/* The jobs that were accepted until ${serial}. */
static void
submit_again(struct latentd_client *c, uint64_t serial)
{
	struct job *job, *next;

	for (job = TAILQ_FIRST(&c->jobs.sent); job != NULL; job = next) {
		next = TAILQ_NEXT(job, entry);
		if (job->stage == STAGE_ACCEPTED && job->accepted_at <= serial)
			job_requeue(&c->jobs, job);
	}
	deliver_cancelled(c);
}

/*
 * The youngest job, by its acceptance, that the daemon should have counted; or
 * 0.  What asked may have waited since before the job was sent, so that a job
 * which was accepted a while ago counts, too.
 */
static uint64_t
youngest(const struct latentd_client *c, uint64_t serial)
{
	uint64_t found = 0, now_ms = due_now_ms();
	const struct job *job;

	TAILQ_FOREACH(job, &c->jobs.sent, entry)
	{
		if (job->stage == STAGE_ACCEPTED && job->accepted_at > found &&
		    (job->accepted_at <= serial ||
			job->estimated_at_ms + APPEAR_MS <= now_ms))
			found = job->accepted_at;
	}
	return found;
}

void
missing_look(struct latentd_client *c, uint64_t serial)
{
	uint64_t before = youngest(c, serial);

	/* What is asked about later has its turn with a later answer. */
	if (before == 0 || c->missing_before != 0)
		return;
	c->missing_before = before;
	/* There is no time for that at the end. */
	if (!c->closing)
		timer_hold(&c->missing_timer, APPEAR_MS);
}

void
missing_end(struct latentd_client *c)
{
	uint64_t serial = c->missing_before;

	if (serial == 0 || (c->missing_timer.armed && !c->closing))
		return;
	c->missing_before = 0;
	submit_again(c, serial);
}
