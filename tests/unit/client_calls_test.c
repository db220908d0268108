/* SPDX-License-Identifier: Apache-2.0 */
/* liblatentd against a daemon that the test plays: what each call refuses,
 * waits for and gives. */
#include <string.h>

#include <criterion/criterion.h>

#include "../support/client_setup.h"

TestSuite(client_calls, .init = setup, .fini = teardown);

struct run_call {
	struct latentd_client *client;
	pthread_t thread;
	const char *key;
	struct latentd_result *result;
	enum latentd_err err;
};

static void *
call_run(void *arg)
{
	struct run_call *call = arg;
	struct latentd_request request = request_of(call->key, data);

	call->err =
	    latentd_run(call->client, &request, PATIENCE_MS, &call->result);
	return NULL;
}

Test(client_calls, run_gives_its_own_result_and_leaves_the_others)
{
	struct latentd_client *client = open_named();
	struct run_call call = {.client = client, .key = "mine"};
	struct latentd_result *result;
	struct request *req;

	submit_accepted(client, "other");
	cr_assert_eq(pthread_create(&call.thread, NULL, call_run, &call), 0);
	req = fake_take(&daemon_, MESSAGE_SUBMIT);
	cr_assert(fake_text_is(req->in.submit.key, "mine"));
	fake_accept(&daemon_, req, 2);
	fake_result(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "other", 1,
	    "OTHER");
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "mine", 2, "MINE");
	pthread_join(call.thread, NULL);
	cr_assert_eq(call.err, LATENTD_OK);
	cr_assert_str_eq(latentd_result_key(call.result), "mine");
	cr_assert_eq(latentd_client_pending(client), 1);
	result = collect(client);
	cr_assert_str_eq(latentd_result_key(result), "other");
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_result_free(call.result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_calls, run_out_of_time_cancels_its_job)
{
	struct message_cancelled in = {1, JOB_QUEUED};
	struct latentd_client *client = open_anonymous();
	struct latentd_request request = request_of("a", data);
	struct latentd_result *result;
	struct request *req;

	cr_assert_eq(
	    latentd_run(client, &request, 1, &result), LATENTD_ERR_TIMEOUT);
	cr_assert_null(result);
	cr_assert_eq(latentd_client_pending(client), 0);
	cr_assert_eq(
	    latentd_collect(client, 0, &result), LATENTD_ERR_NOT_FOUND);
	fake_accept(&daemon_, fake_take(&daemon_, MESSAGE_SUBMIT), 1);
	req = fake_take(&daemon_, MESSAGE_CANCEL);
	cr_assert(fake_text_is(req->in.cancel.key, "a"));
	fake_reply(req, MESSAGE_CANCELLED, &in, NULL, 0);
	fake_cancelled(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 9);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], 9);
	fake_empty(&daemon_, req, 0);
	latentd_client_close(client);
}

Test(client_calls, submit_refuses_what_can_never_work)
{
	static const char long_name[] =
	    "12345678901234567890123456789012345678901234567890123456789012345";
	struct latentd_client *client = open_named();
	struct latentd_request r[16];
	static const enum latentd_err expected[] = {LATENTD_ERR_MODEL,
	    LATENTD_ERR_MODEL, LATENTD_ERR_MODEL, LATENTD_ERR_INVALID,
	    LATENTD_ERR_INVALID, LATENTD_ERR_SHAPE, LATENTD_ERR_SHAPE,
	    LATENTD_ERR_SHAPE, LATENTD_ERR_UNSUPPORTED, LATENTD_ERR_UNSUPPORTED,
	    LATENTD_ERR_INVALID, LATENTD_ERR_INVALID, LATENTD_ERR_INVALID,
	    LATENTD_ERR_INVALID, LATENTD_ERR_INVALID, LATENTD_ERR_TOO_LARGE};
	uint64_t ticket = 77;

	for (size_t i = 0; i < 16; i++)
		r[i] = request_of("k", data);
	r[0].model = NULL;
	r[1].model = "";
	r[2].model = long_name;
	r[3].key = long_name;
	r[4].key = "a/b";
	r[5].data_bytes = 31;
	r[6].tensor.ndim = 0;
	r[7].tensor.dtype = LATENTD_DTYPE_NONE;
	r[8].output = LATENTD_OUT_LATENT;
	r[9].task = LATENTD_ENCODE;
	r[10].data = NULL;
	r[11].width_px = LATENTD_MAX_SIDE_PX + 1;
	r[12].task = (enum latentd_task)7;
	r[13].space = (enum latentd_space)7;
	r[14].output = (enum latentd_output)77;
	/* WELCOME said 64 MiB; the data is not read before that. */
	r[15].tensor = (struct latentd_tensor){LATENTD_U8, 2, {65, 1048576}};
	r[15].data_bytes = 65u << 20;
	for (size_t i = 0; i < 16; i++) {
		cr_assert_eq(latentd_submit(client, &r[i], 0, &ticket),
		    expected[i], "request %zu: %s", i,
		    latentd_client_error(client));
		cr_assert_neq(latentd_client_error(client)[0], '\0');
	}
	cr_assert_eq(ticket, 77);
	cr_assert_eq(latentd_client_pending(client), 0);
	assert_silent(client);
	latentd_client_close(client);
}

