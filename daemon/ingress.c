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

struct ingress {
	struct jobs *jobs;
	uint64_t instance;
	uint64_t max_body_bytes;
	struct ingress_sinks sinks;
	struct message_scratch scratch;
};

struct ingress *
ingress_create(struct jobs *jobs, uint64_t instance, uint64_t max_body_bytes,
    const struct ingress_sinks *sinks)
{
	struct ingress *in = calloc(1, sizeof(*in));

	if (in == NULL)
		return NULL;
	in->jobs = jobs;
	in->instance = instance;
	in->max_body_bytes = max_body_bytes;
	in->sinks = *sinks;
	return in;
}

void
ingress_destroy(struct ingress *in)
{
	free(in);
}

static void
reject(struct door_request *request, const struct reason *why)
{
	log_debug("rejected: %s: %s", latentd_err_name(why->err), why->text);
	door_reply(request, reply_rejected(why));
}

static void
identify(struct door_request *request, struct text name, struct text secret,
    struct producer_identity *identity)
{
	struct door_peer peer = door_peer(request);

	producer_identity(
	    peer.has_uid ? peer.uid : PRODUCER_NO_UID, name, secret, identity);
}

static void
on_hello(struct ingress *in, struct door_request *request,
    const struct message_hello *hello)
{
	struct message_welcome m = {
	    .version = {LATENTD_VERSION, strlen(LATENTD_VERSION)},
	    .instance = in->instance,
	    .max_body_bytes = in->max_body_bytes,
	    .max_wait_ms = LATENTD_MAX_WAIT_MS};

	log_debug("hello from %.*s (%.*s)", (int)hello->producer.bytes,
	    hello->producer.at, (int)hello->software.bytes,
	    hello->software.bytes > 0 ? hello->software.at : "");
	m.services_n = in->sinks.services(&m.services, in->sinks.arg);
	door_reply(request, reply_create(MESSAGE_WELCOME, &m, NULL, 0));
}

static void
reply_accepted(
    struct ingress *in, struct door_request *request, const struct job *job)
{
	struct message_accepted m = {.instance = in->instance,
	    .id = job->id,
	    .state = job->state,
	    .position = in->sinks.position(job, in->sinks.arg)};

	door_reply(request, reply_create(MESSAGE_ACCEPTED, &m, NULL, 0));
}

static void
reply_busy(struct ingress *in, struct door_request *request,
    const struct job_busy *busy)
{
	struct message_busy m = {.instance = in->instance,
	    .reason = {busy->reason, strlen(busy->reason)},
	    .retry_after_ms = busy->retry_after_ms};

	door_reply(request, reply_create(MESSAGE_BUSY, &m, NULL, 0));
}

static void
on_new_job(struct ingress *in, struct door_request *request,
    const struct message_submit *s, const struct message_frame *frame,
    struct producer *producer)
{
	struct job_busy busy =
	    in->sinks.busy(nng_msg_len(door_message(request)), in->sinks.arg);
	struct reason why;
	struct intake intake;
	struct lane *lane;
	struct job *job;

	if (busy.reason != NULL) {
		reply_busy(in, request, &busy);
		return;
	}
	if (intake_read(s, frame->body, frame->body_bytes, &intake, &why) !=
	    LATENTD_OK) {
		reject(request, &why);
		return;
	}
	lane = in->sinks.lane(intake.model, intake.task, in->sinks.arg);
	if (lane == NULL) {
		reason_set(&why, LATENTD_ERR_MODEL,
		    "no endpoint is configured "
		    "to %s for model \"%s\"",
		    task_name(intake.task), intake.model->name);
		reject(request, &why);
		return;
	}
	if (intake_job(&intake, in->jobs, producer, s->key, &job, &why) !=
	    LATENTD_OK) {
		reject(request, &why);
		return;
	}
	job_hold(in->jobs, job, door_take_message(request));
	job->lane = lane;
	in->sinks.accept(job, in->sinks.arg);
	reply_accepted(in, request, job);
}

