/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd owns connections, parsing and sending; this file owns when it
 * runs.  MHD's epoll descriptor is polled by uv, MHD's next time-out is a uv
 * timer, and server_run() is the only place that calls MHD_run(), so MHD is
 * never entered from inside one of its own callbacks: http_reply() only queues
 * the response, resumes the connection and arms the timer for the next turn of
 * the loop.
 *
 * Everything runs on the loop thread.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/http_private.h"
#include "base/listen.h"
#include "base/log.h"

/* Half of it is MHD's read buffer: a 3 MiB body takes 64 reads.  MHD clears it
 * after every request. */
#define CONNECTION_MEMORY_BYTES (96u * 1024)
/* Turns of MHD before other handles of the loop get theirs. */
#define RUNS_PER_TURN 16
/* For what a peer that will send no more has left unfinished. */
#define LAST_TIMEOUT_S 2u

static void server_stop(struct http_server *server);

static bool
mhd_timeout(struct http_server *server, uint64_t *timeout_ms)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(server->mhd, &ms) != MHD_YES)
		return false;
	*timeout_ms = ms;
	return true;
}

static void on_timer(uv_timer_t *timer);

/* Let MHD do what it can now, then arm the timer for what it wants next. */
static void
server_run(struct http_server *server)
{
	uint64_t timeout_ms = 0;
	unsigned n = 0;
	bool more;

	server->running = true;
	do {
		server->connection_ended = false;
		MHD_run(server->mhd);
		more = mhd_timeout(server, &timeout_ms);
		if (server->connection_ended) {
			/* Only its next run accepts in the place of one that
			 * ended at the limit, and it does not ask for it. */
			more = true;
			timeout_ms = 0;
		}
	} while (more && timeout_ms == 0 && ++n < RUNS_PER_TURN);
	server->running = false;

	if (server->closing) {
		server_stop(server);
		return;
	}
	if (more)
		uv_timer_start(&server->timer, on_timer, timeout_ms, 0);
	else
		uv_timer_stop(&server->timer);
	if (server->drained != NULL && TAILQ_EMPTY(&server->requests)) {
		void (*drained)(void *) = server->drained;

		server->drained = NULL;
		drained(server->drained_arg);
	}
}

static void
on_timer(uv_timer_t *timer)
{
	struct http_server *server = timer->data;

	assert(server->magic == HTTP_SERVER_MAGIC);
	server_run(server);
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct http_server *server = poll->data;

	assert(server->magic == HTTP_SERVER_MAGIC);
	(void)status;
	(void)events;
	server_run(server);
}

void
http_server_run_soon(struct http_server *server)
{
	if (!server->running)
		uv_timer_start(&server->timer, on_timer, 0, 0);
}

