/* SPDX-License-Identifier: Apache-2.0 */
/* When liblatentd asks for results, for how many, and what it acknowledges. */
#include <criterion/criterion.h>

#include "../support/client_setup.h"
#include "core.h"

TestSuite(client_fetch, .init = setup, .fini = teardown, .timeout = 120);

#define LARGE_BYTES ((size_t)64 << 20)

static struct request *
take_collect(size_t acks_n)
{
	struct request *req = fake_take(&daemon_, MESSAGE_COLLECT);

	cr_assert_gt(req->in.collect.wait_ms, 0);
	cr_assert_eq(req->in.collect.acks_n, acks_n);
	return req;
}

/* A client that is to collect ${n} jobs, and has seen how large a result is. */
static struct latentd_client *
open_busy(const char *const keys[], size_t n)
{
	struct latentd_client *client = open_named();

	latentd_client_fd(client);
	submit_accepted(client, "first");
	/* Of COLLECTs that fd() and the job asked for there is one. */
	fake_result(&daemon_, take_collect(0), "first", 1, "1");
	latentd_result_free(collect(client));
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	for (size_t i = 0; i < n; i++)
		submit(client, keys[i]);
	for (size_t i = 0; i < n; i++)
		fake_accept(&daemon_, fake_take(&daemon_, MESSAGE_SUBMIT), i);
	return client;
}

/*
 * Close a client that has an acknowledgement to give, or none (0), and has
 * COLLECTs out.  These are answered after that, to nobody: nng 1.5.2 may hang
 * when something is about to arrive on a socket that is closed (client.c).
 */
static void
close_unanswered(struct latentd_client *client, uint64_t last_tag,
    struct request **reqs, size_t n)
{
	pthread_t thread;

	client_close_ms = PATIENCE_MS;
	cr_assert_eq(pthread_create(&thread, NULL, close_client, client), 0);
	if (last_tag != 0)
		take_ack(last_tag);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < n; i++)
		fake_empty(&daemon_, reqs[i], 1);
}

Test(client_fetch, a_result_is_asked_for_before_its_job_is_accepted)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_result *result;
	struct request *job;

	latentd_client_fd(client);
	submit(client, "k");
	job = fake_take(&daemon_, MESSAGE_SUBMIT);
	fake_result(&daemon_, take_collect(0), "k", 1, "K");
	result = collect(client);
	cr_assert_eq(latentd_result_error(result), LATENTD_OK);
	fake_accept(&daemon_, job, 1);
	latentd_result_free(result);
	fake_empty(&daemon_, take_collect(1), 0);
	assert_silent(client);
	latentd_client_close(client);
}

Test(client_fetch, one_is_fetched_until_it_is_known_how_large_they_are)
{
	struct latentd_client *client = open_anonymous();
	struct request *fetch;

	latentd_client_fd(client);
	submit_accepted(client, "a");
	submit_accepted(client, "b");
	fetch = take_collect(0);
	assert_silent(client);
	fake_empty(&daemon_, fetch, 2);
	latentd_client_close(client);
}

Test(client_fetch, as_many_are_asked_for_as_there_are_jobs)
{
	static const char *const keys[] = {"a", "b", "c"};
	struct latentd_client *client = open_busy(keys, 3);
	struct request *reqs[3];

	for (size_t i = 0; i < 3; i++)
		reqs[i] = take_collect(0);
	assert_silent(client);
	close_unanswered(client, 0, reqs, 3);
}

Test(client_fetch, no_more_are_asked_for_than_there_is_room_for)
{
	static const char *const keys[] = {"a", "b", "c", "d", "e", "f"};
	struct latentd_client *client = open_busy(keys, 6);
	struct request *reqs[4];

	for (size_t i = 0; i < 4; i++)
		reqs[i] = take_collect(0);
	assert_silent(client);
	/* What is here and not taken has the room of one that is out. */
	fake_result(&daemon_, reqs[0], "a", 2, "A");
	assert_silent(client);
	latentd_result_free(collect(client));
	reqs[0] = take_collect(0);
	assert_silent(client);
	close_unanswered(client, 2, reqs, 4);
}

