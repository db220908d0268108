/* SPDX-License-Identifier: Apache-2.0 */
/* Without a door: door_peer() and door_reply() below stand in its place. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/pubsub0/sub.h>

#include "jobs_fixture.h"
#include "publish.h"

#define INSTANCE UINT64_C(0xfeedfacecafebeef)
#define LONG_MS 3600000u

struct door_request {
	uint32_t pipe;
	nng_msg *reply;
};

struct door_peer
door_peer(const struct door_request *request)
{
	return (struct door_peer){.pipe = request->pipe};
}

void
door_reply(struct door_request *request, nng_msg *msg)
{
	cr_assert_null(request->reply, "answered twice");
	request->reply = msg;
}

struct fixture {
	struct fixture_jobs f;
	struct publish *p;
	struct producer *producer;
	uint64_t last_tag;
	uint32_t last_pipe;
	unsigned next_key;
};

static struct fixture x;

static const struct job *
on_take(struct producer *producer, uint32_t pipe, void *arg)
{
	struct job *job = TAILQ_FIRST(&producer->ready);

	cr_assert_eq(arg, &x);
	if (job == NULL)
		return NULL;
	TAILQ_REMOVE(&producer->ready, job, link);
	job->tag = ++x.last_tag;
	x.last_pipe = pipe;
	return job;
}

static void
open_publish(void)
{
	const struct publish_sinks sinks = {.take = on_take, .arg = &x};

	memset(&x, 0, sizeof(x));
	fixture_jobs_open(&x.f);
	x.p = publish_open(&x.f.loop.uv, &x.f.jobs, INSTANCE, &sinks);
	cr_assert_not_null(x.p);
	x.producer = fixture_producer(&x.f, "p");
	producers_hold(x.producer);
}

static void
close_publish(void)
{
	publish_close(x.p);
	producers_release(&x.f.jobs.producers, x.producer);
	fixture_jobs_close(&x.f);
}

/* A job of ${p} that has ended and waits to be taken. */
static struct job *
ended(struct producer *p, enum job_state state)
{
	char key[16];
	struct job *job;

	snprintf(key, sizeof(key), "k%u", x.next_key++);
	job = fixture_job(&x.f, p, key, 1, 0);
	job->remote.model = model_find("sdxl", 4);
	job->geo = (struct geometry){
	    .batch = 1, .frames = 1, .width_px = 512, .height_px = 256};
	job_move(&x.f.jobs, job, JOB_QUEUED);
	job_move(&x.f.jobs, job, JOB_ACTIVE);
	if (state == JOB_DONE) {
		job->output = LATENTD_OUT_PNG;
		job->parts[0].reply =
		    fixture_reply(2, 'x', &job->parts[0].file_bytes);
		job->parts[0].files_n = 2;
		job->done_n = 1;
		cr_assert_eq(job_gather(&x.f.jobs, job), LATENTD_OK);
	} else {
		reason_set(&job->reason, LATENTD_ERR_REFUSED, "refused");
	}
	job_move(&x.f.jobs, job, state);
	TAILQ_INSERT_TAIL(&p->ready, job, link);
	return job;
}

