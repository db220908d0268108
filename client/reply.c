/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns replies into changes of the client's state.  Runs on nng's threads
 * with the mutex held; sends nothing itself, session_pump() does that next.
 */
#include "reply.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "acks.h"
#include "deliver.h"
#include "due.h"
#include "identity.h"
#include "missing.h"
#include "question.h"
#include "result.h"
#include "timer.h"

/* How long to wait after a failure that says nothing about it. */
#define RETRY_MS 1000u
#define MEMORY_RETRY_MS 200u

/*
 * Another instance means that the daemon was started again and may know
 * nothing: everything unfinished goes to it once more, and tags of the former
 * instance mean nothing to it.
 */
static void
see_instance(struct latentd_client *c, uint64_t instance)
{
	if (instance == c->instance)
		return;
	c->instance = instance;
	acks_forget(c);
	jobs_requeue(&c->jobs, instance);
	deliver_cancelled(c);
}

/* An open client that is refused asks again; until then nothing goes on. */
static void
hello_refused(struct latentd_client *c, const struct reason *why)
{
	c->hello_why = *why;
	if (c->secret_bytes == 0 || c->instance == 0)
		return;
	c->welcome = false;
	c->collect_told = false;
	deliver_signal(c);
	c->hello_wanted = true;
	timer_hold(&c->hello_timer, RETRY_MS);
	question_refused(c, why);
}

static void
take_welcome(struct latentd_client *c, const struct message_welcome *in)
{
	struct reason why;

	if (identity_welcomed(c, in, &why) != LATENTD_OK) {
		hello_refused(c, &why);
		pthread_cond_broadcast(&c->changed);
		return;
	}
	c->hello_why.err = LATENTD_OK;
	see_instance(c, in->instance);
	c->welcome = true;
	deliver_signal(c);
	c->max_body_bytes = in->max_body_bytes;
	c->wait_ms = COLLECT_WAIT_MS;
	if (in->max_wait_ms > 0 && in->max_wait_ms < COLLECT_WAIT_MS)
		c->wait_ms = in->max_wait_ms;
	pthread_cond_broadcast(&c->changed);
}

static void
take_accepted(struct latentd_client *c, struct job *job,
    const struct message_accepted *in)
{
	see_instance(c, in->instance);
	if (c->window < SUBMIT_WINDOW)
		c->window *= 2;
	c->refused_until_ms = 0;
	if (job_answered(&c->jobs, job))
		return;
	due_estimated(job, in->position, in->estimated_wait_ms);
	job->options.give_up_at_ms = 0;
	job->id = in->id;
	job->durability = in->durability;
	job->instance = in->instance;
	job->accepted_at = ++c->serial;
	job_move(&c->jobs, job, STAGE_ACCEPTED);
	/* Others wait for results, and would be woken once for nothing. */
	if (c->accept_waiters > 0 || c->closing)
		pthread_cond_broadcast(&c->changed);
}

/* Spread over 3/4 to 5/4 of ${ms}, so that producers do not return at once. */
static uint64_t
jitter(uint64_t ms)
{
	uint32_t random = 0;
	ssize_t n = getrandom(&random, sizeof(random), GRND_NONBLOCK);

	(void)n;
	return 1 + ms * 3 / 4 + ms * random / 2 / UINT32_MAX;
}

/* ${job} is to be sent again, before younger ones. */
static void
put_back(struct latentd_client *c, struct job *job)
{
	if (job_answered(&c->jobs, job))
		return;
	job_move(&c->jobs, job, STAGE_WAITING);
	deliver_cancelled(c);
}

/* The same, and nothing is sent before ${ms}. */
static void
hold_back(struct latentd_client *c, struct job *job, uint64_t ms)
{
	c->window = 1;
	timer_hold(&c->busy_timer, ms);
	put_back(c, job);
}

/* Too late for this job says nothing about others. */
static void
take_busy(
    struct latentd_client *c, struct job *job, const struct message_busy *in)
{
	see_instance(c, in->instance);
	due_estimated(job, 0, in->estimated_wait_ms);
	if (due_refused_late(c, job, in))
		return;
	hold_back(c, job, jitter(in->retry_after_ms));
	due_refused(c, in->reason);
}

