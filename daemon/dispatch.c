/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the active jobs.  Chooses which job's next part goes to which endpoint,
 * and what follows from an attempt's verdict: the next part, another try,
 * the end.  An attempt leaves through sinks.start and comes back through
 * dispatch_verdict().
 *
 * One function, dispatch_look() in dispatch_start.c, starts things.  It runs
 * from the loop whenever something kicked it, so nothing here recurses.
 */
#include "base/clock.h"
#include "dispatch_private.h"

#include <assert.h>
#include <stdlib.h>

/* Before a job is tried again: where another endpoint is fit, and where not. */
#define ELSEWHERE_FIRST_MS 100u
#define ELSEWHERE_MOST_MS 2000u
#define THERE_FIRST_MS 500u
#define THERE_MOST_MS 30000u
/* What an endpoint that turns requests away for load is left in peace for at
 * the least. */
#define LOAD_PAUSE_MS 250u

struct dispatch *
dispatch_open(uv_loop_t *loop, struct jobs *jobs,
    const struct dispatch_options *options, const struct dispatch_sinks *sinks)
{
	struct dispatch *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->jobs = jobs;
	d->sinks = *sinks;
	d->options = *options;
	hedge_init(&d->hedge, options->hedge_percent);
	TAILQ_INIT(&d->running);
	uv_idle_init(loop, &d->idle);
	d->idle.data = d;
	uv_timer_init(loop, &d->timer);
	d->timer.data = d;
	d->handles_n = 2;
	return d;
}

static void
on_closed(uv_handle_t *handle)
{
	struct dispatch *d = handle->data;

	if (--d->handles_n == 0)
		free(d);
}

void
dispatch_close(struct dispatch *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->lanes_n; i++) {
		assert(TAILQ_EMPTY(&d->lanes[i]->begun) &&
		    TAILQ_EMPTY(&d->lanes[i]->again));
		order_fini(&d->lanes[i]->waiting);
		free(d->lanes[i]->endpoints);
		free(d->lanes[i]);
	}
	for (size_t i = 0; i < d->endpoints_n; i++)
		endpoint_destroy(d->endpoints[i]);
	for (size_t i = 0; i < d->retired_n; i++)
		endpoint_destroy(d->retired[i]);
	free(d->lanes);
	free(d->endpoints);
	free(d->retired);
	assert(TAILQ_EMPTY(&d->running));
	uv_close((uv_handle_t *)&d->idle, on_closed);
	uv_close((uv_handle_t *)&d->timer, on_closed);
}

struct lane *
dispatch_lane_of(
    struct dispatch *d, const struct model *model, enum latentd_task task)
{
	for (size_t i = 0; i < d->lanes_n; i++) {
		if (d->lanes[i]->model == model && d->lanes[i]->task == task)
			return d->lanes[i];
	}
	return NULL;
}

struct lane *
dispatch_lane(
    struct dispatch *d, const struct model *model, enum latentd_task task)
{
	struct lane *lane = dispatch_lane_of(d, model, task);

	return lane != NULL && lane->endpoints_n > 0 ? lane : NULL;
}

void
dispatch_change(struct dispatch *d, const struct dispatch_options *options)
{
	d->options = *options;
	hedge_change(&d->hedge, options->hedge_percent);
	for (size_t i = 0; i < d->lanes_n; i++)
		order_change(&d->lanes[i]->waiting, options->age_ms);
	dispatch_kick(d);
}

/* ---- the end of a job ---- */

/* ${job} is in no slot any more, nor will be. */
static void
leave_active(struct job *job)
{
	job->lane->active_n--;
	job->lane->active_px -= job->cost_px;
}

static void
end(struct dispatch *d, struct job *job)
{
	assert(job->in_flight_n == 0);
	leave_active(job);
	d->sinks.ended(job, d->sinks.arg);
	dispatch_kick(d);
}

static bool
has_todo(const struct job *job)
{
	return job->done_n + job->running_n < job->parts_n;
}

static bool
is_begun(const struct job *job)
{
	return has_todo(job) && !job->failing && job->retry_at_ns == 0;
}

void
dispatch_leave_begun(struct job *job)
{
	if (is_begun(job))
		TAILQ_REMOVE(&job->lane->begun, job, link);
}

void
dispatch_join_begun(struct job *job)
{
	if (is_begun(job))
		TAILQ_INSERT_HEAD(&job->lane->begun, job, link);
}

