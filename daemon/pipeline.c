/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connects the stages.  Read it beside the drawing in docs/architecture.md:
 *
 *   producers → door → ingress → queue → dispatch → transfer → finish
 *                                  ↑        ↑  │               │
 *                                  └─ retry ┘  │← verdict ─────┘
 *   producers ← door ← publish ← outbox ← ended┘
 *
 * Each group of functions below is one arrow.
 */
#include "pipeline.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/door.h"
#include "base/log.h"
#include "dispatch.h"
#include "drain.h"
#include "finish.h"
#include "gateway.h"
#include "ingress.h"
#include "joblog.h"
#include "outbox.h"
#include "publish.h"
#include "queue.h"
#include "report.h"
#include "transfer.h"

#define CONNECTIONS_MAX 1024u
#define REQUESTS_MAX 4096u
#define SERVICES_MAX 16u

struct pipeline {
	uv_loop_t *loop;
	const struct config *config;
	struct jobs jobs;
	uint64_t instance;
	uint64_t started_ns;

	struct door *door;
	struct gateway *gateway;
	struct ingress *ingress;
	struct queue *queue;
	struct dispatch *dispatch;
	struct transfers *transfers;
	struct outbox *outbox;
	struct publish *publish;

	char service_names[SERVICES_MAX][LATENTD_MAX_NAME_BYTES + 8];
	struct text services[SERVICES_MAX];
	size_t services_n;

	struct drain *drain;
	bool closing;
	uv_timer_t close_timer;
	size_t lost_n; /* open jobs at the end */
	void (*on_drained)(void *arg);
	void *arg;
};

static size_t
open_n(const struct pipeline *p)
{
	return p->jobs.state_n[JOB_QUEUED] + p->jobs.state_n[JOB_ACTIVE];
}

/* ---- every change of state ---- */

static void
on_move(const struct job *job, enum job_state from, void *arg)
{
	struct pipeline *p = arg;

	log_debug("job %llu: %s -> %s", (unsigned long long)job->id,
	    job_state_name(from), job_state_name(job->state));
	publish_event(p->publish, job);
}

/* ---- door → ingress ---- */

static void
on_door_request(struct door_request *request, void *arg)
{
	struct pipeline *p = arg;

	ingress_request(p->ingress, request);
}

static void
on_door_gone(uint32_t pipe, void *arg)
{
	struct pipeline *p = arg;

	publish_gone(p->publish, pipe);
	outbox_release(p->outbox, pipe);
}

/* ---- ingress → queue ---- */

static struct lane *
on_lane(const struct model *model, enum latentd_task task, void *arg)
{
	struct pipeline *p = arg;

	return dispatch_lane(p->dispatch, model, task);
}

static struct ingress_busy
on_busy(size_t message_bytes, void *arg)
{
	struct pipeline *p = arg;
	enum queue_room room = queue_room(p->queue, message_bytes);
	struct ingress_busy busy = {
	    .reason = NULL, .retry_after_ms = queue_retry_after_ms(p->queue)};

	if (p->closing || drain_started(p->drain)) {
		busy.reason = "stopping";
		busy.retry_after_ms = 1000;
	} else if (room != QUEUE_ROOM) {
		busy.reason = room == QUEUE_FULL_JOBS ? "jobs" : "bytes";
	}
	return busy;
}

static void
on_accept(struct job *job, void *arg)
{
	struct pipeline *p = arg;

	queue_push(p->queue, job);
}

static size_t
on_position(const struct job *job, void *arg)
{
	struct pipeline *p = arg;

	return queue_position(p->queue, job);
}

/* ---- queue → dispatch, and retry back ---- */

static void
on_queue_ready(void *arg)
{
	struct pipeline *p = arg;

	dispatch_kick(p->dispatch);
}

static struct job *
on_pop(struct lane *lane, void *arg)
{
	struct pipeline *p = arg;

	return queue_pop(p->queue, lane);
}

static void
on_retry(struct job *job, void *arg)
{
	struct pipeline *p = arg;

	joblog_retry(job);
	queue_push(p->queue, job);
}

/* ---- dispatch → transfer → finish → dispatch ---- */

static bool
on_start(struct attempt *attempt, void *arg)
{
	struct pipeline *p = arg;

	return transfer_start(p->transfers, attempt);
}

