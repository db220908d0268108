/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What http_uv.c (the server on its loop) and http_request.c (its requests and
 * their replies) share, and nobody else includes.
 */
#ifndef BASE_HTTP_PRIVATE_H
#define BASE_HTTP_PRIVATE_H

#include <sys/queue.h>

#include <microhttpd.h>

#include "base/http_uv.h"

#define HTTP_SERVER_MAGIC 0x68747370u
#define HTTP_REQUEST_MAGIC 0x68747271u

struct http_request {
	unsigned magic;
	TAILQ_ENTRY(http_request) link;
	struct http_server *server;
	struct MHD_Connection *connection;
	const char *method; /* in MHD's memory of the connection */
	const char *path;
	unsigned char *body;
	size_t body_bytes;
	size_t body_size; /* allocated */
	uint64_t dropped_bytes;
	bool delivered; /* on_request() was called */
	bool answered; /* http_reply() was called; if not delivered, the
			* response waits until the body is over */
	bool in_handler; /* inside a callback of the owner's */
	bool suspended;
	void *user; /* the owner's */
	bool dropped; /* http_drop() was called */
	enum http_break break_how;
	size_t break_after_bytes;
	uint64_t stall_ms;
	TAILQ_ENTRY(http_request) stall_link; /* while stalled */
	bool stalled; /* suspended in the middle of its reply */
	uint64_t stalled_until_ms; /* of the loop's clock; UINT64_MAX: never */
	unsigned status; /* of response */
	struct MHD_Response *response; /* made, not yet queued */
};

/*
 * What MHD does not do for a connection: bound exchanges, and look at it while
 * it is suspended.
 */
struct http_connection {
	struct http_server *server;
	TAILQ_ENTRY(http_connection) link; /* while it has a deadline */
	uint64_t until_ms; /* of the loop's clock; 0: not linked */
	struct MHD_Connection *mhd;
	int fd;
	uv_poll_t poll; /* for the peer's hanging up; stops when it has */
	struct http_request *waiting; /* suspended, or NULL */
};

TAILQ_HEAD(http_request_list, http_request);
TAILQ_HEAD(http_connection_list, http_connection);

struct http_server {
	unsigned magic;
	uv_loop_t *loop;
	struct http_options options;
	struct MHD_Daemon *mhd;
	unsigned port;
	uv_poll_t poll;
	uv_timer_t timer;
	uv_timer_t deadline; /* of the first in ${exchanges} */
	uv_timer_t stall; /* of the first to be over in ${stalled} */
	unsigned handles_n; /* uv handles not closed yet */
	struct http_request_list requests;
	struct http_request_list stalled;
	/* Connections that receive or send, by deadline. */
	struct http_connection_list exchanges;
	bool running; /* inside MHD_run() */
	bool connection_ended; /* in the latest MHD_run() */
	bool draining;
	bool closing;
	void (*drained)(void *);
	void *drained_arg;
	void (*closed)(void *);
	void *closed_arg;
	char too_large[128]; /* body of 413 */
};

/* http_server_run_soon(server): enter MHD in the next turn of the loop. */
void http_server_run_soon(struct http_server *server);

/*
 * http_exchange_begin(connection): from now on it has the time of one exchange.
 * http_exchange_wait(connection, request): it has all the time, and the owner
 * hears when the peer hangs up, until the next begin.
 */
void http_exchange_begin(struct MHD_Connection *connection);
void http_exchange_wait(
    struct MHD_Connection *connection, struct http_request *request);

/*
 * http_request_on_access() and http_request_on_completed(): MHD's callbacks,
 * with the server as ${cls}.  They collect a request, deliver it and free it.
 */
enum MHD_Result http_request_on_access(void *cls,
    struct MHD_Connection *connection, const char *url, const char *method,
    const char *version, const char *upload_data, size_t *upload_bytes,
    void **con_cls);
void http_request_on_completed(void *cls, struct MHD_Connection *connection,
    void **con_cls, enum MHD_RequestTerminationCode why);

/* http_request_resume(request): end the suspension of its connection. */
void http_request_resume(struct http_request *request);

/*
 * http_break_response(request, body, body_bytes, free_body, free_arg): a
 * response that breaks off as http_break() has said; NULL without memory,
 * ${body} then still the caller's.
 * http_break_hangup(request): the peer of a stalled reply has hung up.
 * http_break_forget(request): it is over, stalled or not.
 * http_break_drain(server): end what is stalled.
 */
struct MHD_Response *http_break_response(struct http_request *request,
    const void *body, size_t body_bytes, void (*free_body)(void *),
    void *free_arg);
void http_break_hangup(struct http_request *request);
void http_break_forget(struct http_request *request);
void http_break_drain(struct http_server *server);

#endif
