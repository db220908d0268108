/* SPDX-License-Identifier: Apache-2.0 */
/* liblatentd against a daemon that the test plays: opening, submitting and
 * collecting. */
#include <string.h>

#include <criterion/criterion.h>

#include "../support/client_setup.h"
#include "proof.h"

TestSuite(client, .init = setup, .fini = teardown);

Test(client, open_tells_where_nobody_answers)
{
	struct latentd_client_options options = {
	    .url = "ipc:///tmp/latentd-nobody.sock", .connect_timeout_ms = 1};
	struct latentd_client *client;

	cr_assert_eq(
	    latentd_client_open(&client, &options), LATENTD_ERR_UNREACHABLE);
	cr_assert_null(client);
	cr_assert(strstr(latentd_client_error(NULL), options.url));
	cr_assert(strstr(latentd_client_error(NULL), "is latentd running"));
}

Test(client, open_refuses_options_that_make_no_sense)
{
	static const struct latentd_client_options bad[] = {
	    {.url = "http://127.0.0.1"},
	    {.url = "tcp://"},
	    {.url = "ipc:///tmp/x", .producer = "a b"},
	    {.url = "ipc:///tmp/x", .producer = ""},
	    {.url = "ipc:///tmp/x", .secret_bytes = 65, .secret = data},
	    {.url = "ipc:///tmp/x", .secret_bytes = 1},
	    {.url = "ipc:///tmp/x", .max_jobs = 2000000},
	    {.url = "ipc:///tmp/x",
		.secret = data,
		.secret_bytes = 9,
		.secret_file = "/dev/zero"},
	    {.url = "ipc:///tmp/x", .secret_file = "/dev/null"},
	    {.url = "ipc:///tmp/x", .secret_file = "/dev/zero"},
	    {.url = "ipc:///tmp/x", .secret_file = "/nonexistent/file"},
	    {.url = "tls+tcp://127.0.0.1:1"},
	};
	struct latentd_client *client;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(latentd_client_open(&client, &bad[i]),
		    LATENTD_ERR_INVALID, "option %zu", i);
		cr_assert_neq(latentd_client_error(NULL)[0], '\0');
	}
}

static void *
deny_hello(void *arg)
{
	const struct text secret = {"s3cret", 6}, name = {"unit", 4};
	struct request *req = fake_take(&daemon_, MESSAGE_HELLO);
	uint8_t token[PROOF_BYTES];

	(void)arg;
	cr_assert(fake_text_is(req->in.hello.producer, "unit"));
	cr_assert(proof_token(secret, name, token));
	cr_assert_eq(req->in.hello.secret.bytes, PROOF_BYTES);
	cr_assert_eq(memcmp(req->in.hello.secret.at, token, PROOF_BYTES), 0);
	cr_assert(fake_text_is(req->in.hello.software, "test/1"));
	fake_reject(req, LATENTD_ERR_DENIED, "unit belongs to uid 0");
	return NULL;
}

Test(client, open_passes_on_why_the_daemon_refuses)
{
	struct latentd_client_options options = {.url = daemon_.url,
	    .producer = "unit",
	    .secret = "s3cret",
	    .secret_bytes = 6,
	    .software = "test/1",
	    .connect_timeout_ms = PATIENCE_MS};
	struct latentd_client *client;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, deny_hello, NULL), 0);
	cr_assert_eq(
	    latentd_client_open(&client, &options), LATENTD_ERR_DENIED);
	cr_assert_str_eq(latentd_client_error(NULL), "unit belongs to uid 0");
	pthread_join(thread, NULL);
}

Test(client, submit_sends_every_field_and_byte)
{
	const struct latentd_metadata metadata[] = {
	    {"prompt", "a cat"}, {"workflow", "{}"}};
	struct latentd_request request = request_of("k-1", data);
	struct latentd_client *client = open_named();
	const uint8_t *at;
	struct text key, value;
	struct request *req;

	request.space = LATENTD_SPACE_VAE;
	request.height_px = 512;
	request.width_px = 768;
	request.metadata = metadata;
	request.metadata_n = 2;
	cr_assert_eq(latentd_submit(client, &request, 0, NULL), LATENTD_OK);
	req = fake_take(&daemon_, MESSAGE_SUBMIT);
	cr_assert(fake_text_is(req->in.submit.producer, "unit"));
	cr_assert(fake_text_is(req->in.submit.key, "k-1"));
	cr_assert(fake_text_is(req->in.submit.model, "sdxl"));
	cr_assert_eq(req->in.submit.task, LATENTD_DECODE);
	cr_assert_eq(req->in.submit.space, LATENTD_SPACE_VAE);
	cr_assert_eq(req->in.submit.output, LATENTD_OUT_PNG);
	cr_assert_eq(req->in.submit.tensor.dtype, LATENTD_F16);
	cr_assert_eq(req->in.submit.tensor.ndim, 4);
	cr_assert_eq(req->in.submit.tensor.shape[1], 4);
	cr_assert_eq(req->in.submit.height_px, 512);
	cr_assert_eq(req->in.submit.width_px, 768);
	cr_assert_eq(req->frame.body_bytes, 32 + req->in.submit.metadata_bytes);
	cr_assert_arr_eq(req->frame.body, data, 32);
	at = req->frame.body + 32;
	cr_assert_eq(metadata_next(&at, req->frame.body + req->frame.body_bytes,
			 &key, &value, NULL),
	    LATENTD_OK);
	cr_assert(fake_text_is(key, "prompt"));
	cr_assert(fake_text_is(value, "a cat"));
	fake_accept(&daemon_, req, 1);
	latentd_client_close(client);
}

