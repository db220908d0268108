/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns a producer's messages into jobs and questions, and refuses what is
 * wrong.  Every request is answered here or handed to the stage that answers
 * it later; nothing is kept.
 */
#include "ingress.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "intake.h"
#include "latentd/version.h"
#include "reply.h"

#define BUSY_RETRY_MAX_MS 60000u

/* A SUBMIT whose job is being stored. */
struct pending {
	TAILQ_ENTRY(pending) link;
	struct door_request *request;
	const struct job *job;
	uint32_t owner_pipe; /* the job shall end with it; 0: with none */
	bool gone; /* it has ended already */
};

struct ingress {
	TAILQ_HEAD(, pending) pending; /* in the order of arrival */
	struct jobs *jobs;
	struct auth *auth;
	uint64_t instance;
	uint64_t max_body_bytes;
	struct ingress_sinks sinks;
	struct message_scratch scratch;
};

struct ingress *
ingress_create(struct jobs *jobs, struct auth *auth, uint64_t instance,
    uint64_t max_body_bytes, const struct ingress_sinks *sinks)
{
	struct ingress *in = calloc(1, sizeof(*in));

	if (in == NULL)
		return NULL;
	in->jobs = jobs;
	in->auth = auth;
	in->instance = instance;
	in->max_body_bytes = max_body_bytes;
	in->sinks = *sinks;
	TAILQ_INIT(&in->pending);
	return in;
}

void
ingress_destroy(struct ingress *in)
{
	struct pending *p;

	/* Their requests ended with the door. */
	while (in != NULL && (p = TAILQ_FIRST(&in->pending)) != NULL) {
		TAILQ_REMOVE(&in->pending, p, link);
		free(p);
	}
	free(in);
}

static void
reject(struct door_request *request, const struct reason *why)
{
	log_debug("rejected: %s: %s", latentd_err_name(why->err), why->text);
	door_reply(request, reply_rejected(why));
}

static void
challenge(struct ingress *in, struct door_request *request)
{
	const struct door_peer peer = door_peer(request);

	door_reply(request, auth_challenge(in->auth, &peer));
}

static void
welcome(struct ingress *in, struct door_request *request, struct text proof)
{
	struct message_welcome m = {
	    .version = {LATENTD_VERSION, strlen(LATENTD_VERSION)},
	    .instance = in->instance,
	    .max_body_bytes = in->max_body_bytes,
	    .max_wait_ms = LATENTD_MAX_WAIT_MS,
	    .proof = proof};

	m.services_n = in->sinks.services(&m.services, in->sinks.arg);
	door_reply(request, reply_create(MESSAGE_WELCOME, &m, NULL, 0));
}

static void
on_hello(struct ingress *in, struct door_request *request,
    const struct message_hello *hello)
{
	const struct door_peer peer = door_peer(request);
	struct reason why;
	struct text proof;

	log_debug("hello from %.*s (%.*s)", (int)hello->producer.bytes,
	    hello->producer.at, (int)hello->software.bytes,
	    hello->software.bytes > 0 ? hello->software.at : "");
	switch (auth_prove(in->auth, &peer, hello, &proof, &why)) {
	case AUTH_KNOWN:
		welcome(in, request, proof);
		return;
	case AUTH_CHALLENGE:
		challenge(in, request);
		return;
	case AUTH_DENIED:
		reject(request, &why);
		return;
	}
}

static void
reply_accepted(struct ingress *in, struct door_request *request,
    const struct job *job, uint64_t estimated_wait_ms)
{
	struct message_accepted m = {.instance = in->instance,
	    .id = job->id,
	    .state = job->state,
	    .position = in->sinks.position(job, in->sinks.arg),
	    .estimated_wait_ms = estimated_wait_ms,
	    .durability = job->spooled ? LATENTD_DURABILITY_SPOOLED
				       : LATENTD_DURABILITY_NONE};

	door_reply(request, reply_create(MESSAGE_ACCEPTED, &m, NULL, 0));
}

static void
reply_busy(struct ingress *in, struct door_request *request,
    const struct job_busy *busy)
{
	struct message_busy m = {.instance = in->instance,
	    .reason = {busy->reason, strlen(busy->reason)},
	    .retry_after_ms = busy->retry_after_ms,
	    .estimated_wait_ms = busy->estimated_wait_ms};

	in->sinks.refused(in->sinks.arg);
	door_reply(request, reply_create(MESSAGE_BUSY, &m, NULL, 0));
}