/* No attempt runs for ${job} any more: what now? */
static void
settle(struct dispatch *d, struct job *job)
{
	enum latentd_err err;

	if (job->in_flight_n > 0)
		return;
	if (job->failing) {
		end(d, job);
		return;
	}
	if (job->done_n == job->parts_n) {
		job->reason = (struct reason){.err = LATENTD_OK};
		err = job_gather(d->jobs, job);
		if (err != LATENTD_OK)
			reason_set(&job->reason, err,
			    "no memory to put %zu images together",
			    job->parts_n);
		end(d, job);
		return;
	}
	if (job->retry_at_ns != 0) {
		leave_active(job);
		d->sinks.retry(job, d->sinks.arg);
	}
}

/* ---- verdicts ---- */

void
dispatch_leave(struct dispatch *d, struct attempt *a)
{
	struct part *part = &a->job->parts[a->part];

	TAILQ_REMOVE(&d->running, a, running);
	d->running_n--;
	d->again_n -= a->again;
	a->job->in_flight_n--;
	if (part->attempt == a)
		part->attempt = part->beside;
	if (part->attempt == part->beside || part->beside == a)
		part->beside = NULL;
}

/* Break ${a} off; when a worker has it, it comes back by itself. */
static void
drop(struct dispatch *d, struct attempt *a)
{
	a->aborted = true;
	if (!d->sinks.abort(a, d->sinks.arg)) {
		struct part *part = &a->job->parts[a->part];

		/* The part is nobody's, or the other one's. */
		if (part->attempt == a)
			part->attempt = part->beside;
		if (part->attempt == part->beside || part->beside == a)
			part->beside = NULL;
		return;
	}
	endpoint_end(a->endpoint, a);
	endpoint_dropped(a->endpoint, a);
	dispatch_leave(d, a);
	attempt_destroy(a);
}

static void
drop_all(struct dispatch *d, struct job *job)
{
	for (size_t i = 0; i < job->parts_n; i++) {
		struct part *part = &job->parts[i];

		if (part->state != PART_RUNNING)
			continue;
		while (part->attempt != NULL)
			drop(d, part->attempt);
		part->state = PART_TODO;
		job->running_n--;
	}
}

static void
fail(struct dispatch *d, struct job *job, const struct reason *why)
{
	job->failing = true;
	job->reason = *why;
	drop_all(d, job);
}

/* Half of ${ms}, and up to as much again. */
static uint64_t
jitter_ms(uint64_t ms)
{
	return ms / 2 + (uint64_t)random() % (ms / 2 + 1);
}

/*
 * How long a job waits that failed at ${ep} for the ${n}th time.  Only what
 * counts against it is waited out here; everything else is the endpoint's
 * affair, which pauses itself.
 */
static uint64_t
delay_ms(const struct job *job, const struct endpoint *ep, enum fate fate)
{
	bool elsewhere = lane_has_other(job->lane, ep);
	uint64_t ms = elsewhere ? ELSEWHERE_FIRST_MS : THERE_FIRST_MS;
	uint64_t most_ms = elsewhere ? ELSEWHERE_MOST_MS : THERE_MOST_MS;

	if (!fate_counts(fate))
		return 0;
	for (unsigned i = 1; i < job->failures_n && ms < most_ms; i++)
		ms *= 2;
	return jitter_ms(ms < most_ms ? ms : most_ms);
}

static void
on_good(struct dispatch *d, struct job *job, struct attempt *a)
{
	struct part *part = &job->parts[a->part];

	if (part->attempt != NULL)
		drop(d, part->attempt);
	part->state = PART_DONE;
	job->running_n--;
	lane_note(job->lane, a->ended_ns - a->started_ns, a->cost_px);
	hedge_took(&d->hedge, a->ended_ns - a->started_ns, a->cost_px);
	part->reply = a->reply;
	part->file_bytes = a->file_bytes;
	part->files_n = a->files_n;
	job->tensor = a->tensor;
	a->reply = NULL;
	a->file_bytes = NULL;
	job->done_n++;
	job->failures_n = 0;
	job->avoid = NULL;
	/* Of two that were made for a part, the first may be the better one. */
	snprintf(job->endpoint, sizeof(job->endpoint), "%s", a->endpoint->name);
	if (job->decoded_ns < a->ended_ns)
		job->decoded_ns = a->ended_ns;
}

