/* SPDX-License-Identifier: Apache-2.0 */
/* liblatentd: nothing is lost or given twice, whoever sends or asks again. */
#include <string.h>

#include <criterion/criterion.h>

#include "../support/client_setup.h"

TestSuite(client_again, .init = setup, .fini = teardown);

static void
expect_nothing(struct latentd_client *client)
{
	struct latentd_result *result;

	cr_assert_eq(latentd_client_pending(client), 0);
	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_TIMEOUT);
	cr_assert_null(result);
}

/* Ask for more than what is pending. */
static void
look(struct latentd_client *client)
{
	struct latentd_result *result;

	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_TIMEOUT);
}

static struct request *
take_acks(size_t n, uint64_t first)
{
	struct request *req = fake_take(&daemon_, MESSAGE_COLLECT);

	cr_assert_eq(req->in.collect.acks_n, n);
	if (n > 0)
		cr_assert_eq(req->in.collect.acks[0], first);
	return req;
}

Test(client_again, a_submit_sent_again_after_its_result_fails_nothing)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *again;

	submit(client, "k");
	again = fake_take(&daemon_, MESSAGE_SUBMIT);
	/* The first one was accepted, its answer lost with the connection. */
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "k", 1, "K");
	result = collect(client);
	cr_assert_eq(latentd_result_error(result), LATENTD_OK);
	latentd_result_free(result);
	fake_empty(&daemon_, take_acks(1, 1), 0);
	fake_reject(again, LATENTD_ERR_COLLECTED, "collected already");
	assert_silent(client);
	expect_nothing(client);
	latentd_client_close(client);
}

Test(client_again, a_result_that_another_client_took_is_told)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	uint64_t ticket = submit_accepted(client, "k");

	latentd_client_fd(client);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	fake_reject(fake_take(&daemon_, MESSAGE_SUBMIT), LATENTD_ERR_COLLECTED,
	    "collected already");
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), ticket);
	cr_assert_eq(latentd_result_error(result), LATENTD_ERR_COLLECTED);
	cr_assert_not_null(
	    strstr(latentd_result_message(result), "another client"));
	latentd_result_free(result);
	latentd_client_close(client);
}

Test(client_again, a_key_that_is_used_up_gives_the_daemons_sentence)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;

	submit(client, "k");
	fake_reject(fake_take(&daemon_, MESSAGE_SUBMIT), LATENTD_ERR_COLLECTED,
	    "a new job needs a new key");
	result = collect(client);
	cr_assert_eq(latentd_result_error(result), LATENTD_ERR_COLLECTED);
	cr_assert_str_eq(
	    latentd_result_message(result), "a new job needs a new key");
	latentd_result_free(result);
	latentd_client_close(client);
}

static void
reply_dropped(struct request *req, const char *key, uint64_t tag)
{
	struct message_result in = {.instance = daemon_.instance,
	    .tag = tag,
	    .id = tag,
	    .key = {key, strlen(key)},
	    .state = JOB_DONE,
	    .code = LATENTD_ERR_DROPPED,
	    .message = {"dropped after 1 s", 17}};

	fake_reply(req, MESSAGE_RESULT, &in, NULL, 0);
}

Test(client_again, a_dropped_result_is_told)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	uint64_t ticket = submit_accepted(client, "k");

	latentd_client_fd(client);
	reply_dropped(fake_take(&daemon_, MESSAGE_COLLECT), "k", 5);
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), ticket);
	cr_assert_eq(latentd_result_error(result), LATENTD_ERR_DROPPED);
	cr_assert_str_eq(latentd_result_message(result), "dropped after 1 s");
	cr_assert_eq(latentd_result_parts(result), 0);
	latentd_result_free(result);
	fake_empty(&daemon_, take_acks(1, 5), 0);
	/* Also of a job of an earlier client. */
	look(client);
	reply_dropped(take_acks(0, 0), "older", 6);
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), 0);
	cr_assert_eq(latentd_result_error(result), LATENTD_ERR_DROPPED);
	latentd_result_free(result);
	latentd_client_close(client);
}

/* The lease ran out while the application had it, and then the time. */
Test(client_again, what_the_application_holds_is_not_dropped)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req;
	size_t bytes;

	submit_accepted(client, "k");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "k", 1, "K");
	result = collect(client);
	look(client);
	reply_dropped(take_acks(0, 0), "k", 2);
	cr_assert_eq(latentd_result_error(result), LATENTD_OK);
	cr_assert_arr_eq(latentd_result_part(result, 0, &bytes), "K", 1);
	req = take_acks(0, 0);
	latentd_result_free(result);
	fake_empty(&daemon_, req, 0);
	fake_empty(&daemon_, take_acks(1, 2), 0);
	expect_nothing(client);
	latentd_client_close(client);
}

Test(client_again, an_acknowledgement_that_missed_is_given_again)
{
	struct message_empty missed = {.instance = 7, .unknown_acks = 1};
	struct latentd_client *client = open_named();

	submit_accepted(client, "k");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "k", 1, "K");
	latentd_result_free(collect(client));
	fake_reply(take_acks(1, 1), MESSAGE_EMPTY, &missed, NULL, 0);
	/* Delivered again, with the tag of its new lease. */
	look(client);
	fake_result(&daemon_, take_acks(0, 0), "k", 2, "K");
	fake_empty(&daemon_, take_acks(1, 2), 0);
	expect_nothing(client);
	latentd_client_close(client);
}

