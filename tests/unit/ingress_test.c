/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What producers are answered, where that is more than passing on.  Without a
 * door: the functions below stand in its place; the sinks say what the test
 * wants.
 */
#include <stdlib.h>
#include <string.h>

#include "ingress.h"
#include "jobs_fixture.h"
#include "lane.h"
#include "reply.h"

#define INSTANCE UINT64_C(0xfeedfacecafebeef)
#define TEXT(s) ((struct text){s, strlen(s)})
#define LATENT_BYTES (4 * 8 * 8 * 2)

struct door_request {
	uint32_t pipe;
	nng_msg *message;
	nng_msg *reply;
};

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

static struct fixture {
	struct fixture_jobs f;
	struct auth *auth;
	struct ingress *in;
	struct lane lane;
	struct job_busy busy;
	uint64_t estimate_ms, remembered_id, known_tag;
	uint64_t replaced_id;
	bool store; /* jobs are stored before they are accepted */
	struct job *stored; /* the last such */
	uint64_t unknown_acks, wait_ms; /* of the COLLECT passed on */
	size_t collects_n, refused_n, accepted_n;
	uint32_t pipe;
	nng_msg *last; /* reply */
} x;

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

static void
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

static void
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
static enum message_type
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

static struct message_submit
submit_of(const char *producer, const char *key)
{
	return (struct message_submit){.producer = TEXT(producer),
	    .key = TEXT(key),
	    .task = LATENTD_DECODE,
	    .model = TEXT("sdxl"),
	    .output = LATENTD_OUT_PNG,
	    .tensor = {LATENTD_F16, 4, {1, 4, 8, 8}}};
}

static enum message_type
submit(const struct message_submit *s, union message_any *m)
{
	return ask(MESSAGE_SUBMIT, s, LATENT_BYTES, m);
}

static void
expect_rejected(
    enum message_type type, const union message_any *m, enum latentd_err code)
{
	cr_assert_eq(type, MESSAGE_REJECTED);
	cr_assert_eq(m->rejected.code, code);
	cr_assert_gt(m->rejected.message.bytes, 0);
}

Test(ingress, an_accepted_job_is_told_its_position_and_estimate)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.estimate_ms = 1234;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.instance, INSTANCE);
	cr_assert_eq(m.accepted.id, 1);
	cr_assert_eq(m.accepted.state, JOB_QUEUED);
	cr_assert_eq(m.accepted.position, 11);
	cr_assert_eq(m.accepted.estimated_wait_ms, 1234);
	close_ingress();
}

Test(ingress, the_same_key_is_the_same_job_even_when_there_is_no_room)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.estimate_ms = 5;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	x.busy.reason = "jobs";
	x.remembered_id = 77;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.id, 1);
	cr_assert_eq(m.accepted.estimated_wait_ms, 10);
	cr_assert_eq(x.accepted_n, 1);
	close_ingress();
}

Test(ingress, busy_says_which_bound_when_to_come_again_and_how_long_it_is)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.estimate_ms = 800;
	x.busy =
	    (struct job_busy){.reason = "producer_bytes", .retry_after_ms = 70};
	cr_assert_eq(submit(&s, &m), MESSAGE_BUSY);
	cr_assert_eq(m.busy.instance, INSTANCE);
	cr_assert_eq(m.busy.reason.bytes, strlen("producer_bytes"));
	cr_assert_arr_eq(
	    m.busy.reason.at, "producer_bytes", m.busy.reason.bytes);
	cr_assert_eq(m.busy.retry_after_ms, 70);
	cr_assert_eq(m.busy.estimated_wait_ms, 800);
	/* Nothing was taken, nobody is kept for it. */
	cr_assert_eq(x.f.jobs.n, 0);
	cr_assert_null(x.f.jobs.producers.table);
	close_ingress();
}

Test(ingress, a_job_that_would_be_late_is_refused_where_that_is_wished)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.estimate_ms = 1000;
	s.deadline_ms = 999;
	s.refuse_late = true;
	cr_assert_eq(submit(&s, &m), MESSAGE_BUSY);
	cr_assert_arr_eq(m.busy.reason.at, "deadline", m.busy.reason.bytes);
	cr_assert_eq(m.busy.estimated_wait_ms, 1000);
	cr_assert_eq(m.busy.retry_after_ms, 1);
	cr_assert_eq(x.refused_n, 1);
	x.estimate_ms = UINT64_C(1000000000000);
	cr_assert_eq(submit(&s, &m), MESSAGE_BUSY);
	cr_assert_eq(m.busy.retry_after_ms, 60000);
	/* On the dot is in time; so is what nobody knows. */
	x.estimate_ms = 999;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	s.key = TEXT("k2");
	x.estimate_ms = 0;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	/* Others take their chance. */
	s.key = TEXT("k3");
	s.refuse_late = false;
	x.estimate_ms = 100000;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(x.refused_n, 2);
	close_ingress();
}

