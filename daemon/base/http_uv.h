/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 server on a uv loop: libmicrohttpd in external epoll mode, its
 * descriptor polled by uv.  Everything runs on the loop thread.
 */
#ifndef BASE_HTTP_UV_H
#define BASE_HTTP_UV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "latentd/errors.h"
#include "reason.h"

struct http_server;
struct http_request;

struct http_options {
	const char *listen; /* "127.0.0.1:8377", "[::1]:0" */
	/*
	 * Larger requests get 413 and are never stored.  What a refused
	 * request sends is read and dropped first, up to this limit and 64 MiB,
	 * because a client that is still sending when the connection closes
	 * never sees the reply; one that waits for 100 Continue is answered at
	 * once.
	 */
	uint64_t max_body_bytes;
	unsigned idle_timeout_s; /* silent connections are closed */
	/* How long receiving one request, from its connection's last reply or
	 * its beginning, and sending one reply may take; 0: for ever. */
	unsigned exchange_timeout_s;
	unsigned max_connections;
	/*
	 * on_headers(request, arg), may be NULL: its headers are there, its
	 * body is not.  http_reply() inside the call refuses it: on_request()
	 * then is not called.
	 */
	void (*on_headers)(struct http_request *request, void *arg);
	/*
	 * on_hold(request, bytes, arg), may be NULL: ${bytes} more of memory
	 * are wanted for its body: what was announced, or the next piece of a
	 * body of unknown length.  Returns whether it may have them; if not,
	 * it was refused with http_reply() inside the call.
	 */
	bool (*on_hold)(struct http_request *request, size_t bytes, void *arg);
	/*
	 * on_request(request, arg): the request is complete.  Answer it now or
	 * later with http_reply(), exactly once; until then ${request} and the
	 * strings and bytes it gives stay valid.
	 */
	void (*on_request)(struct http_request *request, void *arg);
	/*
	 * on_hangup(request, arg), may be NULL: the peer of an unanswered
	 * request has hung up, or will send no more.  ${request} stays valid
	 * and must be answered all the same.  At most once, never from inside
	 * on_request().
	 */
	void (*on_hangup)(struct http_request *request, void *arg);
	/*
	 * on_gone(request, arg), may be NULL: the connection of an unanswered
	 * request is closed (server stopping).  ${request} is invalid after
	 * the call and must not be answered.
	 */
	void (*on_gone)(struct http_request *request, void *arg);
	/*
	 * on_end(user, whole, arg), may be NULL: the request with this
	 * http_user() is over: its reply has left (${whole}) or its connection
	 * is gone, be it answered or not.  Once for every request that
	 * on_headers() was called for, after on_gone(); not for those whose
	 * user is NULL.  Its reply's body may be needed a little longer.
	 */
	void (*on_end)(void *user, bool whole, void *arg);
	void *arg;
};

/*
 * http_server_open(loop, options, server, why):
 * Listen and serve on ${loop}.  Fails with INVALID (address) or IO (in use),
 * ${*server} untouched.
 */
enum latentd_err http_server_open(uv_loop_t *loop,
    const struct http_options *options, struct http_server **server,
    struct reason *why);

/* http_server_port(server): the port in use, for ":0". */
unsigned http_server_port(const struct http_server *server);

/*
 * http_server_drain(server, drained, arg): accept no more connections, and
 * close each after its next reply.  Requests of connections that are open go
 * on arriving at on_request.  ${drained} is called once, when no request is
 * unanswered and every reply has left, also when that is so already.  It is the
 * caller's to bound the wait, with http_server_close(), after which ${drained}
 * is not called.
 */
void http_server_drain(
    struct http_server *server, void (*drained)(void *), void *arg);

/*
 * http_server_close(server, done, arg): stop listening, close connections
 * (replies that have not left are lost), free; ${done} (may be NULL) is called
 * when the last uv handle is closed.  NULL is a no-op without ${done}.
 */
void http_server_close(
    struct http_server *server, void (*done)(void *), void *arg);

/* The request: method (letter case as sent) and decoded path are never NULL; a
 * header is found in any letter case, NULL if absent; the body is in one
 * piece. */
const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request);
const char *http_header(const struct http_request *request, const char *name);
const void *http_body(const struct http_request *request, size_t *bytes);

/* http_body_free(request): the body is not needed any more, although the
 * request is not answered yet. */
void http_body_free(struct http_request *request);

/* http_set_user(request, user) / http_user(request): something of the owner's
 * that goes with the request; NULL at first. */
void http_set_user(struct http_request *request, void *user);
void *http_user(const struct http_request *request);

/* http_is_local(request): whether its peer's address is one of loopback. */
bool http_is_local(const struct http_request *request);

/*
 * http_query_each(request, each, arg): call ${each} for every decoded query
 * parameter in order (value NULL without '='), until it returns false.
 */
void http_query_each(const struct http_request *request,
    bool (*each)(const char *key, const char *value, void *arg), void *arg);

/*
 * http_reply(request, status, headers, headers_n, body, body_bytes, free_body,
 *     free_arg):
 * Answer ${request}, which is invalid afterwards.  ${headers} are name/value
 * pairs (2 * headers_n strings), copied; http_reply adds Content-Length and, to
 * HEAD, sends no body.  ${body} is sent from where it is and
 * ${free_body}(${free_arg}) called when it is not needed any more, also on
 * failure (NULL: the body is static); it must not call back into the server.
 * Without memory for the reply the connection is closed.
 */
void http_reply(struct http_request *request, unsigned status,
    const char *const *headers, size_t headers_n, const void *body,
    size_t body_bytes, void (*free_body)(void *), void *free_arg);

/*
 * What a server does wrong on purpose, to try its clients.
 *
 * http_break(request, how, after_bytes, stall_ms): have the reply that
 * http_reply() will give break off when ${after_bytes} of its body are sent; a
 * body that has no more than those is whole.  STALL sends the rest after
 * ${stall_ms} (0: never), and ends when the peer hangs up or the server drains.
 * http_drop(request): reset its connection instead of answering; counts as the
 * answer, and may be called wherever http_reply() may.
 */
enum http_break {
	HTTP_BREAK_NONE = 0,
	HTTP_BREAK_END, /* the connection is closed in good order */
	HTTP_BREAK_RESET, /* the peer gets RST */
	HTTP_BREAK_STALL /* nothing more comes */
};
void http_break(struct http_request *request, enum http_break how,
    size_t after_bytes, uint64_t stall_ms);
void http_drop(struct http_request *request);

#endif
