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

#include "base/buffer.h"

/* What remote_request_body() needs at the most, in bodies. */
#define JSON_WEIGHT 4u
/* Smaller ones are read and written sooner than a worker would wake up. */
#define INLINE_BYTES ((size_t)64 * 1024)

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
	c->json = remote_base64_format(&c->job->tensor, c->job->result->at,
	    c->job->result->bytes, &c->json_bytes);
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
	gateway_answer_job(c);
	rest(g);
}

void
gateway_call_ended(struct call *c)
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
	gateway_answer_job(c);
}

/* ---- the job ---- */

static void
start_job(struct call *c, struct lane *lane)
{
	struct gateway *g = c->gateway;
	char key[LATENTD_MAX_NAME_BYTES];
	struct text key_text = {key, 0};

	key_text.bytes =
	    (size_t)snprintf(key, sizeof(key), "http-%" PRIu64, ++g->keys_n);
	c->intake.priority = c->priority;
	c->intake.deadline_ms = c->deadline_ms;
	if (intake_job(&c->intake, g->jobs, c->producer, key_text, &c->job,
		&c->why) != LATENTD_OK) {
		gateway_answer_busy(c, GATEWAY_RETRY_MS);
		return;
	}
	c->job->lane = lane;
	c->job->call = c;
	if (g->sinks.accept(c->job, g->sinks.arg))
		return;
	job_destroy(g->jobs, c->job);
	c->job = NULL;
	reason_set(&c->why, LATENTD_ERR_MEMORY, "the daemon is out of memory");
	gateway_answer_busy(c, GATEWAY_RETRY_MS);
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
	gateway_answer_busy(c, busy->retry_after_ms);
}

/*
 * Whether a call with ${bytes} may come.  What it holds already must not stand
 * in its own way, or one that fits only alone would never fit.
 */
static struct job_busy
ask_room(const struct call *c, size_t bytes)
{
	struct gateway *g = c->gateway;
	struct job_busy busy;

	jobs_hold_input(g->jobs, c->producer, c->body_held_bytes, 0);
	busy = g->sinks.busy(c->producer, bytes, g->sinks.arg);
	jobs_hold_input(g->jobs, c->producer, 0, c->body_held_bytes);
	return busy;
}

/* What was read is a whole request, or c->why says what is wrong with it. */
static void
consider(struct call *c)
{
	struct gateway *g = c->gateway;
	struct lane *lane;
	struct job_busy busy;

	if (c->why.err != LATENTD_OK) {
		gateway_answer_refuse(c, 0);
		return;
	}
	if (c->owned != NULL) {
		/* JSON has served its turn. */
		http_body_free(c->http);
		jobs_hold_input(g->jobs, c->producer, c->body_held_bytes,
		    c->intake.payload_bytes);
		c->body_held_bytes = c->intake.payload_bytes;
	}
	if (c->hungup) {
		reason_set(
		    &c->why, LATENTD_ERR_CANCELLED, "its client hung up");
		gateway_answer_refuse(c, 503);
		return;
	}
	busy = ask_room(c, c->body_held_bytes);
	if (busy.reason != NULL) {
		refuse_busy(c, &busy);
		return;
	}
	lane = g->sinks.lane(c->intake.model, c->intake.task, g->sinks.arg);
	assert(lane != NULL);
	start_job(c, lane);
}

void
gateway_call_hangup(struct call *c)
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
gateway_call_read(struct call *c)
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
gateway_call_hold(struct call *c, size_t bytes)
{
	struct gateway *g = c->gateway;
	struct job_busy busy;

	if (is_json(c))
		bytes *= JSON_WEIGHT;
	busy = ask_room(c, c->body_held_bytes + bytes);
	if (busy.reason != NULL) {
		refuse_busy(c, &busy);
		return false;
	}
	jobs_hold_input(g->jobs, c->producer, c->body_held_bytes,
	    c->body_held_bytes + bytes);
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

/* Find the producer whose name a header may give, and hold it. */
static enum latentd_err
read_producer(struct call *c)
{
	const char *name = http_header(c->http, "X-Latentd-Producer");
	struct producer_identity identity;

	if (name == NULL)
		name = "http";
	if (!message_is_name(name, strlen(name)))
		return reason_set(&c->why, LATENTD_ERR_INVALID,
		    "X-Latentd-Producer is \"%.80s\", but must be 1 to %u of "
		    "A-Z a-z 0-9 . _ -",
		    name, LATENTD_MAX_NAME_BYTES);
	producer_identity(PRODUCER_HTTP_UID, (struct text){name, strlen(name)},
	    (struct text){"", 0}, &identity);
	c->producer = producers_get(&c->gateway->jobs->producers, &identity);
	if (c->producer == NULL)
		return reason_set(&c->why, LATENTD_ERR_BUSY,
		    "the daemon serves %u producers and takes no more",
		    PRODUCERS_MAX);
	producers_hold(c->producer);
	return LATENTD_OK;
}

static enum latentd_err
read_priority(struct call *c)
{
	const char *name = http_header(c->http, "X-Latentd-Priority");

	if (name == NULL || priority_find(name, &c->priority))
		return LATENTD_OK;
	return reason_set(&c->why, LATENTD_ERR_INVALID,
	    "X-Latentd-Priority is \"%.80s\", but must be urgent, high, normal "
	    "or low",
	    name);
}

static enum latentd_err
read_deadline(struct call *c)
{
	const char *text = http_header(c->http, "X-Latentd-Deadline-Ms");
	size_t n;

	c->deadline_ms = c->gateway->deadline_ms;
	if (text == NULL)
		return LATENTD_OK;
	c->deadline_ms = 0;
	n = strspn(text, "0123456789");
	if (n > 0 && n <= 9 && text[n] == '\0')
		c->deadline_ms = strtoull(text, NULL, 10);
	if (c->deadline_ms > 0 && c->deadline_ms <= LATENTD_MAX_DEADLINE_MS)
		return LATENTD_OK;
	return reason_set(&c->why, LATENTD_ERR_INVALID,
	    "X-Latentd-Deadline-Ms is \"%.80s\", but must be a whole number "
	    "from 1 to %u",
	    text, LATENTD_MAX_DEADLINE_MS);
}

void
gateway_call_begin(struct gateway *g, struct http_request *http,
    enum latentd_task task, const struct model *model)
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
		gateway_answer_refuse(c, 404);
		return;
	}
	remote_request_init(&c->request, task, model);
	remote_request_headers(&c->request, http_header(http, "Content-Type"),
	    http_header(http, "Accept"));
	if (read_producer(c) == LATENTD_OK && read_priority(c) == LATENTD_OK &&
	    read_deadline(c) == LATENTD_OK)
		http_query_each(http, on_param, c);
	if (c->why.err == LATENTD_ERR_BUSY)
		gateway_answer_busy(c, GATEWAY_RETRY_MS);
	else if (c->why.err != LATENTD_OK)
		gateway_answer_refuse(c, 400);
}
