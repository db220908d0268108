/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that writes the spool.  While it commits, ops gather; the next
 * transaction takes them all, so a sync is shared by whoever came during the
 * last one.
 *
 * An op for which the map has no room spoils its transaction: that is done
 * again without it.  A write or a sync that fails spoils all: every op of it
 * fails and nothing is written any more until the store has been opened anew.
 * LMDB has not changed the page that makes a transaction count by then, so what
 * was committed before stands, and nothing is taken for written that a second
 * sync would only seem to write.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "spool_private.h"

/* One transaction; LMDB holds a copy of it in memory. */
#define BATCH_BYTES (UINT64_C(16) << 20)
#define BATCH_N 1024u

/* ---- one op ---- */

static enum store_result
apply_put(struct spool *s, struct op *op, struct reason *why)
{
	enum store_result result;

	op->record.body_crc = crc32c(0, op->slice.at, op->slice.bytes);
	result = store_put_job(s->store, &op->record, why);
	if (result == STORE_OK)
		result = store_put_body(s->store, op->id, &op->slice, 1, why);
	return result;
}

static enum store_result
apply_end(struct spool *s, struct op *op, struct reason *why)
{
	enum store_result result = STORE_OK;

	if (op->slice.bytes > 0)
		op->state.result_crc = crc32c(0, op->slice.at, op->slice.bytes);
	if (op->state.body_gone)
		result = store_delete_body(s->store, op->id, why);
	if (result == STORE_OK && op->slice.bytes > 0)
		result = store_put_result(s->store, op->id, &op->slice, 1, why);
	if (result == STORE_OK)
		result = store_put_state(s->store, op->id, &op->state, why);
	return result;
}

static enum store_result
apply_note(struct spool *s, struct op *op, struct reason *why)
{
	enum store_result result = STORE_OK;

	if (op->state.body_gone)
		result = store_delete_body(s->store, op->id, why);
	if (result == STORE_OK && op->state.result_bytes == 0)
		result = store_delete_result(s->store, op->id, why);
	if (result == STORE_OK)
		result = store_put_state(s->store, op->id, &op->state, why);
	return result;
}

static enum store_result
apply_forget(struct spool *s, struct op *op, struct reason *why)
{
	const struct producer_identity *who = &op->identity;
	const struct record_known known = {.id = op->id,
	    .uid = who->uid,
	    .producer = {who->name, strlen(who->name)},
	    .secret = {who->secret, who->secret_bytes},
	    .key = {op->key, strlen(op->key)},
	    .acked_at_ms = op->at_ms};
	enum store_result result = store_delete_job(s->store, op->id, why);

	if (result != STORE_OK || !op->known)
		return result;
	result = store_put_known(s->store, &known, why);
	if (result != STORE_OK)
		return result;
	return store_trim_known(s->store,
	    op->at_ms > op->remember_ms ? op->at_ms - op->remember_ms : 0,
	    op->remember_n, why);
}

static enum store_result
apply(struct spool *s, struct op *op, struct reason *why)
{
	switch (op->kind) {
	case OP_PUT:
		return apply_put(s, op, why);
	case OP_END:
		return apply_end(s, op, why);
	case OP_STATE:
		return apply_note(s, op, why);
	case OP_FORGET:
		return apply_forget(s, op, why);
	case OP_RESUME:
		break;
	}
	return STORE_OK;
}

/* ---- one transaction ---- */

/* The highest id that a job has, or had. */
static uint64_t
highest_id(const struct spool *s, const struct op_list *batch)
{
	uint64_t highest = s->highest_id;
	const struct op *op;

	TAILQ_FOREACH(op, batch, link)
	{
		if (op->kind == OP_PUT && op->id > highest)
			highest = op->id;
	}
	return highest;
}

/* ${op} does not fit, or if NULL whatever is largest. */
static void
give_up(struct op_list *batch, struct op *op)
{
	struct op *each;

	if (op == NULL) {
		TAILQ_FOREACH(each, batch, link)
		{
			if (!each->done &&
			    (op == NULL || each->bytes > op->bytes))
				op = each;
		}
	}
	if (op == NULL)
		return;
	op->done = true;
	op->result = STORE_FULL;
}

/*
 * Write what is not done of ${batch} in one transaction.  FULL: less is left to
 * do than before; again.
 */