static bool
on_abort(struct attempt *attempt, void *arg)
{
	struct pipeline *p = arg;

	/* Finish runs on a worker and ends by itself. */
	if (attempt->ended_ns != 0)
		return false;
	transfer_abort(p->transfers, attempt);
	return true;
}

static void
on_finished(struct attempt *attempt, void *arg)
{
	struct pipeline *p = arg;

	dispatch_verdict(p->dispatch, attempt);
}

static void
on_transferred(struct attempt *attempt, void *arg)
{
	struct pipeline *p = arg;

	endpoint_end(attempt->endpoint);
	dispatch_kick(p->dispatch);
	if (attempt->verdict.reason.err == LATENTD_OK)
		finish_start(p->loop, attempt, on_finished, p);
	else
		dispatch_verdict(p->dispatch, attempt);
}

/* ---- dispatch → outbox → publish ---- */

static void on_close_timer(uv_timer_t *timer);

static void
end_job(struct pipeline *p, struct job *job, enum job_state state)
{
	job->finished_ns = uv_hrtime();
	job_move(&p->jobs, job, state);
	joblog_ended(job);
	job_release_input(&p->jobs, job);
	queue_note_end(p->queue);
	outbox_put(p->outbox, job);
	if (p->closing)
		uv_timer_start(&p->close_timer, on_close_timer, 0, 0);
	else
		drain_look(p->drain);
}

static void
on_ended(struct job *job, void *arg)
{
	struct pipeline *p = arg;
	enum job_state state = JOB_DONE;

	if (job->cancelled)
		state = JOB_CANCELLED;
	else if (job->reason.err != LATENTD_OK)
		state = JOB_FAILED;
	end_job(p, job, state);
}

static void
on_available(struct producer *producer, void *arg)
{
	struct pipeline *p = arg;

	publish_available(p->publish, producer);
}

static const struct job *
on_take(struct producer *producer, uint32_t pipe, void *arg)
{
	struct pipeline *p = arg;

	return outbox_take(p->outbox, producer, pipe);
}

static void
on_dropped(const struct job *job, const char *reason, void *arg)
{
	(void)arg;
	joblog_dropped(job, reason);
}

static void
on_room(void *arg)
{
	struct pipeline *p = arg;

	if (p->closing)
		return;
	dispatch_kick(p->dispatch);
	drain_look(p->drain);
}

/* ---- what else producers ask ---- */

static void
on_ack(struct producer *producer, uint64_t tag, void *arg)
{
	struct pipeline *p = arg;

	outbox_ack(p->outbox, producer, tag);
}

static void
on_collect(struct door_request *request, struct producer *producer,
    uint64_t wait_ms, void *arg)
{
	struct pipeline *p = arg;

	publish_collect(p->publish, request, producer, wait_ms);
}

static void
on_cancel(struct job *job, void *arg)
{
	struct pipeline *p = arg;
	struct reason why;

	reason_set(&why, LATENTD_ERR_CANCELLED, "cancelled by its producer");
	if (job->state == JOB_ACTIVE) {
		dispatch_cancel(p->dispatch, job, &why);
		return;
	}
	queue_remove(p->queue, job);
	job->reason = why;
	end_job(p, job, JOB_CANCELLED);
}

static size_t
on_services(const struct text **services, void *arg)
{
	struct pipeline *p = arg;

	*services = p->services;
	return p->services_n;
}

static char *
on_report(void *arg)
{
	struct pipeline *p = arg;
	const struct report_input input = {.jobs = &p->jobs,
	    .dispatch = p->dispatch,
	    .instance = p->instance,
	    .started_ns = p->started_ns,
	    .jobs_max = p->config->jobs,
	    .bytes_max = p->config->bytes,
	    .state = drain_started(p->drain) ? "draining" : "running"};

	return report_create(&input);
}

/* ---- opening ---- */

static size_t
on_open_n(void *arg)
{
	return open_n(arg);
}

static size_t
on_kept_n(void *arg)
{
	struct pipeline *p = arg;

	return outbox_kept_n(p->outbox);
}

static void
on_drained_all(void *arg)
{
	struct pipeline *p = arg;

	p->on_drained(p->arg);
}

