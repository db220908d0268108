/* SPDX-License-Identifier: Apache-2.0 */
/* liblatentd: deadlines, priorities, patience with a busy daemon. */
#include <string.h>

#include <criterion/criterion.h>

#include "../support/client_setup.h"
#include "due.h"

#define WINDOW 8

TestSuite(client_due, .init = setup, .fini = teardown);

static uint64_t
submit_request(struct latentd_client *client, struct latentd_request request)
{
	uint64_t ticket;

	cr_assert_eq(latentd_submit(client, &request, 0, &ticket), LATENTD_OK,
	    "%s", latentd_client_error(client));
	return ticket;
}

static uint64_t
submit_until(struct latentd_client *client, const char *key, uint64_t ms)
{
	struct latentd_request request = request_of(key, data);

	request.deadline_ms = ms;
	return submit_request(client, request);
}

static void
refuse(struct request *req, const char *reason, uint64_t retry_after_ms,
    uint64_t estimated_wait_ms)
{
	struct message_busy in = {.instance = daemon_.instance,
	    .reason = {reason, strlen(reason)},
	    .retry_after_ms = retry_after_ms,
	    .estimated_wait_ms = estimated_wait_ms};

	fake_reply(req, MESSAGE_BUSY, &in, NULL, 0);
}

static struct request *
take_submit(const char *key)
{
	struct request *req = fake_take(&daemon_, MESSAGE_SUBMIT);

	cr_assert(fake_text_is(req->in.submit.key, key), "%.*s is not %s",
	    (int)req->in.submit.key.bytes, req->in.submit.key.at, key);
	cr_assert_eq(req->frame.body_bytes, 32);
	cr_assert_arr_eq(req->frame.body, data, 32);
	return req;
}

static void
expect_failed(struct latentd_client *client, const char *key,
    enum latentd_err err, const char *words)
{
	struct latentd_result *result = collect(client);

	cr_assert_str_eq(latentd_result_key(result), key);
	cr_assert_eq(latentd_result_error(result), err, "%s",
	    latentd_result_message(result));
	cr_assert_not_null(strstr(latentd_result_message(result), words), "%s",
	    latentd_result_message(result));
	cr_assert_eq(latentd_result_parts(result), 0);
	latentd_result_free(result);
}

Test(client_due, a_submit_carries_what_the_request_asks_for)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_request request = request_of("k", data);
	struct request *req;

	request.priority = LATENTD_URGENT;
	request.deadline_ms = LATENTD_MAX_DEADLINE_MS;
	request.refuse_late = true;
	request.cancel_on_disconnect = true;
	submit_request(client, request);
	req = take_submit("k");
	cr_assert_eq(req->in.submit.priority, LATENTD_URGENT);
	cr_assert_gt(req->in.submit.deadline_ms, LATENTD_MAX_DEADLINE_MS / 2);
	cr_assert_leq(req->in.submit.deadline_ms, LATENTD_MAX_DEADLINE_MS);
	cr_assert(req->in.submit.refuse_late);
	cr_assert(req->in.submit.cancel_on_disconnect);
	fake_accept(&daemon_, req, 1);
	submit(client, "plain");
	req = take_submit("plain");
	cr_assert_eq(req->in.submit.priority, LATENTD_NORMAL);
	cr_assert_eq(req->in.submit.deadline_ms, 0);
	cr_assert(!req->in.submit.refuse_late);
	cr_assert(!req->in.submit.cancel_on_disconnect);
	fake_reject(req, LATENTD_ERR_MODEL, "no");
	latentd_client_close(client);
}

Test(client_due, requests_that_make_no_sense_are_refused)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_request request = request_of("k", data);

	request.priority = (enum latentd_priority)4;
	cr_assert_eq(
	    latentd_submit(client, &request, 0, NULL), LATENTD_ERR_INVALID);
	request.priority = LATENTD_LOW;
	request.refuse_late = true;
	cr_assert_eq(
	    latentd_submit(client, &request, 0, NULL), LATENTD_ERR_INVALID);
	request.deadline_ms = LATENTD_MAX_DEADLINE_MS + 1ull;
	cr_assert_eq(
	    latentd_submit(client, &request, 0, NULL), LATENTD_ERR_INVALID);
	cr_assert_not_null(
	    strstr(latentd_client_error(client), "deadline_ms is 604800001"));
	assert_silent(client);
	latentd_client_close(client);
}

