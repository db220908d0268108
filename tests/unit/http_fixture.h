/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server on a thread of its own, and the client that a test is.
 */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "base/http_uv.h"

#define PATIENCE_S 60
#define MAX_BODY ((size_t)4 * 1024 * 1024)
#define BREAK_BYTES ((size_t)100000)
#define BIG_BYTES ((size_t)3 * 1024 * 1024)

enum order { ORDER_NONE, ORDER_ANSWER, ORDER_DROP, ORDER_DRAIN, ORDER_CLOSE };

/* One per process: Criterion gives every test its own. */
extern struct fixture {
	uv_thread_t thread;
	uv_loop_t loop;
	uv_async_t async;
	uv_sem_t opened;
	struct http_options options;
	struct http_server *server;
	struct http_request *held;
	unsigned port;
	enum latentd_err err;
	struct reason why;
	char *big;
	atomic_int order;
	atomic_int held_n;
	atomic_int gone_n;
	atomic_int freed_n;
	atomic_int drained_n;
	atomic_int closed_n;
} fix;

/*
 * server_start(): serve with fix.options, whose zeros mean defaults.  Answers:
 * "/big" BIG_BYTES bytes, "/query" the parameters up to "last", "/header" the
 * header X-Name with 404, "/later" when ordered, "/local" whether the peer is,
 * "/drop" with a reset, "/break/HOW" BIG_BYTES that end, reset, stall or pause
 * after BREAK_BYTES, or stall at once, else "METHOD PATH bytes sum".
 * server_order(what): have the server's thread answer or drop the held request,
 * drain, or close.
 * server_finish(): close if nobody did, and check that it closed once.
 */
void server_start(void);
void server_order(enum order what);
void server_finish(void);

/* server_wait(count, least): until the server has counted so far. */
void server_wait(atomic_int *count, int least);

struct reply {
	int status;
	char head[2048];
	char *body; /* malloc'd, NUL-ended */
	size_t bytes;
	bool closes; /* says Connection: close */
};

/* client_dial(): a connection to the server, or -1. */
int client_dial(void);
void client_put_bytes(int fd, const char *data, size_t bytes);
void client_put(int fd, const char *text);
void client_put_request(int fd, const char *method, const char *path,
    const char *extra, size_t body_bytes);

/* What must come next, or the test fails. */
void client_get_head(int fd, struct reply *reply);
void client_get_reply(int fd, struct reply *reply, bool head_only);
void client_expect_body(int fd, const char *text);
void client_expect_status(int fd, int status);
void client_expect_end(int fd);

/* body_pattern(bytes, summary, request): a malloc'd body and, in ${summary} (64
 * bytes), the server's answer to it. */
char *body_pattern(size_t bytes, char *summary, const char *request);

#endif