static bool
open_drain(struct pipeline *p)
{
	const struct drain_options options = {
	    .most_ms = p->config->drain_s * UINT64_C(1000),
	    .open_n = on_open_n,
	    .kept_n = on_kept_n,
	    .on_drained = on_drained_all,
	    .arg = p};

	p->drain = drain_open(p->loop, &options);
	return p->drain != NULL;
}

static bool
open_queue(struct pipeline *p)
{
	const struct queue_options options = {
	    .jobs_max = (size_t)p->config->jobs,
	    .bytes_max = p->config->bytes,
	    .on_ready = on_queue_ready,
	    .arg = p};

	p->queue = queue_open(p->loop, &p->jobs, &options);
	return p->queue != NULL;
}

static bool
open_dispatch(struct pipeline *p)
{
	const struct dispatch_sinks sinks = {.pop = on_pop,
	    .start = on_start,
	    .abort = on_abort,
	    .retry = on_retry,
	    .ended = on_ended,
	    .arg = p};
	unsigned parallel_n = 0;

	p->dispatch =
	    dispatch_open(p->loop, &p->jobs, p->config->bytes, &sinks);
	if (p->dispatch == NULL)
		return false;
	for (size_t i = 0; i < p->config->endpoints_n; i++) {
		struct endpoint *ep = endpoint_create(&p->config->endpoints[i]);

		if (ep == NULL || !dispatch_add(p->dispatch, ep))
			return false;
		parallel_n += ep->parallel;
	}
	p->transfers =
	    transfers_open(p->loop, p->instance, parallel_n, on_transferred, p);
	return p->transfers != NULL;
}

static bool
open_outbox(struct pipeline *p)
{
	const struct outbox_options options = {.first_tag = p->instance,
	    .keep_ms = p->config->keep_s * 1000,
	    .on_available = on_available,
	    .on_dropped = on_dropped,
	    .on_room = on_room,
	    .arg = p};
	const struct publish_sinks sinks = {.take = on_take, .arg = p};

	p->outbox = outbox_open(p->loop, &p->jobs, &options);
	p->publish = publish_open(p->loop, &p->jobs, p->instance, &sinks);
	return p->outbox != NULL && p->publish != NULL;
}

static bool
open_ingress(struct pipeline *p)
{
	const struct ingress_sinks sinks = {.lane = on_lane,
	    .busy = on_busy,
	    .accept = on_accept,
	    .position = on_position,
	    .ack = on_ack,
	    .collect = on_collect,
	    .cancel = on_cancel,
	    .services = on_services,
	    .report = on_report,
	    .arg = p};
	uint64_t max_body_bytes = LATENTD_MAX_BODY_BYTES;

	if (max_body_bytes > p->config->bytes)
		max_body_bytes = p->config->bytes;
	p->ingress =
	    ingress_create(&p->jobs, p->instance, max_body_bytes, &sinks);
	return p->ingress != NULL;
}

/* "decode/sdxl" for each lane, for WELCOME. */
static void
name_services(struct pipeline *p)
{
	for (size_t i = 0; i < p->config->endpoints_n; i++) {
		const struct config_endpoint *ep = &p->config->endpoints[i];
		char *name = p->service_names[p->services_n];
		bool known = false;

		if (p->services_n == SERVICES_MAX)
			return;
		snprintf(name, sizeof(p->service_names[0]), "%s/%s",
		    task_name(ep->task), ep->model->name);
		for (size_t k = 0; k < p->services_n; k++)
			known |= strcmp(name, p->service_names[k]) == 0;
		if (!known)
			p->services[p->services_n++] =
			    (struct text){name, strlen(name)};
	}
}

static enum latentd_err
open_door(struct pipeline *p, struct reason *why)
{
	uint64_t max_body_bytes = p->config->bytes < LATENTD_MAX_BODY_BYTES
	    ? p->config->bytes
	    : LATENTD_MAX_BODY_BYTES;
	const struct door_options options = {
	    .max_message_bytes = (size_t)max_body_bytes + MESSAGE_FRONT_BYTES,
	    .max_connections = CONNECTIONS_MAX,
	    .max_requests = REQUESTS_MAX,
	    .on_request = on_door_request,
	    .on_gone = on_door_gone,
	    .arg = p};
	enum latentd_err err;

	err = door_open(p->loop, &options, &p->door, why);
	for (size_t i = 0; err == LATENTD_OK && i < p->config->listen_n; i++)
		err = door_listen(p->door, p->config->listen[i], why);
	if (err == LATENTD_OK)
		err = publish_events(p->publish, p->config->events_listen,
		    (enum publish_events)p->config->events, why);
	return err;
}