/* To lose a connection and to make it again may take less. */
static void
let_a_millisecond_pass(void)
{
	uint64_t from_ms = due_now_ms();

	while (due_now_ms() < from_ms + 2)
		;
}

Test(client_due, each_try_says_what_remains)
{
	struct latentd_client *client = open_named();
	struct request *req;
	uint64_t first, second, third;

	submit_until(client, "k", 3600000);
	req = take_submit("k");
	first = req->in.submit.deadline_ms;
	refuse(req, "jobs", 20, 0);
	req = take_submit("k");
	second = req->in.submit.deadline_ms;
	cr_assert_leq(second, first - 15, "%ju", (uintmax_t)second);
	let_a_millisecond_pass();
	/* Lost with the connection. */
	TAILQ_INSERT_TAIL(&daemon_.backlog, req, entry);
	fake_reopen(&daemon_, 7);
	fake_welcome(&daemon_, fake_take(&daemon_, MESSAGE_HELLO));
	req = take_submit("k");
	third = req->in.submit.deadline_ms;
	cr_assert_lt(third, second);
	fake_accept(&daemon_, req, 1);
	let_a_millisecond_pass();
	/* Once more for a daemon that knows nothing. */
	assert_silent(client);
	fake_reopen(&daemon_, 8);
	fake_welcome(&daemon_, fake_take(&daemon_, MESSAGE_HELLO));
	req = take_submit("k");
	cr_assert_lt(req->in.submit.deadline_ms, third);
	fake_accept(&daemon_, req, 2);
	latentd_client_close(client);
}

Test(client_due, a_late_job_is_not_sent)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_request request = request_of("impatient", data);
	struct request *fetch;

	latentd_client_fd(client);
	request.accept_timeout_ms = 1;
	submit_request(client, request);
	fetch = fake_take(&daemon_, MESSAGE_COLLECT);
	refuse(take_submit("impatient"), "jobs", 3600000, 0);
	expect_failed(client, "impatient", LATENTD_ERR_BUSY, "jobs");
	submit_until(client, "later", 60);
	submit_until(client, "sooner", 30);
	expect_failed(client, "sooner", LATENTD_ERR_EXPIRED, "busy");
	expect_failed(client, "later", LATENTD_ERR_EXPIRED, "busy");
	assert_silent(client);
	fake_empty(&daemon_, fetch, 0);
	latentd_client_close(client);
}

Test(client_due, a_late_job_ends_while_the_daemon_is_away)
{
	struct latentd_client *client = open_named();
	uint64_t ticket;

	ticket = submit_until(client, "k", 50);
	fake_await(&daemon_, MESSAGE_SUBMIT);
	fake_close(&daemon_);
	cr_assert_eq(latentd_wait_accepted(client, ticket, PATIENCE_MS),
	    LATENTD_ERR_EXPIRED);
	expect_failed(client, "k", LATENTD_ERR_EXPIRED, "deadline");
	fake_open(&daemon_, 7);
	fake_welcome(&daemon_, fake_take(&daemon_, MESSAGE_HELLO));
	assert_silent(client);
	latentd_client_close(client);
}

/* The daemon accepted it in the end, and ends it at about the same time. */
Test(client_due, a_late_job_ends_once_when_the_daemon_says_so_too)
{
	struct message_result in = {.instance = 7,
	    .tag = 4,
	    .id = 1,
	    .key = {"k", 1},
	    .state = JOB_EXPIRED,
	    .code = LATENTD_ERR_EXPIRED};
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req, *late;

	submit_until(client, "k", 40);
	late = take_submit("k");
	expect_failed(client, "k", LATENTD_ERR_EXPIRED, "deadline");
	fake_accept(&daemon_, late, 1);
	fake_reply(
	    fake_take(&daemon_, MESSAGE_COLLECT), MESSAGE_RESULT, &in, NULL, 0);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], 4);
	fake_empty(&daemon_, req, 0);
	cr_assert_eq(latentd_client_pending(client), 0);
	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_TIMEOUT);
	latentd_client_close(client);
}

