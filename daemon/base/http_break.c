/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies that break off.  Their body is read by MHD piece by piece from a
 * callback, which ends, resets or stalls when it comes to the place.  A stalled
 * reply's connection is suspended until its time is over, its peer hangs up
 * (http_uv.c watches) or the server drains.
 *
 * A reset is connect() to AF_UNSPEC, which has the kernel send RST at once and
 * leaves the descriptor to MHD; SO_LINGER would not do, because MHD sends FIN
 * before it closes.
 *
 * Everything runs on the loop thread.
 */
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/http_private.h"

#define PIECE_BYTES ((size_t)32 * 1024)

/* The body of a response that breaks off; lives as long as the response. */
struct broken_body {
	struct http_request *request; /* outlives the last read */
	const unsigned char *data;
	size_t bytes;
	void (*free_body)(void *);
	void *free_arg;
};

static int
descriptor(const struct http_request *r)
{
	return MHD_get_connection_info(
	    r->connection, MHD_CONNECTION_INFO_CONNECTION_FD)
	    ->connect_fd;
}

/* MHD holds back the head until the body comes. */
static void
flush(int fd)
{
	const int off = 0, on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void
reset(int fd)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};

	/* It fails only when the connection is gone already. */
	(void)connect(fd, &none, sizeof(none));
}

/* ---- stalling ---- */

static void
stall_end(struct http_request *r)
{
	TAILQ_REMOVE(&r->server->stalled, r, stall_link);
	r->stalled = false;
}

/* Go on with the reply, or break it off for good. */
static void
stall_resume(struct http_request *r, enum http_break how)
{
	stall_end(r);
	r->break_how = how;
	http_exchange_begin(r->connection);
	http_request_resume(r);
	http_server_run_soon(r->server);
}

static void
on_stall_over(uv_timer_t *timer)
{
	struct http_server *server = timer->data;
	const uint64_t now_ms = uv_now(server->loop);
	uint64_t first_ms = UINT64_MAX;
	struct http_request *r, *next;

	assert(server->magic == HTTP_SERVER_MAGIC);
	for (r = TAILQ_FIRST(&server->stalled); r != NULL; r = next) {
		next = TAILQ_NEXT(r, stall_link);
		if (r->stalled_until_ms <= now_ms)
			stall_resume(r, HTTP_BREAK_NONE);
		else if (r->stalled_until_ms < first_ms)
			first_ms = r->stalled_until_ms;
	}
	if (first_ms != UINT64_MAX)
		uv_timer_start(timer, on_stall_over, first_ms - now_ms, 0);
}

static ssize_t
stall_begin(struct http_request *r)
{
	struct http_server *server = r->server;
	uv_timer_t *timer = &server->stall;
	const uint64_t ms = r->stall_ms;

	if (server->draining || server->closing)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	r->stalled_until_ms = ms > 0 ? uv_now(server->loop) + ms : UINT64_MAX;
	r->stalled = true;
	TAILQ_INSERT_TAIL(&server->stalled, r, stall_link);
	r->suspended = true;
	MHD_suspend_connection(r->connection);
	http_exchange_wait(r->connection, r);
	if (ms > 0 &&
	    (!uv_is_active((uv_handle_t *)timer) ||
		uv_timer_get_due_in(timer) > ms))
		uv_timer_start(timer, on_stall_over, ms, 0);
	return 0;
}

void
http_break_hangup(struct http_request *r)
{
	stall_resume(r, HTTP_BREAK_END);
}

void
http_break_forget(struct http_request *r)
{
	if (r->stalled)
		stall_end(r);
}

void
http_break_drain(struct http_server *server)
{
	struct http_request *r;

	while ((r = TAILQ_FIRST(&server->stalled)) != NULL)
		stall_resume(r, HTTP_BREAK_END);
}

/* ---- the response ---- */

static ssize_t
break_off(struct http_request *r)
{
	flush(descriptor(r));
	if (r->break_how == HTTP_BREAK_STALL)
		return stall_begin(r);
	if (r->break_how == HTTP_BREAK_RESET)
		reset(descriptor(r));
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static ssize_t
on_read(void *cls, uint64_t at, char *to, size_t max)
{
	const struct broken_body *body = cls;
	struct http_request *r = body->request;
	size_t n = body->bytes - (size_t)at;

	if (r->break_how != HTTP_BREAK_NONE) {
		if (at >= r->break_after_bytes)
			return break_off(r);
		if (n > r->break_after_bytes - at)
			n = r->break_after_bytes - (size_t)at;
	}
	if (n > max)
		n = max;
	memcpy(to, body->data + at, n);
	return (ssize_t)n;
}

static void
on_response_free(void *cls)
{
	struct broken_body *body = cls;

	if (body->free_body != NULL)
		body->free_body(body->free_arg);
	free(body);
}

struct MHD_Response *
http_break_response(struct http_request *r, const void *data, size_t bytes,
    void (*free_body)(void *), void *free_arg)
{
	struct broken_body *body = malloc(sizeof(*body));
	struct MHD_Response *response;

	if (body == NULL)
		return NULL;
	*body = (struct broken_body){r, data, bytes, free_body, free_arg};
	response = MHD_create_response_from_callback(
	    bytes, PIECE_BYTES, on_read, body, on_response_free);
	if (response == NULL)
		free(body);
	return response;
}

void
http_break(struct http_request *r, enum http_break how, size_t after_bytes,
    uint64_t stall_ms)
{
	assert(r->magic == HTTP_REQUEST_MAGIC && !r->answered);
	r->break_how = how;
	r->break_after_bytes = after_bytes;
	r->stall_ms = stall_ms;
}

void
http_drop(struct http_request *r)
{
	assert(r->magic == HTTP_REQUEST_MAGIC);
	assert((r->delivered || r->in_handler) && !r->answered);
	r->answered = true;
	r->dropped = true;
	http_body_free(r);
	reset(descriptor(r));
	if (r->in_handler)
		return;
	/* Its handler is called again, finds no response and closes. */
	http_exchange_begin(r->connection);
	http_request_resume(r);
	http_server_run_soon(r->server);
}