/* Take the reply apart; it is freed by the next call. */
static struct message_frame
reply_of(struct door_request *request, union message_any *m)
{
	static struct message_scratch scratch;
	static nng_msg *last;
	struct message_frame frame;
	struct reason why = {0};

	if (last != NULL)
		nng_msg_free(last);
	last = request->reply;
	cr_assert_not_null(last, "not answered");
	request->reply = NULL;
	cr_assert_eq(
	    message_frame(nng_msg_body(last), nng_msg_len(last), &frame, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(message_decode(&frame, &scratch, m, &why), LATENTD_OK,
	    "%s", why.text);
	return frame;
}

static void
check_result(struct door_request *request, const struct job *job)
{
	union message_any m;
	struct message_frame frame = reply_of(request, &m);

	cr_assert_eq(frame.type, MESSAGE_RESULT);
	cr_assert_eq(m.result.id, job->id);
	cr_assert_eq(x.last_pipe, request->pipe);
}

static void
check_empty(struct door_request *request, uint64_t pending)
{
	union message_any m;
	struct message_frame frame = reply_of(request, &m);

	cr_assert_eq(frame.type, MESSAGE_EMPTY);
	cr_assert_eq(m.empty.instance, INSTANCE);
	cr_assert_eq(m.empty.pending, pending);
}

Test(publish, a_result_that_is_there_answers_at_once_with_all_it_has)
{
	static const uint64_t sizes[] = {1, 2};
	struct door_request r = {.pipe = 7};
	struct message_frame frame;
	union message_any m;
	struct job *job;

	open_publish();
	job = ended(x.producer, JOB_DONE);
	job->submitted_ns = 1000000;
	job->started_ns = 13000000;
	job->decoded_ns = 63000000;
	job->finished_ns = 68000000;
	job->attempts_n = 3;
	strcpy(job->endpoint, "gpu");
	publish_collect(x.p, &r, x.producer, LONG_MS, 0);
	frame = reply_of(&r, &m);
	cr_assert_eq(frame.type, MESSAGE_RESULT);
	cr_assert_eq(m.result.instance, INSTANCE);
	cr_assert_eq(m.result.tag, x.last_tag);
	cr_assert_eq(m.result.id, job->id);
	cr_assert_eq(m.result.key.bytes, 2);
	cr_assert_arr_eq(m.result.key.at, "k0", 2);
	cr_assert_eq(m.result.state, JOB_DONE);
	cr_assert_eq(m.result.code, LATENTD_OK);
	cr_assert_eq(m.result.message.bytes, 0);
	cr_assert_eq(m.result.output, LATENTD_OUT_PNG);
	cr_assert_eq(m.result.tensor.ndim, 0);
	cr_assert_eq(m.result.part_bytes_n, 2);
	cr_assert_arr_eq(m.result.part_bytes, sizes, sizeof(sizes));
	cr_assert_eq(m.result.width_px, 512);
	cr_assert_eq(m.result.height_px, 256);
	cr_assert_eq(m.result.frames, 1);
	cr_assert_arr_eq(m.result.endpoint.at, "gpu", 3);
	cr_assert_eq(m.result.attempts, 3);
	cr_assert_eq(m.result.queued_ms, 12);
	cr_assert_eq(m.result.decode_ms, 50);
	cr_assert_eq(m.result.finish_ms, 5);
	cr_assert_eq(frame.body_bytes, 3);
	cr_assert_arr_eq(frame.body, "xxx", 3);
	/* It was a copy: the result stays until it is acknowledged. */
	cr_assert_not_null(job->result);
	job_destroy(&x.f.jobs, job);
	close_publish();
}

Test(publish, failed_and_cancelled_jobs_are_results_without_a_body)
{
	static const enum job_state states[] = {JOB_FAILED, JOB_CANCELLED};

	open_publish();
	for (size_t i = 0; i < 2; i++) {
		struct door_request r = {.pipe = 7};
		struct message_frame frame;
		union message_any m;
		struct job *job = ended(x.producer, states[i]);

		publish_collect(x.p, &r, x.producer, 0, 0);
		frame = reply_of(&r, &m);
		cr_assert_eq(m.result.state, states[i]);
		cr_assert_eq(m.result.code, LATENTD_ERR_REFUSED);
		cr_assert_eq(m.result.message.bytes, 7);
		cr_assert_arr_eq(m.result.message.at, "refused", 7);
		cr_assert_eq(m.result.part_bytes_n, 0);
		cr_assert_eq(m.result.output, LATENTD_OUT_NONE);
		cr_assert_eq(frame.body_bytes, 0);
		/* Never begun: nothing took any time. */
		cr_assert_eq(m.result.queued_ms, 0);
		cr_assert_eq(m.result.decode_ms, 0);
		job_destroy(&x.f.jobs, job);
	}
	close_publish();
}

Test(publish, without_a_result_and_a_wait_the_answer_is_empty)
{
	struct door_request r = {.pipe = 7};
	struct job *job;

	open_publish();
	publish_collect(x.p, &r, x.producer, 0, 0);
	check_empty(&r, 0);
	job = fixture_job(&x.f, x.producer, "open", 1, 0);
	job_move(&x.f.jobs, job, JOB_QUEUED);
	publish_collect(x.p, &r, x.producer, 0, 0);
	check_empty(&r, 1);
	job_destroy(&x.f.jobs, job);
	close_publish();
}

Test(publish, those_who_wait_are_served_in_the_order_in_which_they_came)
{
	struct door_request r[3] = {{.pipe = 1}, {.pipe = 2}, {.pipe = 3}};
	struct job *a, *b;

	open_publish();
	/* Who gives up first is not who is served first. */
	publish_collect(x.p, &r[0], x.producer, 3 * LONG_MS, 0);
	publish_collect(x.p, &r[1], x.producer, LONG_MS, 0);
	publish_collect(x.p, &r[2], x.producer, 2 * LONG_MS, 0);
	a = ended(x.producer, JOB_DONE);
	publish_available(x.p, x.producer);
	check_result(&r[0], a);
	cr_assert(r[1].reply == NULL && r[2].reply == NULL);
	b = ended(x.producer, JOB_FAILED);
	publish_available(x.p, x.producer);
	check_result(&r[1], b);
	cr_assert_null(r[2].reply);
	publish_flush(x.p);
	check_empty(&r[2], 0);
	job_destroy(&x.f.jobs, a);
	job_destroy(&x.f.jobs, b);
	close_publish();
}

Test(publish, news_for_one_producer_serve_nobody_else)
{
	struct door_request mine = {.pipe = 1}, other = {.pipe = 1};
	struct producer *q;
	struct job *job;

	open_publish();
	q = fixture_producer(&x.f, "q");
	publish_collect(x.p, &other, q, LONG_MS, 0);
	publish_collect(x.p, &mine, x.producer, LONG_MS, 0);
	job = ended(x.producer, JOB_DONE);
	publish_available(x.p, x.producer);
	check_result(&mine, job);
	cr_assert_null(other.reply);
	publish_flush(x.p);
	check_empty(&other, 0);
	job_destroy(&x.f.jobs, job);
	close_publish();
}

Test(publish, a_wait_ends_in_time_whoever_came_first)
{
	struct door_request longer = {.pipe = 1},
			    shorter[2] = {{.pipe = 2}, {.pipe = 3}};

	open_publish();
	publish_collect(x.p, &shorter[0], x.producer, 2, 0);
	publish_collect(x.p, &longer, x.producer, LONG_MS, 0);
	publish_collect(x.p, &shorter[1], x.producer, 1, 0);
	FIXTURE_RUN_UNTIL(
	    &x.f.loop, shorter[0].reply != NULL && shorter[1].reply != NULL);
	check_empty(&shorter[0], 0);
	check_empty(&shorter[1], 0);
	cr_assert_null(longer.reply);
	publish_flush(x.p);
	check_empty(&longer, 0);
	close_publish();
}

Test(publish, waits_of_a_gone_connection_end_and_others_go_on)
{
	struct door_request gone[2] = {{.pipe = 5}, {.pipe = 5}};
	struct door_request stays = {.pipe = 6};
	struct job *job;

	open_publish();
	publish_collect(x.p, &gone[0], x.producer, LONG_MS, 0);
	publish_collect(x.p, &stays, x.producer, LONG_MS, 0);
	publish_collect(x.p, &gone[1], x.producer, LONG_MS, 0);
	publish_gone(x.p, 77);
	cr_assert(gone[0].reply == NULL && stays.reply == NULL);
	publish_gone(x.p, 5);
	check_empty(&gone[0], 0);
	check_empty(&gone[1], 0);
	cr_assert_null(stays.reply);
	job = ended(x.producer, JOB_DONE);
	publish_available(x.p, x.producer);
	check_result(&stays, job);
	job_destroy(&x.f.jobs, job);
	close_publish();
}

Test(publish, a_producer_exists_as_long_as_somebody_waits_for_it)
{
	struct door_request r[2] = {{.pipe = 1}, {.pipe = 1}};
	struct producer_identity identity;
	struct producer *q;

	open_publish();
	q = fixture_producer(&x.f, "q");
	identity = q->identity;
	publish_collect(x.p, &r[0], q, LONG_MS, 0);
	publish_collect(x.p, &r[1], q, 1, 0);
	FIXTURE_RUN_UNTIL(&x.f.loop, r[1].reply != NULL);
	check_empty(&r[1], 0);
	cr_assert_eq(producers_find(&x.f.jobs.producers, &identity), q);
	publish_gone(x.p, 1);
	check_empty(&r[0], 0);
	cr_assert_null(producers_find(&x.f.jobs.producers, &identity));
	close_publish();
}

Test(publish, nobody_waiting_is_no_trouble)
{
	struct job *job;

	open_publish();
	publish_gone(x.p, 1);
	publish_flush(x.p);
	job = ended(x.producer, JOB_DONE);
	publish_available(x.p, x.producer);
	cr_assert_eq(TAILQ_FIRST(&x.producer->ready), job);
	TAILQ_REMOVE(&x.producer->ready, job, link);
	publish_event(x.p, job);
	job_destroy(&x.f.jobs, job);
	close_publish();
}

/* ---- events ---- */

static char directory[] = "/tmp/unit-publish-XXXXXX";
static char url[64];
static nng_socket sub;

static void
open_events(enum publish_events mode)
{
	struct reason why = {0};

	open_publish();
	cr_assert_not_null(mkdtemp(directory));
	snprintf(url, sizeof(url), "ipc://%s/events", directory);
	cr_assert_eq(publish_events(x.p, url, NULL, mode, &why), LATENTD_OK,
	    "%s", why.text);
	cr_assert_eq(nng_sub0_open(&sub), 0);
	cr_assert_eq(nng_socket_set(sub, NNG_OPT_SUB_SUBSCRIBE, "", 0), 0);
	cr_assert_eq(nng_socket_set_ms(sub, NNG_OPT_RECVTIMEO, 5), 0);
	cr_assert_eq(nng_dial(sub, url, NULL, 0), 0);
}

static void
close_events(void)
{
	nng_close(sub);
	close_publish();
	unlink(url + 6);
	cr_assert_eq(rmdir(directory), 0);
}

/* Publish ${job} until the subscriber, who connects meanwhile, has it. */
static nng_msg *
event_of(
    const struct job *job, union message_any *m, struct message_frame *frame)
{
	static struct message_scratch scratch;
	nng_msg *msg = NULL;

	for (int i = 0; msg == NULL; i++) {
		cr_assert(i < 6000);
		publish_event(x.p, job);
		if (nng_recvmsg(sub, &msg, 0) != 0)
			msg = NULL;
	}
	cr_assert_eq(
	    message_frame(nng_msg_body(msg), nng_msg_len(msg), frame, NULL),
	    LATENTD_OK);
	cr_assert_eq(message_decode(frame, &scratch, m, NULL), LATENTD_OK);
	cr_assert_eq(frame->type, MESSAGE_EVENT);
	return msg;
}

Test(publish, events_tell_of_a_state_and_hold_no_picture)
{
	struct message_frame frame;
	union message_any m;
	struct job *job;
	nng_msg *msg;

	open_events(EVENTS_STATE);
	job = ended(x.producer, JOB_DONE);
	TAILQ_REMOVE(&x.producer->ready, job, link);
	msg = event_of(job, &m, &frame);
	cr_assert_eq(m.event.id, job->id);
	cr_assert_arr_eq(m.event.producer.at, "p", 1);
	cr_assert_arr_eq(m.event.model.at, "sdxl", 4);
	cr_assert_eq(m.event.task, LATENTD_DECODE);
	cr_assert_eq(m.event.state, JOB_DONE);
	cr_assert_eq(m.event.output, LATENTD_OUT_NONE);
	cr_assert_eq(frame.body_bytes, 0);
	nng_msg_free(msg);
	job_destroy(&x.f.jobs, job);
	close_events();
}

Test(publish, events_with_images_hold_the_first_file_of_a_finished_job)
{
	struct message_frame frame;
	union message_any m;
	struct job *done, *failed, *tensor;
	nng_msg *msg;

	open_events(EVENTS_IMAGE);
	done = ended(x.producer, JOB_DONE);
	failed = ended(x.producer, JOB_FAILED);
	tensor = ended(x.producer, JOB_DONE);
	tensor->tensor = (struct latentd_tensor){LATENTD_U8, 1, {3}};
	TAILQ_INIT(&x.producer->ready);
	msg = event_of(done, &m, &frame);
	cr_assert_eq(m.event.output, LATENTD_OUT_PNG);
	cr_assert_eq(m.event.part_bytes, 1);
	cr_assert_eq(frame.body_bytes, 1);
	cr_assert_arr_eq(frame.body, "x", 1);
	do {
		nng_msg_free(msg);
		msg = event_of(failed, &m, &frame);
	} while (m.event.id != failed->id);
	cr_assert_eq(m.event.state, JOB_FAILED);
	cr_assert_eq(frame.body_bytes, 0);
	do {
		nng_msg_free(msg);
		msg = event_of(tensor, &m, &frame);
	} while (m.event.id != tensor->id);
	cr_assert_eq(frame.body_bytes, 0);
	nng_msg_free(msg);
	job_destroy(&x.f.jobs, done);
	job_destroy(&x.f.jobs, failed);
	job_destroy(&x.f.jobs, tensor);
	close_events();
}

Test(publish, events_that_cannot_be_listened_for_are_an_io_error)
{
	struct reason why = {0};

	open_publish();
	cr_assert_eq(publish_events(x.p, "ipc:///nonexistent/dir/events", NULL,
			 EVENTS_STATE, &why),
	    LATENTD_ERR_IO);
	cr_assert_not_null(strstr(why.text, "/nonexistent/dir/events"));
	close_publish();
}