static void on_mhd_log(void *arg, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

static void
on_mhd_log(void *arg, const char *fmt, va_list args)
{
	char text[256];

	(void)arg;
	if (vsnprintf(text, sizeof(text), fmt, args) > 0)
		log_debug("http: %s", text);
}

/* ---- connections ---- */

static void
handle_closed(struct http_server *server)
{
	assert(server->magic == HTTP_SERVER_MAGIC);
	if (--server->handles_n > 0)
		return;
	if (server->closed != NULL)
		server->closed(server->closed_arg);
	server->magic = 0;
	free(server);
}

static void
on_handle_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

static void
on_deadline(uv_timer_t *timer)
{
	struct http_server *server = timer->data;
	const uint64_t now_ms = uv_now(server->loop);
	struct http_connection *c;

	assert(server->magic == HTTP_SERVER_MAGIC);
	while ((c = TAILQ_FIRST(&server->exchanges)) != NULL &&
	    c->until_ms <= now_ms) {
		TAILQ_REMOVE(&server->exchanges, c, link);
		c->until_ms = 0;
		/* MHD sees the end and closes. */
		shutdown(c->fd, SHUT_RDWR);
	}
	if (c != NULL)
		uv_timer_start(timer, on_deadline, c->until_ms - now_ms, 0);
}

static struct http_connection *
connection_find(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
	    connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info != NULL ? info->socket_context : NULL;
}

static void
exchange_end(struct http_connection *c)
{
	c->waiting = NULL;
	if (c->until_ms == 0)
		return;
	TAILQ_REMOVE(&c->server->exchanges, c, link);
	c->until_ms = 0;
}

static void
exchange_begin(struct http_connection *c)
{
	struct http_server *server = c->server;
	const uint64_t ms = server->options.exchange_timeout_s * UINT64_C(1000);

	exchange_end(c);
	if (ms == 0 || server->closing)
		return;
	c->until_ms = uv_now(server->loop) + ms;
	/* The time is the same for all, so the last to begin ends last. */
	TAILQ_INSERT_TAIL(&server->exchanges, c, link);
	if (!uv_is_active((uv_handle_t *)&server->deadline))
		uv_timer_start(&server->deadline, on_deadline, ms, 0);
}

static void
on_disconnect(uv_poll_t *poll, int status, int events)
{
	struct http_connection *c = poll->data;
	struct http_server *server = c->server;
	struct http_request *r = c->waiting;

	assert(server->magic == HTTP_SERVER_MAGIC);
	if (status == 0 && (events & UV_DISCONNECT) == 0)
		return;
	uv_poll_stop(poll);
	if (r == NULL) {
		/* Of a chunked body, MHD would wait for the rest. */
		MHD_set_connection_option(
		    c->mhd, MHD_CONNECTION_OPTION_TIMEOUT, LAST_TIMEOUT_S);
		http_server_run_soon(server);
		return;
	}
	c->waiting = NULL;
	if (r->stalled)
		http_break_hangup(r);
	else if (server->options.on_hangup != NULL)
		server->options.on_hangup(r, server->options.arg);
}

void
http_exchange_begin(struct MHD_Connection *connection)
{
	struct http_connection *c = connection_find(connection);

	if (c != NULL)
		exchange_begin(c);
}

void
http_exchange_wait(
    struct MHD_Connection *connection, struct http_request *request)
{
	struct http_connection *c = connection_find(connection);

	if (c == NULL)
		return;
	exchange_end(c);
	c->waiting = request;
	/* It hung up before its request was whole: say so, later. */
	if (!uv_is_active((uv_handle_t *)&c->poll) &&
	    (request->stalled || request->server->options.on_hangup != NULL))
		uv_poll_start(&c->poll, UV_DISCONNECT, on_disconnect);
}

static void
on_connection_closed(uv_handle_t *handle)
{
	struct http_connection *c = handle->data;
	struct http_server *server = c->server;

	free(c);
	handle_closed(server);
}

static struct http_connection *
connection_open(struct http_server *server, struct MHD_Connection *connection)
{
	struct http_connection *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->server = server;
	c->mhd = connection;
	c->fd = MHD_get_connection_info(
	    connection, MHD_CONNECTION_INFO_CONNECTION_FD)
		    ->connect_fd;
	if (uv_poll_init(server->loop, &c->poll, c->fd) != 0) {
		free(c);
		return NULL;
	}
	c->poll.data = c;
	server->handles_n++;
	if (server->options.on_hangup != NULL)
		uv_poll_start(&c->poll, UV_DISCONNECT, on_disconnect);
	exchange_begin(c);
	return c;
}

static void
on_connection(void *arg, struct MHD_Connection *connection, void **context,
    enum MHD_ConnectionNotificationCode what)
{
	struct http_server *server = arg;
	struct http_connection *c = *context;

	if (what != MHD_CONNECTION_NOTIFY_CLOSED) {
		if ((*context = connection_open(server, connection)) == NULL)
			abort();
		return;
	}
	server->connection_ended = true;
	exchange_end(c);
	*context = NULL;
	uv_close((uv_handle_t *)&c->poll, on_connection_closed);
}

/* ---- opening and closing ---- */

/* Paths and parameters are strings: %00 must not end one early, so that what
 * stands before it would be taken for the whole. */
static size_t
on_unescape(void *arg, struct MHD_Connection *connection, char *text)
{
	const size_t n = MHD_http_unescape(text);

	(void)arg;
	(void)connection;
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\0')
			text[i] = '?';
	}
	return n;
}