Test(client_due, what_the_daemon_expires_is_an_expired_result)
{
	struct message_result in = {.instance = 7,
	    .tag = 1,
	    .id = 1,
	    .key = {"k", 1},
	    .state = JOB_EXPIRED,
	    .code = LATENTD_ERR_EXPIRED,
	    .message = {"too late", 8}};
	struct latentd_client *client = open_named();

	submit_accepted(client, "k");
	latentd_client_fd(client);
	fake_reply(
	    fake_take(&daemon_, MESSAGE_COLLECT), MESSAGE_RESULT, &in, NULL, 0);
	expect_failed(client, "k", LATENTD_ERR_EXPIRED, "too late");
	latentd_client_close(client);
}

Test(client_due, a_deadline_covers_waiting_for_room)
{
	struct latentd_client_options options = {
	    .producer = "unit", .max_jobs = 1};
	struct latentd_client *client = open_with(&options);
	struct latentd_request request = request_of("second", data);

	submit_accepted(client, "first");
	request.deadline_ms = 20;
	cr_assert_eq(
	    latentd_submit(client, &request, -1, NULL), LATENTD_ERR_EXPIRED);
	cr_assert_eq(
	    latentd_submit(client, &request, 0, NULL), LATENTD_ERR_BUSY);
	assert_silent(client);
	latentd_client_close(client);
}

Test(client_due, a_job_that_would_be_late_is_refused_with_the_estimate)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_request request = request_of("late", data);
	struct request *req;

	request.deadline_ms = 600000;
	request.refuse_late = true;
	submit_request(client, request);
	refuse(take_submit("late"), "deadline", 60000, 900500);
	expect_failed(client, "late", LATENTD_ERR_BUSY, "about 900.5 s");
	/* It says nothing about others: they are not held back. */
	submit(client, "other");
	req = take_submit("other");
	fake_reject(req, LATENTD_ERR_MODEL, "no");
	expect_failed(client, "other", LATENTD_ERR_MODEL, "no");
	/* Full, and late by the same estimate. */
	request.key = "full";
	submit_request(client, request);
	refuse(take_submit("full"), "bytes", 100, 600001);
	expect_failed(client, "full", LATENTD_ERR_BUSY, "600.0 s");
	latentd_client_close(client);
}

Test(client_due, a_refusal_ends_the_patience_that_would_not_last)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_request request = request_of("at-once", data);
	uint64_t position, wait_ms, ticket;

	request.accept_timeout_ms = 1;
	ticket = submit_request(client, request);
	refuse(take_submit("at-once"), "producer_bytes", 3600000, 2500);
	cr_assert_eq(latentd_wait_accepted(client, ticket, PATIENCE_MS),
	    LATENTD_ERR_BUSY);
	expect_failed(client, "at-once", LATENTD_ERR_BUSY, "producer_bytes");
	/* While that word stands nobody has to be asked. */
	request.key = "again";
	submit_request(client, request);
	expect_failed(client, "again", LATENTD_ERR_BUSY, "producer_bytes");
	request.accept_timeout_ms = 0;
	request.key = "patient";
	ticket = submit_request(client, request);
	assert_silent(client);
	cr_assert_eq(latentd_client_pending(client), 1);
	cr_assert_eq(latentd_job_estimate(client, ticket, &position, &wait_ms),
	    LATENTD_OK);
	cr_assert_eq(wait_ms, 0);
	latentd_client_close(client);
}

