/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call begins with its request's headers, is read when its body is there,
 * becomes a job like any other, is answered when the job has ended, and is over
 * when the reply has left.  The payload stays where it was received, so the
 * call holds the request until the job has ended, also when its client is gone:
 * then the job is cancelled first and the answer goes nowhere.
 *
 * What waits for what: a call waits for its body (c->http), for a worker
 * (g->working_n), for its job (c->job), or for its reply to leave
 * (c->result_held_bytes).  Workers touch their own call and, when writing, read
 * its ended job.
 */
#include "gateway_call.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tensor.h"

#define HEADERS_MAX 8u
#define NUMBER_BYTES 24u
/* What remote_request_body() needs at the most, in bodies. */
#define JSON_WEIGHT 4u
/* Smaller ones are read and written sooner than a worker would wake up. */
#define INLINE_BYTES ((size_t)64 * 1024)
#define BUSY_RETRY_MS 1000u

struct call {
	struct gateway *gateway;
	struct http_request *http; /* NULL: answered */
	struct job *job; /* while one exists for it */
	bool hungup;
	uv_work_t work; /* reading or writing */
	char producer[LATENTD_MAX_NAME_BYTES + 1];
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

/* ---- answering ---- */

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
call_refuse(struct http_request *http, unsigned status,
    const struct reason *why, const char *name, const char *value)
{
	struct headers h = {.n = 0};

	if (name != NULL)
		add_header(&h, name, value);
	refuse_with(http, status, why, &h);
}

/* Its request was answered: the body is gone. */
static void
release_body(struct call *c)
{
	c->http = NULL;
	free(c->owned);
	c->owned = NULL;
	jobs_hold_input(c->gateway->jobs, c->body_held_bytes, 0);
	c->body_held_bytes = 0;
}

/* Refuse what did not become a job. */
static void
call_fail(struct call *c, unsigned status)
{
	call_refuse(c->http, status, &c->why, NULL, NULL);
	release_body(c);
}

static void
call_busy(struct call *c, uint64_t retry_after_ms)
{
	struct headers h = {.n = 0};

	add_retry_after(&h, retry_after_ms);
	refuse_with(c->http, 503, &c->why, &h);
	release_body(c);
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

static void
answer_bad(struct call *c, const struct reason *why)
{
	const unsigned status = status_of(why->err, c->job->http_status);
	struct headers h = {.n = 0};

	add_job(&h, c->job);
	if (status == 503)
		add_retry_after(&h, BUSY_RETRY_MS);
	refuse_with(c->http, status, why, &h);
}

static void
on_result_sent(void *arg)
{
	nng_msg_free(arg);
}

/* Answer with what the job brought; the reply takes the result over. */
static void
answer_good(struct call *c)
{
	const size_t front_bytes = job_front_bytes(c->job);
	struct gateway *g = c->gateway;
	struct job *job = c->job;
	char shape[TENSOR_SHAPE_TEXT_BYTES];
	struct headers h = {.n = 0};
	size_t bytes = job->result_bytes;
	nng_msg *result = NULL;

	if (c->json == NULL)
		result = job_take_result(g->jobs, job);
	else
		bytes = c->json_bytes;
	c->result_held_bytes = bytes;
	jobs_hold_result(g->jobs, 0, bytes);
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
		http_reply(c->http, 200, h.at, h.n,
		    (uint8_t *)nng_msg_body(result) + front_bytes, bytes,
		    on_result_sent, result);
}

static void
call_answer(struct call *c)
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
call_over(struct call *c, bool whole)
{
	struct gateway *g = c->gateway;

	assert(c->job == NULL);
	release_body(c);
	if (c->finished_ns != 0) {
		jobs_hold_result(g->jobs, c->result_held_bytes, 0);
		g->sending_n--;
		g->sinks.sent(c->finished_ns, whole, g->sinks.arg);
	}
	free(c);
}

/* ---- workers ---- */

static void
queue_work(struct call *c, uv_work_cb work, uv_after_work_cb after)
{
	int rv;

	c->gateway->working_n++;
	c->work.data = c;
	rv = uv_queue_work(c->gateway->loop, &c->work, work, after);
	assert(rv == 0);
}

static void
rest(struct gateway *g)
{
	if (--g->working_n == 0)
		g->sinks.rested(g->sinks.arg);
}

static void
write_json(struct call *c)
{
	c->json = remote_base64_format(&c->job->tensor,
	    (uint8_t *)nng_msg_body(c->job->result) + job_front_bytes(c->job),
	    c->job->result_bytes, &c->json_bytes);
	if (c->json == NULL)
		reason_set(&c->instead, LATENTD_ERR_MEMORY,
		    "the daemon has no memory for this reply");
}

static void
on_write(uv_work_t *work)
{
	write_json(work->data);
}

static void
on_written(uv_work_t *work, int status)
{
	struct call *c = work->data;
	struct gateway *g = c->gateway;

	(void)status;
	call_answer(c);
	rest(g);
}

void
call_ended(struct call *c)
{
	const struct job *job = c->job;
	const bool json = job->reason.err == LATENTD_OK &&
	    c->instead.err == LATENTD_OK &&
	    c->request.accept == REMOTE_TENSOR_BASE64 && job->tensor.ndim > 0;

	if (json && job->result_bytes > INLINE_BYTES) {
		queue_work(c, on_write, on_written);
		return;
	}
	if (json)
		write_json(c);
	call_answer(c);
}

/* ---- the job ---- */

static struct producer *
find_producer(struct call *c)
{
	const struct text name = {c->producer, strlen(c->producer)};
	const struct text none = {"", 0};
	struct producer_identity identity;

	producer_identity(PRODUCER_HTTP_UID, name, none, &identity);
	return producers_get(&c->gateway->jobs->producers, &identity);
}

static void
start_job(struct call *c, struct lane *lane)
{
	struct gateway *g = c->gateway;
	struct producer *producer = find_producer(c);
	char key[LATENTD_MAX_NAME_BYTES];
	struct text key_text = {key, 0};
	enum latentd_err err;

	if (producer == NULL) {
		reason_set(&c->why, LATENTD_ERR_BUSY,
		    "the daemon serves %u producers and takes no more",
		    PRODUCERS_MAX);
		call_busy(c, BUSY_RETRY_MS);
		return;
	}
	producers_hold(producer);
	key_text.bytes =
	    (size_t)snprintf(key, sizeof(key), "http-%" PRIu64, ++g->keys_n);
	err = intake_job(
	    &c->intake, g->jobs, producer, key_text, &c->job, &c->why);
	producers_release(&g->jobs->producers, producer);
	if (err != LATENTD_OK) {
		call_busy(c, BUSY_RETRY_MS);
		return;
	}
	c->job->lane = lane;
	c->job->call = c;
	g->sinks.accept(c->job, g->sinks.arg);
}

static void
refuse_busy(struct call *c, const struct job_busy *busy)
{
	if (strcmp(busy->reason, "stopping") == 0)
		reason_set(&c->why, LATENTD_ERR_STOPPING,
		    "the daemon is stopping; try again later");
	else
		reason_set(&c->why, LATENTD_ERR_BUSY,
		    "the queue is full (%s); try again later", busy->reason);
	call_busy(c, busy->retry_after_ms);
}

/* What was read is a whole request, or c->why says what is wrong with it. */
static void
consider(struct call *c)
{
	struct gateway *g = c->gateway;
	struct lane *lane;
	struct job_busy busy;

	if (c->why.err != LATENTD_OK) {
		call_fail(c, status_of(c->why.err, 0));
		return;
	}
	if (c->owned != NULL) {
		/* JSON has served its turn. */
		http_body_free(c->http);
		jobs_hold_input(
		    g->jobs, c->body_held_bytes, c->intake.payload_bytes);
		c->body_held_bytes = c->intake.payload_bytes;
	}
	if (c->hungup) {
		reason_set(
		    &c->why, LATENTD_ERR_CANCELLED, "its client hung up");
		call_fail(c, 503);
		return;
	}
	/* Its bytes are held already. */
	busy = g->sinks.busy(0, g->sinks.arg);
	if (busy.reason != NULL) {
		refuse_busy(c, &busy);
		return;
	}
	lane = g->sinks.lane(c->intake.model, c->intake.task, g->sinks.arg);
	assert(lane != NULL);
	start_job(c, lane);
}

void
call_hangup(struct call *c)
{
	struct gateway *g = c->gateway;

	c->hungup = true;
	if (c->job == NULL ||
	    (c->job->state != JOB_QUEUED && c->job->state != JOB_ACTIVE))
		return;
	reason_set(&c->instead, LATENTD_ERR_CANCELLED, "its client hung up");
	g->sinks.cancel(c->job, &c->instead, g->sinks.arg);
}

/* ---- reading ---- */

static bool
is_json(const struct call *c)
{
	return c->request.body == REMOTE_JSON ||
	    c->request.body == REMOTE_TENSOR_BASE64;
}

static void
read_body(struct call *c)
{
	const void *body, *payload;
	size_t bytes, payload_bytes;

	body = http_body(c->http, &bytes);
	if (remote_request_body(&c->request, body, bytes, &payload,
		&payload_bytes, &c->owned, &c->why) != LATENTD_OK)
		return;
	intake_remote(&c->request, payload, payload_bytes, &c->intake, &c->why);
}

static void
on_read(uv_work_t *work)
{
	read_body(work->data);
}

static void
on_was_read(uv_work_t *work, int status)
{
	struct call *c = work->data;
	struct gateway *g = c->gateway;

	(void)status;
	consider(c);
	rest(g);
}

void
call_read(struct call *c)
{
	size_t bytes;

	http_body(c->http, &bytes);
	/* A tensor's bytes are not looked at; all others are, one by one. */
	if (bytes > INLINE_BYTES &&
	    (is_json(c) || c->request.tensor.ndim == 0)) {
		queue_work(c, on_read, on_was_read);
		return;
	}
	read_body(c);
	consider(c);
}

bool
call_hold(struct call *c, size_t bytes)
{
	struct gateway *g = c->gateway;
	struct job_busy busy;

	if (is_json(c))
		bytes *= JSON_WEIGHT;
	busy = g->sinks.busy(bytes, g->sinks.arg);
	if (busy.reason != NULL) {
		refuse_busy(c, &busy);
		return false;
	}
	jobs_hold_input(
	    g->jobs, c->body_held_bytes, c->body_held_bytes + bytes);
	c->body_held_bytes += bytes;
	return true;
}

static bool
on_param(const char *key, const char *value, void *arg)
{
	struct call *c = arg;

	return remote_request_param(&c->request, key, value, &c->why) ==
	    LATENTD_OK;
}

static bool
is_name(const char *text)
{
	size_t n = strspn(text,
	    "abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n > 0 && n <= LATENTD_MAX_NAME_BYTES && text[n] == '\0';
}

static enum latentd_err
read_producer(struct call *c)
{
	const char *name = http_header(c->http, "X-Latentd-Producer");

	if (name == NULL)
		name = "http";
	if (!is_name(name))
		return reason_set(&c->why, LATENTD_ERR_INVALID,
		    "X-Latentd-Producer is \"%.80s\", but must be 1 to %u of "
		    "A-Z a-z 0-9 . _ -",
		    name, LATENTD_MAX_NAME_BYTES);
	snprintf(c->producer, sizeof(c->producer), "%s", name);
	return LATENTD_OK;
}

void
call_begin(struct gateway *g, struct http_request *http, enum latentd_task task,
    const struct model *model)
{
	struct call *c = calloc(1, sizeof(*c));

	if (c == NULL)
		abort();
	c->gateway = g;
	c->http = http;
	http_set_user(http, c);
	if (g->sinks.lane(model, task, g->sinks.arg) == NULL) {
		reason_set(&c->why, LATENTD_ERR_MODEL,
		    "no endpoint is configured to %s for model \"%s\"",
		    task_name(task), model->name);
		call_fail(c, 404);
		return;
	}
	remote_request_init(&c->request, task, model);
	remote_request_headers(&c->request, http_header(http, "Content-Type"),
	    http_header(http, "Accept"));
	if (read_producer(c) == LATENTD_OK)
		http_query_each(http, on_param, c);
	if (c->why.err != LATENTD_OK)
		call_fail(c, 400);
}
