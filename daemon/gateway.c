/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP face: paths, the token, and what an operator's tools ask.  A
 * request for a model becomes a call, gateway_call.c.  What can be refused by
 * its headers is refused before its body is stored.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway_call.h"
#include "remote.h"

#define CONNECTIONS_MAX 1024u
#define IDLE_TIMEOUT_S 30u
/* A gigabyte in it needs 9 MB/s. */
#define EXCHANGE_TIMEOUT_S 120u

static void
reply_text(
    struct http_request *http, unsigned status, const char *type, char *text)
{
	const char *headers[] = {"Content-Type", type};

	/* Documents of a few kilobytes: without memory for them, end. */
	if (text == NULL)
		abort();
	http_reply(http, status, headers, 1, text, strlen(text), free, text);
}

/* ---- the token ---- */

/* Compare without telling by the time how much of it was right. */
static bool
is_same(const char *shown, const char *token)
{
	const size_t shown_n = strlen(shown), token_n = strlen(token);
	unsigned difference = shown_n != token_n;

	for (size_t i = 0; i < shown_n; i++)
		difference |=
		    (unsigned char)shown[i] ^ (unsigned char)token[i % token_n];
	return difference == 0;
}

static bool
is_allowed(const struct gateway *g, struct http_request *http)
{
	static const char scheme[] = "Bearer ";
	const char *shown = http_header(http, "Authorization");

	if (g->token == NULL)
		return true;
	return shown != NULL &&
	    strncasecmp(shown, scheme, sizeof(scheme) - 1) == 0 &&
	    is_same(shown + sizeof(scheme) - 1, g->token);
}

static void
refuse_token(struct http_request *http)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_DENIED,
	    http_header(http, "Authorization") == NULL
		? "Authorization is missing, must be \"Bearer TOKEN\" with "
		  "the token of the daemon's http_token_file"
		: "the token in Authorization is wrong");
	gateway_answer_error(http, 401, &why, "WWW-Authenticate", "Bearer");
}

/* ---- paths ---- */

enum path {
	PATH_UNKNOWN = 0,
	PATH_HEALTHZ,
	PATH_READYZ,
	PATH_STATUS,
	PATH_METRICS,
	PATH_MODEL,
};

/* "/sdxl" and "/encode/sdxl", with or without a slash behind. */
static const struct model *
path_model(const char *path, enum latentd_task *task)
{
	size_t n;

	*task = LATENTD_DECODE;
	if (strncmp(path, "/encode/", 8) == 0) {
		*task = LATENTD_ENCODE;
		path += 7;
	}
	n = strlen(path);
	if (n > 1 && path[n - 1] == '/')
		n--;
	return n > 1 ? model_find(path + 1, n - 1) : NULL;
}

static enum path
path_find(const char *text, const struct model **model, enum latentd_task *task)
{
	static const char *const names[] = {
	    [PATH_HEALTHZ] = "/healthz",
	    [PATH_READYZ] = "/readyz",
	    [PATH_STATUS] = "/status",
	    [PATH_METRICS] = "/metrics",
	};

	for (unsigned i = PATH_HEALTHZ; i <= PATH_METRICS; i++) {
		if (strcmp(text, names[i]) == 0)
			return (enum path)i;
	}
	*model = path_model(text, task);
	return *model != NULL ? PATH_MODEL : PATH_UNKNOWN;
}

static bool
is_read(const struct http_request *http)
{
	return strcmp(http_method(http), "GET") == 0 ||
	    strcmp(http_method(http), "HEAD") == 0;
}

static void
refuse_path(struct http_request *http)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_NOT_FOUND,
	    "there is no %.64s here, must be POST /MODEL or /encode/MODEL "
	    "(%s), GET /healthz, /readyz, /status or /metrics",
	    http_path(http), model_names());
	gateway_answer_error(http, 404, &why, NULL, NULL);
}

static void
refuse_method(struct http_request *http, const char *allow)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_INVALID,
	    "the method is %.16s, must be %s for %.64s", http_method(http),
	    allow, http_path(http));
	gateway_answer_error(http, 405, &why, "Allow", allow);
}

/* ---- requests ---- */

static void
on_headers(struct http_request *http, void *arg)
{
	struct gateway *g = arg;
	const struct model *model;
	enum latentd_task task;
	const enum path path = path_find(http_path(http), &model, &task);

	const bool open = path == PATH_HEALTHZ || path == PATH_READYZ;

	if (!open && !is_allowed(g, http))
		refuse_token(http);
	else if (path == PATH_UNKNOWN)
		refuse_path(http);
	else if (path != PATH_MODEL && !is_read(http))
		refuse_method(http, "GET, HEAD");
	else if (path == PATH_MODEL && strcmp(http_method(http), "POST") != 0)
		refuse_method(http, "POST");
	else if (path == PATH_MODEL)
		gateway_call_begin(g, http, task, model);
}