static void
on_bad(struct dispatch *d, struct job *job, struct attempt *a)
{
	const struct verdict *v = &a->verdict;
	struct reason why;
	uint64_t at_ns;

	if (v->fate == FATE_JOB) {
		fail(d, job, &v->reason);
		return;
	}
	/* The one beside it may still do it. */
	if (job->parts[a->part].attempt != NULL)
		return;
	job->parts[a->part].state = PART_TODO;
	job->running_n--;
	job->avoid = a->endpoint;
	job->reason = v->reason;
	/* Parts that break off together, because their endpoint restarts, are
	 * one failure of the job. */
	if (fate_counts(v->fate) && job->retry_at_ns == 0)
		job->failures_n++;
	if (job->failures_n >= d->options.attempts_max) {
		reason_set(&why, v->reason.err,
		    "given up after %u requests; the last: %.400s",
		    job->attempts_n, v->reason.text);
		fail(d, job, &why);
		return;
	}
	at_ns = uv_hrtime() + delay_ms(job, a->endpoint, v->fate) * MS_NS;
	if (job->retry_at_ns < at_ns)
		job->retry_at_ns = at_ns;
}

static void
judge(struct attempt *a)
{
	struct verdict *v = &a->verdict;

	if ((v->fate == FATE_LOAD || v->fate == FATE_COLD) &&
	    v->retry_after_ms < LOAD_PAUSE_MS)
		v->retry_after_ms = (uint32_t)jitter_ms(2 * LOAD_PAUSE_MS);
	endpoint_judge(a->endpoint, a, lane_may_out(a->job->lane, a->endpoint));
}

/* What WHY tells of it later. */
static void
note_history(struct job *job, const struct attempt *a)
{
	struct history_entry entry = {.http_status = a->verdict.http_status,
	    .err = a->verdict.reason.err,
	    .took_ms = (a->ended_ns - a->started_ns) / MS_NS,
	    .ended_ns = a->ended_ns};

	snprintf(
	    entry.endpoint, sizeof(entry.endpoint), "%s", a->endpoint->name);
	history_note(&job->history, &entry);
}

void
dispatch_verdict(struct dispatch *d, struct attempt *a)
{
	struct job *job = a->job;
	struct part *part = &job->parts[a->part];

	assert(job->in_flight_n > 0);
	dispatch_leave_begun(job);
	dispatch_leave(d, a);
	if (a->aborted) {
		endpoint_dropped(a->endpoint, a);
	} else {
		assert(part->state == PART_RUNNING);
		job->http_status = a->verdict.http_status;
		judge(a);
		note_history(job, a);
		if (a->verdict.reason.err == LATENTD_OK)
			on_good(d, job, a);
		else
			on_bad(d, job, a);
	}
	attempt_destroy(a);
	dispatch_join_begun(job);
	settle(d, job);
	dispatch_kick(d);
}

void
dispatch_cancel(struct dispatch *d, struct job *job, const struct reason *why)
{
	assert(job->state == JOB_ACTIVE);
	if (job->failing)
		return;
	dispatch_leave_begun(job);
	fail(d, job, why);
	settle(d, job);
	dispatch_kick(d);
}

bool
dispatch_has_room(const struct dispatch *d)
{
	const struct jobs *jobs = d->jobs;

	if (jobs->stored_max > 0 && jobs->state_n[JOB_ACTIVE] > 0 &&
	    jobs->stored_bytes + jobs->expected_bytes >= jobs->stored_max)
		return false;
	return jobs->result_bytes + jobs->expected_bytes <
	    d->options.result_bytes_max;
}

static void
on_idle(uv_idle_t *idle)
{
	uv_idle_stop(idle);
	dispatch_look(idle->data);
}

void
dispatch_kick(struct dispatch *d)
{
	uv_idle_start(&d->idle, on_idle);
}

void
dispatch_pause(struct dispatch *d, bool paused)
{
	d->paused = paused;
	dispatch_kick(d);
}

bool
dispatch_is_paused(const struct dispatch *d)
{
	return d->paused;
}

size_t
dispatch_lanes_n(const struct dispatch *d)
{
	return d->lanes_n;
}

const struct lane *
dispatch_lane_at(const struct dispatch *d, size_t i)
{
	return d->lanes[i];
}

size_t
dispatch_endpoints_n(const struct dispatch *d)
{
	return d->endpoints_n;
}

struct endpoint *
dispatch_endpoint(const struct dispatch *d, size_t i)
{
	return d->endpoints[i];
}