Test(client_calls, submit_refuses_metadata_that_png_cannot_hold)
{
	static char long_value[LATENTD_MAX_METADATA_BYTES + 1];
	static const char long_key[81] =
	    "123456789012345678901234567890123456789012345678901234567890"
	    "12345678901234567890";
	const struct latentd_metadata bad[] = {{NULL, "v"}, {"k", NULL},
	    {"", "v"}, {long_key, "v"}, {"k", long_value}};
	struct latentd_client *client = open_named();

	memset(long_value, 'x', LATENTD_MAX_METADATA_BYTES);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct latentd_request request = request_of("k", data);

		request.metadata = &bad[i];
		request.metadata_n = 1;
		cr_assert_eq(latentd_submit(client, &request, 0, NULL),
		    i == 4 ? LATENTD_ERR_TOO_LARGE : LATENTD_ERR_INVALID,
		    "metadata %zu", i);
	}
	latentd_client_close(client);
}

Test(client_calls, a_full_client_says_busy_until_something_is_collected)
{
	struct latentd_client_options options = {
	    .producer = "unit", .max_jobs = 2, .max_bytes = 100};
	struct latentd_client *client = open_with(&options);
	struct latentd_request request = request_of(NULL, data);
	static const char large[128];
	struct latentd_result *result;

	submit_accepted(client, "a");
	submit_accepted(client, "b");
	cr_assert_eq(
	    latentd_submit(client, &request, 0, NULL), LATENTD_ERR_BUSY);
	cr_assert_eq(
	    latentd_submit(client, &request, 1, NULL), LATENTD_ERR_BUSY);
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 1, "A");
	result = collect(client);
	latentd_result_free(result);
	submit_accepted(client, "c");
	request.tensor.shape[0] = 4;
	request.data = large;
	request.data_bytes = 128;
	cr_assert_eq(latentd_submit(client, &request, -1, NULL),
	    LATENTD_ERR_TOO_LARGE, "it would never fit");
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "b", 2, "B");
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "c", 3, "C");
	for (size_t i = 0; i < 2; i++) {
		latentd_result_free(collect(client));
		fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	}
	latentd_client_close(client);
}

Test(client_calls, the_same_key_is_the_same_job_until_its_result_is_freed)
{
	struct latentd_client *client = open_named();
	struct latentd_request request = request_of("a", data);
	struct latentd_result *result;
	uint64_t first, again;

	first = submit_accepted(client, "a");
	cr_assert_eq(submit(client, "a"), first);
	cr_assert_eq(latentd_client_pending(client), 1);
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 1, "A");
	cr_assert(is_readable(latentd_client_fd(client), PATIENCE_MS));
	cr_assert_eq(submit(client, "a"), first);
	result = collect(client);
	cr_assert_eq(
	    latentd_submit(client, &request, 0, NULL), LATENTD_ERR_INVALID);
	cr_assert(strstr(latentd_client_error(client), "not freed"));
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	again = submit_accepted(client, "a");
	cr_assert_neq(again, first);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 2, "B");
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), again);
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_calls, results_of_earlier_clients_come_by_name_without_a_ticket)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req;

	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_TIMEOUT);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert(fake_text_is(req->in.collect.producer, "unit"));
	fake_result(&daemon_, req, "old", 5, "OLD");
	cr_assert(is_readable(latentd_client_fd(client), PATIENCE_MS));
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), 0);
	cr_assert_str_eq(latentd_result_key(result), "old");
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_calls, collect_says_when_there_is_nothing_to_wait_for)
{
	struct latentd_client *client = open_anonymous();
	struct latentd_result *result;

	cr_assert_eq(
	    latentd_collect(client, -1, &result), LATENTD_ERR_NOT_FOUND);
	cr_assert_null(result);
	assert_silent(client);
	latentd_client_close(client);
}