static enum store_result
write_once(struct spool *s, struct op_list *batch, struct reason *why)
{
	enum store_result result = store_begin(s->store, why);
	const uint64_t highest = highest_id(s, batch);
	struct op *op;

	if (result != STORE_OK)
		return STORE_FAILED;
	TAILQ_FOREACH(op, batch, link)
	{
		if (op->done)
			continue;
		result = apply(s, op, why);
		if (result == STORE_FULL)
			give_up(batch, op);
		if (result != STORE_OK)
			break;
	}
	/* Ids are never given twice, also when the job of the highest is
	 * gone. */
	if (result == STORE_OK && highest > s->highest_id &&
	    (result = store_put_next_id(s->store, highest + 1, why)) ==
		STORE_FULL)
		give_up(batch, NULL);
	if (result != STORE_OK) {
		store_abort(s->store);
		return result;
	}
	result = store_commit(s->store, why);
	if (result == STORE_FULL)
		give_up(batch, NULL);
	if (result == STORE_OK)
		s->highest_id = highest;
	return result;
}

static bool
has_more(const struct op_list *batch)
{
	const struct op *op;

	TAILQ_FOREACH(op, batch, link)
	{
		if (!op->done)
			return true;
	}
	return false;
}

static enum store_result
write_some(struct spool *s, struct op_list *batch, struct reason *why)
{
	enum store_result result = STORE_OK;

	while (has_more(batch)) {
		result = write_once(s, batch, why);
		if (result != STORE_FULL)
			break;
	}
	return result == STORE_FAILED ? STORE_FAILED : STORE_OK;
}

/* A commit that changes nothing. */
static enum store_result
touch(struct spool *s, struct reason *why)
{
	enum store_result result = store_begin(s->store, why);

	if (result != STORE_OK)
		return STORE_FAILED;
	result = store_put_next_id(s->store, s->highest_id + 1, why);
	if (result == STORE_OK)
		return store_commit(s->store, why);
	store_abort(s->store);
	return result;
}

/* Whether a later change of the same job is in the batch, which ${op} must not
 * be made behind. */
static bool
is_superseded(const struct op *op)
{
	const uint64_t id = op->id;

	while ((op = TAILQ_NEXT(op, link)) != NULL) {
		if (op->id == id)
			return true;
	}
	return false;
}

/* What had no room is to be done again; false: there was nothing. */
static bool
again(struct op_list *batch)
{
	struct op *op;
	bool found = false;

	TAILQ_FOREACH(op, batch, link)
	{
		if (!op->done || op->result != STORE_FULL || is_superseded(op))
			continue;
		op->done = false;
		found = true;
	}
	return found;
}

/*
 * Pages that a transaction gave back are used by the second one after it, so
 * what has no room is tried again behind two that change nothing.
 */
static enum store_result
write_batch(struct spool *s, struct op_list *batch, struct reason *why)
{
	enum store_result result = write_some(s, batch, why);

	if (result != STORE_OK || !again(batch))
		return result;
	for (int i = 0; i < 2 && result == STORE_OK; i++)
		result = touch(s, why);
	if (result == STORE_FAILED)
		return STORE_FAILED;
	return write_some(s, batch, why);
}

/* ---- what becomes of the ops ---- */

/* Move deletions that were not made to ${held}, for a later day. */
static void
hold_deletions(struct spool *s, struct op_list *batch)
{
	struct op *op, *next, *copy;

	for (op = TAILQ_FIRST(batch); op != NULL; op = next) {
		next = TAILQ_NEXT(op, link);
		if (op->kind != OP_FORGET || op->result == STORE_OK)
			continue;
		/* The loop does not wait for them. */
		if ((copy = malloc(sizeof(*copy))) == NULL)
			abort();
		*copy = *op;
		copy->done = false;
		copy->result = STORE_OK;
		TAILQ_INSERT_TAIL(&s->held, copy, link);
	}
}

static void
mark(struct op_list *batch, enum store_result result)
{
	struct op *op;

	TAILQ_FOREACH(op, batch, link)
	{
		if (!op->done)
			op->result = result;
		op->done = true;
	}
}

static void
note_counts(struct spool *s, const struct op_list *batch,
    enum store_result result, const struct store_facts *facts)
{
	const struct op *op;

	s->counts.commits_n += result == STORE_OK;
	s->counts.errors_n += result != STORE_OK;
	TAILQ_FOREACH(op, batch, link)
	s->counts.written_n += op->result == STORE_OK;
	if (facts->size_bytes > 0) {
		s->counts.size_bytes = facts->size_bytes;
		s->counts.used_bytes = facts->used_bytes;
	}
}

