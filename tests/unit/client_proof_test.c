/* SPDX-License-Identifier: Apache-2.0 */
/* liblatentd: how a client shows the daemon that it knows its secret, and wants
 * to be shown the same. */
#include <string.h>

#include <criterion/criterion.h>

#include "../support/client_setup.h"
#include "proof.h"

#define SECRET "a secret of the test's"

TestSuite(client_proof, .init = setup, .fini = teardown);

static const char nonces[3][PROOF_NONCE_BYTES + 1] = {
    "0123456789abcdef0123456789abcdef", "ABCDEF0123456789ABCDEF0123456789",
    "fedcba9876543210fedcba9876543210"};

/* The next request of that type, which must not show the secret itself. */
static struct request *
take(enum message_type type)
{
	struct request *req = fake_take(&daemon_, type);

	cr_assert_null(memmem(nng_msg_body(req->msg), nng_msg_len(req->msg),
			   SECRET, strlen(SECRET)),
	    "%s has it", message_type_name(type));
	return req;
}

static void
challenge(struct request *req, int i)
{
	struct message_challenge in = {.instance = daemon_.instance,
	    .nonce = {nonces[i], PROOF_NONCE_BYTES}};

	fake_reply(req, MESSAGE_CHALLENGE, &in, NULL, 0);
}

/* What the proof in ${req} must have been made of. */
static struct proof_input
input_of(const struct request *req, int i)
{
	const struct message_hello *hello = &req->in.hello;
	struct proof_input in = {.secret = {SECRET, strlen(SECRET)},
	    .producer = {"unit", 4},
	    .instance = daemon_.instance};

	cr_assert_eq(hello->nonce.bytes, PROOF_NONCE_BYTES);
	cr_assert_eq(hello->salt.bytes, PROOF_NONCE_BYTES);
	cr_assert_eq(memcmp(hello->nonce.at, nonces[i], PROOF_NONCE_BYTES), 0);
	memcpy(in.nonce, nonces[i], PROOF_NONCE_BYTES);
	memcpy(in.salt, hello->salt.at, PROOF_NONCE_BYTES);
	return in;
}

/* Check the proof, and welcome with the daemon's or a wrong one. */
static void
welcome(struct request *req, int i, bool right)
{
	struct proof_input in = input_of(req, i);
	struct message_welcome out = {.version = {"0.1.0", 5},
	    .instance = daemon_.instance,
	    .max_body_bytes = 1 << 26,
	    .max_wait_ms = 25000};
	uint8_t own[PROOF_BYTES];

	cr_assert(proof_check(PROOF_PRODUCER, &in, req->in.hello.proof));
	cr_assert(proof_make(PROOF_DAEMON, &in, own));
	own[0] ^= !right;
	out.proof = (struct text){(const char *)own, sizeof(own)};
	fake_reply(req, MESSAGE_WELCOME, &out, NULL, 0);
}

static void *
daemon_with_secret(void *arg)
{
	struct request *req = take(MESSAGE_HELLO);

	cr_assert_eq(req->in.hello.proof.bytes, 0);
	challenge(req, 0);
	welcome(take(MESSAGE_HELLO), 0, *(bool *)arg);
	return NULL;
}

static enum latentd_err
open_at(bool right, struct latentd_client **client)
{
	const struct latentd_client_options options = {.url = daemon_.url,
	    .producer = "unit",
	    .secret = SECRET,
	    .secret_bytes = strlen(SECRET),
	    .connect_timeout_ms = PATIENCE_MS};
	enum latentd_err err;
	pthread_t thread;

	cr_assert_eq(
	    pthread_create(&thread, NULL, daemon_with_secret, &right), 0);
	err = latentd_client_open(client, &options);
	pthread_join(thread, NULL);
	return err;
}

static struct latentd_client *
open_proved(void)
{
	struct latentd_client *client;

	cr_assert_eq(open_at(true, &client), LATENTD_OK, "%s",
	    latentd_client_error(NULL));
	return client;
}

Test(client_proof, a_challenge_is_answered_with_a_proof)
{
	latentd_client_close(open_proved());
}

Test(client_proof, a_daemon_that_does_not_know_the_secret_is_refused)
{
	struct latentd_client *client;

	cr_assert_eq(open_at(false, &client), LATENTD_ERR_DENIED);
	cr_assert_not_null(
	    strstr(latentd_client_error(NULL), "does not know the secret"));
	cr_assert_null(strstr(latentd_client_error(NULL), SECRET));
}

static void *
ask_for_proof(void *arg)
{
	(void)arg;
	challenge(take(MESSAGE_HELLO), 0);
	return NULL;
}

Test(client_proof, who_has_no_secret_is_told_that_one_is_needed)
{
	const struct latentd_client_options options = {.url = daemon_.url,
	    .producer = "unit",
	    .connect_timeout_ms = PATIENCE_MS};
	struct latentd_client *client;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, ask_for_proof, NULL), 0);
	cr_assert_eq(
	    latentd_client_open(&client, &options), LATENTD_ERR_DENIED);
	cr_assert_not_null(strstr(
	    latentd_client_error(NULL), "secret that is configured there"));
	pthread_join(thread, NULL);
}