Test(client_calls, collect_passes_on_a_refusal)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req;

	submit_accepted(client, "a");
	latentd_client_fd(client);
	fake_reject(fake_take(&daemon_, MESSAGE_COLLECT), LATENTD_ERR_DENIED,
	    "unit belongs to somebody else");
	cr_assert_eq(
	    latentd_collect(client, PATIENCE_MS, &result), LATENTD_ERR_DENIED);
	cr_assert_str_eq(
	    latentd_client_error(client), "unit belongs to somebody else");
	/* It is tried again, later. */
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	fake_result(&daemon_, req, "a", 1, "A");
	latentd_result_free(collect(client));
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_calls, a_job_of_a_stopping_daemon_goes_to_the_next)
{
	struct message_result in = {.instance = 7,
	    .tag = 3,
	    .id = 1,
	    .key = {"a", 1},
	    .state = JOB_FAILED,
	    .code = LATENTD_ERR_STOPPING,
	    .message = {"stopped", 7}};
	struct latentd_client *client = open_named();
	struct request *req;

	submit_accepted(client, "a");
	latentd_client_fd(client);
	fake_reply(
	    fake_take(&daemon_, MESSAGE_COLLECT), MESSAGE_RESULT, &in, NULL, 0);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], 3);
	fake_empty(&daemon_, req, 0);
	req = fake_take(&daemon_, MESSAGE_SUBMIT);
	cr_assert(fake_text_is(req->in.submit.key, "a"));
	fake_accept(&daemon_, req, 2);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 4, "A");
	latentd_result_free(collect(client));
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}

Test(client_calls, wait_accepted_knows_its_tickets)
{
	struct latentd_client *client = open_named();

	cr_assert_eq(
	    latentd_wait_accepted(client, 0, 0), LATENTD_ERR_NOT_FOUND);
	cr_assert_eq(
	    latentd_wait_accepted(client, 1, 0), LATENTD_ERR_NOT_FOUND);
	latentd_client_close(client);
}

Test(client_calls, status_gives_up_in_time)
{
	struct latentd_client *client = open_named();
	char *json;

	cr_assert_eq(latentd_status(client, 1, &json), LATENTD_ERR_TIMEOUT);
	cr_assert_null(json);
	fake_reject(fake_take(&daemon_, MESSAGE_STATUS), LATENTD_ERR_DENIED,
	    "not for you");
	latentd_client_close(client);
}

struct cancel_call {
	struct latentd_client *client;
	const char *key;
	enum latentd_err err;
	char text[LATENTD_MAX_TEXT_BYTES];
};

static void *
call_cancel(void *arg)
{
	struct cancel_call *call = arg;

	call->err = latentd_cancel_key(call->client, call->key, PATIENCE_MS);
	strcpy(call->text, latentd_client_error(call->client));
	return NULL;
}

Test(client_calls, cancel_by_key_tells_what_the_daemon_said)
{
	struct message_cancelled in = {1, JOB_QUEUED};
	struct latentd_client *client = open_named();
	struct cancel_call call = {.client = client, .key = "k"};
	struct request *req;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, call_cancel, &call), 0);
	req = fake_take(&daemon_, MESSAGE_CANCEL);
	cr_assert(fake_text_is(req->in.cancel.key, "k"));
	fake_reply(req, MESSAGE_CANCELLED, &in, NULL, 0);
	pthread_join(thread, NULL);
	cr_assert_eq(call.err, LATENTD_OK);
	cr_assert_eq(pthread_create(&thread, NULL, call_cancel, &call), 0);
	fake_reject(fake_take(&daemon_, MESSAGE_CANCEL), LATENTD_ERR_NOT_FOUND,
	    "no job k");
	pthread_join(thread, NULL);
	cr_assert_eq(call.err, LATENTD_ERR_NOT_FOUND);
	cr_assert_str_eq(call.text, "no job k");
	cr_assert_eq(
	    latentd_cancel_key(client, "no/key", 0), LATENTD_ERR_INVALID);
	latentd_client_close(client);
}

struct why_call {
	struct latentd_client *client;
	enum latentd_err err;
	char *json;
};