Test(ingress, a_key_whose_result_was_acknowledged_is_refused)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.remembered_id = 42;
	x.busy.reason = "jobs";
	expect_rejected(submit(&s, &m), &m, LATENTD_ERR_COLLECTED);
	cr_assert_not_null(
	    memmem(m.rejected.message.at, m.rejected.message.bytes, "42", 2));
	cr_assert_eq(x.f.jobs.n, 0);
	cr_assert_null(x.f.jobs.producers.table);
	close_ingress();
}

Test(ingress, acknowledgements_that_hit_nothing_are_counted)
{
	struct message_collect c = {.producer = TEXT("p"), .wait_ms = 3};
	uint64_t acks[] = {8, 9, 10, 9};
	union message_any m;

	open_ingress();
	x.known_tag = 9;
	c.acks = acks;
	c.acks_n = 4;
	cr_assert_eq(ask(MESSAGE_COLLECT, &c, 0, &m), MESSAGE_EMPTY);
	cr_assert_eq(x.unknown_acks, 2);
	cr_assert_eq(x.wait_ms, 3);
	c.acks_n = 0;
	cr_assert_eq(ask(MESSAGE_COLLECT, &c, 0, &m), MESSAGE_EMPTY);
	cr_assert_eq(x.unknown_acks, 0);
	close_ingress();
}

Test(ingress, another_secret_than_the_producers_is_denied_and_changes_nothing)
{
	struct message_submit s = submit_of("p", "k");
	struct message_collect collect = {.producer = TEXT("p")};
	union message_any m;

	open_ingress();
	s.secret = TEXT("right");
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	collect.secret = TEXT("wrong");
	expect_rejected(
	    ask(MESSAGE_COLLECT, &collect, 0, &m), &m, LATENTD_ERR_DENIED);
	cr_assert_eq(x.collects_n, 0);
	cr_assert_eq(HASH_COUNT(x.f.jobs.producers.table), 1);
	collect.secret = TEXT("right");
	cr_assert_eq(ask(MESSAGE_COLLECT, &collect, 0, &m), MESSAGE_EMPTY);
	cr_assert_eq(x.collects_n, 1);
	close_ingress();
}

Test(ingress, a_name_that_nobody_has_may_be_asked_for_with_any_secret)
{
	struct message_collect collect = {
	    .producer = TEXT("nobody"), .secret = TEXT("s")};
	union message_any m;

	open_ingress();
	cr_assert_eq(ask(MESSAGE_COLLECT, &collect, 0, &m), MESSAGE_EMPTY);
	cr_assert_null(x.f.jobs.producers.table);
	close_ingress();
}

