/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connects the stages.  Read it beside the drawing in docs/architecture.md:
 *
 *   producers → door → ingress → queue → dispatch → transfer → finish
 *                                  ↑        ↑  │               │
 *                                  └─ retry ┘  │← verdict ─────┘
 *   producers ← door ← publish ← outbox ← ended┘
 *
 * Each group of functions below is one arrow; the tables at the end say which
 * stage is opened with which of them.  pipeline_admin.c has what operators ask
 * for, and where failed jobs go.
 */
#include "pipeline_private.h"

#include "base/log.h"
#include "finish.h"
#include "joblog.h"

size_t
pipeline_open_n(const struct pipeline *p)
{
	return p->jobs.state_n[JOB_QUEUED] + p->jobs.state_n[JOB_ACTIVE];
}

/* ---- every change of state ---- */

void
pipeline_on_move(const struct job *job, enum job_state from, void *arg)
{
	struct pipeline *p = arg;

	log_debug("job %llu: %s -> %s", (unsigned long long)job->id,
	    job_state_name(from), job_state_name(job->state));
	publish_event(p->publish, job);
	service_look(p->service);
}

/* ---- door → ingress ---- */

static void
on_door_request(struct door_request *request, void *arg)
{
	struct pipeline *p = arg;

	ingress_request(p->ingress, request);
}

/* End a job that is open, wherever it is. */
static void
end_open(struct pipeline *p, struct job *job, const struct reason *why)
{
	if (job->state == JOB_ACTIVE) {
		dispatch_cancel(p->dispatch, job, why);
		return;
	}
	queue_remove(p->queue, job);
	job->reason = *why;
	pipeline_end_job(p, job);
}

/* Jobs that were to end with their producer's connection. */
static void
cancel_owned(struct pipeline *p, uint32_t pipe)
{
	struct reason why;
	struct job *job, *next;

	reason_set(&why, LATENTD_ERR_CANCELLED,
	    "its producer disconnected, and wanted it cancelled then");
	for (job = TAILQ_FIRST(&p->jobs.owned); job != NULL; job = next) {
		next = TAILQ_NEXT(job, owned_link);
		if (job->owner_pipe == pipe)
			end_open(p, job, &why);
	}
}

static void
on_door_gone(uint32_t pipe, void *arg)
{
	struct pipeline *p = arg;

	publish_gone(p->publish, pipe);
	ingress_gone(p->ingress, pipe);
	outbox_release(p->outbox, pipe);
	auth_gone(p->auth, pipe);
	cancel_owned(p, pipe);
}

/* ---- ingress, gateway → queue ---- */

static struct lane *
on_lane(const struct model *model, enum latentd_task task, void *arg)
{
	struct pipeline *p = arg;

	return dispatch_lane(p->dispatch, model, task);
}

struct job_busy
pipeline_busy(
    const struct pipeline *p, const struct producer *producer, uint64_t bytes)
{
	enum queue_room room = queue_room(p->queue, producer, bytes);
	struct job_busy busy = {.reason = queue_room_name(room),
	    .retry_after_ms = queue_retry_after_ms(p->queue)};

	if (p->closing || drain_started(p->drain)) {
		busy.reason = "stopping";
		busy.retry_after_ms = 1000;
	} else if (p->paused_in) {
		busy.reason = "paused";
		busy.retry_after_ms = 1000;
	}
	return busy;
}

static void
on_refused(void *arg)
{
	struct pipeline *p = arg;

	metrics_answered(p->metrics, ANSWER_BUSY);
}

/* The gateway refuses whatever is not to come. */
static struct job_busy
on_gateway_busy(const struct producer *producer, uint64_t bytes, void *arg)
{
	struct job_busy busy = pipeline_busy(arg, producer, bytes);

	if (busy.reason != NULL)
		on_refused(arg);
	return busy;
}

static uint64_t
on_estimate(const struct lane *lane, const struct producer *producer,
    const struct intake *intake, void *arg)
{
	(void)arg;
	return queue_estimate_new_ms(
	    lane, producer, job_class(intake->priority), intake->cost_px);
}