Test(client_again, a_stranger_is_told_so)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;

	submit_accepted(client, "k");
	latentd_client_fd(client);
	fake_reject(fake_take(&daemon_, MESSAGE_COLLECT), LATENTD_ERR_DENIED,
	    "another secret");
	/* Asked again after a while, and answered the same. */
	fake_reject(fake_take(&daemon_, MESSAGE_COLLECT), LATENTD_ERR_DENIED,
	    "another secret");
	while (latentd_collect(client, 0, &result) != LATENTD_ERR_DENIED)
		cr_assert_null(result);
	cr_assert_str_eq(latentd_client_error(client), "another secret");
	cr_assert_eq(latentd_client_pending(client), 1);
	latentd_client_close(client);
}

Test(client_again, what_is_acknowledged_early_stays_readable)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req;
	size_t bytes;

	submit_accepted(client, "a");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 5, "A");
	result = collect(client);
	latentd_result_ack(result);
	latentd_result_ack(result);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], 5);
	fake_empty(&daemon_, req, 0);
	cr_assert_arr_eq(latentd_result_part(result, 0, &bytes), "A", 1);
	latentd_result_free(result);
	assert_silent(client);
	latentd_client_close(client);
}

Test(client_again, what_was_not_freed_is_acknowledged_no_second_time)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_result *result;
	struct request *req;

	submit_accepted(client, "a");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 5, "A");
	result = collect(client);
	latentd_result_ack(result);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	fake_empty(&daemon_, req, 0);
	assert_silent(client);
	/* Closing has nothing left to say. */
	latentd_client_close(client);
	latentd_result_ack(result);
	cr_assert(TAILQ_EMPTY(&daemon_.backlog));
	latentd_result_free(result);
}

Test(client_again, an_early_acknowledgement_frees_the_key)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_request request = request_of("a", data);
	struct latentd_result *result, *later;
	uint64_t ticket;

	submit_accepted(client, "a");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 5, "A");
	result = collect(client);
	cr_assert_eq(
	    latentd_submit(client, &request, 0, NULL), LATENTD_ERR_INVALID);
	latentd_result_ack(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	cr_assert_eq(latentd_submit(client, &request, 0, &ticket), LATENTD_OK);
	fake_reject(fake_take(&daemon_, MESSAGE_SUBMIT), LATENTD_ERR_COLLECTED,
	    "it was collected");
	later = collect(client);
	cr_assert_eq(latentd_result_ticket(later), ticket);
	cr_assert_eq(latentd_result_error(later), LATENTD_ERR_COLLECTED);
	latentd_result_free(result);
	latentd_result_free(later);
	latentd_client_close(client);
}

Test(client_again, a_pending_job_knows_its_number)
{
	struct latentd_client *client = open_anonymous();
	uint64_t ticket = submit(client, "a"), id = 1;

	cr_assert_eq(latentd_job_id(client, ticket, &id), LATENTD_OK);
	cr_assert_eq(id, 0);
	fake_accept(&daemon_, fake_take(&daemon_, MESSAGE_SUBMIT), 42);
	cr_assert_eq(
	    latentd_wait_accepted(client, ticket, PATIENCE_MS), LATENTD_OK);
	cr_assert_eq(latentd_job_id(client, ticket, &id), LATENTD_OK);
	cr_assert_eq(id, 42);
	cr_assert_eq(
	    latentd_job_id(client, ticket + 1, &id), LATENTD_ERR_NOT_FOUND);
	cr_assert_eq(id, 42);
	latentd_client_close(client);
}

Test(client_again, a_refusal_to_deliver_wakes_who_polls_until_it_is_told)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req;
	int fd;

	submit_accepted(client, "a");
	fd = latentd_client_fd(client);
	fake_reject(fake_take(&daemon_, MESSAGE_COLLECT), LATENTD_ERR_DENIED,
	    "unit has another secret");
	cr_assert(is_readable(fd, PATIENCE_MS));
	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_DENIED);
	cr_assert_not(is_readable(fd, 0));
	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_DENIED);
	/* It asks again by and by, and what comes then wakes as usual. */
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_not(is_readable(fd, 0));
	fake_result(&daemon_, req, "a", 1, "A");
	cr_assert(is_readable(fd, PATIENCE_MS));
	result = collect(client);
	cr_assert_eq(latentd_result_error(result), LATENTD_OK);
	cr_assert_not(is_readable(fd, 0));
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_again, a_name_that_is_not_known_yet_is_no_strangers)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *job, *fetch;

	latentd_client_fd(client);
	fetch = fake_take(&daemon_, MESSAGE_COLLECT);
	submit(client, "k");
	job = fake_take(&daemon_, MESSAGE_SUBMIT);
	/* The COLLECT came first, and the daemon knew another of that name. */
	fake_reject(fetch, LATENTD_ERR_DENIED, "another secret");
	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_TIMEOUT);
	fake_accept(&daemon_, job, 5);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "k", 1, "K");
	cr_assert_eq(latentd_collect(client, PATIENCE_MS, &result), LATENTD_OK,
	    "%s", latentd_client_error(client));
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}
