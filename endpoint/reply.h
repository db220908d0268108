/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_REPLY_H
#define ENDPOINT_REPLY_H

#include "base/http_uv.h"
#include "compute.h"
#include "faults.h"
#include "metrics.h"
#include "tensor.h"

/*
 * A finished reply.  Connections that send it and the cache that keeps it
 * share the bytes, so it counts its holders.  Loop thread.
 */
struct reply {
	unsigned holders_n;
	struct blob body;
	const char *type; /* Content-Type, static */
	char shape[TENSOR_SHAPE_TEXT_BYTES]; /* "": no tensor */
	const char *dtype;
};

/* reply_create(c): take over the outcome of ${c}, which is left empty; one
 * holder.  NULL when memory is out, ${c} unchanged. */
struct reply *reply_create(struct compute *c);

struct reply *reply_hold(struct reply *reply);
void reply_drop(struct reply *reply);

/* reply_send(reply, http, metrics, fate): answer ${http} with 200 and ${reply},
 * which is held until it has left, spoiled as ${fate} has it. */
void reply_send(struct reply *reply, struct http_request *http,
    struct metrics *metrics, const struct fate *fate);

/*
 * reply_error(http, metrics, status, name, value, why): answer
 * {"error": "..."}, with one more header unless ${name} is NULL.
 * reply_status(err): the status that goes with a reason's code.
 */
void reply_error(struct http_request *http, struct metrics *metrics,
    unsigned status, const char *name, const char *value,
    const struct reason *why);
unsigned reply_status(enum latentd_err err);

/* reply_text(http, metrics, text, bytes): answer 200 and plain text, copied. */
void reply_text(struct http_request *http, struct metrics *metrics,
    const char *text, size_t bytes);

#endif
