/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arrows around the spool.
 *
 *   ingress → spool → queue         a job is on disk before it is accepted
 *   spool → dispatch                its latent is read back when it is started
 *   ended → spool → outbox          a result is on disk before it is delivered
 *   spool → publish                 and may be read back for that
 *
 * What the spool has is freed from memory beyond KEEP_BYTES of each, latents and
 * results, so that a short queue is served without reading.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pipeline_private.h"

#define KEEP_BYTES (UINT64_C(8) << 20)
#define FULL_RETRY_MS 1000u
#define STORAGE_RETRY_MS 5000u

/* ---- room ---- */

/*
 * An eighth of the map is LMDB's: its tables, pages that wait to be free, and
 * gaps.  Of the rest a quarter is for results, so that waiting jobs cannot keep
 * one from ending; see dispatch_has_room().
 */
static uint64_t
usable_bytes(const struct config *config)
{
	return config->spool_bytes - config->spool_bytes / 8;
}

static uint64_t
waiting_most_bytes(const struct pipeline *p)
{
	return p->jobs.stored_max / 4 * 3;
}

uint64_t
pipeline_spool_body_bytes(const struct pipeline *p)
{
	const uint64_t most_bytes = waiting_most_bytes(p);

	if (p->spool == NULL || !spool_is_durable(p->spool))
		return UINT64_MAX;
	/* Less the message's front, and more than job_store_bytes() adds. */
	return most_bytes - most_bytes / 1024 - 2 * MESSAGE_FRONT_BYTES;
}

bool
pipeline_spool_busy(
    const struct pipeline *p, uint64_t bytes, struct job_busy *busy)
{
	const struct jobs *jobs = &p->jobs;
	const uint64_t most_bytes = waiting_most_bytes(p);
	const uint64_t need_bytes = job_store_bytes(bytes);

	if (p->spool == NULL || !spool_is_durable(p->spool))
		return false;
	if (spool_failure(p->spool) != NULL) {
		busy->reason = "storage";
		busy->retry_after_ms = STORAGE_RETRY_MS;
		return true;
	}
	if (jobs->stored_bytes <= most_bytes &&
	    need_bytes <= most_bytes - jobs->stored_bytes)
		return false;
	busy->reason = "spool";
	if (busy->retry_after_ms < FULL_RETRY_MS)
		busy->retry_after_ms = FULL_RETRY_MS;
	return true;
}

/* ---- ingress → spool → queue ---- */

struct job_busy
pipeline_on_busy(const struct producer *producer, uint64_t bytes, void *arg)
{
	struct job_busy busy = pipeline_busy(arg, producer, bytes);

	if (busy.reason == NULL)
		pipeline_spool_busy(arg, bytes, &busy);
	return busy;
}

enum ingress_take
pipeline_on_accept(struct job *job, const struct message_submit *submit,
    const struct intake *intake, void *arg)
{
	struct pipeline *p = arg;

	if (p->spool != NULL && spool_is_durable(p->spool)) {
		spool_put(p->spool, job, submit, intake);
		return INGRESS_LATER;
	}
	return pipeline_take(p, job) ? INGRESS_TAKEN : INGRESS_NO_MEMORY;
}

/* Let go of a job that the spool has: the next daemon goes on with it. */
void
pipeline_leave(struct pipeline *p, struct job *job)
{
	deadlines_forget(p->deadlines, job);
	job_destroy(&p->jobs, job);
	p->left_n++;
}

static void
refuse_put(struct pipeline *p, struct job *job, enum store_result result)
{
	struct job_busy busy = {
	    .reason = "storage", .retry_after_ms = STORAGE_RETRY_MS};

	if (result == STORE_FULL) {
		busy.reason = "spool";
		busy.retry_after_ms = FULL_RETRY_MS;
	}
	ingress_refused(p->ingress, job, &busy);
	job_destroy(&p->jobs, job);
}

static void
on_put(struct job *job, enum store_result result, void *arg)
{
	struct pipeline *p = arg;
	struct reason why;

	if (result != STORE_OK) {
		refuse_put(p, job, result);
		drain_look(p->drain);
		return;
	}
	/* Of this size, memory that is out ends the program. */
	if (!pipeline_take(p, job))
		abort();
	if (!ingress_stored(p->ingress, job)) {
		reason_set(&why, LATENTD_ERR_CANCELLED,
		    "its producer disconnected, and wanted it cancelled then");
		pipeline_cancel(job, &why, p);
	} else if (p->closing || drain_started(p->drain)) {
		queue_remove(p->queue, job);
		pipeline_leave(p, job);
		drain_look(p->drain);
	} else if (p->jobs.input_bytes > KEEP_BYTES) {
		job_shed_input(&p->jobs, job);
	}
}