static struct MHD_Daemon *
mhd_start(struct http_server *server, int fd)
{
	return MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
	    NULL, NULL, http_request_on_access, server,
	    MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL,
	    MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED,
	    http_request_on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
	    on_connection, server, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_CONNECTION_LIMIT,
	    server->options.max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
	    server->options.idle_timeout_s, MHD_OPTION_END);
}

/* MHD must have no suspended connection when it stops. */
static void
server_stop(struct http_server *server)
{
	struct http_request *r;

	uv_close((uv_handle_t *)&server->poll, on_handle_closed);
	uv_close((uv_handle_t *)&server->timer, on_handle_closed);
	uv_close((uv_handle_t *)&server->deadline, on_handle_closed);
	uv_close((uv_handle_t *)&server->stall, on_handle_closed);
	TAILQ_FOREACH(r, &server->requests, link)
	{
		if (r->suspended)
			http_request_resume(r);
	}
	MHD_stop_daemon(server->mhd);
	assert(TAILQ_EMPTY(&server->requests));
}

void
http_server_close(struct http_server *server, void (*done)(void *), void *arg)
{
	if (server == NULL)
		return;
	assert(server->magic == HTTP_SERVER_MAGIC && !server->closing);
	server->closing = true;
	server->drained = NULL;
	server->closed = done;
	server->closed_arg = arg;
	if (!server->running)
		server_stop(server);
}

void
http_server_drain(
    struct http_server *server, void (*drained)(void *), void *arg)
{
	int fd;

	assert(server->magic == HTTP_SERVER_MAGIC && !server->draining);
	server->draining = true;
	server->drained = drained;
	server->drained_arg = arg;
	fd = MHD_quiesce_daemon(server->mhd);
	if (fd >= 0)
		close(fd);
	http_break_drain(server);
	http_server_run_soon(server);
}

unsigned
http_server_port(const struct http_server *server)
{
	return server->port;
}

static enum latentd_err
server_watch(struct http_server *server, struct reason *why)
{
	const union MHD_DaemonInfo *info =
	    MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD);

	if (info == NULL ||
	    uv_poll_init(server->loop, &server->poll, info->epoll_fd) != 0)
		return reason_set(why, LATENTD_ERR_IO,
		    "cannot watch the HTTP server's descriptor");
	uv_timer_init(server->loop, &server->timer);
	uv_timer_init(server->loop, &server->deadline);
	uv_timer_init(server->loop, &server->stall);
	server->poll.data = server;
	server->timer.data = server;
	server->deadline.data = server;
	server->stall.data = server;
	server->handles_n = 4;
	uv_poll_start(&server->poll, UV_READABLE, on_poll);
	return LATENTD_OK;
}

enum latentd_err
http_server_open(uv_loop_t *loop, const struct http_options *options,
    struct http_server **out, struct reason *why)
{
	struct http_server *server = calloc(1, sizeof(*server));
	enum latentd_err err;
	int fd;

	if (server == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "not enough memory for the HTTP server");
	server->magic = HTTP_SERVER_MAGIC;
	server->loop = loop;
	server->options = *options;
	TAILQ_INIT(&server->requests);
	TAILQ_INIT(&server->stalled);
	TAILQ_INIT(&server->exchanges);
	snprintf(server->too_large, sizeof(server->too_large),
	    "{\"error\": \"the body is larger than %" PRIu64
	    " bytes, the limit of this server\"}",
	    options->max_body_bytes);
	err = listen_tcp(options->listen, &fd, &server->port, why);
	if (err != LATENTD_OK)
		goto free_server;
	server->mhd = mhd_start(server, fd);
	if (server->mhd == NULL) {
		close(fd);
		err = reason_set(why, LATENTD_ERR_IO,
		    "libmicrohttpd does not start on %s", options->listen);
		goto free_server;
	}
	err = server_watch(server, why);
	if (err != LATENTD_OK)
		goto stop_mhd;
	*out = server;
	return LATENTD_OK;

stop_mhd:
	MHD_stop_daemon(server->mhd);
free_server:
	free(server);
	return err;
}
