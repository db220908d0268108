/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One REP socket; every request is received into a context of its own, which
 * lives until the reply.
 */
#include "fake_daemon.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <nng/protocol/reqrep0/rep.h>

#define IPC "ipc://"
#define PATIENCE_MS 60000
#define TRY_MS 20

static void
listen_at(struct fake_daemon *d)
{
	cr_assert_eq(nng_rep0_open(&d->socket), 0);
	cr_assert_eq(nng_listen(d->socket, d->url, NULL, 0), 0);
}

static void
init(struct fake_daemon *d, uint64_t instance)
{
	memset(d, 0, sizeof(*d));
	TAILQ_INIT(&d->backlog);
	d->instance = instance;
}

void
fake_open(struct fake_daemon *d, uint64_t instance)
{
	init(d, instance);
	snprintf(d->url, sizeof(d->url), IPC "/tmp/latentd-unit-%d.sock",
	    (int)getpid());
	listen_at(d);
}

void
fake_open_tcp(struct fake_daemon *d, uint64_t instance)
{
	nng_listener listener;
	nng_sockaddr at;

	init(d, instance);
	cr_assert_eq(nng_rep0_open(&d->socket), 0);
	cr_assert_eq(
	    nng_listen(d->socket, "tcp://127.0.0.1:0", &listener, 0), 0);
	cr_assert_eq(nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &at), 0);
	snprintf(d->url, sizeof(d->url), "tcp://127.0.0.1:%d",
	    ntohs(at.s_in.sa_port));
}

static void
request_free(struct request *req)
{
	nng_ctx_close(req->ctx);
	nng_msg_free(req->msg);
	free(req);
}

void
fake_close(struct fake_daemon *d)
{
	struct request *req;

	while ((req = TAILQ_FIRST(&d->backlog)) != NULL) {
		TAILQ_REMOVE(&d->backlog, req, entry);
		request_free(req);
	}
	nng_close(d->socket);
	if (strncmp(d->url, IPC, strlen(IPC)) == 0)
		unlink(d->url + strlen(IPC));
}

void
fake_reopen(struct fake_daemon *d, uint64_t instance)
{
	fake_close(d);
	d->instance = instance;
	listen_at(d);
}