static void
reply_large(struct request *req, const char *key)
{
	uint64_t part_bytes = LARGE_BYTES;
	struct message_result in = {.instance = daemon_.instance,
	    .tag = 9,
	    .id = 9,
	    .key = {key, strlen(key)},
	    .state = JOB_DONE,
	    .output = LATENTD_OUT_PNG,
	    .part_bytes = &part_bytes,
	    .part_bytes_n = 1,
	    .width_px = 8,
	    .height_px = 8,
	    .frames = 1};
	char *body = calloc(1, LARGE_BYTES);

	cr_assert_not_null(body);
	fake_reply(req, MESSAGE_RESULT, &in, body, LARGE_BYTES);
	free(body);
}

Test(client_fetch, large_results_are_fetched_one_at_a_time)
{
	static const char *const keys[] = {"a", "b", "c", "d", "e", "f"};
	struct latentd_client *client = open_busy(keys, 6);
	struct latentd_result *result;
	struct request *reqs[4];

	for (size_t i = 0; i < 4; i++)
		reqs[i] = take_collect(0);
	reply_large(reqs[0], "a");
	result = collect(client);
	cr_assert_eq(latentd_result_error(result), LATENTD_OK);
	latentd_result_free(result);
	take_ack(9);
	assert_silent(client);
	fake_result(&daemon_, reqs[1], "b", 2, "B");
	latentd_result_free(collect(client));
	take_ack(2);
	/* Two more may come that are half as large. */
	assert_silent(client);
	fake_result(&daemon_, reqs[2], "c", 3, "C");
	reqs[0] = take_collect(0);
	reqs[1] = take_collect(0);
	reqs[2] = reqs[3];
	latentd_result_free(collect(client));
	take_ack(3);
	assert_silent(client);
	close_unanswered(client, 0, reqs, 3);
}

Test(client_fetch, what_no_answered_collect_carried_is_acknowledged_at_the_end)
{
	static const char *const keys[] = {"a", "b", "c", "d", "e", "f"};
	struct latentd_client *client = open_busy(keys, 6);
	struct request *reqs[4];

	for (size_t i = 0; i < 4; i++)
		reqs[i] = take_collect(0);
	fake_result(&daemon_, reqs[0], "a", 11, "A");
	latentd_result_free(collect(client));
	reqs[0] = take_collect(0);
	fake_empty(&daemon_, reqs[1], 5);
	reqs[1] = take_collect(1);
	cr_assert_eq(reqs[1]->in.collect.acks[0], 11);
	fake_result(&daemon_, reqs[2], "b", 12, "B");
	latentd_result_free(collect(client));
	reqs[2] = take_collect(0);
	fake_empty(&daemon_, reqs[3], 4);
	reqs[3] = take_collect(1);
	cr_assert_eq(reqs[3]->in.collect.acks[0], 12);
	/* That one has arrived with this, and is not said again. */
	fake_empty(&daemon_, reqs[3], 4);
	reqs[3] = take_collect(0);
	close_unanswered(client, 11, reqs, 4);
}

Test(client_fetch, an_acknowledgement_does_not_wait_for_a_result)
{
	static const char *const keys[] = {"a", "b"};
	struct latentd_client *client = open_busy(keys, 2);
	struct request *waits, *req;

	req = take_collect(0);
	waits = take_collect(0);
	fake_result(&daemon_, req, "a", 11, "A");
	latentd_result_free(collect(client));
	take_ack(11);
	close_unanswered(client, 0, &waits, 1);
}

Test(client_fetch, under_a_name_nothing_is_fetched_without_a_job)
{
	struct latentd_client *client = open_busy(NULL, 0);

	submit_accepted(client, "a");
	fake_result(&daemon_, take_collect(0), "a", 11, "A");
	latentd_result_free(collect(client));
	take_ack(11);
	assert_silent(client);
	latentd_client_close(client);
}

