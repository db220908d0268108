/* SPDX-License-Identifier: Apache-2.0 */
/* The forms that answers take.  Loop thread. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "reply.h"

struct reply *
reply_create(struct compute *c)
{
	struct reply *reply = calloc(1, sizeof(*reply));

	if (reply == NULL)
		return NULL;
	reply->holders_n = 1;
	reply->body = c->reply;
	reply->type = c->type;
	if (c->tensor.ndim > 0) {
		tensor_shape_format(&c->tensor, reply->shape);
		reply->dtype = dtype_name(c->tensor.dtype);
	}
	c->reply = (struct blob){NULL, 0, NULL};
	return reply;
}

struct reply *
reply_hold(struct reply *reply)
{
	reply->holders_n++;
	return reply;
}

void
reply_drop(struct reply *reply)
{
	if (reply == NULL)
		return;
	assert(reply->holders_n > 0);
	if (--reply->holders_n > 0)
		return;
	blob_free(&reply->body);
	free(reply);
}

static void
on_sent(void *arg)
{
	reply_drop(arg);
}

/* Have the reply break off, if that is its fate. */
static void
reply_break(struct http_request *http, const struct fate *fate, size_t bytes)
{
	if (fate->fault == FAULT_DROP)
		http_break(http, HTTP_BREAK_RESET, bytes / 2, 0);
	else if (fate->fault == FAULT_STALL)
		http_break(http, HTTP_BREAK_STALL, fate->midway ? bytes / 2 : 0,
		    fate->stall_ms);
	else if (fate->fault == FAULT_TRUNCATE && bytes > 0)
		http_break(http, HTTP_BREAK_END, fate->noise % bytes, 0);
}

void
reply_send(struct reply *reply, struct http_request *http,
    struct metrics *metrics, const struct fate *fate)
{
	const char *const headers[] = {"Content-Type", reply->type, "shape",
	    reply->shape, "dtype", reply->dtype};
	const size_t headers_n = reply->dtype != NULL ? 3 : 1;
	const size_t bytes = reply->body.bytes;
	unsigned char *noise = NULL;
	struct reason why;

	if (fate->fault == FAULT_GARBAGE && (noise = malloc(bytes)) == NULL) {
		reason_set(&why, LATENTD_ERR_MEMORY, "not enough memory");
		reply_error(http, metrics, 503, NULL, NULL, &why);
		return;
	}
	if (fate->fault < FAULTS)
		metrics->faults_n[fate->fault]++;
	metrics_count_reply(metrics, 200);
	metrics->reply_bytes += bytes;
	reply_break(http, fate, bytes);
	if (noise != NULL) {
		faults_noise(fate->noise, noise, bytes);
		http_reply(
		    http, 200, headers, headers_n, noise, bytes, free, noise);
		return;
	}
	reply_hold(reply);
	http_reply(http, 200, headers, headers_n, reply->body.data, bytes,
	    on_sent, reply);
}

unsigned
reply_status(enum latentd_err err)
{
	if (err == LATENTD_ERR_MEMORY || err == LATENTD_ERR_STOPPING)
		return 503;
	return err == LATENTD_ERR_INTERNAL ? 500 : 400;
}

void
reply_error(struct http_request *http, struct metrics *metrics, unsigned status,
    const char *name, const char *value, const struct reason *why)
{
	static const char no_memory[] = "{\"error\": \"not enough memory\"}";
	const char *const headers[] = {
	    "Content-Type", "application/json", name, value};
	const size_t headers_n = name != NULL ? 2 : 1;
	size_t bytes;
	char *text = remote_error_format(why, &bytes);

	metrics_count_reply(metrics, status);
	metrics->reply_bytes += text != NULL ? bytes : strlen(no_memory);
	if (text != NULL)
		http_reply(
		    http, status, headers, headers_n, text, bytes, free, text);
	else
		http_reply(http, status, headers, headers_n, no_memory,
		    strlen(no_memory), NULL, NULL);
}

void
reply_text(struct http_request *http, struct metrics *metrics, const char *text,
    size_t bytes)
{
	static const char *const headers[] = {
	    "Content-Type", "text/plain; charset=utf-8"};
	struct reason why;
	char *copy = malloc(bytes > 0 ? bytes : 1);

	if (copy == NULL) {
		reason_set(&why, LATENTD_ERR_MEMORY, "not enough memory");
		reply_error(http, metrics, 503, NULL, NULL, &why);
		return;
	}
	memcpy(copy, text, bytes);
	metrics_count_reply(metrics, 200);
	metrics->reply_bytes += bytes;
	http_reply(http, 200, headers, 1, copy, bytes, free, copy);
}