/* The daemon's sentence, cut and escaped. */
static void
take_reason(struct reason *why, const struct message_rejected *in)
{
	enum latentd_err err = in->code;

	if (err == LATENTD_OK)
		err = LATENTD_ERR_PROTOCOL;
	reason_set(why, err, "%.*s", (int)in->message.bytes,
	    in->message.bytes > 0 ? in->message.at : "");
}

static void
cancel_refused(
    struct latentd_client *c, uint64_t ticket, const struct reason *why)
{
	struct job *job = jobs_find_ticket(&c->jobs, ticket);

	if (job == NULL || job->stage != STAGE_ACCEPTED ||
	    why->err != LATENTD_ERR_NOT_FOUND)
		return;
	deliver_failed(c, job, LATENTD_ERR_CANCELLED, "cancelled");
}

static void
submit_refused(
    struct latentd_client *c, struct job *job, const struct reason *why)
{
	if (job_answered(&c->jobs, job))
		return;
	job_move(&c->jobs, job, STAGE_WAITING);
	/* What this client collects has ended before it is acknowledged. */
	if (why->err == LATENTD_ERR_COLLECTED && job->id != 0)
		deliver_failed(c, job, why->err,
		    "another client of producer \"%s\" collected the result of "
		    "key \"%s\", job %ju",
		    c->producer, job->key, (uintmax_t)job->id);
	else
		deliver_failed(c, job, why->err, "%s", why->text);
}

/*
 * The daemon had accepted none of the jobs when this COLLECT was sent, and may
 * have known others of the name only.
 */
static bool
is_early(const struct latentd_client *c, const struct channel *ch)
{
	const struct job *job;

	TAILQ_FOREACH(job, &c->jobs.sent, entry)
	{
		if (job->stage == STAGE_ACCEPTED &&
		    job->accepted_at < ch->started_at)
			return false;
	}
	return c->jobs.n > 0;
}

/* The request of ${ch} is refused, by the daemon or because the reply makes
 * no sense. */
static void
refused(struct latentd_client *c, struct channel *ch, const struct reason *why)
{
	if (question_is(c, ch)) {
		question_answered(c, ch, why->err, why->text);
		return;
	}
	switch ((int)ch->request) {
	case MESSAGE_HELLO:
		hello_refused(c, why);
		break;
	case MESSAGE_SUBMIT:
		submit_refused(c, ch->job, why);
		break;
	case MESSAGE_COLLECT:
		timer_hold(&c->collect_timer, RETRY_MS);
		if (why->err == LATENTD_ERR_DENIED && is_early(c, ch))
			return;
		c->collect_why = *why;
		c->collect_told = false;
		deliver_signal(c);
		break;
	case MESSAGE_CANCEL:
		cancel_refused(c, ch->ticket, why);
		break;
	}
	pthread_cond_broadcast(&c->changed);
}

/* A result that cannot be read ends its job; without a job it is dropped. */
static void
take_broken(struct latentd_client *c, struct job *job,
    const struct message_result *in, const struct reason *why)
{
	if (why->err == LATENTD_ERR_MEMORY) {
		timer_hold(&c->collect_timer, MEMORY_RETRY_MS);
		return;
	}
	acks_add(c, in->tag, in->instance);
	if (job != NULL)
		deliver_failed(c, job, why->err, "%s", why->text);
}

/* Delivered again, because the daemon's patience is over; only the latest tag
 * counts when the application frees it. */
static void
retag(
    struct latentd_client *c, const char *key, const struct message_result *in)
{
	struct latentd_result *r = deliver_find(c, key, in->kicks);

	if (r == NULL)
		return;
	r->tagged = true;
	r->tag = in->tag;
	r->instance = in->instance;
}