/* ---- spool → dispatch → transfer ---- */

bool
pipeline_on_start(struct attempt *attempt, void *arg)
{
	struct pipeline *p = arg;
	const struct job *job = attempt->job;

	if (job->message != NULL || !job->body_stored)
		return transfer_start(p->transfers, attempt);
	attempt->started_ns = uv_hrtime();
	spool_load_body(p->spool, attempt);
	return true;
}

static void
end_attempt(struct pipeline *p, struct attempt *attempt)
{
	attempt->ended_ns = uv_hrtime();
	endpoint_end(attempt->endpoint, attempt);
	dispatch_verdict(p->dispatch, attempt);
}

/* Whether it may be read another time. */
static bool
is_passing(const struct reason *why)
{
	return why->err == LATENTD_ERR_MEMORY || why->err == LATENTD_ERR_BUSY;
}

static void
on_body(struct attempt *attempt, const struct reason *why, void *arg)
{
	struct pipeline *p = arg;
	struct job *job = attempt->job;

	if (why != NULL && !attempt->aborted && is_passing(why)) {
		attempt->verdict.fate = FATE_OURS;
		attempt->verdict.reason = *why;
		end_attempt(p, attempt);
	} else if (why != NULL && !attempt->aborted) {
		/* What cannot be read now never can, so there is nothing to
		 * kick either.  The attempt is not with transfer. */
		attempt->ended_ns = uv_hrtime();
		job_release_input(&p->jobs, job);
		dispatch_cancel(p->dispatch, job, why);
		end_attempt(p, attempt);
	} else if (attempt->aborted || !transfer_start(p->transfers, attempt)) {
		end_attempt(p, attempt);
	}
}

/* ---- ended → spool → outbox ---- */

static void
on_end(struct job *job, void *arg)
{
	struct pipeline *p = arg;

	if (job->result_stored && p->jobs.result_bytes > KEEP_BYTES)
		job_shed_result(&p->jobs, job);
	if (job->body_stored && p->jobs.input_bytes > KEEP_BYTES)
		job_shed_input(&p->jobs, job);
	outbox_put(p->outbox, job);
	if (!p->closing)
		drain_look(p->drain);
}

/* ---- spool → publish ---- */

const struct job *
pipeline_on_take(struct producer *producer, uint32_t pipe, void *arg)
{
	struct pipeline *p = arg;
	struct job *job = TAILQ_FIRST(&producer->ready);

	if (job != NULL && job->result == NULL && job->result_stored) {
		spool_load_result(p->spool, job);
		return NULL;
	}
	return outbox_take(p->outbox, producer, pipe);
}

void
pipeline_on_copied(const struct job *job, void *arg)
{
	struct pipeline *p = arg;

	if (job->result_stored && p->jobs.result_bytes > KEEP_BYTES)
		job_shed_result(&p->jobs, jobs_by_id(&p->jobs, job->id));
}

static void
on_result(struct job *job, const struct reason *why, void *arg)
{
	struct pipeline *p = arg;

	if (p->closing)
		return;
	/* The next COLLECT tries again. */
	if (why != NULL && is_passing(why))
		return;
	if (why != NULL) {
		job_drop_result(&p->jobs, job);
		job->reason = *why;
	}
	publish_available(p->publish, job->producer);
	/* Whoever asked for it may have gone. */
	if (job->result_stored && p->jobs.result_bytes > KEEP_BYTES)
		job_shed_result(&p->jobs, job);
}

/* ---- what else changes ---- */

void
pipeline_note(struct pipeline *p, struct job *job)
{
	uint64_t bytes = 0;

	if (!job->spooled)
		return;
	if (job->body_stored)
		bytes +=
		    job_store_bytes(job->payload_bytes + job->metadata_bytes);
	if (job->result_stored)
		bytes += job_store_bytes(job->result_bytes);
	job_store(&p->jobs, job, bytes);
	spool_note(p->spool, job);
}

void
pipeline_on_noticed(struct job *job, void *arg)
{
	pipeline_note(arg, job);
}

void
pipeline_on_forget(const struct job *job, bool acked, void *arg)
{
	struct pipeline *p = arg;

	if (job->spooled)
		spool_forget(
		    p->spool, job, acked && job->reason.err == LATENTD_OK);
}

void
pipeline_tried(struct pipeline *p, struct job *job)
{
	if (!job->spooled)
		return;
	pipeline_note(p, job);
	if (p->closing || drain_started(p->drain)) {
		queue_remove(p->queue, job);
		pipeline_leave(p, job);
		drain_look(p->drain);
	} else if (p->jobs.input_bytes > KEEP_BYTES) {
		job_shed_input(&p->jobs, job);
	}
}

