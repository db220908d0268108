/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs to records and back.  What a job is to do is worked out again from what
 * its producer asked for, as intake.c does it, so that the spool holds nothing
 * that a newer daemon would work out otherwise.
 *
 * Records have the time of day, jobs the monotonic clock, which begins anew with
 * each boot: what lies before that becomes its first moment.  What is said to
 * have been after now, because the clock was set back, was now.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "spool_private.h"

/* ---- clocks ---- */

uint64_t
spool_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / MS_NS;
}

static uint64_t
at_ms(uint64_t ns)
{
	uint64_t now_ns = uv_hrtime(), now_ms = spool_now_ms();

	if (ns == 0)
		return 0;
	if (ns > now_ns)
		return now_ms + (ns - now_ns) / MS_NS;
	return now_ms - (now_ns - ns) / MS_NS;
}

/* When something was; the clock may have been set back since. */
static uint64_t
past_ns(uint64_t ms)
{
	uint64_t now_ns = uv_hrtime(), now_ms = spool_now_ms();

	if (ms == 0)
		return 0;
	ms = ms < now_ms ? now_ms - ms : 0;
	return ms < now_ns / MS_NS ? now_ns - ms * MS_NS : 1;
}

/* When a job is late that was to have ${given_ms}; no more than these are left,
 * even if the clock was set back. */
static uint64_t
deadline_ns(uint64_t ms, uint64_t given_ms)
{
	uint64_t now_ms = spool_now_ms();

	if (ms <= now_ms)
		return past_ns(ms);
	ms -= now_ms;
	return uv_hrtime() + (ms < given_ms ? ms : given_ms) * MS_NS;
}

/* ---- to records ---- */

void
spool_job_record(const struct job *job, const struct message_submit *s,
    const struct intake *intake, struct record_job *r)
{
	const struct producer_identity *who = &job->producer->identity;

	*r = (struct record_job){.id = job->id,
	    .uid = who->uid,
	    .producer = {who->name, strlen(who->name)},
	    .secret = {who->secret, who->secret_bytes},
	    .key = {job->key, strlen(job->key)},
	    .task = s->task,
	    .model = {intake->model->name, strlen(intake->model->name)},
	    .space = s->space,
	    .tensor = s->tensor,
	    .height_px = s->height_px,
	    .width_px = s->width_px,
	    .output = job->output,
	    .metadata_bytes = job->metadata_bytes,
	    .priority = s->priority,
	    .image_kind = intake->image.kind,
	    .image_width_px = intake->image.width_px,
	    .image_height_px = intake->image.height_px,
	    .body_bytes = job->payload_bytes + job->metadata_bytes,
	    .submitted_at_ms = at_ms(job->submitted_ns),
	    .deadline_at_ms = at_ms(job->deadline_ns),
	    .deadline_ms = job->deadline_ms};
}

/* The times that RESULT tells. */
static void
took(const struct job *job, struct record_state *r)
{
	if (job->started_ns == 0)
		return;
	r->queued_ms = (job->started_ns - job->submitted_ns) / MS_NS;
	if (job->decoded_ns == 0)
		return;
	r->decode_ms = (job->decoded_ns - job->started_ns) / MS_NS;
	r->finish_ms = (job->finished_ns - job->decoded_ns) / MS_NS;
}

void
spool_state_record(const struct job *job, struct record_state *r)
{
	*r = (struct record_state){.state = job->state,
	    .attempts = job->attempts_n,
	    .failures = job->failures_n,
	    .kicks = job->kicks_n,
	    .no_deadline = job->deadline_ns == 0,
	    .body_gone = !job->body_stored};
	if (job->kicks_n > 0)
		r->queued_at_ms = at_ms(job->submitted_ns);
	if (job->state == JOB_QUEUED || job->state == JOB_ACTIVE) {
		r->state = JOB_QUEUED;
		return;
	}
	r->ended_at_ms = at_ms(job->finished_ns);
	r->kept_at_ms = at_ms(job->kept_since_ns);
	r->buried_at_ms = job->buried ? at_ms(job->buried_ns) : 0;
	r->code = job->reason.err;
	r->message = (struct text){job->reason.text, strlen(job->reason.text)};
	r->endpoint = (struct text){job->endpoint, strlen(job->endpoint)};
	took(job, r);
	if (!job_has_result(job))
		return;
	r->tensor = job->tensor;
	r->part_bytes = job->file_bytes;
	r->part_bytes_n = job->files_n;
	r->result_bytes = job->result_bytes;
	r->result_crc = job->result_crc;
}

