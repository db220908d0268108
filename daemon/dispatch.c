/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the active jobs.  Chooses which job's next part goes to which endpoint,
 * and what follows from an attempt's verdict: the next part, another try,
 * the end.  An attempt leaves through sinks.start and comes back through
 * dispatch_verdict().
 *
 * One function, on_idle(), starts things.  It runs from the loop whenever
 * something kicked it, so nothing here recurses.
 */
#include "dispatch.h"

#include <assert.h>
#include <stdlib.h>

#define MS_NS 1000000u
#define BACKOFF_FIRST_MS 500u
#define BACKOFF_MAX_MS 30000u

struct dispatch {
	uv_idle_t idle;
	struct jobs *jobs;
	struct dispatch_sinks sinks;
	struct dispatch_options options;
	struct endpoint **endpoints;
	size_t endpoints_n;
	struct lane **lanes;
	size_t lanes_n;
	bool paused;
};

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
	uv_idle_init(loop, &d->idle);
	d->idle.data = d;
	return d;
}

static void
on_closed(uv_handle_t *idle)
{
	free(idle->data);
}

void
dispatch_close(struct dispatch *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->lanes_n; i++) {
		assert(TAILQ_EMPTY(&d->lanes[i]->begun));
		order_fini(&d->lanes[i]->waiting);
		free(d->lanes[i]->endpoints);
		free(d->lanes[i]);
	}
	for (size_t i = 0; i < d->endpoints_n; i++)
		endpoint_destroy(d->endpoints[i]);
	free(d->lanes);
	free(d->endpoints);
	uv_close((uv_handle_t *)&d->idle, on_closed);
}

/* Append ${item} to the array of ${*n} pointers at ${*array}. */
static bool
append(void ***array, size_t *n, void *item)
{
	void **more = reallocarray(*array, *n + 1, sizeof(**array));

	if (more == NULL)
		return false;
	more[(*n)++] = item;
	*array = more;
	return true;
}

static struct lane *
lane_get(struct dispatch *d, const struct model *model, enum latentd_task task)
{
	struct lane *lane = dispatch_lane(d, model, task);

	if (lane != NULL)
		return lane;
	if ((lane = calloc(1, sizeof(*lane))) == NULL)
		return NULL;
	lane->model = model;
	lane->task = task;
	order_init(&lane->waiting, d->options.age_ms);
	TAILQ_INIT(&lane->begun);
	if (!append((void ***)&d->lanes, &d->lanes_n, lane)) {
		free(lane);
		return NULL;
	}
	return lane;
}

bool
dispatch_add(struct dispatch *d, struct endpoint *endpoint)
{
	struct lane *lane = lane_get(d, endpoint->model, endpoint->task);

	if (!append((void ***)&d->endpoints, &d->endpoints_n, endpoint)) {
		endpoint_destroy(endpoint);
		return false;
	}
	if (lane == NULL ||
	    !append((void ***)&lane->endpoints, &lane->endpoints_n, endpoint))
		return false;
	lane->slots_n += endpoint->parallel;
	return true;
}

struct lane *
dispatch_lane(
    struct dispatch *d, const struct model *model, enum latentd_task task)
{
	for (size_t i = 0; i < d->lanes_n; i++) {
		if (d->lanes[i]->model == model && d->lanes[i]->task == task)
			return d->lanes[i];
	}
	return NULL;
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
	assert(job->running_n == 0);
	leave_active(job);
	d->sinks.ended(job, d->sinks.arg);
	dispatch_kick(d);
}

static bool
has_todo(const struct job *job)
{
	return job->done_n + job->running_n < job->parts_n;
}

static void
leave_begun(struct job *job)
{
	if (has_todo(job) && !job->failing && job->retry_at_ns == 0)
		TAILQ_REMOVE(&job->lane->begun, job, link);
}