static void
on_rested(void *arg)
{
	struct pipeline *p = arg;

	if (p->closing)
		pipeline_close_soon(p);
}

/* ---- opening ---- */

enum latentd_err
pipeline_spool_open(struct pipeline *p, struct reason *why)
{
	const struct config *config = p->config;
	const struct spool_options options = {.path = config->spool_path,
	    .size_bytes = config->spool_bytes,
	    .durable = config->spool_durable,
	    .remember_ms = config->remember_s * 1000,
	    .remember_n = config->jobs,
	    .on_put = on_put,
	    .on_end = on_end,
	    .on_body = on_body,
	    .on_result = on_result,
	    .on_rested = on_rested,
	    .arg = p};
	enum latentd_err err;

	if (config->spool_path[0] == '\0')
		return LATENTD_OK;
	p->jobs.stored_max = usable_bytes(config);
	err = spool_open(p->loop, &p->jobs, &options, &p->spool, why);
	if (err == LATENTD_OK && config->spool_durable)
		p->instance = spool_instance(p->spool);
	return err;
}

/* The jobs that have ended, to be put in order. */
struct restored {
	struct pipeline *pipeline;
	struct job **ended;
	size_t n;
};

static struct lane *
on_lane(const struct model *model, enum latentd_task task, void *arg)
{
	struct restored *re = arg;

	return dispatch_lane_get(re->pipeline->dispatch, model, task);
}

static void
on_job(struct job *job, void *arg)
{
	struct restored *re = arg;
	struct pipeline *p = re->pipeline;
	struct job **more;

	if (job->state == JOB_NEW) {
		if (!queue_push(p->queue, job))
			abort();
		deadlines_watch(p->deadlines, job);
		return;
	}
	more = reallocarray(re->ended, re->n + 1, sizeof(struct job *));
	if (more == NULL)
		abort();
	re->ended = more;
	re->ended[re->n++] = job;
}

static void
on_known(const struct record_known *known, uint64_t acked_ns, void *arg)
{
	struct restored *re = arg;
	struct producer_identity identity;

	producer_identity(
	    known->uid, known->producer, known->secret, &identity);
	remember_add(
	    re->pipeline->remember, &identity, known->key, known->id, acked_ns);
}

static uint64_t
since_ns(const struct job *job)
{
	return job->buried_ns != 0 ? job->buried_ns : job->kept_since_ns;
}

static int
compare_since(const void *a, const void *b)
{
	const struct job *x = *(struct job *const *)a;
	const struct job *y = *(struct job *const *)b;

	if (since_ns(x) != since_ns(y))
		return since_ns(x) > since_ns(y) ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

static void
put_ended(struct pipeline *p, struct job *job)
{
	if (job->buried_ns == 0)
		outbox_put(p->outbox, job);
	else
		buried_put(p->buried, job);
}

enum latentd_err
pipeline_spool_restore(struct pipeline *p, struct reason *why)
{
	struct restored re = {.pipeline = p};
	const struct spool_visitor visitor = {.lane = on_lane,
	    .age_ms = p->config->age_s * 1000,
	    .job = on_job,
	    .known = on_known,
	    .arg = &re};
	enum latentd_err err;

	if (p->spool == NULL)
		return LATENTD_OK;
	err = spool_restore(p->spool, &visitor, why);
	if (re.n > 0)
		qsort(re.ended, re.n, sizeof(struct job *), compare_since);
	for (size_t i = 0; i < re.n; i++)
		put_ended(p, re.ended[i]);
	free(re.ended);
	pipeline_warn_of_lanes(p);
	if (err == LATENTD_OK)
		err = spool_start(p->spool, why);
	return err;
}

/* ---- draining ---- */

/* The next daemon has them; what is active is finished. */
void
pipeline_leave_queued(struct pipeline *p)
{
	size_t before_n = p->left_n;
	struct job *job;
	uint64_t id = 0;

	if (p->spool == NULL)
		return;
	while ((job = jobs_after(&p->jobs, id)) != NULL) {
		id = job->id;
		if (job->state != JOB_QUEUED || !job->spooled)
			continue;
		queue_remove(p->queue, job);
		pipeline_leave(p, job);
	}
	if (p->left_n > before_n)
		log_info("%zu jobs stay in the spool for the next start",
		    p->left_n - before_n);
}

size_t
pipeline_active_spooled_n(const struct pipeline *p)
{
	const struct job *job;
	size_t n = 0;
	uint64_t id = 0;

	while ((job = jobs_after(&p->jobs, id)) != NULL) {
		id = job->id;
		n += job->spooled && job->state == JOB_ACTIVE;
	}
	return n;
}