/* What speaks against taking the job that ${s} asks for; true: answered. */
static bool
refuse_new(struct ingress *in, struct door_request *request,
    const struct message_submit *s, const struct message_frame *frame,
    const struct producer *producer, struct intake *intake, struct lane **lane,
    uint64_t *estimate_ms)
{
	struct job_busy busy = in->sinks.busy(
	    producer, nng_msg_len(door_message(request)), in->sinks.arg);
	struct reason why;

	if (intake_read(s, frame->body, frame->body_bytes, intake, &why) !=
	    LATENTD_OK) {
		reject(request, &why);
		return true;
	}
	*lane = in->sinks.lane(intake->model, intake->task, in->sinks.arg);
	if (*lane == NULL) {
		reason_set(&why, LATENTD_ERR_MODEL,
		    "no endpoint is configured "
		    "to %s for model \"%s\"",
		    task_name(intake->task), intake->model->name);
		reject(request, &why);
		return true;
	}
	*estimate_ms =
	    in->sinks.estimate(*lane, producer, intake, in->sinks.arg);
	if (busy.reason == NULL && s->refuse_late &&
	    *estimate_ms > s->deadline_ms) {
		busy.reason = "deadline";
		busy.retry_after_ms = *estimate_ms - s->deadline_ms;
		if (busy.retry_after_ms > BUSY_RETRY_MAX_MS)
			busy.retry_after_ms = BUSY_RETRY_MAX_MS;
	}
	if (busy.reason == NULL)
		return false;
	busy.estimated_wait_ms = *estimate_ms;
	reply_busy(in, request, &busy);
	return true;
}

/* ---- jobs that are being stored ---- */

static void
wait_for_store(struct ingress *in, struct door_request *request,
    const struct message_submit *s, const struct job *job)
{
	struct pending *p = calloc(1, sizeof(*p));

	/* Of this size, memory that is out ends the program. */
	if (p == NULL)
		abort();
	p->request = request;
	p->job = job;
	if (s->cancel_on_disconnect)
		p->owner_pipe = door_peer(request).pipe;
	TAILQ_INSERT_TAIL(&in->pending, p, link);
}

/* Take out the next that waits for ${job}, or NULL; mostly the first of all. */
static struct pending *
next_pending(struct ingress *in, const struct job *job)
{
	struct pending *p;

	TAILQ_FOREACH(p, &in->pending, link)
	{
		if (p->job == job)
			break;
	}
	if (p != NULL)
		TAILQ_REMOVE(&in->pending, p, link);
	return p;
}

bool
ingress_stored(struct ingress *in, struct job *job)
{
	uint64_t estimate_ms = in->sinks.estimate_known(job, in->sinks.arg);
	bool wanted = true;
	struct pending *p;

	while ((p = next_pending(in, job)) != NULL) {
		if (p->owner_pipe != 0 && !p->gone)
			job_own(in->jobs, job, p->owner_pipe);
		wanted = !p->gone;
		reply_accepted(in, p->request, job, estimate_ms);
		free(p);
	}
	return wanted;
}

void
ingress_refused(
    struct ingress *in, const struct job *job, const struct job_busy *busy)
{
	struct pending *p;

	while ((p = next_pending(in, job)) != NULL) {
		reply_busy(in, p->request, busy);
		free(p);
	}
}

void
ingress_gone(struct ingress *in, uint32_t pipe)
{
	struct pending *p;

	TAILQ_FOREACH(p, &in->pending, link)
	{
		if (p->owner_pipe == pipe)
			p->gone = true;
	}
}

static void
on_new_job(struct ingress *in, struct door_request *request,
    const struct message_submit *s, const struct message_frame *frame,
    struct producer *producer)
{
	uint64_t estimate_ms;
	enum ingress_take taken;
	struct reason why;
	struct intake intake;
	struct lane *lane;
	struct job *job;

	if (refuse_new(
		in, request, s, frame, producer, &intake, &lane, &estimate_ms))
		return;
	/* It comes again with its latent, so that is not lost. */
	if ((job = jobs_by_key(producer, s->key)) != NULL)
		in->sinks.replace(job, in->sinks.arg);
	if (intake_job(&intake, in->jobs, producer, s->key, &job, &why) !=
	    LATENTD_OK) {
		reject(request, &why);
		return;
	}
	job_hold(in->jobs, job, door_take_message(request));
	job->lane = lane;
	taken = in->sinks.accept(job, s, &intake, in->sinks.arg);
	if (taken == INGRESS_NO_MEMORY) {
		job_destroy(in->jobs, job);
		reason_set(
		    &why, LATENTD_ERR_MEMORY, "the daemon is out of memory");
		reject(request, &why);
		return;
	}
	if (taken == INGRESS_LATER) {
		wait_for_store(in, request, s, job);
		return;
	}
	if (s->cancel_on_disconnect)
		job_own(in->jobs, job, door_peer(request).pipe);
	reply_accepted(in, request, job, estimate_ms);
}

/* Its key was seen: the same job, wherever it is. */
static void
on_known_job(struct ingress *in, struct door_request *request,
    const struct message_submit *s, struct job *job)
{
	if (job->storing && job->state == JOB_NEW) {
		wait_for_store(in, request, s, job);
		return;
	}
	if (s->cancel_on_disconnect && job->owner_pipe != 0)
		job_own(in->jobs, job, door_peer(request).pipe);
	reply_accepted(
	    in, request, job, in->sinks.estimate_known(job, in->sinks.arg));
}

/* Who asks; false: answered already. */
static bool
identify(struct ingress *in, struct door_request *request, struct text name,
    struct text secret, struct producer_identity *identity)
{
	const struct door_peer peer = door_peer(request);

