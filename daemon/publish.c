/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the COLLECTs that wait.  They are listed twice: with their producer, in
 * the order in which they came, and all together by the time at which they
 * give up, where one timer stands at the head.
 */
#include "publish.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <nng/protocol/pubsub0/pub.h>
#include <nng/transport/ipc/ipc.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "reply.h"

/* How long a COLLECT that would not wait waits for a result to be read back. */
#define READ_BACK_MS 10000u

struct waiter {
	struct door_request *request;
	struct producer *producer;
	uint32_t pipe;
	uint64_t until_ns;
	uint64_t unknown_acks;
	TAILQ_ENTRY(waiter) of_producer;
	TAILQ_ENTRY(waiter) by_time;
};

struct publish {
	struct jobs *jobs;
	uint64_t instance;
	struct publish_sinks sinks;
	uv_timer_t timer;
	struct waiter_list waiting;
	enum publish_events events;
	nng_socket pub;
};

struct publish *
publish_open(uv_loop_t *loop, struct jobs *jobs, uint64_t instance,
    const struct publish_sinks *sinks)
{
	struct publish *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->jobs = jobs;
	p->instance = instance;
	p->sinks = *sinks;
	TAILQ_INIT(&p->waiting);
	uv_timer_init(loop, &p->timer);
	p->timer.data = p;
	return p;
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
publish_close(struct publish *p)
{
	if (p == NULL)
		return;
	assert(TAILQ_EMPTY(&p->waiting));
	if (p->events != EVENTS_NONE)
		nng_close(p->pub);
	uv_close((uv_handle_t *)&p->timer, on_closed);
}

/* ---- results ---- */

/*
 * The message that carries ${job}'s result.  It is a copy: nng takes what it
 * sends, and the result must stay until it is acknowledged.
 */
static nng_msg *
result_message(
    const struct publish *p, const struct job *job, uint64_t unknown_acks)
{
	struct message_result m = {.instance = p->instance,
	    .tag = job->tag,
	    .id = job->id,
	    .key = {job->key, strlen(job->key)},
	    .state = job->state,
	    .code = job->reason.err,
	    .endpoint = {job->endpoint, strlen(job->endpoint)},
	    .attempts = job->attempts_n,
	    .kicks = job->kicks_n,
	    .unknown_acks = unknown_acks};

	if (job->started_ns != 0)
		m.queued_ms = (job->started_ns - job->submitted_ns) / MS_NS;
	if (job->decoded_ns != 0) {
		m.decode_ms = (job->decoded_ns - job->started_ns) / MS_NS;
		m.finish_ms = (job->finished_ns - job->decoded_ns) / MS_NS;
	}
	if (!job_has_result(job)) {
		m.message =
		    (struct text){job->reason.text, strlen(job->reason.text)};
		return reply_create(MESSAGE_RESULT, &m, NULL, 0);
	}
	m.output = job->output;
	m.tensor = job->tensor;
	m.part_bytes = job->file_bytes;
	m.part_bytes_n = job->files_n;
	m.width_px = job->geo.width_px;
	m.height_px = job->geo.height_px;
	m.frames = job->geo.frames;
	return reply_create(
	    MESSAGE_RESULT, &m, job->result->at, job->result->bytes);
}

static void
reply_result(const struct publish *p, struct door_request *request,
    const struct job *job, uint64_t unknown_acks)
{
	door_reply(request, result_message(p, job, unknown_acks));
	if (p->sinks.copied != NULL)
		p->sinks.copied(job, p->sinks.arg);
}

static void
reply_empty(const struct publish *p, struct door_request *request,
    const struct producer *producer, uint64_t unknown_acks)
{
	struct message_empty m = {.instance = p->instance,
	    .pending = producer->open_n + producer->storing_n,
	    .unknown_acks = unknown_acks};

	door_reply(request, reply_create(MESSAGE_EMPTY, &m, NULL, 0));
}

/* ---- waiting ---- */

static void on_timer(uv_timer_t *timer);

static void
arm(struct publish *p)
{
	const struct waiter *first = TAILQ_FIRST(&p->waiting);
	uint64_t now_ns = uv_hrtime();

	if (first == NULL)
		uv_timer_stop(&p->timer);
	else
		uv_timer_start(&p->timer, on_timer,
		    first->until_ns > now_ns
			? (first->until_ns - now_ns) / MS_NS + 1
			: 0,
		    0);
}

/* Forget ${w}, but not yet its hold on the producer. */
static struct door_request *
waiter_end(struct publish *p, struct waiter *w)
{
	struct door_request *request = w->request;

	TAILQ_REMOVE(&p->waiting, w, by_time);
	TAILQ_REMOVE(&w->producer->waiters, w, of_producer);
	free(w);
	return request;
}

static void
give_up(struct publish *p, struct waiter *w)
{
	struct producer *producer = w->producer;
	uint64_t unknown_acks = w->unknown_acks;

	reply_empty(p, waiter_end(p, w), producer, unknown_acks);
	producers_release(&p->jobs->producers, producer);
}

static void
on_timer(uv_timer_t *timer)
{
	struct publish *p = timer->data;
	uint64_t now_ns = uv_hrtime();
	struct waiter *w;

	while ((w = TAILQ_FIRST(&p->waiting)) != NULL && w->until_ns <= now_ns)
		give_up(p, w);
	arm(p);
}

static void
wait_for_result(struct publish *p, struct door_request *request,
    struct producer *producer, uint64_t wait_ms, uint64_t unknown_acks)
{
	struct waiter *w = calloc(1, sizeof(*w)), *before;

	if (w == NULL)
		abort();
	w->request = request;
	w->producer = producer;
	w->pipe = door_peer(request).pipe;
	w->unknown_acks = unknown_acks;
	w->until_ns = uv_hrtime() + wait_ms * MS_NS;
	TAILQ_INSERT_TAIL(&producer->waiters, w, of_producer);
	producers_hold(producer);
	/* Nearly all ask for the same time, so the place is the end. */
	TAILQ_FOREACH_REVERSE(before, &p->waiting, waiter_list, by_time)
	{
		if (before->until_ns <= w->until_ns)
			break;
	}
	if (before == NULL)
		TAILQ_INSERT_HEAD(&p->waiting, w, by_time);
	else
		TAILQ_INSERT_AFTER(&p->waiting, before, w, by_time);
	arm(p);
}

void
publish_collect(struct publish *p, struct door_request *request,
    struct producer *producer, uint64_t wait_ms, uint64_t unknown_acks)
{
	const struct job *job =
	    p->sinks.take(producer, door_peer(request).pipe, p->sinks.arg);

	if (job != NULL) {
		reply_result(p, request, job, unknown_acks);
		return;
	}
	/* One that is ready and not taken is on its way from the disk. */
	if (!TAILQ_EMPTY(&producer->ready) && wait_ms < READ_BACK_MS)
		wait_ms = READ_BACK_MS;
	if (wait_ms == 0)
		reply_empty(p, request, producer, unknown_acks);
	else
		wait_for_result(p, request, producer, wait_ms, unknown_acks);
}

void
publish_available(struct publish *p, struct producer *producer)
{
	const struct job *job;
	struct waiter *w;
	uint64_t unknown_acks;

	while ((w = TAILQ_FIRST(&producer->waiters)) != NULL) {
		job = p->sinks.take(producer, w->pipe, p->sinks.arg);
		if (job == NULL)
			break;
		unknown_acks = w->unknown_acks;
		reply_result(p, waiter_end(p, w), job, unknown_acks);
		/* The result's job keeps it alive. */
		producers_release(&p->jobs->producers, producer);
	}
	arm(p);
}

void
publish_gone(struct publish *p, uint32_t pipe)
{
	struct waiter *w, *next;

	for (w = TAILQ_FIRST(&p->waiting); w != NULL; w = next) {
		next = TAILQ_NEXT(w, by_time);
		if (w->pipe == pipe)
			give_up(p, w);
	}
	arm(p);
}

void
publish_flush(struct publish *p)
{
	struct waiter *w;

	while ((w = TAILQ_FIRST(&p->waiting)) != NULL)
		give_up(p, w);
	arm(p);
}

/* ---- events ---- */

enum latentd_err
publish_events(struct publish *p, const char *url, const struct tls_pem *tls,
    enum publish_events mode, struct reason *why)
{
	nng_listener listener;
	enum latentd_err err;
	int rv;

	if (mode == EVENTS_NONE)
		return LATENTD_OK;
	if ((rv = nng_pub0_open(&p->pub)) != 0)
		return reason_set(why, LATENTD_ERR_INTERNAL,
		    "cannot open an nng socket: %s", nng_strerror(rv));
	p->events = mode;
	rv = nng_listener_create(&listener, p->pub, url);
	if (rv == 0 && strncmp(url, "ipc://", 6) == 0)
		rv = nng_listener_set_int(
		    listener, NNG_OPT_IPC_PERMISSIONS, 0660);
	if (rv == 0 && strncmp(url, "tls+tcp://", 10) == 0 &&
	    (err = tls_listen(listener, tls, why)) != LATENTD_OK)
		return err;
	if (rv == 0)
		rv = nng_listener_start(listener, 0);
	if (rv != 0)
		return reason_set(why, LATENTD_ERR_IO,
		    "cannot publish events on \"%s\": %s", url,
		    nng_strerror(rv));
	return LATENTD_OK;
}

void
publish_event(struct publish *p, const struct job *job)
{
	struct message_event m = {.id = job->id,
	    .producer = {job->producer->identity.name,
		strlen(job->producer->identity.name)},
	    .model = {job->remote.model->name, strlen(job->remote.model->name)},
	    .task = job->remote.task,
	    .state = job->state};
	const uint8_t *body = NULL;
	nng_msg *msg;

	if (p->events == EVENTS_NONE)
		return;
	if (p->events == EVENTS_IMAGE && job->state == JOB_DONE &&
	    job->tensor.ndim == 0) {
		m.output = job->output;
		m.part_bytes = job->file_bytes[0];
		body = job->result->at;
	}
	msg = reply_create(MESSAGE_EVENT, &m, body, (size_t)m.part_bytes);
	/* PUB never blocks: what a subscriber cannot take is dropped. */
	if (nng_sendmsg(p->pub, msg, NNG_FLAG_NONBLOCK) != 0)
		nng_msg_free(msg);
}