static enum latentd_err
open_gateway(struct pipeline *p, struct reason *why)
{
	const struct gateway_sinks sinks = {.report = on_report, .arg = p};

	if (p->config->http[0] == '\0')
		return LATENTD_OK;
	return gateway_open(p->loop, p->config->http, &sinks, &p->gateway, why);
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

static void
close_stages(struct pipeline *p)
{
	door_close(p->door);
	gateway_close(p->gateway);
	ingress_destroy(p->ingress);
	transfers_close(p->transfers);
	dispatch_close(p->dispatch);
	outbox_close(p->outbox);
	queue_close(p->queue);
	publish_close(p->publish);
	drain_close(p->drain);
	uv_close((uv_handle_t *)&p->close_timer, on_closed);
}

enum latentd_err
pipeline_open(uv_loop_t *loop, const struct config *config,
    void (*on_drained)(void *arg), void *arg, struct pipeline **pipeline,
    struct reason *why)
{
	struct pipeline *p = calloc(1, sizeof(*p));
	enum latentd_err err;

	if (p == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	p->loop = loop;
	p->config = config;
	p->started_ns = uv_hrtime();
	p->on_drained = on_drained;
	p->arg = arg;
	p->jobs.on_move = on_move;
	p->jobs.arg = p;
	uv_timer_init(loop, &p->close_timer);
	p->close_timer.data = p;
	if (getrandom(&p->instance, sizeof(p->instance), 0) !=
	    (ssize_t)sizeof(p->instance))
		abort();
	name_services(p);
	if (!open_drain(p) || !open_queue(p) || !open_dispatch(p) ||
	    !open_outbox(p) || !open_ingress(p))
		err = reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	else if ((err = open_door(p, why)) == LATENTD_OK)
		err = open_gateway(p, why);
	if (err != LATENTD_OK) {
		p->closing = true;
		close_stages(p);
		return err;
	}
	if (p->gateway != NULL)
		log_info("http on port %u", gateway_port(p->gateway));
	*pipeline = p;
	return LATENTD_OK;
}

/* ---- draining and closing ---- */

void
pipeline_drain(struct pipeline *p)
{
	drain_start(p->drain);
}

/* End every open job, so that no attempt runs and no list holds one. */
static void
end_open_jobs(struct pipeline *p)
{
	struct reason why;
	struct job *job, *next;

	reason_set(&why, LATENTD_ERR_STOPPING, "the daemon was stopped");
	for (job = p->jobs.by_id; job != NULL; job = next) {
		next = job->by_id.next;
		if (job->state == JOB_ACTIVE) {
			dispatch_cancel(p->dispatch, job, &why);
		} else if (job->state == JOB_QUEUED) {
			queue_remove(p->queue, job);
			job->reason = why;
			end_job(p, job, JOB_FAILED);
		}
	}
}

/* From the loop, so that no stage is closed below its own feet. */
static void
on_close_timer(uv_timer_t *timer)
{
	struct pipeline *p = timer->data;
	size_t kept_n = outbox_kept_n(p->outbox);

	/* A worker cannot be stopped; end_job() comes back here. */
	if (p->jobs.state_n[JOB_ACTIVE] > 0)
		return;
	kept_n -= kept_n < p->lost_n ? kept_n : p->lost_n;
	if (p->lost_n > 0 || kept_n > 0)
		log_warn("stopped with %zu jobs unfinished and %zu results "
			 "not collected: their producers must submit again",
		    p->lost_n, kept_n);
	publish_flush(p->publish);
	close_stages(p);
}

void
pipeline_close(struct pipeline *p)
{
	if (p->closing)
		return;
	p->lost_n = open_n(p);
	p->closing = true;
	drain_stop(p->drain);
	end_open_jobs(p);
	uv_timer_start(&p->close_timer, on_close_timer, 0, 0);
}
