/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replies of calls: what a job brought, why it failed, why there is none.
 * Bytes of a result stay in the books until its reply has left.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "gateway_call.h"
#include "tensor.h"

#define HEADERS_MAX 8u
#define NUMBER_BYTES 24u

struct headers {
	const char *at[2 * HEADERS_MAX];
	size_t n;
	char numbers[HEADERS_MAX][NUMBER_BYTES];
};

static void
add_header(struct headers *h, const char *name, const char *value)
{
	assert(h->n < HEADERS_MAX);
	h->at[2 * h->n] = name;
	h->at[2 * h->n + 1] = value;
	h->n++;
}

static void
add_number(struct headers *h, const char *name, uint64_t value)
{
	char *text = h->numbers[h->n];

	snprintf(text, NUMBER_BYTES, "%" PRIu64, value);
	add_header(h, name, text);
}

static void
add_retry_after(struct headers *h, uint64_t ms)
{
	add_number(h, "Retry-After", ms > 1000 ? (ms + 999) / 1000 : 1);
}

static uint64_t
ms_between(uint64_t from_ns, uint64_t to_ns)
{
	return from_ns != 0 && to_ns > from_ns ? (to_ns - from_ns) / 1000000u
					       : 0;
}

static void
add_job(struct headers *h, const struct job *job)
{
	const uint64_t started_ns =
	    job->started_ns != 0 ? job->started_ns : job->finished_ns;

	add_number(h, "X-Latentd-Job", job->id);
	add_number(h, "X-Latentd-Queued-Ms",
	    ms_between(job->submitted_ns, started_ns));
	add_number(h, "X-Latentd-Decode-Ms",
	    ms_between(job->started_ns, job->decoded_ns));
	add_number(h, "X-Latentd-Attempts", job->attempts_n);
}

static void
refuse_with(struct http_request *http, unsigned status,
    const struct reason *why, struct headers *h)
{
	size_t bytes;
	char *text = remote_error_format(why, &bytes);

	if (text == NULL)
		abort();
	add_header(h, "Content-Type", "application/json");
	http_reply(http, status, h->at, h->n, text, bytes, free, text);
}

void
gateway_answer_error(struct http_request *http, unsigned status,
    const struct reason *why, const char *name, const char *value)
{
	struct headers h = {.n = 0};

	if (name != NULL)
		add_header(&h, name, value);
	refuse_with(http, status, why, &h);
}

/* Whose fault a job's failure was, in HTTP's words. */
static unsigned
status_of(enum latentd_err err, long endpoint_status)
{
	switch ((int)err) {
	case LATENTD_ERR_REFUSED:
		/* That the request is wrong, not where it was sent to. */
		return endpoint_status == 400 || endpoint_status == 413 ||
			endpoint_status == 422
		    ? (unsigned)endpoint_status
		    : 502;
	case LATENTD_ERR_TIMEOUT:
	case LATENTD_ERR_EXPIRED:
		return 504;
	case LATENTD_ERR_ENDPOINT:
	case LATENTD_ERR_UNREACHABLE:
	case LATENTD_ERR_DENIED:
		return 502;
	case LATENTD_ERR_MEMORY:
	case LATENTD_ERR_BUSY:
	case LATENTD_ERR_STOPPING:
	case LATENTD_ERR_CANCELLED:
		return 503;
	case LATENTD_ERR_MODEL:
		return 404;
	case LATENTD_ERR_TOO_LARGE:
		return 413;
	case LATENTD_ERR_INTERNAL:
		return 500;
	default:
		return 400;
	}
}

/* Its request was answered: the body is gone. */
static void
release_body(struct call *c)
{
	c->http = NULL;
	free(c->owned);
	c->owned = NULL;
	if (c->body_held_bytes > 0)
		jobs_hold_input(
		    c->gateway->jobs, c->producer, c->body_held_bytes, 0);
	c->body_held_bytes = 0;
}

void
gateway_answer_refuse(struct call *c, unsigned status)
{
	if (status == 0)
		status = status_of(c->why.err, 0);
	gateway_answer_error(c->http, status, &c->why, NULL, NULL);
	release_body(c);
}

void
gateway_answer_busy(struct call *c, uint64_t retry_after_ms)
{
	struct headers h = {.n = 0};

	add_retry_after(&h, retry_after_ms);
	refuse_with(c->http, 503, &c->why, &h);
	release_body(c);
}

static void
answer_bad(struct call *c, const struct reason *why)
{
	const unsigned status = status_of(why->err, c->job->http_status);
	struct headers h = {.n = 0};

	add_job(&h, c->job);
	if (status == 503)
		add_retry_after(&h, GATEWAY_RETRY_MS);
	refuse_with(c->http, status, why, &h);
}

static void
on_result_sent(void *arg)
{
	buffer_destroy(arg);
}

/* Answer with what the job brought; the reply takes the result over. */
static void
answer_good(struct call *c)
{
	struct gateway *g = c->gateway;
	struct job *job = c->job;
	char shape[TENSOR_SHAPE_TEXT_BYTES];
	struct headers h = {.n = 0};
	size_t bytes = job->result_bytes;
	struct buffer *result = NULL;

	if (c->json == NULL)
		result = job_take_result(g->jobs, job);
	else
		bytes = c->json_bytes;
	c->result_held_bytes = bytes;
	jobs_hold_result(g->jobs, c->producer, 0, bytes);
	c->finished_ns = job->finished_ns;
	g->sending_n++;
	add_header(&h, "Content-Type",
	    c->json != NULL ? remote_type_name(REMOTE_TENSOR_BASE64)
			    : remote_reply_type(&job->expect));
	if (job->tensor.ndim > 0 && c->json == NULL) {
		add_header(
		    &h, "shape", tensor_shape_format(&job->tensor, shape));
		add_header(&h, "dtype", dtype_name(job->tensor.dtype));
	}
	add_job(&h, job);
	if (c->json != NULL)
		http_reply(
		    c->http, 200, h.at, h.n, c->json, bytes, free, c->json);
	else
		http_reply(c->http, 200, h.at, h.n, result->at, bytes,
		    on_result_sent, result);
}

void
gateway_answer_job(struct call *c)
{
	const struct reason *why = &c->job->reason;

	if (c->instead.err != LATENTD_OK)
		why = &c->instead;
	if (why->err == LATENTD_OK)
		answer_good(c);
	else
		answer_bad(c, why);
	job_destroy(c->gateway->jobs, c->job);
	c->job = NULL;
	release_body(c);
}

void
gateway_answer_over(struct call *c, bool whole)
{
	struct gateway *g = c->gateway;

	assert(c->job == NULL);
	release_body(c);
	if (c->finished_ns != 0) {
		jobs_hold_result(g->jobs, c->producer, c->result_held_bytes, 0);
		g->sending_n--;
		g->sinks.sent(c->producer, c->finished_ns, whole, g->sinks.arg);
	}
	if (c->producer != NULL)
		producers_release(&g->jobs->producers, c->producer);
	free(c);
}