Test(client_proof, what_a_challenge_met_is_sent_again_after_the_proof)
{
	struct latentd_client *client = open_proved();
	struct request *submit_req, *collect_req, *cancel_req;
	uint64_t ticket = submit_accepted(client, "old");
	struct latentd_result *result;

	submit(client, "new");
	latentd_client_fd(client);
	cr_assert_eq(latentd_cancel(client, ticket), LATENTD_OK);
	submit_req = take(MESSAGE_SUBMIT);
	collect_req = take(MESSAGE_COLLECT);
	cancel_req = take(MESSAGE_CANCEL);
	challenge(submit_req, 1);
	challenge(collect_req, 1);
	challenge(cancel_req, 1);
	welcome(take(MESSAGE_HELLO), 1, true);
	submit_req = take(MESSAGE_SUBMIT);
	cr_assert(fake_text_is(submit_req->in.submit.key, "new"));
	fake_accept(&daemon_, submit_req, 5);
	cancel_req = take(MESSAGE_CANCEL);
	cr_assert(fake_text_is(cancel_req->in.cancel.key, "old"));
	fake_reject(cancel_req, LATENTD_ERR_ENDED, "too late");
	fake_result(&daemon_, take(MESSAGE_COLLECT), "old", 1, "K");
	result = collect(client);
	cr_assert_eq(latentd_result_ticket(result), ticket);
	latentd_result_free(result);
	latentd_client_close(client);
}

Test(client_proof, acknowledgements_that_a_challenge_met_are_not_lost)
{
	struct latentd_client *client = open_proved();
	struct request *req;

	submit_accepted(client, "k");
	latentd_client_fd(client);
	fake_result(&daemon_, take(MESSAGE_COLLECT), "k", 41, "K");
	latentd_result_free(collect(client));
	req = take(MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	challenge(req, 1);
	welcome(take(MESSAGE_HELLO), 1, true);
	req = take(MESSAGE_COLLECT);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], 41);
	fake_empty(&daemon_, req, 0);
	latentd_client_close(client);
}

Test(client_proof, a_question_that_a_challenge_met_is_asked_again)
{
	struct latentd_client *client = open_proved();
	struct message_report in = {daemon_.instance};
	struct status_call call = {.client = client};

	cr_assert_eq(pthread_create(&call.thread, NULL, call_status, &call), 0);
	challenge(take(MESSAGE_STATUS), 2);
	welcome(take(MESSAGE_HELLO), 2, true);
	fake_reply(take(MESSAGE_STATUS), MESSAGE_REPORT, &in, "{}", 2);
	pthread_join(call.thread, NULL);
	cr_assert_eq(call.err, LATENTD_OK);
	free(call.json);
	latentd_client_close(client);
}

Test(client_proof, a_new_connection_proves_before_it_asks)
{
	struct latentd_client *client = open_proved();
	struct request *req;

	submit_accepted(client, "k");
	fake_reopen(&daemon_, 8);
	req = fake_next(&daemon_);
	cr_assert_eq(req->frame.type, MESSAGE_HELLO);
	cr_assert_eq(req->in.hello.proof.bytes, 0);
	challenge(req, 1);
	welcome(take(MESSAGE_HELLO), 1, true);
	req = take(MESSAGE_SUBMIT);
	cr_assert(fake_text_is(req->in.submit.key, "k"));
	fake_accept(&daemon_, req, 1);
	latentd_client_close(client);
}

Test(client_proof, a_secret_that_is_wrong_now_is_told_and_tried_again)
{
	struct latentd_client *client = open_proved();
	struct latentd_result *result;

	submit_accepted(client, "k");
	fake_reopen(&daemon_, 7);
	fake_reject(take(MESSAGE_HELLO), LATENTD_ERR_DENIED, "another secret");
	/* Also to who polls. */
	cr_assert(is_readable(latentd_client_fd(client), PATIENCE_MS));
	cr_assert_eq(latentd_collect(client, 0, &result), LATENTD_ERR_DENIED);
	cr_assert_str_eq(latentd_client_error(client), "another secret");
	challenge(take(MESSAGE_HELLO), 1);
	welcome(take(MESSAGE_HELLO), 1, true);
	fake_result(&daemon_, take(MESSAGE_COLLECT), "k", 1, "K");
	latentd_result_free(collect(client));
	latentd_client_close(client);
}

static void *
list_jobs(void *arg)
{
	struct status_call *call = arg;

	call->err = latentd_jobs(call->client, NULL, PATIENCE_MS, &call->json);
	return NULL;
}

static void *
ask_why(void *arg)
{
	struct status_call *call = arg;

	call->err =
	    latentd_why(call->client, 1, NULL, PATIENCE_MS, &call->json);
	return NULL;
}

static void *
kick(void *arg)
{
	struct status_call *call = arg;

	call->err = latentd_kick(call->client, 1, PATIENCE_MS);
	return NULL;
}

Test(client_proof, no_question_shows_the_secret)
{
	static void *(*const calls[])(void *) = {list_jobs, ask_why, kick};
	static const enum message_type types[] = {
	    MESSAGE_LIST, MESSAGE_WHY, MESSAGE_ADMIN};
	struct latentd_client *client = open_proved();

	for (size_t i = 0; i < 3; i++) {
		struct status_call call = {.client = client};

		cr_assert_eq(
		    pthread_create(&call.thread, NULL, calls[i], &call), 0);
		fake_reject(take(types[i]), LATENTD_ERR_DENIED, "no");
		pthread_join(call.thread, NULL);
		cr_assert_eq(call.err, LATENTD_ERR_DENIED);
	}
	latentd_client_close(client);
}
