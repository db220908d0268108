/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes.  A request is checked here for path, token and method; what decodes
 * or encodes goes on to the gate and from there to the replica, everything else
 * is answered at once.
 *
 * Stopping has three steps, each of which may be skipped to by a second call
 * or by the timer: drain (everything that came in is answered), stop the
 * replica (wait for workers only), close the handles.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/http_uv.h"
#include "base/log.h"
#include "gate.h"
#include "metrics.h"
#include "model.h"
#include "replica.h"
#include "reply.h"
#include "route.h"
#include "server.h"

#define SERVER_MAGIC 0x65737276u
#define IDLE_TIMEOUT_S 120
#define MAX_CONNECTIONS 1024

struct server {
	unsigned magic;
	const struct options *options;
	struct metrics metrics;
	struct replica *replica;
	struct gate *gate;
	struct http_server *http;
	uv_timer_t timer; /* bounds the drain */
	bool draining;
	bool forced; /* the replica stops */
	unsigned closing_n; /* parts not closed yet */
	void (*stopped)(void *);
	void *stopped_arg;
};

/* ---- checks ---- */

/* In a time that depends on the lengths only. */
static bool
same_secret(const char *a, const char *b)
{
	const size_t a_bytes = strlen(a), b_bytes = strlen(b);
	unsigned char differ = a_bytes != b_bytes;
	size_t i;

	for (i = 0; i < a_bytes && i < b_bytes; i++)
		differ = (unsigned char)(differ | (a[i] ^ b[i]));
	return differ == 0;
}

static bool
authorized(const struct server *server, const struct http_request *http)
{
	static const char scheme[] = "Bearer ";
	const char *header = http_header(http, "Authorization");

	if (server->options->token[0] == '\0')
		return true;
	if (header == NULL ||
	    strncasecmp(header, scheme, sizeof(scheme) - 1) != 0)
		return false;
	return same_secret(header + sizeof(scheme) - 1, server->options->token);
}

static bool
is_read(const struct http_request *http)
{
	return strcmp(http_method(http), "GET") == 0 ||
	    strcmp(http_method(http), "HEAD") == 0;
}

static void
refuse_method(
    struct server *server, struct http_request *http, const char *allow)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_INVALID,
	    "the method is %.16s, must be %s for %.64s", http_method(http),
	    allow, http_path(http));
	reply_error(http, &server->metrics, 405, "Allow", allow, &why);
}

static void
refuse_path(struct server *server, struct http_request *http)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_NOT_FOUND,
	    "there is no %.64s here, must be /MODEL or /encode/MODEL (%s), "
	    "/health or /metrics",
	    http_path(http), model_names());
	reply_error(http, &server->metrics, 404, NULL, NULL, &why);
}

static void
refuse_token(struct server *server, struct http_request *http)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_DENIED, "%s",
	    http_header(http, "Authorization") == NULL
		? "Authorization is missing, must be \"Bearer TOKEN\""
		: "the token in Authorization is wrong");
	reply_error(
	    http, &server->metrics, 401, "WWW-Authenticate", "Bearer", &why);
}

/* ---- routes ---- */

static void
serve_metrics(struct server *server, struct http_request *http)
{
	char text[METRICS_TEXT_BYTES];
	size_t bytes;

	replica_measure(server->replica, &server->metrics);
	bytes = metrics_format(&server->metrics, text);
	reply_text(http, &server->metrics, text, bytes);
}

static void
serve_model(struct server *server, struct http_request *http)
{
	enum latentd_task task;
	struct reason why;

	if (route_find(http_path(http), &task) == NULL) {
		refuse_path(server, http);
	} else if (strcmp(http_method(http), "POST") != 0) {
		refuse_method(server, http, "POST");
	} else if (server->draining) {
		reason_set(&why, LATENTD_ERR_STOPPING,
		    "this endpoint is shutting down");
		reply_error(http, &server->metrics, 503, NULL, NULL, &why);
	} else {
		gate_serve(server->gate, http);
	}
}

static void
serve_health(struct server *server, struct http_request *http)
{
	struct reason why;

	if (gate_is_serving(server->gate)) {
		reply_text(http, &server->metrics, "Ok", 2);
		return;
	}
	reason_set(&why, LATENTD_ERR_STOPPING, "503 Service Unavailable");
	reply_error(http, &server->metrics, 503, NULL, NULL, &why);
}

static void
serve_control(struct server *server, struct http_request *http)
{
	if (is_read(http) || strcmp(http_method(http), "POST") == 0)
		gate_control(server->gate, http);
	else
		refuse_method(server, http, "GET, HEAD, POST");
}

static void
on_headers(struct http_request *http, void *arg)
{
	struct server *server = arg;

	gate_arrive(server->gate, http);
}