/* One without a body failed, and says nothing about others. */
static void
note_size(struct latentd_client *c, uint64_t body_bytes)
{
	if (body_bytes == 0)
		return;
	c->large_bytes = c->large_bytes / 2 + 1;
	if (c->large_bytes < body_bytes)
		c->large_bytes = body_bytes;
}

static void
take_result(struct latentd_client *c, const struct message_result *in,
    const struct message_frame *frame, nng_msg *msg)
{
	char key[LATENTD_MAX_NAME_BYTES + 1];
	struct latentd_result *r;
	enum seen_state seen;
	struct reason why;
	struct job *job;

	see_instance(c, in->instance);
	note_size(c, frame->body_bytes);
	memcpy(key, in->key.at, in->key.bytes);
	key[in->key.bytes] = '\0';
	job = jobs_find_key(&c->jobs, key);
	seen = seen_get(&c->seen, key, in->kicks);
	if (job == NULL && (seen == SEEN_READY || seen == SEEN_HELD)) {
		retag(c, key, in);
		goto free_msg;
	}
	if (job == NULL &&
	    (seen == SEEN_FREED || (c->anonymous && in->kicks == 0))) {
		acks_add(c, in->tag, in->instance);
		goto free_msg;
	}
	if (job == NULL && c->closing)
		goto free_msg;
	if (in->code == LATENTD_ERR_STOPPING && job != NULL &&
	    job->stage == STAGE_ACCEPTED && !job->cancel_wanted) {
		/* Not the job's fault: the next daemon shall have it. */
		acks_add(c, in->tag, in->instance);
		job_requeue(&c->jobs, job);
		timer_hold(&c->busy_timer, RETRY_MS);
		goto free_msg;
	}
	r = result_create(in, frame, msg, &why);
	if (r == NULL) {
		take_broken(c, job, in, &why);
		goto free_msg;
	}
	deliver(c, job, r);
	return;
free_msg:
	nng_msg_free(msg);
}

/*
 * The daemon has done nothing: this connection has still to prove whose it is.
 * What was asked is asked again after that.
 */
static void
take_challenge(struct latentd_client *c, struct channel *ch,
    const struct message_challenge *in)
{
	struct reason why;
	struct job *job;

	if (identity_challenged(c, in, &why) != LATENTD_OK) {
		refused(c, ch, &why);
		return;
	}
	switch ((int)ch->request) {
	case MESSAGE_HELLO:
		/* One is usual; a second one after a reconnect. */
		if (++c->proofs_n > 2)
			timer_hold(&c->hello_timer, RETRY_MS);
		return;
	case MESSAGE_SUBMIT:
		put_back(c, ch->job);
		return;
	case MESSAGE_COLLECT:
		return;
	}
	if (question_is(c, ch))
		question_again(c, ch);
	else if ((job = jobs_find_ticket(&c->jobs, ch->ticket)) != NULL)
		job_cancel_again(&c->jobs, job);
}

static enum latentd_err
check_answer(
    enum message_type request, enum message_type reply, struct reason *why)
{
	static const enum message_type answers[][3] = {
	    {MESSAGE_HELLO, MESSAGE_WELCOME, MESSAGE_WELCOME},
	    {MESSAGE_SUBMIT, MESSAGE_ACCEPTED, MESSAGE_BUSY},
	    {MESSAGE_COLLECT, MESSAGE_RESULT, MESSAGE_EMPTY},
	    {MESSAGE_CANCEL, MESSAGE_CANCELLED, MESSAGE_CANCELLED},
	    {MESSAGE_STATUS, MESSAGE_REPORT, MESSAGE_REPORT},
	    {MESSAGE_LIST, MESSAGE_REPORT, MESSAGE_REPORT},
	    {MESSAGE_WHY, MESSAGE_REPORT, MESSAGE_REPORT},
	    {MESSAGE_ADMIN, MESSAGE_DONE, MESSAGE_DONE},
	};