Test(ingress, a_job_ends_with_the_connection_that_submitted_it_last)
{
	struct message_submit s = submit_of("p", "k");
	struct message_submit other = submit_of("p", "other");
	union message_any m;

	open_ingress();
	s.cancel_on_disconnect = true;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(jobs_by_id(&x.f.jobs, 1)->owner_pipe, 1);
	x.pipe = 2;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(jobs_by_id(&x.f.jobs, 1)->owner_pipe, 2);
	/* One that was to outlive its connection is not made to end. */
	cr_assert_eq(submit(&other, &m), MESSAGE_ACCEPTED);
	other.cancel_on_disconnect = true;
	cr_assert_eq(submit(&other, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(jobs_by_id(&x.f.jobs, 2)->owner_pipe, 0);
	close_ingress();
}

Test(ingress, a_buried_job_gives_way_to_the_same_key_where_there_is_room)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;
	struct job *job;

	open_ingress();
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	job = jobs_by_id(&x.f.jobs, 1);
	job_move(&x.f.jobs, job, JOB_FAILED);
	job_bury(&x.f.jobs, job);
	x.busy.reason = "jobs";
	cr_assert_eq(submit(&s, &m), MESSAGE_BUSY);
	cr_assert_eq(x.replaced_id, 0);
	x.busy.reason = NULL;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(x.replaced_id, 1);
	cr_assert_eq(m.accepted.id, 2);
	cr_assert_eq(m.accepted.state, JOB_QUEUED);
	close_ingress();
}

Test(ingress, what_is_asked_about_jobs_is_passed_on)
{
	struct message_cancel cancel = {.producer = TEXT("p"), .id = 5};
	union message_any m;

	open_ingress();
	cr_assert_eq(ask(MESSAGE_CANCEL, &cancel, 0, &m), MESSAGE_CANCELLED);
	cr_assert_eq(m.cancelled.id, 5);
	close_ingress();
}

/* ---- jobs that are stored first ---- */

/* Send a SUBMIT that is not answered yet. */
static struct door_request
post(const struct message_submit *s, uint32_t pipe)
{
	static const uint8_t body[LATENT_BYTES];
	struct door_request request = {.pipe = pipe};

	request.message = reply_create(MESSAGE_SUBMIT, s, body, sizeof(body));
	return request;
}

static void
ingress_asked(struct door_request *request)
{
	ingress_request(x.in, request);
	cr_assert_null(request->reply, "answered before it was stored");
	if (request->message != NULL)
		nng_msg_free(request->message);
	request->message = NULL;
}

/* What ${request} was answered. */
static enum message_type
answer(struct door_request *request, union message_any *m)
{
	static struct message_scratch scratch;
	struct message_frame frame = {.body_bytes = 0};

	cr_assert_not_null(request->reply, "not answered");
	if (x.last != NULL)
		nng_msg_free(x.last);
	x.last = request->reply;
	cr_assert_eq(message_frame(nng_msg_body(x.last), nng_msg_len(x.last),
			 &frame, NULL),
	    LATENTD_OK);
	cr_assert_eq(message_decode(&frame, &scratch, m, NULL), LATENTD_OK);
	return frame.type;
}

/* As the pipeline does it. */
static bool
stored(void)
{
	x.stored->storing = false;
	x.stored->spooled = true;
	job_move(&x.f.jobs, x.stored, JOB_QUEUED);
	return ingress_stored(x.in, x.stored);
}

Test(ingress, a_job_is_accepted_when_it_is_stored_and_says_so)
{
	struct message_submit s = submit_of("p", "k");
	struct door_request first, again;
	union message_any m;

	open_ingress();
	x.store = true;
	first = post(&s, 1);
	again = post(&s, 2);
	ingress_asked(&first);
	/* The same key meanwhile is the same job, and waits as well. */
	ingress_asked(&again);
	cr_assert_eq(x.accepted_n, 1);
	cr_assert(stored());
	cr_assert_eq(answer(&first, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.durability, LATENTD_DURABILITY_SPOOLED);
	cr_assert_eq(answer(&again, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.id, 1);
	close_ingress();
}

Test(ingress, a_job_that_cannot_be_stored_is_refused_to_all_who_asked)
{
	const struct job_busy busy = {
	    .reason = "storage", .retry_after_ms = 5000};
	struct message_submit s = submit_of("p", "k");
	struct door_request first, again;
	union message_any m;

	open_ingress();
	x.store = true;
	first = post(&s, 1);
	again = post(&s, 2);
	ingress_asked(&first);
	ingress_asked(&again);
	x.stored->storing = false;
	ingress_refused(x.in, x.stored, &busy);
	job_destroy(&x.f.jobs, x.stored);
	cr_assert_eq(answer(&first, &m), MESSAGE_BUSY);
	cr_assert_eq(answer(&again, &m), MESSAGE_BUSY);
	cr_assert_eq(m.busy.reason.bytes, strlen("storage"));
	cr_assert_eq(x.refused_n, 2);
	close_ingress();
}

Test(ingress, a_job_whose_owner_goes_while_it_is_stored_is_not_wanted)
{
	struct message_submit s = submit_of("p", "k");
	struct door_request first;
	union message_any m;

	open_ingress();
	x.store = true;
	s.cancel_on_disconnect = true;
	first = post(&s, 1);
	ingress_asked(&first);
	ingress_gone(x.in, 2);
	ingress_gone(x.in, 1);
	cr_assert_not(stored());
	cr_assert_eq(answer(&first, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(x.stored->owner_pipe, 0);
	close_ingress();
}

Test(ingress, a_job_that_is_not_stored_says_so)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.durability, LATENTD_DURABILITY_NONE);
	close_ingress();
}
