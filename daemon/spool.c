/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop's side of the spool: it makes changes into ops, hands them to the
 * writer through ${waiting} and gets them back through ${written}, which
 * uv_async announces; the loop never waits for the disk.  What an op points to
 * belongs to its job, which is storing and does not change meanwhile; all else
 * is copied.
 *
 * Once a commit has failed nothing is written: jobs that would be put are
 * refused, results are delivered from memory, and deletions are kept for the
 * day when an operator resumes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/log.h"
#include "spool_private.h"

/* Notes of how far a job is are left out when the disk is so far behind. */
#define NOTES_MOST 100000u

/* ---- opening ---- */

static void on_async(uv_async_t *async);

static void
open_loop_side(struct spool *s)
{
	if (uv_mutex_init(&s->mutex) != 0 || uv_cond_init(&s->cond) != 0 ||
	    uv_rwlock_init(&s->store_lock) != 0 ||
	    uv_async_init(s->loop, &s->async, on_async) != 0)
		abort();
	s->async.data = s;
}

enum latentd_err
spool_open(uv_loop_t *loop, struct jobs *jobs,
    const struct spool_options *options, struct spool **spool,
    struct reason *why)
{
	struct spool *s = calloc(1, sizeof(*s));
	struct store_facts facts;
	enum latentd_err err;

	*spool = NULL;
	if (s == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	s->loop = loop;
	s->jobs = jobs;
	s->options = *options;
	s->told = true;
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->written);
	TAILQ_INIT(&s->held);
	err = store_open(options->path, options->size_bytes, &s->store, why);
	if (err == LATENTD_OK)
		err = store_read_facts(s->store, &facts, why);
	if (err != LATENTD_OK)
		goto close_store;
	s->instance = facts.instance;
	s->highest_id = facts.next_id > 0 ? facts.next_id - 1 : 0;
	s->counts.size_bytes = facts.size_bytes;
	s->counts.used_bytes = facts.used_bytes;
	s->counts.aside_n = facts.aside_n;
	if ((err = spool_set_aside(s, why)) != LATENTD_OK)
		goto close_store;
	open_loop_side(s);
	*spool = s;
	return LATENTD_OK;

close_store:
	store_close(s->store);
	free(s);
	return err;
}

uint64_t
spool_instance(const struct spool *s)
{
	return s->instance;
}

bool
spool_is_durable(const struct spool *s)
{
	return s->options.durable;
}

enum latentd_err
spool_start(struct spool *s, struct reason *why)
{
	if (uv_thread_create(&s->thread, spool_write, s) != 0)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "cannot create the thread that writes the spool");
	s->started = true;
	return LATENTD_OK;
}

void
spool_change(struct spool *s, uint64_t remember_ms, uint64_t remember_n)
{
	s->options.remember_ms = remember_ms;
	s->options.remember_n = remember_n;
}

/* ---- closing ---- */

bool
spool_busy(const struct spool *s)
{
	return s->ops_n + s->loads_n > 0;
}

static void
free_ops(struct op_list *list)
{
	struct op *op;

	while ((op = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, op, link);
		free(op);
	}
}

static void
on_closed(uv_handle_t *async)
{
	struct spool *s = async->data;

	uv_rwlock_destroy(&s->store_lock);
	uv_cond_destroy(&s->cond);
	uv_mutex_destroy(&s->mutex);
	free(s);
}

void
spool_close(struct spool *s)
{
	if (s == NULL)
		return;
	assert(!spool_busy(s));
	if (s->started) {
		uv_mutex_lock(&s->mutex);
		s->stop = true;
		uv_cond_signal(&s->cond);
		uv_mutex_unlock(&s->mutex);
		/* It has nothing to do, so this takes no time. */
		uv_thread_join(&s->thread);
	}
	free_ops(&s->held);
	store_close(s->store);
	uv_close((uv_handle_t *)&s->async, on_closed);
}

void
spool_rest(struct spool *s)
{
	if (!spool_busy(s))
		s->options.on_rested(s->options.arg);
}

/* ---- what comes back ---- */

static void
complete_put(struct spool *s, struct op *op)
{
	struct job *job = op->job;

	job->storing = false;
	if (op->result == STORE_OK) {
		job->spooled = job->body_stored = true;
		job->body_crc = (uint32_t)op->record.body_crc;
	}
	s->options.on_put(job, op->result, s->options.arg);
}

static void
complete_end(struct spool *s, struct op *op)
{
	struct job *job = op->job;
	uint64_t bytes = 0;

	job->storing = false;
	job->producer->storing_n--;
	if (op->result == STORE_OK) {
		job->result_stored = op->state.result_bytes > 0;
		job->result_crc = (uint32_t)op->state.result_crc;
		if (job->body_stored)
			bytes += job_store_bytes(
			    job->payload_bytes + job->metadata_bytes);
		if (job->result_stored)
			bytes += job_store_bytes(job->result_bytes);
		job_store(s->jobs, job, bytes);
	}
	s->options.on_end(job, s->options.arg);
}