/*
 * LMDB gives an environment up when the last write of a commit fails, for readers
 * too; from a new one what was committed before can be read.
 */
static void
reopen(struct spool *s)
{
	struct reason why;

	uv_rwlock_wrlock(&s->store_lock);
	if (store_reopen(s->store, &why) != LATENTD_OK)
		log_error("%s", why.text);
	uv_rwlock_wrunlock(&s->store_lock);
}

/* Give ${batch} back to the loop. */
static void
give_back(struct spool *s, struct op_list *batch, enum store_result result,
    bool broken, const struct reason *why)
{
	struct store_facts facts = {.size_bytes = 0};

	if (result != STORE_OK && !broken)
		reopen(s);
	mark(batch, result);
	hold_deletions(s, batch);
	if (result == STORE_OK)
		store_read_facts(s->store, &facts, NULL);
	uv_mutex_lock(&s->mutex);
	note_counts(s, batch, result, &facts);
	if (result != STORE_OK && !s->broken) {
		s->broken = true;
		s->broken_why = *why;
		s->told = false;
	}
	TAILQ_CONCAT(&s->written, batch, link);
	uv_mutex_unlock(&s->mutex);
	uv_async_send(&s->async);
}

/* Make the deletions that were left; what has no room is left again. */
static enum store_result
delete_held(struct spool *s, struct reason *why)
{
	enum store_result result = write_batch(s, &s->held, why);
	struct op *op, *next;

	for (op = TAILQ_FIRST(&s->held); op != NULL; op = next) {
		next = TAILQ_NEXT(op, link);
		if (result == STORE_OK && op->result == STORE_OK) {
			TAILQ_REMOVE(&s->held, op, link);
			free(op);
		} else {
			op->done = false;
			op->result = STORE_OK;
		}
	}
	return result;
}

/* An operator says that it works again: see, and delete what was left. */
static void
resume(struct spool *s, struct reason *why)
{
	enum store_result result = STORE_FAILED;
	bool open;

	uv_rwlock_wrlock(&s->store_lock);
	open = store_reopen(s->store, why) == LATENTD_OK;
	uv_rwlock_wrunlock(&s->store_lock);
	/* Even with nothing to delete, a commit that writes. */
	if (open)
		result = touch(s, why);
	if (result == STORE_OK)
		result = delete_held(s, why);
	uv_mutex_lock(&s->mutex);
	s->broken = result != STORE_OK;
	if (s->broken)
		s->broken_why = *why;
	s->told = false;
	uv_mutex_unlock(&s->mutex);
}

/* ---- the thread ---- */

/* Take ops for one transaction; false: stop. */
static bool
take(struct spool *s, struct op_list *batch, bool *broken)
{
	uint64_t bytes = 0;
	struct op *op;
	size_t n = 0;

	uv_mutex_lock(&s->mutex);
	while (TAILQ_EMPTY(&s->waiting) && !s->stop)
		uv_cond_wait(&s->cond, &s->mutex);
	while ((op = TAILQ_FIRST(&s->waiting)) != NULL) {
		if (n > 0 &&
		    (n == BATCH_N || bytes + op->bytes > BATCH_BYTES ||
			op->kind == OP_RESUME))
			break;
		TAILQ_REMOVE(&s->waiting, op, link);
		TAILQ_INSERT_TAIL(batch, op, link);
		bytes += op->bytes;
		n++;
		if (op->kind == OP_RESUME)
			break;
	}
	*broken = s->broken;
	uv_mutex_unlock(&s->mutex);
	return n > 0;
}

void
spool_write(void *arg)
{
	struct spool *s = arg;
	struct op_list batch;
	struct reason why;
	bool broken;

	TAILQ_INIT(&batch);
	while (take(s, &batch, &broken)) {
		enum store_result result = STORE_FAILED;

		if (TAILQ_FIRST(&batch)->kind == OP_RESUME) {
			resume(s, &why);
			result = STORE_OK;
		} else if (!broken) {
			result = write_batch(s, &batch, &why);
			if (result == STORE_OK && !TAILQ_EMPTY(&s->held))
				result = delete_held(s, &why);
		}
		give_back(s, &batch, result, broken, &why);
	}
}