/* Find or make the producer and hold it; NULL: rejected already. */
static struct producer *
hold_producer(struct ingress *in, struct door_request *request,
    struct text name, struct text secret)
{
	struct producer_identity identity;
	struct producer *producer;
	struct reason why;

	identify(request, name, secret, &identity);
	producer = producers_get(&in->jobs->producers, &identity);
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

static void
on_submit(struct ingress *in, struct door_request *request,
    const struct message_submit *s, const struct message_frame *frame)
{
	struct producer *producer =
	    hold_producer(in, request, s->producer, s->secret);
	struct job *job;

	if (producer == NULL)
		return;
	/* The same key is the same job, however often it arrives. */
	if ((job = jobs_by_key(producer, s->key)) != NULL)
		reply_accepted(in, request, job);
	else
		on_new_job(in, request, s, frame, producer);
	producers_release(&in->jobs->producers, producer);
}

static void
on_collect(struct ingress *in, struct door_request *request,
    const struct message_collect *c)
{
	struct producer *producer =
	    hold_producer(in, request, c->producer, c->secret);

	if (producer == NULL)
		return;
	for (size_t i = 0; i < c->acks_n; i++)
		in->sinks.ack(producer, c->acks[i], in->sinks.arg);
	in->sinks.collect(request, producer, c->wait_ms, in->sinks.arg);
	producers_release(&in->jobs->producers, producer);
}

static struct job *
find_own_job(struct ingress *in, struct door_request *request,
    const struct message_cancel *c)
{
	struct producer_identity identity;
	struct producer *producer;
	struct job *job;

	identify(request, c->producer, c->secret, &identity);
	producer = producers_find(&in->jobs->producers, &identity);
	if (producer == NULL)
		return NULL;
	if (c->key.bytes > 0)
		return jobs_by_key(producer, c->key);
	job = jobs_by_id(in->jobs, c->id);
	return job != NULL && job->producer == producer ? job : NULL;
}

static void
reject_unknown(struct door_request *request, const struct message_cancel *c)
{
	struct reason why;

	if (c->key.bytes > 0)
		reason_set(&why, LATENTD_ERR_NOT_FOUND,
		    "producer \"%.*s\" has no job with key \"%.*s\"",
		    (int)c->producer.bytes, c->producer.at, (int)c->key.bytes,
		    c->key.at);
	else
		reason_set(&why, LATENTD_ERR_NOT_FOUND,
		    "producer \"%.*s\" has no job with id %llu",
		    (int)c->producer.bytes, c->producer.at,
		    (unsigned long long)c->id);
	reject(request, &why);
}

static void
on_cancel(struct ingress *in, struct door_request *request,
    const struct message_cancel *c)
{
	struct message_cancelled m;
	struct reason why;
	struct job *job;

	if (c->key.bytes == 0 && c->id == 0) {
		reason_set(&why, LATENTD_ERR_INVALID,
		    "CANCEL: field \"key\" or \"id\" is missing");
		reject(request, &why);
		return;
	}
	if ((job = find_own_job(in, request, c)) == NULL) {
		reject_unknown(request, c);
		return;
	}
	m = (struct message_cancelled){.id = job->id, .state = job->state};
	if (job->state == JOB_QUEUED || job->state == JOB_ACTIVE)
		in->sinks.cancel(job, in->sinks.arg);
	door_reply(request, reply_create(MESSAGE_CANCELLED, &m, NULL, 0));
}

static void
on_status(struct ingress *in, struct door_request *request)
{
	struct message_report m = {.instance = in->instance};
	char *json = in->sinks.report(in->sinks.arg);

	if (json == NULL)
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
	else if (frame.type == MESSAGE_CANCEL)
		on_cancel(in, request, &any.cancel);
	else
		on_status(in, request);
}