static bool
on_hold(struct http_request *http, size_t bytes, void *arg)
{
	struct call *call = http_user(http);
	struct reason why;

	(void)arg;
	if (call != NULL)
		return gateway_call_hold(call, bytes);
	reason_set(&why, LATENTD_ERR_TOO_LARGE,
	    "%s of %.64s has a body, must have none", http_method(http),
	    http_path(http));
	gateway_answer_error(http, 413, &why, NULL, NULL);
	return false;
}

static void
reply_ready(struct gateway *g, struct http_request *http)
{
	struct reason why;

	if (g->sinks.ready(&why, g->sinks.arg) == LATENTD_OK)
		reply_text(http, 200, "text/plain", strdup("ready\n"));
	else
		gateway_answer_error(http, 503, &why, NULL, NULL);
}

static void
on_request(struct http_request *http, void *arg)
{
	struct gateway *g = arg;
	const struct model *model;
	enum latentd_task task;

	switch (path_find(http_path(http), &model, &task)) {
	case PATH_HEALTHZ:
		reply_text(http, 200, "text/plain", strdup("ok\n"));
		return;
	case PATH_READYZ:
		reply_ready(g, http);
		return;
	case PATH_STATUS:
		reply_text(http, 200, "application/json",
		    g->sinks.report(g->sinks.arg));
		return;
	case PATH_METRICS:
		reply_text(http, 200,
		    "text/plain; version=0.0.4; charset=utf-8",
		    g->sinks.metrics(g->sinks.arg));
		return;
	case PATH_UNKNOWN:
	case PATH_MODEL:
		gateway_call_read(http_user(http));
		return;
	}
}

static void
on_hangup(struct http_request *http, void *arg)
{
	struct call *call = http_user(http);

	(void)arg;
	if (call != NULL)
		gateway_call_hangup(call);
}

static void
on_end(void *user, bool whole, void *arg)
{
	(void)arg;
	gateway_answer_over(user, whole);
}

/* ---- opening and closing ---- */

static void
forget_token(struct gateway *g)
{
	if (g->token != NULL)
		explicit_bzero(g->token, strlen(g->token));
	free(g->token);
	g->token = NULL;
}

static void
gateway_free(struct gateway *g)
{
	forget_token(g);
	free(g);
}

void
gateway_change(struct gateway *g, const char *token, uint64_t deadline_ms)
{
	forget_token(g);
	g->deadline_ms = deadline_ms;
	if (token != NULL && (g->token = strdup(token)) == NULL)
		abort();
}

enum latentd_err
gateway_open(uv_loop_t *loop, struct jobs *jobs,
    const struct gateway_options *options, const struct gateway_sinks *sinks,
    struct gateway **gateway, struct reason *why)
{
	struct http_options http = {.listen = options->listen,
	    .max_body_bytes = options->max_body_bytes,
	    .idle_timeout_s = IDLE_TIMEOUT_S,
	    .exchange_timeout_s = EXCHANGE_TIMEOUT_S,
	    .max_connections = CONNECTIONS_MAX,
	    .on_headers = on_headers,
	    .on_hold = on_hold,
	    .on_request = on_request,
	    .on_hangup = on_hangup,
	    .on_end = on_end};
	struct gateway *g = calloc(1, sizeof(*g));
	enum latentd_err err;

	if (g == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	g->loop = loop;
	g->jobs = jobs;
	g->sinks = *sinks;
	gateway_change(g, options->token, options->deadline_ms);
	http.arg = g;
	err = http_server_open(loop, &http, &g->server, why);
	if (err != LATENTD_OK) {
		gateway_free(g);
		return err;
	}
	*gateway = g;
	return LATENTD_OK;
}

unsigned
gateway_port(const struct gateway *g)
{
	return http_server_port(g->server);
}

void
gateway_ended(struct gateway *g, struct job *job)
{
	(void)g;
	gateway_call_ended(job->call);
}

bool
gateway_working(const struct gateway *g)
{
	return g != NULL && g->working_n > 0;
}

size_t
gateway_sending_n(const struct gateway *g)
{
	return g != NULL ? g->sending_n : 0;
}

static void
on_closed(void *arg)
{
	gateway_free(arg);
}

void
gateway_close(struct gateway *g)
{
	if (g != NULL)
		http_server_close(g->server, on_closed, g);
}