static uint64_t
on_estimate_known(const struct job *job, void *arg)
{
	(void)arg;
	return queue_estimate_ms(job);
}

bool
pipeline_take(struct pipeline *p, struct job *job)
{
	if (!queue_push(p->queue, job))
		return false;
	metrics_answered(p->metrics, ANSWER_ACCEPTED);
	deadlines_watch(p->deadlines, job);
	return true;
}

/* A call is not spooled: nobody could collect its result after a crash. */
static bool
on_gateway_accept(struct job *job, void *arg)
{
	return pipeline_take(arg, job);
}

static size_t
on_position(const struct job *job, void *arg)
{
	(void)arg;
	return queue_position(job);
}

static uint64_t
on_remembered(const struct producer *producer, struct text key, void *arg)
{
	struct pipeline *p = arg;

	return remember_find(
	    p->remember, &producer->identity, key, uv_hrtime());
}

void
pipeline_on_expired(struct job *job, void *arg)
{
	struct reason why;

	job_late_reason(job, &why);
	end_open(arg, job, &why);
}

/* ---- queue → dispatch, and retry back ---- */

static void
on_queue_ready(void *arg)
{
	struct pipeline *p = arg;

	dispatch_kick(p->dispatch);
}

static bool
on_take_again(struct job *job, void *arg)
{
	struct pipeline *p = arg;

	return queue_take(p->queue, job);
}

static struct job *
on_pop(struct lane *lane, void *arg)
{
	struct pipeline *p = arg;
	struct reason why;
	struct job *job;

	/* The timer of deadlines may come a moment later. */
	while ((job = queue_pop(p->queue, lane)) != NULL && job_is_late(job)) {
		job_late_reason(job, &why);
		job->reason = why;
		pipeline_end_job(p, job);
	}
	return job;
}

static void
on_retry(struct job *job, void *arg)
{
	struct pipeline *p = arg;

	joblog_retry(job);
	(void)queue_push(p->queue, job);
	pipeline_tried(p, job);
}

/* ---- dispatch → transfer → finish → dispatch ---- */