	if (reply == MESSAGE_REJECTED || reply == MESSAGE_CHALLENGE)
		return LATENTD_OK;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		if (answers[i][0] == request &&
		    (answers[i][1] == reply || answers[i][2] == reply))
			return LATENTD_OK;
	}
	return reason_set(why, LATENTD_ERR_PROTOCOL,
	    "the daemon answered %s with %s", message_type_name(request),
	    message_type_name(reply));
}

static void
dispatch(struct latentd_client *c, struct channel *ch,
    const struct message_frame *frame, const union message_any *in)
{
	struct reason why;

	switch ((int)frame->type) {
	case MESSAGE_WELCOME:
		take_welcome(c, &in->welcome);
		return;
	case MESSAGE_ACCEPTED:
		take_accepted(c, ch->job, &in->accepted);
		return;
	case MESSAGE_BUSY:
		take_busy(c, ch->job, &in->busy);
		return;
	case MESSAGE_EMPTY:
		see_instance(c, in->empty.instance);
		if (in->empty.pending == 0)
			missing_look(c, ch->started_at);
		return;
	case MESSAGE_CANCELLED:
		if (question_is(c, ch))
			question_answered(c, ch, LATENTD_OK, "");
		return;
	case MESSAGE_REPORT:
		see_instance(c, in->report.instance);
		question_reported(c, ch, frame);
		return;
	case MESSAGE_DONE:
		see_instance(c, in->done.instance);
		c->question.done = in->done;
		question_answered(c, ch, LATENTD_OK, "");
		return;
	case MESSAGE_CHALLENGE:
		take_challenge(c, ch, &in->challenge);
		return;
	default:
		take_reason(&why, &in->rejected);
		refused(c, ch, &why);
		return;
	}
}

/* Whatever else is the matter with it. */
static bool
is_challenge(nng_msg *msg)
{
	struct message_frame frame;
	struct reason why;

	return message_frame(nng_msg_body(msg), nng_msg_len(msg), &frame,
		   &why) == LATENTD_OK &&
	    frame.type == MESSAGE_CHALLENGE;
}

void
reply_take(struct latentd_client *c, struct channel *ch, nng_msg *msg)
{
	struct message_scratch scratch;
	struct message_frame frame;
	union message_any in;
	struct reason why;

	if (ch->request == MESSAGE_COLLECT && is_challenge(msg)) {
		acks_lost(c, ch);
	} else if (ch->request == MESSAGE_COLLECT) {
		acks_arrived(c, ch);
		c->collect_why.err = LATENTD_OK;
		deliver_signal(c);
	}
	if (message_frame(nng_msg_body(msg), nng_msg_len(msg), &frame, &why) !=
		LATENTD_OK ||
	    message_decode(&frame, &scratch, &in, &why) != LATENTD_OK ||
	    check_answer(ch->request, frame.type, &why) != LATENTD_OK) {
		refused(c, ch, &why);
	} else if (frame.type == MESSAGE_RESULT) {
		take_result(c, &in.result, &frame, msg);
		msg = NULL;
	} else {
		dispatch(c, ch, &frame, &in);
	}
	if (c->closing)
		pthread_cond_broadcast(&c->changed);
	nng_msg_free(msg);
}

void
reply_lost(struct latentd_client *c, struct channel *ch, int rv)
{
	if (c->closing)
		pthread_cond_broadcast(&c->changed);
	if (question_is(c, ch)) {
		question_answered(c, ch, LATENTD_ERR_IO, nng_strerror(rv));
		return;
	}
	switch ((int)ch->request) {
	case MESSAGE_SUBMIT:
		if (rv == NNG_ECANCELED)
			put_back(c, ch->job);
		else
			hold_back(c, ch->job, MEMORY_RETRY_MS);
		return;
	case MESSAGE_COLLECT:
		acks_lost(c, ch);
		timer_hold(&c->collect_timer, MEMORY_RETRY_MS);
		return;
	case MESSAGE_HELLO:
		/* nng sends it again by itself; this was memory. */
		if (rv == NNG_ENOMEM) {
			c->hello_wanted = true;
			timer_hold(&c->hello_timer, MEMORY_RETRY_MS);
		}
		return;
	default:
		return;
	}
}