Test(client, jobs_keep_their_order_when_the_daemon_is_busy)
{
	static const char *const keys[] = {"a", "b", "c"};
	struct latentd_client *client = open_named();
	struct request *reqs[3];

	for (size_t i = 0; i < 3; i++)
		submit(client, keys[i]);
	for (size_t i = 0; i < 3; i++) {
		reqs[i] = fake_take(&daemon_, MESSAGE_SUBMIT);
		cr_assert(fake_text_is(reqs[i]->in.submit.key, keys[i]));
	}
	/* Answered in another order than they came. */
	fake_busy(&daemon_, reqs[2], 1);
	fake_busy(&daemon_, reqs[0], 1);
	fake_busy(&daemon_, reqs[1], 1);
	for (size_t i = 0; i < 3; i++) {
		struct request *req = fake_take(&daemon_, MESSAGE_SUBMIT);

		cr_assert(fake_text_is(req->in.submit.key, keys[i]));
		cr_assert_arr_eq(req->frame.body, data, 32);
		/* After BUSY one probe goes out, not three. */
		if (i == 0)
			assert_silent(client);
		fake_accept(&daemon_, req, i);
	}
	latentd_client_close(client);
}

Test(client, unaccepted_submits_are_bounded)
{
	struct latentd_client *client = open_named();
	struct request *reqs[8];
	uint64_t last = 0;

	for (size_t i = 0; i < 9; i++)
		last = submit(client, NULL);
	for (size_t i = 0; i < 8; i++)
		reqs[i] = fake_take(&daemon_, MESSAGE_SUBMIT);
	assert_silent(client);
	cr_assert_eq(
	    latentd_wait_accepted(client, last, 0), LATENTD_ERR_TIMEOUT);
	for (size_t i = 0; i < 8; i++)
		fake_accept(&daemon_, reqs[i], i);
	fake_accept(&daemon_, fake_take(&daemon_, MESSAGE_SUBMIT), 9);
	cr_assert_eq(
	    latentd_wait_accepted(client, last, PATIENCE_MS), LATENTD_OK);
	latentd_client_close(client);
}

Test(client, result_says_everything)
{
	struct latentd_client *client = open_anonymous();
	uint64_t ticket = submit_accepted(client, "k-1");
	struct latentd_result *result;
	struct request *req;
	size_t bytes;

	latentd_client_fd(client);
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_gt(req->in.collect.wait_ms, 0);
	fake_result(&daemon_, req, "k-1", 55, "PICTURE");
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), ticket);
	cr_assert_eq(latentd_result_id(result), 1055);
	cr_assert_str_eq(latentd_result_key(result), "k-1");
	cr_assert_eq(latentd_result_error(result), LATENTD_OK);
	cr_assert_str_eq(latentd_result_message(result), "");
	cr_assert_eq(latentd_result_output(result), LATENTD_OUT_PNG);
	cr_assert_eq(latentd_result_tensor(result)->ndim, 0);
	cr_assert_eq(latentd_result_parts(result), 1);
	cr_assert_arr_eq(latentd_result_part(result, 0, &bytes), "PICTURE", 7);
	cr_assert_eq(bytes, 7);
	cr_assert_null(latentd_result_part(result, 1, &bytes));
	cr_assert_eq(latentd_result_width_px(result), 512);
	cr_assert_eq(latentd_result_height_px(result), 256);
	cr_assert_eq(latentd_result_frames(result), 1);
	cr_assert_str_eq(latentd_result_endpoint(result), "gpu-1");
	cr_assert_eq(latentd_result_attempts(result), 2);
	cr_assert_eq(latentd_result_queued_ms(result), 3);
	cr_assert_eq(latentd_result_decode_ms(result), 4);
	cr_assert_eq(latentd_result_finish_ms(result), 5);
	latentd_result_free(result);
	/* It is acknowledged by the COLLECT for the next. */
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], 55);
	cr_assert_gt(req->in.collect.wait_ms, 0);
	fake_empty(&daemon_, req, 0);
	/* Nothing is pending any more, and nothing is asked for. */
	assert_silent(client);
	latentd_client_close(client);
}

