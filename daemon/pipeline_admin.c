/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arrows of the operator's side: what is asked about jobs and the daemon,
 * and where jobs go that failed.
 *
 *   outbox → buried → kick → queue
 */
#include "pipeline_private.h"

#include "base/log.h"
#include "joblog.h"
#include "report.h"
#include "why.h"

/* ---- outbox → buried, and out of it ---- */

void
pipeline_on_failed(struct job *job, void *arg)
{
	struct pipeline *p = arg;

	joblog_buried(job);
	buried_put(p->buried, job);
	pipeline_note(p, job);
}

static void
on_forgotten(const struct job *job, void *arg)
{
	joblog_forgotten(job, "nobody kicked it in time");
	pipeline_on_forget(job, false, arg);
}

static void
forget(struct pipeline *p, struct job *job)
{
	struct producer *producer = job->producer;

	buried_remove(p->buried, job);
	pipeline_on_forget(job, false, p);
	producers_hold(producer);
	job_destroy(&p->jobs, job);
	pipeline_on_room(producer, p);
	producers_release(&p->jobs.producers, producer);
}

void
pipeline_on_replace(struct job *job, void *arg)
{
	joblog_forgotten(job, "its key was submitted again");
	forget(arg, job);
}

static void
on_kick(struct job *job, void *arg)
{
	struct pipeline *p = arg;

	if (job->buried)
		buried_remove(p->buried, job);
	else
		outbox_remove(p->outbox, job);
	job_revive(&p->jobs, job);
	(void)queue_push(p->queue, job);
	pipeline_note(p, job);
}

static void
on_purge(struct job *job, void *arg)
{
	struct pipeline *p = arg;

	if (job->buried) {
		forget(p, job);
		return;
	}
	job_release_input(&p->jobs, job);
	pipeline_note(p, job);
	pipeline_on_room(job->producer, p);
}

/* ---- what is asked ---- */

void
pipeline_on_ask(struct door_request *request, enum message_type type,
    const union message_any *in, void *arg)
{
	struct pipeline *p = arg;
	const struct door_peer peer = door_peer(request);
	nng_msg *reply = admin_answer(p->admin, &peer, type, in);

	if (reply != NULL)
		door_reply(request, reply);
	else
		reloads_ask(p->reloads, request);
}

static void
on_cancel(struct job *job, const char *by, void *arg)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_CANCELLED, "cancelled by %s", by);
	pipeline_cancel(job, &why, arg);
}

static bool
on_stopping(void *arg)
{
	struct pipeline *p = arg;

	return p->closing || drain_started(p->drain);
}

static void
on_pause(enum admin_side side, bool paused, void *arg)
{
	struct pipeline *p = arg;

	if (side != ADMIN_OUT)
		p->paused_in = paused;
	if (side != ADMIN_IN)
		dispatch_pause(p->dispatch, paused);
	if (side != ADMIN_OUT && !paused && p->spool != NULL)
		spool_resume(p->spool);
	log_info("%s: jobs are %s, requests are %s",
	    paused ? "paused" : "resumed", p->paused_in ? "refused" : "taken",
	    dispatch_is_paused(p->dispatch) ? "held back" : "made");
}

static void
on_drain(void *arg)
{
	pipeline_drain(arg);
}

static struct why_input
why_of(const struct pipeline *p)
{
	return (struct why_input){.dispatch = p->dispatch,
	    .keep_ms = p->config->keep_s * 1000,
	    .bury_ms = p->config->bury_s * 1000};
}

static char *
on_list(struct job *const *jobs, size_t n, uint64_t next, void *arg)
{
	const struct why_input in = why_of(arg);

	return why_list(&in, jobs, n, next);
}

static char *
on_why(const struct job *job, void *arg)
{
	const struct why_input in = why_of(arg);

	return why_job(&in, job);
}

char *
pipeline_on_report(void *arg)
{
	struct pipeline *p = arg;
	const struct report_input input = {.jobs = &p->jobs,
	    .dispatch = p->dispatch,
	    .config = p->config,
	    .reload = reloads_last(p->reloads),
	    .instance = p->instance,
	    .started_ns = p->started_ns,
	    .paused_in = p->paused_in,
	    .draining = drain_started(p->drain),
	    .drain_left_ms = drain_left_ms(p->drain),
	    .spool = p->spool,
	    .dropped_n = buried_dropped_n(p->buried)};

	return report_create(&input);
}

static const struct endpoint *
on_endpoint(size_t i, void *arg)
{
	struct pipeline *p = arg;

	return dispatch_endpoint(p->dispatch, i);
}

char *
pipeline_on_metrics(void *arg)
{
	struct pipeline *p = arg;
	const struct spool_counts counts = p->spool != NULL
	    ? spool_counts(p->spool)
	    : (struct spool_counts){.size_bytes = 0};
	const struct metrics_input input = {.jobs = &p->jobs,
	    .jobs_max = p->config->jobs,
	    .bytes_max = p->config->bytes,
	    .reloaded = reloads_last(p->reloads)->err == LATENTD_OK,
	    .connections_n = door_connections_n(p->door),
	    .refused_n = door_refused_n(p->door),
	    .denied_n = auth_denied_n(p->auth),
	    .spool = p->spool != NULL ? &counts : NULL,
	    .endpoints_n = dispatch_endpoints_n(p->dispatch),
	    .endpoint = on_endpoint,
	    .arg = p};

	return metrics_text(p->metrics, &input);
}

enum latentd_err
pipeline_on_ready(struct reason *why, void *arg)
{
	struct pipeline *p = arg;
	struct job_busy busy = pipeline_busy(p, NULL, 1);

	if (busy.reason != NULL || pipeline_spool_busy(p, 1, &busy))
		return reason_set(why, LATENTD_ERR_BUSY,
		    "no jobs are taken now (%s)", busy.reason);
	return report_ready(p->dispatch, why);
}

const struct buried_options pipeline_buried = {
    .on_dropped = on_forgotten, .on_room = pipeline_on_room};

const struct admin_sinks pipeline_admin = {.cancel = on_cancel,
    .stopping = on_stopping,
    .kick = on_kick,
    .purge = on_purge,
    .pause = on_pause,
    .drain = on_drain,
    .list = on_list,
    .why = on_why};