static void
on_end(void *user, bool whole, void *arg)
{
	(void)arg;
	(void)whole;
	gate_leave(user);
}

static void
on_request(struct http_request *http, void *arg)
{
	struct server *server = arg;
	const char *path = http_path(http);
	const bool health =
	    strcmp(path, "/") == 0 || strcmp(path, "/health") == 0;
	const bool metrics = strcmp(path, "/metrics") == 0;
	const bool control =
	    server->options->control && strcmp(path, "/control") == 0;

	assert(server->magic == SERVER_MAGIC);
	if (!health && !authorized(server, http))
		refuse_token(server, http);
	else if ((health || metrics) && !is_read(http))
		refuse_method(server, http, "GET, HEAD");
	else if (health)
		serve_health(server, http);
	else if (control)
		serve_control(server, http);
	else if (metrics)
		serve_metrics(server, http);
	else
		serve_model(server, http);
}

static void
on_gone(struct http_request *http, void *arg)
{
	struct server *server = arg;

	replica_gone(server->replica, http);
	gate_gone(server->gate, http);
}

/* ---- opening and closing ---- */

static void on_gate_closed(void *arg);

static void
part_closed(struct server *server)
{
	if (--server->closing_n > 0)
		return;
	if (server->gate != NULL) {
		/* Its requests are gone only now. */
		gate_close(server->gate, on_gate_closed, server);
		return;
	}
	replica_close(server->replica);
	server->stopped(server->stopped_arg);
	server->magic = 0;
	free(server);
}

static void
on_gate_closed(void *arg)
{
	struct server *server = arg;

	server->gate = NULL;
	server->closing_n = 1;
	part_closed(server);
}

static void
on_http_closed(void *arg)
{
	part_closed(arg);
}

static void
on_timer_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

static void
server_close(struct server *server)
{
	server->closing_n = 2;
	http_server_close(server->http, on_http_closed, server);
	uv_close((uv_handle_t *)&server->timer, on_timer_closed);
}

static void
on_drained(void *arg)
{
	struct server *server = arg;

	/* Once forced, the replica says when to close. */
	if (!server->forced)
		server_close(server);
}

static void
on_replica_stopped(void *arg)
{
	server_close(arg);
}

static void
server_force(struct server *server)
{
	if (server->forced || server->closing_n > 0)
		return;
	log_warn("not waiting for requests any more");
	server->forced = true;
	replica_stop(server->replica, on_replica_stopped, server);
}

static void
on_timer(uv_timer_t *timer)
{
	server_force(timer->data);
}

void
server_stop(struct server *server, void (*stopped)(void *), void *arg)
{
	assert(server->magic == SERVER_MAGIC);
	if (server->draining) {
		server_force(server);
		return;
	}
	server->draining = true;
	server->stopped = stopped;
	server->stopped_arg = arg;
	uv_timer_start(&server->timer, on_timer, SERVER_DRAIN_MS, 0);
	gate_drain(server->gate);
	http_server_drain(server->http, on_drained, server);
}

unsigned
server_port(const struct server *server)
{
	return http_server_port(server->http);
}

enum latentd_err
server_open(uv_loop_t *loop, const struct options *options, struct server **out,
    struct reason *why)
{
	struct server *server = calloc(1, sizeof(*server));
	struct replica_options replica = {
	    .parallel = options->parallel,
	    .service_ms = options->service_ms,
	    .cache_bytes = options->cache_bytes,
	    .fps = options->fps,
	};
	struct http_options http = {
	    .listen = options->listen,
	    .max_body_bytes = options->max_body_bytes,
	    .idle_timeout_s = IDLE_TIMEOUT_S,
	    .max_connections = MAX_CONNECTIONS,
	    .on_headers = on_headers,
	    .on_request = on_request,
	    .on_gone = on_gone,
	    .on_end = on_end,
	    .arg = server,
	};
	struct gate_options gate = {.options = options};
	enum latentd_err err;

	if (server == NULL)
		return reason_set(
		    why, LATENTD_ERR_MEMORY, "not enough memory to begin");
	server->magic = SERVER_MAGIC;
	server->options = options;
	replica.metrics = &server->metrics;
	err = replica_open(loop, &replica, &server->replica, why);
	if (err != LATENTD_OK)
		goto free_server;
	gate.metrics = &server->metrics;
	gate.replica = server->replica;
	err = gate_open(loop, &gate, &server->gate, why);
	if (err != LATENTD_OK)
		goto close_replica;
	err = http_server_open(loop, &http, &server->http, why);
	if (err != LATENTD_OK)
		goto close_gate;
	uv_timer_init(loop, &server->timer);
	server->timer.data = server;
	*out = server;
	return LATENTD_OK;

close_gate:
	gate_close(server->gate, NULL, NULL);
close_replica:
	replica_close(server->replica);
free_server:
	free(server);
	return err;
}
