/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway.h"

#include <stdlib.h>
#include <string.h>

#include "base/http_uv.h"
#include "remote.h"

#define CONNECTIONS_MAX 256u
#define IDLE_TIMEOUT_S 30u
#define BODY_BYTES_MAX 65536u

struct gateway {
	struct http_server *server;
	struct gateway_sinks sinks;
};

static void
reply_text(
    struct http_request *request, unsigned status, const char *type, char *text)
{
	const char *headers[] = {"Content-Type", type};

	http_reply(request, status, headers, 1, text, strlen(text), free, text);
}

static void
reply_error(struct http_request *request, unsigned status, const char *sentence)
{
	struct reason why;
	size_t bytes;
	char *text;

	reason_set(&why, LATENTD_ERR_INVALID, "%s", sentence);
	if ((text = remote_error_format(&why, &bytes)) == NULL)
		abort();
	reply_text(request, status, "application/json", text);
}

static void
on_request(struct http_request *request, void *arg)
{
	struct gateway *g = arg;
	const char *path = http_path(request);
	char *text;

	if (strcmp(http_method(request), "GET") != 0 &&
	    strcmp(http_method(request), "HEAD") != 0) {
		reply_error(request, 405, "only GET and HEAD are served here");
		return;
	}
	if (strcmp(path, "/healthz") == 0)
		text = strdup("ok\n");
	else if (strcmp(path, "/status") == 0)
		text = g->sinks.report(g->sinks.arg);
	else {
		reply_error(request, 404,
		    "no such path; there are /healthz and /status");
		return;
	}
	if (text == NULL)
		abort();
	reply_text(request, 200,
	    path[1] == 's' ? "application/json" : "text/plain", text);
}

enum latentd_err
gateway_open(uv_loop_t *loop, const char *listen,
    const struct gateway_sinks *sinks, struct gateway **gateway,
    struct reason *why)
{
	struct http_options options = {.listen = listen,
	    .max_body_bytes = BODY_BYTES_MAX,
	    .idle_timeout_s = IDLE_TIMEOUT_S,
	    .max_connections = CONNECTIONS_MAX,
	    .on_request = on_request};
	struct gateway *g = calloc(1, sizeof(*g));
	enum latentd_err err;

	if (g == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	g->sinks = *sinks;
	options.arg = g;
	err = http_server_open(loop, &options, &g->server, why);
	if (err != LATENTD_OK) {
		free(g);
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
gateway_close(struct gateway *g)
{
	if (g != NULL)
		http_server_close(g->server, free, g);
}
