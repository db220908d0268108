/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon that a unit test plays by itself: it takes the requests that it asks
 * for, in any order, and answers them with what it likes.  Every wait ends
 * with a failed test after a while.
 */
#ifndef SUPPORT_FAKE_DAEMON_H
#define SUPPORT_FAKE_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <nng/nng.h>

#include "message.h"

/* A request that waits for its reply. */
struct request {
	TAILQ_ENTRY(request) entry;
	nng_ctx ctx;
	nng_msg *msg;
	struct message_frame frame;
	struct message_scratch scratch;
	union message_any in;
};

TAILQ_HEAD(request_list, request);

struct fake_daemon {
	nng_socket socket;
	char url[64];
	uint64_t instance;
	struct request_list backlog;
};

/* fake_open(d, instance): listen at a URL of this process's own.
 * fake_open_tcp(d, instance): the same, at a port of loopback.
 * fake_reopen(d, instance): go away and come back, as after a crash;
 * unanswered requests are forgotten.  Nothing may be about to arrive, see
 * fake_await(): nng 1.5.2 never returns from nng_close() when it has read the
 * length of a message and not yet the message. */
void fake_open(struct fake_daemon *d, uint64_t instance);
void fake_open_tcp(struct fake_daemon *d, uint64_t instance);
void fake_reopen(struct fake_daemon *d, uint64_t instance);
void fake_close(struct fake_daemon *d);

/* fake_take(d, type): the oldest unanswered request of that type, waiting for
 * it.  fake_next(d): the oldest of any type. */
struct request *fake_take(struct fake_daemon *d, enum message_type type);
struct request *fake_next(struct fake_daemon *d);

/* fake_await(d, type): wait until such a request is here, and leave it. */
void fake_await(struct fake_daemon *d, enum message_type type);

/* fake_try(d): the same, or NULL after a short while without one; for loops
 * that end when something else has happened. */
struct request *fake_try(struct fake_daemon *d);

/* fake_reply(req, type, in, body, body_bytes): answer and free ${req}. */
void fake_reply(struct request *req, enum message_type type, const void *in,
    const void *body, size_t body_bytes);
/* The same with bytes that are no message. */
void fake_reply_raw(struct request *req, const void *data, size_t bytes);

/* Usual answers. */
void fake_welcome(struct fake_daemon *d, struct request *req);
void fake_accept(struct fake_daemon *d, struct request *req, uint64_t id);
void fake_busy(struct fake_daemon *d, struct request *req, uint64_t ms);
void fake_reject(
    struct request *req, enum latentd_err code, const char *message);
void fake_empty(struct fake_daemon *d, struct request *req, uint64_t pending);
/* A finished PNG of one part. */
void fake_result(struct fake_daemon *d, struct request *req, const char *key,
    uint64_t tag, const char *body);
void fake_cancelled(
    struct fake_daemon *d, struct request *req, const char *key, uint64_t tag);

/* fake_text_is(text, s): the same bytes. */
bool fake_text_is(struct text text, const char *s);

#endif
