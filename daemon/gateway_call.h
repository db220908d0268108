/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of the remote contract on its way through the gateway; for
 * gateway.c, gateway_call.c (a request becomes a job) and gateway_answer.c only.
 */
#ifndef DAEMON_GATEWAY_CALL_H
#define DAEMON_GATEWAY_CALL_H

#include "base/http_uv.h"
#include "gateway.h"

/* When trying again makes sense, where nothing tells more. */
#define GATEWAY_RETRY_MS 1000u

struct gateway {
	uv_loop_t *loop;
	struct jobs *jobs;
	struct gateway_sinks sinks;
	struct http_server *server;
	char *token; /* or NULL */
	uint64_t deadline_ms;
	unsigned working_n; /* calls that a worker has */
	size_t sending_n; /* calls whose result is leaving */
	uint64_t keys_n;
};

struct call {
	struct gateway *gateway;
	struct http_request *http; /* NULL: answered */
	struct job *job; /* while one exists for it */
	bool hungup;
	uv_work_t work; /* reading or writing */
	struct producer *producer; /* held; NULL: refused before */
	enum latentd_priority priority;
	uint64_t deadline_ms; /* 0: none */
	size_t body_held_bytes; /* of input, in the books */
	size_t result_held_bytes; /* of results, in the books */
	uint64_t finished_ns; /* of the result that leaves */

	/* From reading. */
	struct remote_request request; /* as the client made it */
	struct intake intake;
	void *owned; /* the payload, where it was base64 */
	struct reason why; /* what is wrong with it */

	/* For answering. */
	struct reason instead; /* of the job's own end */
	char *json; /* base64 reply */
	size_t json_bytes;
};

/*
 * gateway_call_begin(g, http, task, model): the headers of a request are there;
 * it is a call now, http_user(http), or refused already.
 * gateway_call_hold(call, bytes): whether ${bytes} more of its body may be
 * buffered; refused if not.
 * gateway_call_read(call): its body is there.
 */
void gateway_call_begin(struct gateway *g, struct http_request *http,
    enum latentd_task task, const struct model *model);
bool gateway_call_hold(struct call *call, size_t bytes);
void gateway_call_read(struct call *call);

/* gateway_call_hangup(call): its client is gone; if a job runs for it, end it.
 */
void gateway_call_hangup(struct call *call);

/* gateway_call_ended(call): its job has ended; answer, and destroy the job. */
void gateway_call_ended(struct call *call);

/* gateway_answer_job(call): answer with what its job came to, and destroy the
 * job. */
void gateway_answer_job(struct call *call);

/*
 * gateway_answer_refuse(call, status): answer with call->why what did not
 * become a job; 0: the status that goes with it.
 * gateway_answer_busy(call, retry_after_ms): the same with 503.
 */
void gateway_answer_refuse(struct call *call, unsigned status);
void gateway_answer_busy(struct call *call, uint64_t retry_after_ms);

/* gateway_answer_over(call, whole): its request is over, http_uv.h: on_end;
 * frees it. */
void gateway_answer_over(struct call *call, bool whole);

/* gateway_answer_error(http, status, why, name, value): answer {"error": ...}
 * to what is no call, with one more header, or with NULL none. */
void gateway_answer_error(struct http_request *http, unsigned status,
    const struct reason *why, const char *name, const char *value);

#endif
