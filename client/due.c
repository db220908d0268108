/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends that a job may come to before the daemon has it.  Its deadline is
 * watched by a timer of the session.  Its patience with a busy daemon needs
 * none: it is over when the daemon refuses and will not be asked again in time,
 * which is known as soon as the daemon has said when to ask again.
 */
#include "due.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "deliver.h"

uint64_t
due_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool
due_passed(uint64_t at_ms)
{
	return at_ms != 0 && at_ms <= due_now_ms();
}

struct timespec
due_earlier(const struct timespec *at, uint64_t at_ms)
{
	struct timespec other = {
	    (time_t)(at_ms / 1000), (long)(at_ms % 1000) * 1000000};

	if (at_ms == 0)
		return *at;
	if (at->tv_sec < 0 || at->tv_sec > other.tv_sec ||
	    (at->tv_sec == other.tv_sec && at->tv_nsec > other.tv_nsec))
		return other;
	return *at;
}

static uint64_t
remaining_ms(uint64_t deadline_at_ms)
{
	uint64_t now_ms = due_now_ms();

	return deadline_at_ms > now_ms ? deadline_at_ms - now_ms : 0;
}

void
due_redate(nng_msg *msg, uint64_t deadline_at_ms)
{
	uint64_t left_ms = remaining_ms(deadline_at_ms);
	uint8_t front[MESSAGE_FRONT_BYTES];
	struct message_scratch scratch;
	struct message_frame frame;
	union message_any any;
	struct reason why;
	enum latentd_err err;
	size_t was, is;
	int rv;

	err = message_frame(nng_msg_body(msg), nng_msg_len(msg), &frame, &why);
	if (err == LATENTD_OK)
		err = message_decode(&frame, &scratch, &any, &why);
	/* It was encoded here. */
	assert(err == LATENTD_OK);
	any.submit.deadline_ms = left_ms > 0 ? left_ms : 1;
	was = MESSAGE_PREAMBLE_BYTES + frame.header_bytes;
	is = message_encode(MESSAGE_SUBMIT, &any.submit, frame.body_bytes,
	    front, sizeof(front));
	/* A smaller number is not longer, so that the body stays in place. */
	assert(is > 0 && is <= was);
	nng_msg_trim(msg, was);
	rv = nng_msg_insert(msg, front, is);
	assert(rv == 0);
}

static void
end_late(struct latentd_client *c, struct job *job)
{
	const char *where = c->pipe_id == 0 ? "is away"
	    : c->refused_until_ms != 0      ? "was busy"
					    : "had not accepted the job";

	for (size_t i = CHANNEL_SUBMIT; i < CHANNELS; i++) {
		struct channel *ch = &c->channels[i];

		if (ch->busy && ch->job == job)
			ch->withdrawn = ch->abort_due = true;
	}
	deliver_failed(c, job, LATENTD_ERR_EXPIRED,
	    "the deadline passed while the daemon %s", where);
}

/* Say how long it would have taken, where that is known. */
static void
end_impatient(struct latentd_client *c, struct job *job)
{
	uint64_t wait_ms = due_estimate_ms(job);
	char estimate[80] = "";

	if (wait_ms > 0)
		snprintf(estimate, sizeof(estimate),
		    "; once accepted, the result would take about %.1f s",
		    (double)wait_ms / 1000);
	deliver_failed(c, job, LATENTD_ERR_BUSY,
	    "the daemon is busy (%s) and cannot be asked again in time%s",
	    c->refused_with, estimate);
}

void
due_end(struct latentd_client *c)
{
	struct job *job;

	while ((job = jobs_first_deadline(&c->jobs)) != NULL &&
	    due_passed(job->options.deadline_at_ms))
		end_late(c, job);
	if (c->refused_until_ms == 0 || due_passed(c->refused_until_ms))
		return;
	while ((job = jobs_first_patience(&c->jobs)) != NULL &&
	    job->options.give_up_at_ms <= c->refused_until_ms)
		end_impatient(c, job);
}

void
due_refused(struct latentd_client *c, struct text reason)
{
	c->refused_until_ms = c->busy_timer.until_ms;
	snprintf(c->refused_with, sizeof(c->refused_with), "%.*s",
	    (int)reason.bytes, reason.bytes > 0 ? reason.at : "");
}

bool
due_refused_late(
    struct latentd_client *c, struct job *job, const struct message_busy *busy)
{
	uint64_t left_ms = remaining_ms(job->options.deadline_at_ms);

	if (!job->options.refuse_late || busy->estimated_wait_ms <= left_ms)
		return false;
	if (job_answered(&c->jobs, job))
		return true;
	job_move(&c->jobs, job, STAGE_WAITING);
	deliver_failed(c, job, LATENTD_ERR_BUSY,
	    "the daemon expects the result in about %.1f s, later than the "
	    "deadline in %.1f s",
	    (double)busy->estimated_wait_ms / 1000, (double)left_ms / 1000);
	return true;
}

void
due_estimated(struct job *job, uint64_t position, uint64_t wait_ms)
{
	job->position = position;
	job->estimated_wait_ms = wait_ms;
	job->estimated_at_ms = due_now_ms();
}

uint64_t
due_estimate_ms(const struct job *job)
{
	uint64_t since_ms = due_now_ms() - job->estimated_at_ms;

	if (job->estimated_wait_ms == 0)
		return 0;
	return job->estimated_wait_ms > since_ms
	    ? job->estimated_wait_ms - since_ms
	    : 1;
}