Test(client_due, a_patient_job_is_tried_again_and_then_waited_for)
{
	struct latentd_client *client = open_named();
	struct latentd_request request = request_of("k", data);
	uint64_t ticket;

	request.accept_timeout_ms = 3600000;
	ticket = submit_request(client, request);
	refuse(take_submit("k"), "jobs", 1, 0);
	fake_accept(&daemon_, take_submit("k"), 1);
	cr_assert_eq(
	    latentd_wait_accepted(client, ticket, PATIENCE_MS), LATENTD_OK);
	latentd_client_close(client);
}

Test(client_due, what_was_accepted_once_is_not_given_up)
{
	struct latentd_client *client = open_named();
	struct latentd_request request = request_of("k", data);
	uint64_t ticket;

	request.accept_timeout_ms = 1;
	ticket = submit_request(client, request);
	fake_accept(&daemon_, take_submit("k"), 1);
	cr_assert_eq(
	    latentd_wait_accepted(client, ticket, PATIENCE_MS), LATENTD_OK);
	fake_reopen(&daemon_, 8);
	fake_welcome(&daemon_, fake_take(&daemon_, MESSAGE_HELLO));
	refuse(take_submit("k"), "stopping", 20, 0);
	fake_accept(&daemon_, take_submit("k"), 1);
	cr_assert_eq(
	    latentd_wait_accepted(client, ticket, PATIENCE_MS), LATENTD_OK);
	latentd_client_close(client);
}

Test(client_due, urgent_jobs_are_sent_first)
{
	static const struct {
		const char *key;
		enum latentd_priority priority;
	} jobs[] = {{"low", LATENTD_LOW}, {"n1", LATENTD_NORMAL},
	    {"n2", LATENTD_NORMAL}, {"high", LATENTD_HIGH},
	    {"urgent", LATENTD_URGENT}};
	static const char *const order[] = {
	    "urgent", "high", "n1", "n2", "low"};
	struct latentd_client *client = open_named();
	struct latentd_request request = request_of(NULL, data);
	struct request *reqs[WINDOW];

	/* As many as may be out unanswered: what follows waits here. */
	for (size_t i = 0; i < WINDOW; i++)
		submit_request(client, request);
	for (size_t i = 0; i < WINDOW; i++)
		reqs[i] = fake_take(&daemon_, MESSAGE_SUBMIT);
	for (size_t i = 0; i < 5; i++) {
		request.key = jobs[i].key;
		request.priority = jobs[i].priority;
		submit_request(client, request);
	}
	for (size_t i = 0; i < 5; i++) {
		fake_accept(&daemon_, reqs[i], i + 1);
		reqs[i] = take_submit(order[i]);
	}
	for (size_t i = 0; i < WINDOW; i++)
		fake_accept(&daemon_, reqs[i], i + 100);
	latentd_client_close(client);
}

Test(client_due, the_estimate_is_what_the_daemon_said)
{
	struct message_accepted in = {.instance = 7,
	    .id = 9,
	    .state = JOB_QUEUED,
	    .position = 3,
	    .estimated_wait_ms = 3600000};
	struct latentd_client *client = open_named();
	uint64_t ticket = submit(client, "k"), position = 77, wait_ms = 77;
	struct request *req = take_submit("k");

	cr_assert_eq(latentd_job_estimate(client, ticket, &position, &wait_ms),
	    LATENTD_OK);
	cr_assert_eq(position, 0);
	cr_assert_eq(wait_ms, 0);
	fake_reply(req, MESSAGE_ACCEPTED, &in, NULL, 0);
	cr_assert_eq(
	    latentd_wait_accepted(client, ticket, PATIENCE_MS), LATENTD_OK);
	cr_assert_eq(latentd_job_estimate(client, ticket, &position, &wait_ms),
	    LATENTD_OK);
	cr_assert_eq(position, 3);
	cr_assert_leq(wait_ms, 3600000);
	cr_assert_gt(wait_ms, 3600000 - 2 * PATIENCE_MS);
	cr_assert_eq(
	    latentd_job_estimate(client, ticket + 1, &position, &wait_ms),
	    LATENTD_ERR_NOT_FOUND);
	cr_assert_eq(position, 3);
	latentd_client_close(client);
}