Test(client, result_outlives_its_client)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	size_t bytes;

	submit_accepted(client, "k-1");
	latentd_client_fd(client);
	fake_result(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "k-1", 1,
	    "PICTURE");
	result = collect(client);
	latentd_client_close(client);
	cr_assert_arr_eq(latentd_result_part(result, 0, &bytes), "PICTURE", 7);
	latentd_result_free(result);
}

Test(client, descriptor_is_readable_exactly_while_a_result_waits)
{
	struct latentd_client *client = open_named();
	int fd = latentd_client_fd(client);
	struct latentd_result *first, *second;
	struct request *req;

	cr_assert_not(is_readable(fd, 0));
	submit_accepted(client, "a");
	submit_accepted(client, "b");
	cr_assert_not(is_readable(fd, 0));
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 1, "A");
	cr_assert(is_readable(fd, PATIENCE_MS));
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "b", 2, "B");
	first = collect(client);
	cr_assert_str_eq(latentd_result_key(first), "a");
	second = collect(client);
	cr_assert_str_eq(latentd_result_key(second), "b");
	cr_assert_not(is_readable(fd, 0));
	latentd_result_free(first);
	latentd_result_free(second);
	/* Both acknowledgements may ride on one COLLECT. */
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks[0], 1);
	if (req->in.collect.acks_n == 1) {
		fake_empty(&daemon_, req, 0);
		req = fake_take(&daemon_, MESSAGE_COLLECT);
	}
	cr_assert_eq(req->in.collect.acks[req->in.collect.acks_n - 1], 2);
	fake_empty(&daemon_, req, 0);
	latentd_client_close(client);
}

/* Of one letter, each but once; of those that end together any is first. */
static void
collect_another(struct latentd_client *client, unsigned *seen)
{
	struct latentd_result *result = collect(client);
	const char *key = latentd_result_key(result);
	unsigned bit = 1u << (key[0] - 'a');

	cr_assert_eq(strlen(key), 1);
	cr_assert_eq(*seen & bit, 0, "%s was collected twice", key);
	*seen |= bit;
	latentd_result_free(result);
}

Test(client, results_are_fetched_ahead_within_bounds)
{
	static const char *const keys[] = {"a", "b", "c", "d", "e"};
	struct latentd_client *client = open_named();
	struct latentd_result *first;
	unsigned seen = 0;

	for (size_t i = 0; i < 5; i++)
		submit_accepted(client, keys[i]);
	latentd_client_fd(client);
	for (size_t i = 0; i < 4; i++)
		fake_result(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT),
		    keys[i], i, "X");
	/* The reply to the first STATUS comes after the fourth result. */
	assert_silent(client);
	assert_silent(client);
	cr_assert_eq(latentd_client_pending(client), 5);
	first = collect(client);
	seen = 1u << (latentd_result_key(first)[0] - 'a');
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "e", 5, "X");
	latentd_result_free(first);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	for (size_t i = 1; i < 5; i++) {
		collect_another(client, &seen);
		fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	}
	cr_assert_eq(seen, 0x1f);
	cr_assert_eq(latentd_client_pending(client), 0);
	latentd_client_close(client);
}

Test(client, a_client_that_only_submits_takes_no_results)
{
	struct latentd_client *client = open_named();

	submit_accepted(client, "a");
	assert_silent(client);
	latentd_client_close(client);
}

Test(client, a_result_delivered_twice_is_given_once)
{
	struct latentd_client *client = open_named();
	struct latentd_result *result;
	struct request *req, *ack;

	submit_accepted(client, "a");
	submit_accepted(client, "b");
	latentd_client_fd(client);
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 1, "A");
	result = collect(client);
	/* While the application holds it: neither given nor acknowledged. */
	fake_result(
	    &daemon_, fake_take(&daemon_, MESSAGE_COLLECT), "a", 2, "A");
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 0);
	latentd_result_free(result);
	ack = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(ack->in.collect.acks_n, 1);
	cr_assert_eq(ack->in.collect.acks[0], 2);
	fake_empty(&daemon_, ack, 1);
	/* After it is freed: acknowledged and dropped. */
	fake_result(&daemon_, req, "a", 3, "A");
	req = fake_take(&daemon_, MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], 3);
	fake_result(&daemon_, req, "b", 4, "B");
	result = collect(client);
	cr_assert_str_eq(latentd_result_key(result), "b");
	latentd_result_free(result);
	fake_empty(&daemon_, fake_take(&daemon_, MESSAGE_COLLECT), 0);
	latentd_client_close(client);
}