/* ---- from records ---- */

struct restoring {
	struct spool *spool;
	const struct spool_visitor *visitor;
	size_t left_n;
	size_t restored_n;
};

static enum latentd_err
read_intake(
    const struct record_job *r, struct intake *intake, struct reason *why)
{
	const struct image_info image = {.kind = (enum image_kind)r->image_kind,
	    .width_px = (uint32_t)r->image_width_px,
	    .height_px = (uint32_t)r->image_height_px};
	const struct message_submit s = {.task = r->task,
	    .model = r->model,
	    .space = r->space,
	    .tensor = r->tensor,
	    .height_px = r->height_px,
	    .width_px = r->width_px,
	    .output = r->output,
	    .metadata_bytes = r->metadata_bytes,
	    .priority = r->priority,
	    .deadline_ms = r->deadline_ms};

	return intake_again(&s, &image, (size_t)r->body_bytes, intake, why);
}

static void
copy_text(char *to, size_t to_bytes, struct text from)
{
	snprintf(to, to_bytes, "%.*s", (int)from.bytes,
	    from.bytes > 0 ? from.at : "");
}

/* Its class, as it has become by waiting. */
static void
age(struct job *job, uint64_t since_ms, uint64_t age_ms)
{
	uint64_t now_ms = spool_now_ms(), steps = 0;

	if (age_ms > 0 && now_ms > since_ms)
		steps = (now_ms - since_ms) / age_ms;
	job->class = steps < job->class ? job->class - (unsigned)steps : 0;
}

/*
 * How long its steps took counts, and that they stand in order; one that began
 * before the boot had less time than that, on this clock.
 */
static void
set_steps(struct job *job, const struct record_state *state)
{
	uint64_t queued_ns = state->queued_ms * MS_NS;
	uint64_t decode_ns = state->decode_ms * MS_NS;
	uint64_t finish_ns = state->finish_ms * MS_NS;
	uint64_t least_ns = queued_ns + decode_ns + finish_ns + 1;

	if (job->finished_ns < least_ns)
		job->finished_ns = least_ns;
	job->decoded_ns = job->finished_ns - finish_ns;
	job->started_ns = job->decoded_ns - decode_ns;
	job->submitted_ns = job->started_ns - queued_ns;
}

static void
set_times(struct job *job, const struct record_job *r,
    const struct record_state *state)
{
	uint64_t since_ms =
	    state->queued_at_ms > 0 ? state->queued_at_ms : r->submitted_at_ms;

	job->submitted_ns = past_ns(since_ms);
	if (!state->no_deadline)
		job->deadline_ns =
		    deadline_ns(r->deadline_at_ms, r->deadline_ms);
	if (state->ended_at_ms == 0)
		return;
	job->finished_ns = past_ns(state->ended_at_ms);
	if (state->endpoint.bytes > 0)
		set_steps(job, state);
	job->kept_since_ns = past_ns(
	    state->kept_at_ms > 0 ? state->kept_at_ms : state->ended_at_ms);
	job->buried_ns = past_ns(state->buried_at_ms);
}

static void
set_result(struct job *job, const struct record_state *state)
{
	job->reason.err = state->code;
	copy_text(job->reason.text, sizeof(job->reason.text), state->message);
	copy_text(job->endpoint, sizeof(job->endpoint), state->endpoint);
	if (state->result_bytes == 0)
		return;
	job->tensor = state->tensor;
	job->file_bytes = calloc(state->part_bytes_n + 1, sizeof(uint64_t));
	if (job->file_bytes == NULL)
		abort();
	if (state->part_bytes_n > 0)
		memcpy(job->file_bytes, state->part_bytes,
		    state->part_bytes_n * sizeof(uint64_t));
	job->files_n = state->part_bytes_n;
	job->result_bytes = (size_t)state->result_bytes;
	job->result_crc = (uint32_t)state->result_crc;
	job->result_stored = true;
	job_found_result(job);
}