/* No attempt runs for ${job} any more: what now? */
static void
settle(struct dispatch *d, struct job *job)
{
	enum latentd_err err;

	if (job->running_n > 0)
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

/* Exponential with jitter between a half and the whole; a wish of the
 * endpoint's is a floor. */
static uint64_t
backoff_ms(const struct job *job, const struct verdict *v)
{
	uint64_t ms = BACKOFF_FIRST_MS;

	for (unsigned i = 1; i < job->failures_n && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	ms = ms / 2 + (uint64_t)random() % (ms / 2 + 1);
	return ms > v->retry_after_ms ? ms : v->retry_after_ms;
}

static void
on_good(struct job *job, struct attempt *a)
{
	struct part *part = &job->parts[a->part];

	part->state = PART_DONE;
	lane_note(job->lane, a->ended_ns - a->started_ns,
	    job->cost_px / job->parts_n);
	part->reply = a->reply;
	part->file_bytes = a->file_bytes;
	part->files_n = a->files_n;
	job->tensor = a->tensor;
	a->reply = NULL;
	a->file_bytes = NULL;
	job->done_n++;
	job->failures_n = 0;
	if (job->decoded_ns < a->ended_ns)
		job->decoded_ns = a->ended_ns;
}

static void
abort_attempts(struct dispatch *d, struct job *job)
{
	for (size_t i = 0; i < job->parts_n; i++) {
		struct part *part = &job->parts[i];
		struct attempt *a = part->attempt;

		if (a == NULL)
			continue;
		a->aborted = true;
		if (!d->sinks.abort(a, d->sinks.arg))
			continue;
		endpoint_end(a->endpoint);
		endpoint_aborted(a->endpoint);
		part->attempt = NULL;
		part->state = PART_TODO;
		job->running_n--;
		attempt_destroy(a);
	}
}

static void
on_bad(struct dispatch *d, struct job *job, struct attempt *a)
{
	const struct verdict *v = &a->verdict;
	uint64_t at_ns;

	job->parts[a->part].state = PART_TODO;
	/* Parts that break off together, because their endpoint restarts, are
	 * one failure of the job. */
	if (job->retry_at_ns == 0)
		job->failures_n++;
	if (v->retry && job->failures_n < DISPATCH_FAILURES_MAX) {
		at_ns = uv_hrtime() + backoff_ms(job, v) * MS_NS;
		if (job->retry_at_ns < at_ns)
			job->retry_at_ns = at_ns;
		job->reason = v->reason;
		return;
	}
	job->failing = true;
	job->reason = v->reason;
	if (v->retry)
		reason_set(&job->reason, v->reason.err,
		    "given up after %u requests; the last: %.400s",
		    job->attempts_n, v->reason.text);
	abort_attempts(d, job);
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

	assert(part->attempt == a && job->running_n > 0);
	if (!job->failing)
		leave_begun(job);
	part->attempt = NULL;
	job->running_n--;
	job->http_status = a->verdict.http_status;
	if (a->aborted) {
		endpoint_aborted(a->endpoint);
		part->state = PART_TODO;
	} else {
		endpoint_judge(a->endpoint, a);
		note_history(job, a);
		if (a->verdict.reason.err == LATENTD_OK)
			on_good(job, a);
		else
			on_bad(d, job, a);
	}
	attempt_destroy(a);
	if (has_todo(job) && !job->failing && job->retry_at_ns == 0)
		TAILQ_INSERT_TAIL(&job->lane->begun, job, link);
	settle(d, job);
	dispatch_kick(d);
}

void
dispatch_cancel(struct dispatch *d, struct job *job, const struct reason *why)
{
	assert(job->state == JOB_ACTIVE);
	if (job->failing)
		return;
	leave_begun(job);
	job->failing = true;
	job->reason = *why;
	abort_attempts(d, job);
	settle(d, job);
	dispatch_kick(d);
}

/* ---- starting ---- */

/* The endpoint of ${lane} with the smallest part of its slots taken. */
static struct endpoint *
choose(struct lane *lane)
{
	struct endpoint *best = NULL;

	for (size_t i = 0; i < lane->endpoints_n; i++) {
		struct endpoint *ep =
		    lane->endpoints[(lane->next + i) % lane->endpoints_n];

		if (endpoint_free_slots(ep) == 0)
			continue;
		if (best == NULL ||
		    (uint64_t)ep->in_flight * best->parallel <
			(uint64_t)best->in_flight * ep->parallel)
			best = ep;
	}
	return best;
}

static void
start_part(struct dispatch *d, struct job *job, struct endpoint *ep)
{
	struct attempt *a;
	size_t i = 0;

	while (job->parts[i].state != PART_TODO)
		i++;
	if ((a = attempt_create(job, i)) == NULL)
		abort();
	a->endpoint = ep;
	job->parts[i].state = PART_RUNNING;
	job->parts[i].attempt = a;
	leave_begun(job);
	job->running_n++;
	if (has_todo(job))
		TAILQ_INSERT_HEAD(&job->lane->begun, job, link);
	job->attempts_n++;
	if (job->started_ns == 0)
		job->started_ns = uv_hrtime();
	snprintf(job->endpoint, sizeof(job->endpoint), "%s", ep->name);
	endpoint_begin(ep);
	if (!d->sinks.start(a, d->sinks.arg)) {
		endpoint_end(ep);
		dispatch_verdict(d, a);
	}
}

bool
dispatch_has_room(const struct dispatch *d)
{
	return d->jobs->result_bytes + d->jobs->expected_bytes <
	    d->options.result_bytes_max;
}

static struct job *
next_job(struct dispatch *d, struct lane *lane)
{
	struct reason why;
	struct job *job;

	while ((job = TAILQ_FIRST(&lane->begun)) != NULL && job_is_late(job)) {
		job_late_reason(job, &why);
		dispatch_cancel(d, job, &why);
	}
	if (job != NULL || !dispatch_has_room(d))
		return job;
	job = d->sinks.pop(lane, d->sinks.arg);
	if (job == NULL)
		return NULL;
	job_move(d->jobs, job, JOB_ACTIVE);
	lane->active_n++;
	lane->active_px += job->cost_px;
	TAILQ_INSERT_TAIL(&lane->begun, job, link);
	return job;
}

static void
on_idle(uv_idle_t *idle)
{
	struct dispatch *d = idle->data;
	struct endpoint *ep;
	struct job *job;

	uv_idle_stop(idle);
	if (d->paused)
		return;
	for (size_t i = 0; i < d->lanes_n; i++) {
		struct lane *lane = d->lanes[i];

		while ((ep = choose(lane)) != NULL &&
		    (job = next_job(d, lane)) != NULL) {
			lane->next = (lane->next + 1) % lane->endpoints_n;
			start_part(d, job, ep);
		}
	}
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
