/* SPDX-License-Identifier: Apache-2.0 */
#include "ingress_fixture.h"

nng_msg *
door_message(const struct door_request *request)
{
	return request->message;
}

nng_msg *
door_take_message(struct door_request *request)
{
	nng_msg *msg = request->message;

	request->message = NULL;
	return msg;
}

struct door_peer
door_peer(const struct door_request *request)
{
	return (struct door_peer){
	    .has_uid = true, .uid = 1000, .pipe = request->pipe};
}

void
door_reply(struct door_request *request, nng_msg *msg)
{
	cr_assert_null(request->reply, "answered twice");
	request->reply = msg;
}

struct ingress_fixture x;

static struct lane *
on_lane(const struct model *model, enum latentd_task task, void *arg)
{
	(void)arg;
	return strcmp(model->name, "sdxl") == 0 && task == LATENTD_DECODE
	    ? &x.lane
	    : NULL;
}

static struct job_busy
on_busy(const struct producer *producer, uint64_t bytes, void *arg)
{
	(void)arg;
	cr_assert_not_null(producer);
	cr_assert_gt(bytes, LATENT_BYTES);
	return x.busy;
}

static void
on_refused(void *arg)
{
	(void)arg;
	x.refused_n++;
}

static uint64_t
on_estimate(const struct lane *lane, const struct producer *producer,
    const struct intake *intake, void *arg)
{
	(void)arg;
	cr_assert(lane == &x.lane && producer != NULL && intake->cost_px > 0);
	return x.estimate_ms;
}

static uint64_t
on_estimate_known(const struct job *job, void *arg)
{
	(void)arg;
	cr_assert_not_null(job);
	return 2 * x.estimate_ms;
}

static enum ingress_take
on_accept(struct job *job, const struct message_submit *submit,
    const struct intake *intake, void *arg)
{
	(void)arg;
	cr_assert_eq(job->lane, &x.lane);
	cr_assert_eq(submit->task, intake->task);
	x.accepted_n++;
	if (x.store) {
		job->storing = true;
		x.stored = job;
		return INGRESS_LATER;
	}
	job_move(&x.f.jobs, job, JOB_QUEUED);
	return INGRESS_TAKEN;
}

static size_t
on_position(const struct job *job, void *arg)
{
	(void)arg;
	return (size_t)job->id + 10;
}

static uint64_t
on_remembered(const struct producer *producer, struct text key, void *arg)
{
	(void)arg;
	cr_assert(producer != NULL && key.bytes > 0);
	return x.remembered_id;
}

static bool
on_ack(struct producer *producer, uint64_t tag, void *arg)
{
	(void)arg;
	cr_assert_not_null(producer);
	return tag == x.known_tag;
}

static void
on_collect(struct door_request *request, struct producer *producer,
    uint64_t wait_ms, uint64_t unknown_acks, void *arg)
{
	struct message_empty m = {.instance = INSTANCE};

	(void)arg;
	cr_assert_not_null(producer);
	x.collects_n++;
	x.wait_ms = wait_ms;
	x.unknown_acks = unknown_acks;
	door_reply(request, reply_create(MESSAGE_EMPTY, &m, NULL, 0));
}

static void
on_replace(struct job *job, void *arg)
{
	(void)arg;
	cr_assert(job->buried);
	x.replaced_id = job->id;
	job_destroy(&x.f.jobs, job);
}

static void
on_ask(struct door_request *request, enum message_type type,
    const union message_any *in, void *arg)
{
	struct message_cancelled m = {.id = in->cancel.id, .state = JOB_DONE};

	(void)arg;
	cr_assert_eq(type, MESSAGE_CANCEL);
	door_reply(request, reply_create(MESSAGE_CANCELLED, &m, NULL, 0));
}

void
open_ingress(void)
{
	const struct ingress_sinks sinks = {.lane = on_lane,
	    .busy = on_busy,
	    .refused = on_refused,
	    .estimate = on_estimate,
	    .estimate_known = on_estimate_known,
	    .accept = on_accept,
	    .position = on_position,
	    .remembered = on_remembered,
	    .ack = on_ack,
	    .collect = on_collect,
	    .replace = on_replace,
	    .ask = on_ask};

	memset(&x, 0, sizeof(x));
	fixture_jobs_open(&x.f);
	x.auth = auth_create(&x.f.jobs.producers, INSTANCE, false);
	cr_assert_not_null(x.auth);
	x.in = ingress_create(&x.f.jobs, x.auth, INSTANCE, 1000000, &sinks);
	x.pipe = 1;
	cr_assert_not_null(x.in);
}

void
close_ingress(void)
{
	while (x.f.jobs.next_id > 0) {
		struct job *job = jobs_by_id(&x.f.jobs, x.f.jobs.next_id--);

		if (job != NULL)
			job_destroy(&x.f.jobs, job);
	}
	if (x.last != NULL)
		nng_msg_free(x.last);
	ingress_destroy(x.in);
	auth_destroy(x.auth);
	fixture_jobs_close(&x.f);
}

/* Send a message with a body of zeros; its reply, until the next one. */
enum message_type
ask(enum message_type type, const void *in, size_t body_bytes,
    union message_any *m)
{
	static struct message_scratch scratch;
	struct door_request request = {.pipe = x.pipe};
	struct message_frame frame = {.body_bytes = 0};
	void *body = calloc(1, body_bytes + 1);

	request.message = reply_create(type, in, body, body_bytes);
	free(body);
	ingress_request(x.in, &request);
	cr_assert_not_null(request.reply, "not answered");
	if (request.message != NULL)
		nng_msg_free(request.message);
	if (x.last != NULL)
		nng_msg_free(x.last);
	x.last = request.reply;
	cr_assert_eq(message_frame(nng_msg_body(x.last), nng_msg_len(x.last),
			 &frame, NULL),
	    LATENTD_OK);
	cr_assert_eq(message_decode(&frame, &scratch, m, NULL), LATENTD_OK);
	return frame.type;
}

struct message_submit
submit_of(const char *producer, const char *key)
{
	return (struct message_submit){.producer = TEXT(producer),
	    .key = TEXT(key),
	    .task = LATENTD_DECODE,
	    .model = TEXT("sdxl"),
	    .output = LATENTD_OUT_PNG,
	    .tensor = {LATENTD_F16, 4, {1, 4, 8, 8}}};
}

enum message_type
submit(const struct message_submit *s, union message_any *m)
{
	return ask(MESSAGE_SUBMIT, s, LATENT_BYTES, m);
}

void
expect_rejected(
    enum message_type type, const union message_any *m, enum latentd_err code)
{
	cr_assert_eq(type, MESSAGE_REJECTED);
	cr_assert_eq(m->rejected.code, code);
	cr_assert_gt(m->rejected.message.bytes, 0);
}
