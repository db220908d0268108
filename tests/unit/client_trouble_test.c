/* SPDX-License-Identifier: Apache-2.0 */
/* liblatentd when things go wrong: refusals, restarts, cancelling, closing. */
#include <string.h>

#include <criterion/criterion.h>

#include "../support/client_setup.h"
#include "core.h"

TestSuite(client_trouble, .init = setup, .fini = teardown);

Test(client_trouble, a_refused_job_is_a_failed_result)
{
	struct latentd_client *client = open_anonymous();
	uint64_t ticket = submit(client, "k-1");
	struct latentd_result *result;

	fake_reject(fake_take(&daemon_, MESSAGE_SUBMIT), LATENTD_ERR_MODEL,
	    "no endpoint decodes sdxl");
	cr_assert_eq(latentd_wait_accepted(client, ticket, PATIENCE_MS),
	    LATENTD_ERR_MODEL);
	cr_assert_str_eq(
	    latentd_client_error(client), "no endpoint decodes sdxl");
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), ticket);
	cr_assert_eq(latentd_result_error(result), LATENTD_ERR_MODEL);
	cr_assert_str_eq(
	    latentd_result_message(result), "no endpoint decodes sdxl");
	cr_assert_eq(latentd_result_parts(result), 0);
	latentd_result_free(result);
	cr_assert_eq(
	    latentd_collect(client, 0, &result), LATENTD_ERR_NOT_FOUND);
	latentd_client_close(client);
}

Test(client_trouble, replies_that_make_no_sense_fail_their_job)
{
	static const uint64_t too_many[] = {3, 9};
	struct message_result in = {.instance = 7,
	    .tag = 1,
	    .key = {"b", 1},
	    .state = JOB_DONE,
	    .output = LATENTD_OUT_PNG,
	    .part_bytes = too_many,
	    .part_bytes_n = 2};
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req;

	submit(client, "a");
	fake_reply_raw(fake_take(&daemon_, MESSAGE_SUBMIT), "HTTP/1.1 400", 12);
	result = collect(client);
	cr_assert_eq(latentd_result_error(result), LATENTD_ERR_PROTOCOL);
	latentd_result_free(result);
	submit_accepted(client, "b");
	fake_reply(fake_take(&daemon_, MESSAGE_COLLECT), MESSAGE_RESULT, &in,
	    "12345", 5);
	result = collect(client);
	cr_assert_str_eq(latentd_result_key(result), "b");
	cr_assert_eq(latentd_result_error(result), LATENTD_ERR_PROTOCOL);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	fake_empty(&daemon_, req, 0);
	latentd_result_free(result);
	latentd_client_close(client);
}

Test(client_trouble, a_restarted_daemon_gets_unfinished_jobs_again)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req;
	uint64_t a, b;

	a = submit_accepted(client, "a");
	b = submit_accepted(client, "b");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 1, "A");
	cr_assert(is_readable(latentd_client_fd(client), PATIENCE_MS));
	fake_await(&daemon_, MESSAGE_COLLECT);
	fake_reopen(&daemon_, 8);
	fake_welcome(&daemon_, fake_take(&daemon_, MESSAGE_HELLO));
	req = fake_take(&daemon_, MESSAGE_SUBMIT);
	cr_assert(fake_text_is(req->in.submit.key, "b"));
	cr_assert_arr_eq(req->frame.body, data, 32);
	fake_accept(&daemon_, req, 1);
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), a);
	latentd_result_free(result);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 0, "tag of the former instance");
	fake_result(&daemon_, req, "b", 1, "B");
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), b);
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_trouble, a_lost_connection_loses_nothing)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	uint64_t a, b;

	a = submit_accepted(client, "a");
	b = submit(client, "b");
	/* Received, but the connection breaks before the answer. */
	fake_await(&daemon_, MESSAGE_SUBMIT);
	fake_reopen(&daemon_, 7);
	fake_welcome(&daemon_, fake_take(&daemon_, MESSAGE_HELLO));
	fake_accept(&daemon_, fake_take(&daemon_, MESSAGE_SUBMIT), 2);
	cr_assert_eq(latentd_wait_accepted(client, b, PATIENCE_MS), LATENTD_OK);
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "b", 1, "B");
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 2, "A");
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), b);
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), a);
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_trouble, a_job_that_the_daemon_forgot_is_submitted_again)
{
	struct latentd_client *client = open_named();
	struct request *req;

	submit_accepted(client, "a");
	latentd_client_fd(client);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	req = fake_take(&daemon_, MESSAGE_SUBMIT);
	cr_assert(fake_text_is(req->in.submit.key, "a"));
	fake_accept(&daemon_, req, 5);
	latentd_client_close(client);
}