	if (auth_identify(in->auth, &peer, name, secret, identity) ==
	    AUTH_KNOWN)
		return true;
	challenge(in, request);
	return false;
}

/* Find or make the producer and hold it; NULL: rejected already. */
static struct producer *
hold_producer(struct ingress *in, struct door_request *request,
    const struct producer_identity *identity)
{
	struct producer *producer;
	struct reason why;

	producer = producers_get(&in->jobs->producers, identity);
	if (producer == NULL) {
		reason_set(&why, LATENTD_ERR_MEMORY,
		    "the daemon serves %u "
		    "producers and takes no more",
		    PRODUCERS_MAX);
		reject(request, &why);
		return NULL;
	}
	producers_hold(producer);
	return producer;
}

/* The job was collected and acknowledged already; true: answered. */
static bool
refuse_remembered(struct ingress *in, struct door_request *request,
    const struct message_submit *s, const struct producer *producer)
{
	uint64_t id = in->sinks.remembered(producer, s->key, in->sinks.arg);
	struct reason why;

	if (id == 0)
		return false;
	reason_set(&why, LATENTD_ERR_COLLECTED,
	    "the result of key \"%.*s\", job %llu, was collected and "
	    "acknowledged already; a new job needs a new key",
	    (int)s->key.bytes, s->key.at, (unsigned long long)id);
	reject(request, &why);
	return true;
}

static void
on_submit(struct ingress *in, struct door_request *request,
    const struct message_submit *s, const struct message_frame *frame)
{
	struct producer_identity identity;
	struct producer *producer;
	struct job *job;

	if (!identify(in, request, s->producer, s->secret, &identity))
		return;
	producer = hold_producer(in, request, &identity);
	if (producer == NULL)
		return;
	job = jobs_by_key(producer, s->key);
	/* The same key is the same job, however often it arrives, unless its
	 * producer has been told that it failed. */
	if (job != NULL && !job->buried)
		on_known_job(in, request, s, job);
	else if (!refuse_remembered(in, request, s, producer))
		on_new_job(in, request, s, frame, producer);
	producers_release(&in->jobs->producers, producer);
}

/*
 * Who asks for results under a name that is known with another secret only has
 * the wrong secret; without this it would wait for results for ever.
 */
static bool
refuse_stranger(struct ingress *in, struct door_request *request,
    const struct producer_identity *identity)
{
	struct reason why;

	if (!producers_stranger(&in->jobs->producers, identity))
		return false;
	reason_set(&why, LATENTD_ERR_DENIED,
	    "producer \"%s\" has another secret than the one given",
	    identity->name);
	reject(request, &why);
	return true;
}

static void
on_collect(struct ingress *in, struct door_request *request,
    const struct message_collect *c)
{
	struct producer_identity identity;
	struct producer *producer;
	uint64_t unknown_acks = 0;

	if (!identify(in, request, c->producer, c->secret, &identity) ||
	    refuse_stranger(in, request, &identity))
		return;
	producer = hold_producer(in, request, &identity);
	if (producer == NULL)
		return;
	for (size_t i = 0; i < c->acks_n; i++)
		unknown_acks +=
		    !in->sinks.ack(producer, c->acks[i], in->sinks.arg);
	in->sinks.collect(
	    request, producer, c->wait_ms, unknown_acks, in->sinks.arg);
	producers_release(&in->jobs->producers, producer);
}

static void
on_status(struct ingress *in, struct door_request *request)
{
	const struct door_peer peer = door_peer(request);
	struct message_report m = {.instance = in->instance};
	char *json;

	if (!auth_may_ask(in->auth, &peer)) {
		challenge(in, request);
		return;
	}
	if ((json = in->sinks.report(in->sinks.arg)) == NULL)
		abort();
	door_reply(
	    request, reply_create(MESSAGE_REPORT, &m, json, strlen(json)));
	free(json);
}

void
ingress_request(struct ingress *in, struct door_request *request)
{
	nng_msg *msg = door_message(request);
	struct message_frame frame;
	union message_any any;
	struct reason why;

	if (message_frame(nng_msg_body(msg), nng_msg_len(msg), &frame, &why) !=
	    LATENTD_OK) {
		reject(request, &why);
		return;
	}
	if (frame.type >= MESSAGE_WELCOME) {
		reason_set(&why, LATENTD_ERR_PROTOCOL, "%s is not a request",
		    message_type_name(frame.type));
		reject(request, &why);
		return;
	}
	if (message_decode(&frame, &in->scratch, &any, &why) != LATENTD_OK) {
		reject(request, &why);
		return;
	}
	if (frame.type == MESSAGE_HELLO)
		on_hello(in, request, &any.hello);
	else if (frame.type == MESSAGE_SUBMIT)
		on_submit(in, request, &any.submit, &frame);
	else if (frame.type == MESSAGE_COLLECT)
		on_collect(in, request, &any.collect);
	else if (frame.type == MESSAGE_STATUS)
		on_status(in, request);
	else
		in->sinks.ask(request, frame.type, &any, in->sinks.arg);
}