Test(client_fetch,
    the_descriptor_tells_of_what_was_ready_before_it_was_asked_for)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_result *result;
	int fd;

	submit_accepted(client, "a");
	submit_accepted(client, "b");
	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_TIMEOUT);
	fake_result(&daemon_, take_collect(0), "a", 1, "A");
	fake_result(&daemon_, take_collect(0), "b", 2, "B");
	latentd_result_free(collect(client));
	fd = latentd_client_fd(client);
	cr_assert(is_readable(fd, PATIENCE_MS));
	latentd_result_free(collect(client));
	cr_assert_not(is_readable(fd, 0));
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_fetch, what_has_no_body_does_not_tell_how_large_results_are)
{
	static const char *const keys[] = {"a", "b", "c"};
	struct latentd_client *client = open_anonymous();
	struct request *fetch;

	latentd_client_fd(client);
	for (size_t i = 0; i < 3; i++)
		submit_accepted(client, keys[i]);
	fake_cancelled(&daemon_, take_collect(0), "a", 1);
	latentd_result_free(collect(client));
	fetch = take_collect(0);
	take_ack(1);
	assert_silent(client);
	fake_empty(&daemon_, fetch, 2);
	fake_cancelled(&daemon_, take_collect(0), "b", 2);
	latentd_result_free(collect(client));
	fetch = take_collect(0);
	take_ack(2);
	assert_silent(client);
	fake_cancelled(&daemon_, fetch, "c", 3);
	latentd_result_free(collect(client));
	fake_empty(&daemon_, take_collect(1), 0);
	assert_silent(client);
	latentd_client_close(client);
}

/* Held back, the job would come after the question. */
static struct request *
take_before_question(struct latentd_client *client, const char *key)
{
	struct message_report in = {daemon_.instance};
	struct status_call call = {.client = client};
	struct request *req;

	cr_assert_eq(pthread_create(&call.thread, NULL, call_status, &call), 0);
	for (;;) {
		req = fake_next(&daemon_);
		cr_assert_eq(req->frame.type, MESSAGE_SUBMIT, "a %s was sent",
		    message_type_name(req->frame.type));
		if (fake_text_is(req->in.submit.key, key))
			break;
		fake_accept(&daemon_, req, 4);
	}
	fake_reply(
	    fake_take(&daemon_, MESSAGE_STATUS), MESSAGE_REPORT, &in, "{}", 2);
	pthread_join(call.thread, NULL);
	free(call.json);
	return req;
}

/*
 * The daemon sent the result first.  nng hands replies to several threads, so
 * that any may be seen first.
 */
Test(client_fetch, a_result_that_an_empty_overtook_holds_nothing_up)
{
	static const char *const keys[] = {"a", "b"};
	struct latentd_client *client = open_busy(keys, 2);
	struct request *waits, *ack;
	struct latentd_result *result;
	uint64_t ticket;

	fake_result(&daemon_, take_collect(0), "a", 11, "A");
	latentd_result_free(collect(client));
	waits = take_collect(0);
	ack = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(ack->in.collect.acks_n, 1);
	fake_empty(&daemon_, ack, 0);
	fake_result(&daemon_, waits, "b", 12, "B");
	result = collect(client);
	cr_assert_str_eq(latentd_result_key(result), "b");
	cr_assert_eq(latentd_result_error(result), LATENTD_OK);
	ticket = submit(client, "c");
	fake_accept(&daemon_, take_before_question(client, "c"), 5);
	cr_assert_eq(
	    latentd_wait_accepted(client, ticket, PATIENCE_MS), LATENTD_OK);
	latentd_result_free(result);
	waits = take_collect(0);
	take_ack(12);
	close_unanswered(client, 0, &waits, 1);
}
