/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of the remote contract on its way through the gateway; for
 * gateway.c and gateway_call.c only.
 */
#ifndef DAEMON_GATEWAY_CALL_H
#define DAEMON_GATEWAY_CALL_H

#include "base/http_uv.h"
#include "gateway.h"

struct gateway {
	uv_loop_t *loop;
	struct jobs *jobs;
	struct gateway_sinks sinks;
	struct http_server *server;
	char *token; /* or NULL */
	unsigned working_n; /* calls that a worker has */
	size_t sending_n; /* calls whose result is leaving */
	uint64_t keys_n;
};

struct call;

/*
 * call_begin(g, http, task, model): the headers of a request are there; it is
 * a call now, http_user(http), or refused already.
 * call_hold(call, bytes): whether ${bytes} more of its body may be buffered;
 * refused if not.
 * call_read(call): its body is there.
 */
void call_begin(struct gateway *g, struct http_request *http,
    enum latentd_task task, const struct model *model);
bool call_hold(struct call *call, size_t bytes);
void call_read(struct call *call);

/* call_hangup(call): its client is gone; if a job runs for it, end it. */
void call_hangup(struct call *call);

/* call_ended(call): its job has ended; answer, and destroy the job. */
void call_ended(struct call *call);

/* call_over(call, whole): its request is over; frees it. */
void call_over(struct call *call, bool whole);

/* call_refuse(http, status, why, name, value): answer {"error": ...}, with one
 * more header, or with NULL none. */
void call_refuse(struct http_request *http, unsigned status,
    const struct reason *why, const char *name, const char *value);

#endif