static void
set_stored(struct spool *s, struct job *job, const struct record_job *r,
    const struct record_state *state)
{
	uint64_t bytes = 0;

	job->spooled = true;
	job->body_stored = !state->body_gone;
	job->body_crc = (uint32_t)r->body_crc;
	if (job->body_stored) {
		job->input_bytes = (size_t)r->body_bytes;
		job_found_input(job);
		bytes += job_store_bytes(r->body_bytes);
	}
	if (job->result_stored)
		bytes += job_store_bytes(job->result_bytes);
	job_store(s->jobs, job, bytes);
}

/* NULL: ${why} says why not. */
static struct job *
make_job(struct restoring *re, const struct record_job *r, struct reason *why)
{
	struct jobs *jobs = re->spool->jobs;
	struct producer_identity identity;
	struct producer *producer;
	struct intake intake;
	struct job *job = NULL;
	struct lane *lane;

	if (read_intake(r, &intake, why) != LATENTD_OK)
		return NULL;
	lane = re->visitor->lane(intake.model, intake.task, re->visitor->arg);
	if (lane == NULL) {
		reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
		return NULL;
	}
	producer_identity(r->uid, r->producer, r->secret, &identity);
	producer = producers_get(&jobs->producers, &identity);
	if (producer == NULL) {
		reason_set(why, LATENTD_ERR_MEMORY, "more than %u producers",
		    PRODUCERS_MAX);
		return NULL;
	}
	if (jobs_by_key(producer, r->key) != NULL) {
		reason_set(why, LATENTD_ERR_INVALID,
		    "another job has its key \"%.*s\"", (int)r->key.bytes,
		    r->key.at);
		return NULL;
	}
	jobs->next_id = r->id - 1;
	if (intake_job(&intake, jobs, producer, r->key, &job, why) !=
		LATENTD_OK ||
	    job == NULL)
		return NULL;
	job->lane = lane;
	return job;
}

/* It stays where it is: another configuration may do it. */
static bool
leave(
    struct restoring *re, const struct record_job *r, const struct reason *why)
{
	log_warn("job=%llu producer=%.*s key=%.*s stays in the spool: %s",
	    (unsigned long long)r->id, (int)r->producer.bytes, r->producer.at,
	    (int)r->key.bytes, r->key.at, why->text);
	re->left_n++;
	return true;
}

static bool
on_job(const struct record_job *r, const struct record_state *state, void *arg)
{
	struct restoring *re = arg;
	struct reason why;
	struct job *job = make_job(re, r, &why);

	if (job == NULL)
		return leave(re, r, &why);
	job->attempts_n = (unsigned)state->attempts;
	job->failures_n = (unsigned)state->failures;
	job->kicks_n = (unsigned)state->kicks;
	set_times(job, r, state);
	age(job,
	    state->queued_at_ms > 0 ? state->queued_at_ms : r->submitted_at_ms,
	    re->visitor->age_ms);
	if (state->state != JOB_QUEUED) {
		set_result(job, state);
		job_restore(re->spool->jobs, job, state->state);
	}
	set_stored(re->spool, job, r, state);
	re->restored_n++;
	re->visitor->job(job, re->visitor->arg);
	return true;
}

/* spool_set_aside() has seen to them. */
static bool
on_damaged(uint64_t id, const struct reason *why, void *arg)
{
	(void)id;
	(void)why;
	(void)arg;
	return true;
}

static void
on_known(const struct record_known *known, void *arg)
{
	struct restoring *re = arg;

	re->visitor->known(
	    known, past_ns(known->acked_at_ms), re->visitor->arg);
}

enum latentd_err
spool_restore(
    struct spool *s, const struct spool_visitor *visitor, struct reason *why)
{
	struct restoring re = {.spool = s, .visitor = visitor};
	const struct store_visitor jobs = {on_job, on_damaged, &re};
	enum latentd_err err = store_read_jobs(s->store, &jobs, why);

	if (err == LATENTD_OK)
		err = store_read_known(s->store, on_known, &re, why);
	if (s->jobs->next_id < s->highest_id)
		s->jobs->next_id = s->highest_id;
	s->highest_id = s->jobs->next_id;
	if (re.restored_n + re.left_n > 0)
		log_info("%zu jobs taken from the spool in %s, %zu left in it",
		    re.restored_n, s->options.path, re.left_n);
	return err;
}
