/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of liblatentd share: clients of a daemon that the test plays
 * (fake_daemon.h).
 */
#ifndef SUPPORT_CLIENT_SETUP_H
#define SUPPORT_CLIENT_SETUP_H

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fake_daemon.h"
#include "latentd/client.h"

#define PATIENCE_MS 60000

static struct fake_daemon daemon_;

static inline void
setup(void)
{
	fake_open(&daemon_, 7);
}

static inline void
teardown(void)
{
	fake_close(&daemon_);
}

static inline void *
answer_hello(void *arg)
{
	(void)arg;
	fake_welcome(&daemon_, fake_take(&daemon_, MESSAGE_HELLO));
	return NULL;
}

static inline struct latentd_client *
open_with(struct latentd_client_options *options)
{
	struct latentd_client *client;
	pthread_t thread;

	options->url = daemon_.url;
	options->connect_timeout_ms = PATIENCE_MS;
	cr_assert_eq(pthread_create(&thread, NULL, answer_hello, NULL), 0);
	cr_assert_eq(latentd_client_open(&client, options), LATENTD_OK, "%s",
	    latentd_client_error(NULL));
	pthread_join(thread, NULL);
	return client;
}

static inline struct latentd_client *
open_named(void)
{
	struct latentd_client_options options = {.producer = "unit"};

	return open_with(&options);
}

static inline struct latentd_client *
open_anonymous(void)
{
	struct latentd_client_options options = {0};

	return open_with(&options);
}

static const struct latentd_tensor sixteen = {LATENTD_F16, 4, {1, 4, 2, 2}};

static inline struct latentd_request
request_of(const char *key, const char data[static 32])
{
	struct latentd_request request = {.model = "sdxl",
	    .tensor = sixteen,
	    .data = data,
	    .data_bytes = 32,
	    .output = LATENTD_OUT_PNG,
	    .key = key};

	return request;
}

static const char data[32] = "0123456789abcdef0123456789abcde";

static inline uint64_t
submit(struct latentd_client *client, const char *key)
{
	struct latentd_request request = request_of(key, data);
	uint64_t ticket = 0;

	cr_assert_eq(latentd_submit(client, &request, 0, &ticket), LATENTD_OK,
	    "%s", latentd_client_error(client));
	cr_assert_neq(ticket, 0);
	return ticket;
}

/* Submit, and let the daemon accept. */
static inline uint64_t
submit_accepted(struct latentd_client *client, const char *key)
{
	uint64_t ticket = submit(client, key);
	struct request *req = fake_take(&daemon_, MESSAGE_SUBMIT);

	cr_assert(fake_text_is(req->in.submit.key, key));
	fake_accept(&daemon_, req, ticket + 100);
	cr_assert_eq(
	    latentd_wait_accepted(client, ticket, PATIENCE_MS), LATENTD_OK);
	return ticket;
}

static inline struct latentd_result *
collect(struct latentd_client *client)
{
	struct latentd_result *result;

	cr_assert_eq(latentd_collect(client, PATIENCE_MS, &result), LATENTD_OK,
	    "%s", latentd_client_error(client));
	return result;
}

/* An acknowledgement on its own. */
static inline void
take_ack(uint64_t tag)
{
	struct request *req = fake_take(&daemon_, MESSAGE_COLLECT);

	cr_assert_eq(req->in.collect.wait_ms, 0);
	cr_assert_eq(req->in.collect.acks_n, 1);
	cr_assert_eq(req->in.collect.acks[0], tag);
	fake_empty(&daemon_, req, 1);
}

static inline bool
is_readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

struct status_call {
	struct latentd_client *client;
	pthread_t thread;
	char *json;
	enum latentd_err err;
};

static inline void *
call_status(void *arg)
{
	struct status_call *call = arg;

	call->err = latentd_status(call->client, PATIENCE_MS, &call->json);
	return NULL;
}

/*
 * Nothing else is on its way: what a client sends arrives in order, so a
 * STATUS that is the next to arrive shows that nothing was sent before it.
 */
static inline void
assert_silent(struct latentd_client *client)
{
	struct message_report in = {daemon_.instance};
	struct status_call call = {.client = client};
	struct request *req;

	cr_assert(TAILQ_EMPTY(&daemon_.backlog));
	cr_assert_eq(pthread_create(&call.thread, NULL, call_status, &call), 0);
	req = fake_next(&daemon_);
	cr_assert_eq(req->frame.type, MESSAGE_STATUS, "a %s was sent",
	    message_type_name(req->frame.type));
	fake_reply(req, MESSAGE_REPORT, &in, "{}", 2);
	pthread_join(call.thread, NULL);
	cr_assert_eq(call.err, LATENTD_OK);
	cr_assert_str_eq(call.json, "{}");
	free(call.json);
}

/* Close a named client, giving it the acknowledgement it may ask for. */
static inline void *
close_client(void *arg)
{
	latentd_client_close(arg);
	return NULL;
}

#endif