static void
complete(struct spool *s, struct op *op)
{
	s->ops_n--;
	if (op->kind == OP_PUT)
		complete_put(s, op);
	else if (op->kind == OP_END)
		complete_end(s, op);
	free(op);
}

/* What the writer says of the store, if that is new. */
static void
tell(struct spool *s, bool broken, const struct reason *why)
{
	s->failed = broken;
	if (broken) {
		s->why = *why;
		log_error("%s: new jobs are refused; when the disk is well "
			  "again, latentctl resume or a restart goes on",
		    why->text);
	} else {
		log_info("the spool is written again");
	}
}

static void
on_async(uv_async_t *async)
{
	struct spool *s = async->data;
	struct op_list written;
	struct reason why;
	struct op *op;
	bool news, broken;

	TAILQ_INIT(&written);
	uv_mutex_lock(&s->mutex);
	TAILQ_CONCAT(&written, &s->written, link);
	news = !s->told;
	broken = s->broken;
	s->told = true;
	why = s->broken_why;
	uv_mutex_unlock(&s->mutex);
	if (news)
		tell(s, broken, &why);
	while ((op = TAILQ_FIRST(&written)) != NULL) {
		TAILQ_REMOVE(&written, op, link);
		complete(s, op);
	}
	spool_rest(s);
}

/* ---- what is to be written ---- */

static struct op *
new_op(enum op_kind kind, uint64_t id)
{
	struct op *op = calloc(1, sizeof(*op));

	/* Of this size, memory that is out ends the program. */
	if (op == NULL)
		abort();
	op->kind = kind;
	op->id = id;
	return op;
}

static void
submit_op(struct spool *s, struct op *op)
{
	s->ops_n++;
	uv_mutex_lock(&s->mutex);
	TAILQ_INSERT_TAIL(&s->waiting, op, link);
	uv_cond_signal(&s->cond);
	uv_mutex_unlock(&s->mutex);
}

void
spool_put(struct spool *s, struct job *job, const struct message_submit *submit,
    const struct intake *intake)
{
	struct op *op = new_op(OP_PUT, job->id);

	assert(job->state == JOB_NEW && job->message != NULL && !job->storing);
	job->storing = true;
	op->job = job;
	spool_job_record(job, submit, intake, &op->record);
	op->slice = (struct store_slice){
	    job->payload, job->payload_bytes + job->metadata_bytes};
	op->bytes = op->slice.bytes;
	/* Counted before it is there, so that there is room when it comes. */
	job_store(s->jobs, job, job_store_bytes(op->bytes));
	submit_op(s, op);
}

void
spool_end(struct spool *s, struct job *job)
{
	struct op *op = new_op(OP_END, job->id);

	assert(job->spooled && !job->storing);
	job->storing = true;
	job->producer->storing_n++;
	op->job = job;
	spool_state_record(job, &op->state);
	if (job->result != NULL) {
		op->slice =
		    (struct store_slice){job->result->at, job->result->bytes};
		op->bytes = op->slice.bytes;
	}
	submit_op(s, op);
}

void
spool_note(struct spool *s, const struct job *job)
{
	struct op *op;

	assert(job->spooled && !job->storing && !job_has_result(job));
	if (s->failed || s->ops_n > NOTES_MOST)
		return;
	op = new_op(OP_STATE, job->id);
	spool_state_record(job, &op->state);
	snprintf(op->endpoint, sizeof(op->endpoint), "%s", job->endpoint);
	snprintf(op->text, sizeof(op->text), "%s", job->reason.text);
	op->state.endpoint.at = op->endpoint;
	op->state.message.at = op->text;
	submit_op(s, op);
}

void
spool_forget(struct spool *s, const struct job *job, bool known)
{
	struct op *op = new_op(OP_FORGET, job->id);

	assert(job->spooled && !job->storing);
	op->known = known && s->options.remember_ms > 0;
	op->at_ms = spool_now_ms();
	op->remember_ms = s->options.remember_ms;
	op->remember_n = s->options.remember_n;
	op->identity = job->producer->identity;
	memcpy(op->key, job->key, sizeof(op->key));
	submit_op(s, op);
}

/* ---- failure ---- */

const struct reason *
spool_failure(const struct spool *s)
{
	return s->failed ? &s->why : NULL;
}

void
spool_resume(struct spool *s)
{
	if (s->failed)
		submit_op(s, new_op(OP_RESUME, 0));
}

struct spool_counts
spool_counts(const struct spool *s)
{
	/* The mutex is no part of what a const spool promises. */
	uv_mutex_t *mutex = (uv_mutex_t *)(uintptr_t)&s->mutex;
	struct spool_counts counts;

	uv_mutex_lock(mutex);
	counts = s->counts;
	uv_mutex_unlock(mutex);
	counts.lost_n = s->lost_n;
	counts.failed = s->failed;
	return counts;
}