static bool
on_abort(struct attempt *attempt, void *arg)
{
	struct pipeline *p = arg;

	/* A worker has it, and it ends by itself. */
	if (attempt->ended_ns != 0 || attempt->loading)
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

void
pipeline_on_transferred(struct attempt *attempt, void *arg)
{
	struct pipeline *p = arg;

	endpoint_end(attempt->endpoint, attempt);
	metrics_attempt(p->metrics, attempt);
	dispatch_kick(p->dispatch);
	if (attempt->verdict.reason.err == LATENTD_OK) {
		finish_start(p->loop, attempt, on_finished, p);
		return;
	}
	dispatch_verdict(p->dispatch, attempt);
	probe_look(p->probe);
}

/* ---- dispatch → outbox → publish, or back to the gateway ---- */

void
pipeline_end_job(struct pipeline *p, struct job *job)
{
	struct producer *producer = job->producer;

	if (p->closing && job->spooled &&
	    job->reason.err == LATENTD_ERR_STOPPING) {
		pipeline_leave(p, job);
		pipeline_close_soon(p);
		return;
	}
	deadlines_forget(p->deadlines, job);
	job->finished_ns = uv_hrtime();
	job_move(&p->jobs, job, job_end_state(&job->reason));
	joblog_ended(job);
	metrics_ended(p->metrics, job);
	if (job->state != JOB_FAILED || job->call != NULL)
		job_release_input(&p->jobs, job);
	if (job->state == JOB_DONE) {
		job->lane->done_n++;
		rate_add(&job->lane->done, job->finished_ns);
	}
	queue_note_end(p->queue);
	producers_hold(producer);
	if (job->call != NULL)
		gateway_ended(p->gateway, job);
	else if (job->spooled)
		spool_end(p->spool, job);
	else
		outbox_put(p->outbox, job);
	/* What it was expected to bring is more than what it brought. */
	queue_unpark(p->queue, producer);
	producers_release(&p->jobs.producers, producer);
	if (p->closing)
		pipeline_close_soon(p);
	else
		drain_look(p->drain);
}

static void
on_ended(struct job *job, void *arg)
{
	pipeline_end_job(arg, job);
}

static void
on_available(struct producer *producer, void *arg)
{
	struct pipeline *p = arg;

	publish_available(p->publish, producer);
}

static void
on_dropped(const struct job *job, const char *reason, void *arg)
{
	struct pipeline *p = arg;

	metrics_dropped(p->metrics);
	joblog_dropped(job, reason);
}

static void
on_acked(const struct job *job, void *arg)
{
	struct pipeline *p = arg;

	metrics_delivered(p->metrics, job->finished_ns);
	/* One that gave nothing may be tried again under its key. */
	if (job->reason.err == LATENTD_OK)
		remember_put(p->remember, job, uv_hrtime());
}

void
pipeline_on_room(struct producer *producer, void *arg)
{
	struct pipeline *p = arg;

	if (p->closing)
		return;
	queue_unpark(p->queue, producer);
	dispatch_kick(p->dispatch);
	drain_look(p->drain);
	service_look(p->service);
}

static void
on_sent(struct producer *producer, uint64_t finished_ns, bool whole, void *arg)
{
	struct pipeline *p = arg;

	if (whole)
		metrics_delivered(p->metrics, finished_ns);
	else
		metrics_dropped(p->metrics);
	pipeline_on_room(producer, p);
}

static void
on_rested(void *arg)
{
	struct pipeline *p = arg;

	if (p->closing)
		pipeline_close_soon(p);
}

/* ---- what else producers ask ---- */

static bool
on_ack(struct producer *producer, uint64_t tag, void *arg)
{
	struct pipeline *p = arg;

	return outbox_ack(p->outbox, producer, tag);
}

static void
on_collect(struct door_request *request, struct producer *producer,
    uint64_t wait_ms, uint64_t unknown_acks, void *arg)
{
	struct pipeline *p = arg;

	publish_collect(p->publish, request, producer, wait_ms, unknown_acks);
}

void
pipeline_cancel(struct job *job, const struct reason *why, void *arg)
{
	end_open(arg, job, why);
}

static size_t
on_services(const struct text **services, void *arg)
{
	struct pipeline *p = arg;

	*services = p->services;
	return p->services_n;
}

/* ---- the tables ---- */

const struct door_options pipeline_door = {
    .on_request = on_door_request, .on_gone = on_door_gone};

const struct ingress_sinks pipeline_ingress = {.lane = on_lane,
    .busy = pipeline_on_busy,
    .refused = on_refused,
    .estimate = on_estimate,
    .estimate_known = on_estimate_known,
    .accept = pipeline_on_accept,
    .position = on_position,
    .remembered = on_remembered,
    .ack = on_ack,
    .collect = on_collect,
    .replace = pipeline_on_replace,
    .ask = pipeline_on_ask,
    .services = on_services,
    .report = pipeline_on_report};

const struct gateway_sinks pipeline_gateway = {.lane = on_lane,
    .busy = on_gateway_busy,
    .accept = on_gateway_accept,
    .cancel = pipeline_cancel,
    .report = pipeline_on_report,
    .metrics = pipeline_on_metrics,
    .ready = pipeline_on_ready,
    .sent = on_sent,
    .rested = on_rested};

const struct queue_options pipeline_queue = {.on_ready = on_queue_ready};

const struct dispatch_sinks pipeline_dispatch = {.take = on_take_again,
    .pop = on_pop,
    .start = pipeline_on_start,
    .abort = on_abort,
    .retry = on_retry,
    .ended = on_ended};

const struct outbox_options pipeline_outbox = {.on_available = on_available,
    .on_dropped = on_dropped,
    .on_acked = on_acked,
    .on_failed = pipeline_on_failed,
    .on_noticed = pipeline_on_noticed,
    .on_forget = pipeline_on_forget,
    .on_room = pipeline_on_room};

const struct publish_sinks pipeline_publish = {
    .take = pipeline_on_take, .copied = pipeline_on_copied};