Test(client_trouble, a_job_younger_than_its_collect_is_missed_as_well)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *fetch, *req;

	latentd_client_fd(client);
	submit(client, "a");
	fetch = fake_take(&daemon_, MESSAGE_COLLECT);
	fake_accept(&daemon_, fake_take(&daemon_, MESSAGE_SUBMIT), 5);
	cr_assert_eq(
	    latentd_collect(client, 1500, &result), LATENTD_ERR_TIMEOUT);
	/* It waited meanwhile, and there is no such job any more. */
	fake_empty(&daemon_, fetch, 0);
	req = fake_take(&daemon_, MESSAGE_SUBMIT);
	cr_assert(fake_text_is(req->in.submit.key, "a"));
	fake_accept(&daemon_, req, 5);
	latentd_client_close(client);
}

Test(client_trouble, a_job_held_back_is_cancelled_here)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_result *result;
	struct request *first, *second, *fetch;
	uint64_t a, b;

	latentd_client_fd(client);
	a = submit(client, "a");
	b = submit(client, "b");
	/* After the first refusal nothing more would be sent. */
	first = fake_take(&daemon_, MESSAGE_SUBMIT);
	second = fake_take(&daemon_, MESSAGE_SUBMIT);
	fetch = fake_take(&daemon_, MESSAGE_COLLECT);
	fake_busy(&daemon_, first, 3600000);
	fake_busy(&daemon_, second, 3600000);
	cr_assert_eq(latentd_cancel(client, b), LATENTD_OK);
	cr_assert_eq(latentd_cancel(client, a), LATENTD_OK);
	for (size_t i = 0; i < 2; i++) {
		result = collect(client);
		cr_assert_eq(
		    latentd_result_error(result), LATENTD_ERR_CANCELLED);
		latentd_result_free(result);
	}
	cr_assert_eq(latentd_cancel(client, a), LATENTD_ERR_NOT_FOUND);
	assert_silent(client);
	fake_empty(&daemon_, fetch, 0);
	assert_silent(client);
	latentd_client_close(client);
}

Test(client_trouble, an_accepted_job_is_cancelled_by_the_daemon)
{
	struct message_cancelled in = {1, JOB_QUEUED};
	struct latentd_client *client = open_named();
	uint64_t a = submit_accepted(client, "a");
	struct latentd_result *result;
	struct request *req;

	cr_assert_eq(latentd_cancel(client, a), LATENTD_OK);
	req = fake_take(&daemon_, MESSAGE_CANCEL);
	cr_assert(fake_text_is(req->in.cancel.key, "a"));
	fake_reply(req, MESSAGE_CANCELLED, &in, NULL, 0);
	latentd_client_fd(client);
	fake_cancelled(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 1);
	result = collect(client);
	cr_assert_eq(latentd_result_error(result), LATENTD_ERR_CANCELLED);
	cr_assert_str_eq(
	    latentd_result_message(result), "cancelled by its producer");
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

/* What a client that is being closed asks of its daemon. */
struct farewell {
	bool cancelled_b;
	bool delivered_b;
	bool acked[3]; /* by tag */
	struct request *waiting; /* a COLLECT without acks */
};

static void
deliver_b(struct farewell *f)
{
	if (!f->cancelled_b || f->delivered_b || f->waiting == NULL)
		return;
	fake_cancelled(&daemon_, f->waiting, "b", 2);
	f->waiting = NULL;
	f->delivered_b = true;
}

static void
answer_farewell(struct farewell *f, struct request *req)
{
	struct message_cancelled in = {1, JOB_ACTIVE};

	if (req->frame.type == MESSAGE_CANCEL) {
		cr_assert(fake_text_is(req->in.cancel.key, "b"));
		fake_reply(req, MESSAGE_CANCELLED, &in, NULL, 0);
		f->cancelled_b = true;
	} else {
		cr_assert_eq(req->frame.type, MESSAGE_COLLECT);
		for (size_t i = 0; i < req->in.collect.acks_n; i++) {
			cr_assert_leq(req->in.collect.acks[i], 2);
			f->acked[req->in.collect.acks[i]] = true;
		}
		if (req->in.collect.wait_ms > 0 && f->waiting == NULL &&
		    !f->delivered_b)
			f->waiting = req;
		else
			fake_empty(&daemon_, req, f->delivered_b ? 0 : 1);
	}
	deliver_b(f);
}

Test(client_trouble, closing_an_anonymous_client_leaves_nothing_behind)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_result *held;
	struct farewell farewell = {0};
	struct request *req;
	pthread_t thread;

	client_close_ms = PATIENCE_MS;
	submit_accepted(client, "a");
	submit_accepted(client, "b");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 1, "A");
	held = collect(client);
	cr_assert_eq(pthread_create(&thread, NULL, close_client, client), 0);
	while (pthread_tryjoin_np(thread, NULL) != 0) {
		req = fake_try(&daemon_);
		if (req != NULL)
			answer_farewell(&farewell, req);
	}
	cr_assert(farewell.delivered_b);
	cr_assert(farewell.acked[1], "held by the application");
	cr_assert(farewell.acked[2], "the cancelled one");
	latentd_result_free(held);
}