/* NULL when none came in time. */
static struct request *
receive_within(struct fake_daemon *d, nng_duration ms)
{
	struct request *req = calloc(1, sizeof(*req));
	struct reason why;
	nng_aio *aio;
	int rv;

	cr_assert_eq(nng_ctx_open(&req->ctx, d->socket), 0);
	cr_assert_eq(nng_aio_alloc(&aio, NULL, NULL), 0);
	nng_aio_set_timeout(aio, ms);
	nng_ctx_recv(req->ctx, aio);
	nng_aio_wait(aio);
	rv = nng_aio_result(aio);
	if (rv == 0)
		req->msg = nng_aio_get_msg(aio);
	nng_aio_free(aio);
	if (rv != 0) {
		request_free(req);
		return NULL;
	}
	cr_assert_eq(message_frame(nng_msg_body(req->msg),
			 nng_msg_len(req->msg), &req->frame, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(message_decode(&req->frame, &req->scratch, &req->in, &why),
	    LATENTD_OK, "%s", why.text);
	return req;
}

static struct request *
receive(struct fake_daemon *d)
{
	struct request *req = receive_within(d, PATIENCE_MS);

	cr_assert_not_null(req, "no request came");
	return req;
}

struct request *
fake_next(struct fake_daemon *d)
{
	struct request *req = TAILQ_FIRST(&d->backlog);

	if (req == NULL)
		return receive(d);
	TAILQ_REMOVE(&d->backlog, req, entry);
	return req;
}

struct request *
fake_try(struct fake_daemon *d)
{
	return TAILQ_EMPTY(&d->backlog) ? receive_within(d, TRY_MS)
					: fake_next(d);
}

struct request *
fake_take(struct fake_daemon *d, enum message_type type)
{
	struct request *req;

	TAILQ_FOREACH(req, &d->backlog, entry)
	{
		if (req->frame.type == type) {
			TAILQ_REMOVE(&d->backlog, req, entry);
			return req;
		}
	}
	while ((req = receive(d))->frame.type != type)
		TAILQ_INSERT_TAIL(&d->backlog, req, entry);
	return req;
}

void
fake_await(struct fake_daemon *d, enum message_type type)
{
	struct request *req = fake_take(d, type);

	TAILQ_INSERT_HEAD(&d->backlog, req, entry);
}

static void
reply_msg(struct request *req, nng_msg *msg)
{
	nng_aio *aio;

	cr_assert_eq(nng_aio_alloc(&aio, NULL, NULL), 0);
	nng_aio_set_msg(aio, msg);
	nng_ctx_send(req->ctx, aio);
	nng_aio_wait(aio);
	cr_assert_eq(nng_aio_result(aio), 0);
	nng_aio_free(aio);
	request_free(req);
}

void
fake_reply_raw(struct request *req, const void *data, size_t bytes)
{
	nng_msg *msg;

	cr_assert_eq(nng_msg_alloc(&msg, bytes), 0);
	memcpy(nng_msg_body(msg), data, bytes);
	reply_msg(req, msg);
}

void
fake_reply(struct request *req, enum message_type type, const void *in,
    const void *body, size_t body_bytes)
{
	uint8_t front[MESSAGE_FRONT_BYTES];
	size_t n = message_encode(type, in, body_bytes, front, sizeof(front));
	nng_msg *msg;

	cr_assert_gt(n, 0);
	cr_assert_eq(nng_msg_alloc(&msg, n + body_bytes), 0);
	memcpy(nng_msg_body(msg), front, n);
	if (body_bytes > 0)
		memcpy((uint8_t *)nng_msg_body(msg) + n, body, body_bytes);
	reply_msg(req, msg);
}

static struct text
as_text(const char *s)
{
	return (struct text){s, strlen(s)};
}

void
fake_welcome(struct fake_daemon *d, struct request *req)
{
	struct message_welcome in = {.version = as_text("0.1.0"),
	    .instance = d->instance,
	    .max_body_bytes = 1 << 26,
	    .max_wait_ms = 25000};

	fake_reply(req, MESSAGE_WELCOME, &in, NULL, 0);
}

void
fake_accept(struct fake_daemon *d, struct request *req, uint64_t id)
{
	struct message_accepted in = {.instance = d->instance,
	    .id = id,
	    .state = JOB_QUEUED,
	    .durability = LATENTD_DURABILITY_SPOOLED};

	fake_reply(req, MESSAGE_ACCEPTED, &in, NULL, 0);
}

void
fake_busy(struct fake_daemon *d, struct request *req, uint64_t ms)
{
	struct message_busy in = {.instance = d->instance,
	    .reason = as_text("jobs"),
	    .retry_after_ms = ms};

	fake_reply(req, MESSAGE_BUSY, &in, NULL, 0);
}

void
fake_reject(struct request *req, enum latentd_err code, const char *message)
{
	struct message_rejected in = {code, as_text(message)};

	fake_reply(req, MESSAGE_REJECTED, &in, NULL, 0);
}

void
fake_empty(struct fake_daemon *d, struct request *req, uint64_t pending)
{
	struct message_empty in = {.instance = d->instance, .pending = pending};

	fake_reply(req, MESSAGE_EMPTY, &in, NULL, 0);
}

void
fake_result(struct fake_daemon *d, struct request *req, const char *key,
    uint64_t tag, const char *body)
{
	uint64_t bytes = strlen(body);
	struct message_result in = {
	    .instance = d->instance,
	    .tag = tag,
	    .id = tag + 1000,
	    .key = as_text(key),
	    .state = JOB_DONE,
	    .code = LATENTD_OK,
	    .output = LATENTD_OUT_PNG,
	    .part_bytes = &bytes,
	    .part_bytes_n = 1,
	    .width_px = 512,
	    .height_px = 256,
	    .frames = 1,
	    .endpoint = as_text("gpu-1"),
	    .attempts = 2,
	    .queued_ms = 3,
	    .decode_ms = 4,
	    .finish_ms = 5,
	};

	fake_reply(req, MESSAGE_RESULT, &in, body, bytes);
}

void
fake_cancelled(
    struct fake_daemon *d, struct request *req, const char *key, uint64_t tag)
{
	struct message_result in = {
	    .instance = d->instance,
	    .tag = tag,
	    .id = tag + 1000,
	    .key = as_text(key),
	    .state = JOB_CANCELLED,
	    .code = LATENTD_ERR_CANCELLED,
	    .message = as_text("cancelled by its producer"),
	};

	fake_reply(req, MESSAGE_RESULT, &in, NULL, 0);
}

bool
fake_text_is(struct text text, const char *s)
{
	return text.bytes == strlen(s) && memcmp(text.at, s, text.bytes) == 0;
}