static void *
call_why(void *arg)
{
	struct why_call *call = arg;

	call->err =
	    latentd_why(call->client, 8, NULL, PATIENCE_MS, &call->json);
	return NULL;
}

Test(client_calls, a_late_answer_is_not_taken_for_the_next_questions)
{
	const struct message_report in = {7};
	struct latentd_client *client = open_named();
	struct why_call call = {.client = client};
	struct request *late, *req;
	pthread_t thread;
	char *json;

	cr_assert_eq(
	    latentd_why(client, 7, NULL, 1, &json), LATENTD_ERR_TIMEOUT);
	cr_assert_null(json);
	late = fake_take(&daemon_, MESSAGE_WHY);
	cr_assert_eq(late->in.why.id, 7);
	cr_assert_eq(pthread_create(&thread, NULL, call_why, &call), 0);
	fake_reply(late, MESSAGE_REPORT, &in, "seven", 5);
	req = fake_take(&daemon_, MESSAGE_WHY);
	cr_assert_eq(req->in.why.id, 8);
	fake_reply(req, MESSAGE_REPORT, &in, "eight", 5);
	pthread_join(thread, NULL);
	cr_assert_eq(call.err, LATENTD_OK);
	cr_assert_str_eq(call.json, "eight");
	free(call.json);
	latentd_client_close(client);
}

Test(client_calls, questions_that_cannot_be_right_are_not_asked)
{
	const struct latentd_jobs_query state = {.state = "lost"};
	const struct latentd_jobs_query name = {.producer = "a b"};
	const struct latentd_jobs_query limit = {.limit = 1001};
	struct latentd_client *client = open_named();
	char *json;

	cr_assert_eq(
	    latentd_jobs(client, &state, 0, &json), LATENTD_ERR_INVALID);
	cr_assert_eq(
	    latentd_jobs(client, &name, 0, &json), LATENTD_ERR_INVALID);
	cr_assert_eq(
	    latentd_jobs(client, &limit, 0, &json), LATENTD_ERR_INVALID);
	cr_assert_eq(
	    latentd_why(client, 0, NULL, 0, &json), LATENTD_ERR_INVALID);
	cr_assert_eq(
	    latentd_why(client, 1, "k", 0, &json), LATENTD_ERR_INVALID);
	cr_assert_eq(
	    latentd_why(client, 0, "a b", 0, &json), LATENTD_ERR_INVALID);
	cr_assert_null(json);
	cr_assert_eq(latentd_cancel_id(client, 0, 0), LATENTD_ERR_INVALID);
	cr_assert_eq(latentd_kick(client, 0, 0), LATENTD_ERR_INVALID);
	cr_assert_eq(latentd_purge(client, 0, 0), LATENTD_ERR_INVALID);
	cr_assert_eq(
	    latentd_purge_all(client, "a b", 0, NULL), LATENTD_ERR_INVALID);
	cr_assert_eq(latentd_pause(client, (enum latentd_side)3, 0),
	    LATENTD_ERR_INVALID);
	latentd_client_close(client);
}

struct kick_call {
	struct latentd_client *client;
	enum latentd_err err;
	uint64_t jobs_n;
};

static void *
call_kick_all(void *arg)
{
	struct kick_call *call = arg;

	call->err =
	    latentd_kick_all(call->client, "p", PATIENCE_MS, &call->jobs_n);
	return NULL;
}

Test(client_calls, kick_all_goes_on_until_there_is_no_more)
{
	struct message_done in = {.instance = 7, .jobs = 600, .next = 1000};
	struct latentd_client *client = open_named();
	struct kick_call call = {.client = client};
	struct request *req;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, call_kick_all, &call), 0);
	req = fake_take(&daemon_, MESSAGE_ADMIN);
	cr_assert(fake_text_is(req->in.admin.of, "p"));
	cr_assert_eq(req->in.admin.after, 0);
	fake_reply(req, MESSAGE_DONE, &in, NULL, 0);
	req = fake_take(&daemon_, MESSAGE_ADMIN);
	cr_assert_eq(req->in.admin.after, 1000);
	in = (struct message_done){.instance = 7, .jobs = 5};
	fake_reply(req, MESSAGE_DONE, &in, NULL, 0);
	pthread_join(thread, NULL);
	cr_assert_eq(call.err, LATENTD_OK);
	cr_assert_eq(call.jobs_n, 605);
	latentd_client_close(client);
}