Test(client_trouble, closing_a_named_client_sends_the_last_acknowledgements)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req, *waiting;
	pthread_t thread;

	client_close_ms = PATIENCE_MS;
	submit_accepted(client, "a");
	submit_accepted(client, "b");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 1, "A");
	result = collect(client);
	waiting = fake_take(&daemon_, MESSAGE_COLLECT);
	latentd_result_free(result);
	cr_assert_eq(pthread_create(&thread, NULL, close_client, client), 0);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], 1);
	cr_assert_eq(req->in.collect.wait_ms, 0);
	fake_empty(&daemon_, req, 1);
	pthread_join(thread, NULL);
	fake_empty(&daemon_, waiting, 1);
}

static void
reply_result(
    struct request *req, enum job_state state, uint64_t tag, uint64_t kicks)
{
	const uint64_t bytes = 3;
	struct message_result in = {.instance = 7,
	    .tag = tag,
	    .id = 5,
	    .key = {"a", 1},
	    .state = state,
	    .code = state == JOB_DONE ? LATENTD_OK : LATENTD_ERR_ENDPOINT,
	    .kicks = kicks};

	if (state == JOB_DONE) {
		in.output = LATENTD_OUT_PNG;
		in.part_bytes = &bytes;
		in.part_bytes_n = 1;
	}
	fake_reply(req, MESSAGE_RESULT, &in, "png", state == JOB_DONE ? 3 : 0);
}

Test(client_trouble, the_result_after_a_kick_is_no_second_delivery)
{
	struct latentd_client *client = open_named();
	uint64_t other, ticket = submit_accepted(client, "a");
	struct latentd_result *failed, *done;
	struct request *req;

	latentd_client_fd(client);
	reply_result(fake_take(&daemon_, MESSAGE_COLLECT), JOB_FAILED, 1, 0);
	failed = collect(client);
	cr_assert_eq(latentd_result_ticket(failed), ticket);
	cr_assert_eq(latentd_result_error(failed), LATENTD_ERR_ENDPOINT);
	/* While the failure is still held; b makes it collect. */
	other = submit_accepted(client, "b");
	reply_result(fake_take(&daemon_, MESSAGE_COLLECT), JOB_DONE, 2, 1);
	done = collect(client);
	cr_assert_str_eq(latentd_result_key(done), "a");
	cr_assert_eq(latentd_result_ticket(done), 0);
	cr_assert_eq(latentd_result_error(done), LATENTD_OK);
	/* The same once more is one; its tag is what counts then. */
	reply_result(fake_take(&daemon_, MESSAGE_COLLECT), JOB_DONE, 3, 1);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 0);
	latentd_result_free(done);
	take_ack(3);
	latentd_result_free(failed);
	take_ack(1);
	fake_result(&daemon_, req, "b", 9, "b");
	done = collect(client);
	cr_assert_eq(latentd_result_ticket(done), other);
	latentd_result_free(done);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_trouble, closing_ends_with_the_last_reply_whatever_it_is)
{
	struct latentd_client *client = open_named();
	uint64_t ticket = submit_accepted(client, "a");
	const struct message_cancelled in = {ticket + 100, JOB_QUEUED};
	struct request *req;
	pthread_t thread;

	client_close_ms = 10 * PATIENCE_MS;
	cr_assert_eq(latentd_cancel(client, ticket), LATENTD_OK);
	req = fake_take(&daemon_, MESSAGE_CANCEL);
	cr_assert_eq(pthread_create(&thread, NULL, close_client, client), 0);
	fake_reply(req, MESSAGE_CANCELLED, &in, NULL, 0);
	pthread_join(thread, NULL);
}
