/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job and the books: every count and byte sum changes here, in the same
 * function as the job it is about.
 */
#include "job.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/buffer.h"

/* allowed[from] has bit ${to} set for every step a job may take. */
static const unsigned allowed[JOB_STATE_COUNT] = {
    [JOB_NEW] = 1u << JOB_QUEUED,
    [JOB_QUEUED] = 1u << JOB_ACTIVE | 1u << JOB_CANCELLED | 1u << JOB_FAILED |
	1u << JOB_EXPIRED,
    [JOB_ACTIVE] = 1u << JOB_QUEUED | 1u << JOB_DONE | 1u << JOB_FAILED |
	1u << JOB_CANCELLED | 1u << JOB_EXPIRED,
    /* Kicked. */
    [JOB_FAILED] = 1u << JOB_QUEUED,
};

static int
compare_ids(const struct job *a, const struct job *b)
{
	return (a->id > b->id) - (a->id < b->id);
}

TREE_GENERATE_STATIC(job_ids, job, by_id, compare_ids)

static bool
is_open(enum job_state state)
{
	return state == JOB_QUEUED || state == JOB_ACTIVE;
}

void
jobs_init(struct jobs *jobs,
    void (*on_move)(const struct job *job, enum job_state from, void *arg),
    void *arg)
{
	memset(jobs, 0, sizeof(*jobs));
	TAILQ_INIT(&jobs->owned);
	jobs->on_move = on_move;
	jobs->arg = arg;
}

unsigned
job_class(enum latentd_priority priority)
{
	static const unsigned classes[] = {[LATENTD_URGENT] = 0,
	    [LATENTD_HIGH] = 1,
	    [LATENTD_NORMAL] = 2,
	    [LATENTD_LOW] = 3};

	return classes[priority];
}

bool
job_is_late(const struct job *j)
{
	return j->deadline_ns != 0 && j->deadline_ns <= uv_hrtime();
}

void
job_late_reason(const struct job *j, struct reason *why)
{
	uint64_t given_ms = j->deadline_ms;

	if (j->attempts_n == 0)
		reason_set(why, LATENTD_ERR_EXPIRED,
		    "not begun within its deadline of %llu ms",
		    (unsigned long long)given_ms);
	else if (j->reason.err == LATENTD_OK)
		reason_set(why, LATENTD_ERR_EXPIRED,
		    "not done within its deadline of %llu ms, after %u "
		    "requests",
		    (unsigned long long)given_ms, j->attempts_n);
	else
		reason_set(why, LATENTD_ERR_EXPIRED,
		    "not done within its deadline of %llu ms, after %u "
		    "requests; the last failure: %.300s",
		    (unsigned long long)given_ms, j->attempts_n,
		    j->reason.text);
}

enum job_state
job_end_state(const struct reason *why)
{
	switch ((int)why->err) {
	case LATENTD_OK:
		return JOB_DONE;
	case LATENTD_ERR_CANCELLED:
		return JOB_CANCELLED;
	case LATENTD_ERR_EXPIRED:
		return JOB_EXPIRED;
	default:
		return JOB_FAILED;
	}
}

uint64_t
job_expected_bytes(const struct job *j)
{
	return j->expect.max_bytes * j->parts_n;
}

/* A job that has ended, or is destroyed, leaves the lists of open ones. */
static void
disown(struct jobs *jobs, struct job *j)
{
	if (j->owner_pipe != 0)
		TAILQ_REMOVE(&jobs->owned, j, owned_link);
	j->owner_pipe = 0;
}

void
job_own(struct jobs *jobs, struct job *j, uint32_t pipe)
{
	assert(is_open(j->state) && pipe != 0);
	disown(jobs, j);
	j->owner_pipe = pipe;
	TAILQ_INSERT_TAIL(&jobs->owned, j, owned_link);
}

/* Count ${j} in its state, or no more. */
static void
count(struct jobs *jobs, const struct job *j, int by)
{
	jobs->state_n[j->state] += (size_t)by;
	j->producer->state_n[j->state] += (size_t)by;
}

static void
unbury(struct jobs *jobs, struct job *j)
{
	if (!j->buried)
		return;
	j->buried = false;
	j->buried_ns = 0;
	jobs->buried_n--;
	j->producer->buried_n--;
}

enum latentd_err
job_create(struct jobs *jobs, struct producer *producer, struct text key,
    size_t parts_n, struct job **job, struct reason *why)
{
	struct job *j = calloc(1, sizeof(*j));

	assert(key.bytes <= LATENTD_MAX_NAME_BYTES);
	if (j == NULL ||
	    (j->parts = calloc(parts_n, sizeof(*j->parts))) == NULL) {
		free(j);
		return reason_set(
		    why, LATENTD_ERR_MEMORY, "the daemon is out of memory");
	}
	j->magic = JOB_MAGIC;
	j->parts_n = parts_n;
	j->id = ++jobs->next_id;
	j->producer = producer;
	memcpy(j->key, key.at, key.bytes);
	j->since_ns = uv_hrtime();
	RB_INSERT(job_ids, &jobs->by_id, j);
	HASH_ADD_KEYPTR(by_key, producer->by_key, j->key, key.bytes, j);
	producer->jobs_n++;
	if (producer->user != NULL)
		producer->user->jobs_n++;
	jobs->n++;
	count(jobs, j, 1);
	*job = j;
	return LATENTD_OK;
}

static void
part_release(struct part *part)
{
	buffer_destroy(part->reply);
	free(part->file_bytes);
	*part = (struct part){.state = part->state};
}

static void
expect(struct jobs *jobs, struct job *j, uint64_t bytes)
{
	jobs->expected_bytes += bytes;
	j->producer->expected_bytes += bytes;
}

void
job_destroy(struct jobs *jobs, struct job *j)
{
	struct producer *producer = j->producer;

	assert(
	    j->magic == JOB_MAGIC && j->in_flight_n == 0 && j->share == NULL);
	assert(!j->storing && j->body_load == NULL);
	if (j->result_reader != NULL)
		*j->result_reader = NULL;
	job_store(jobs, j, 0);
	disown(jobs, j);
	job_release_input(jobs, j);
	job_drop_result(jobs, j);
	for (size_t i = 0; i < j->parts_n; i++)
		part_release(&j->parts[i]);
	RB_REMOVE(job_ids, &jobs->by_id, j);
	HASH_DELETE(by_key, producer->by_key, j);
	unbury(jobs, j);
	count(jobs, j, -1);
	if (is_open(j->state))
		producer->open_n--;
	if (j->state == JOB_ACTIVE)
		expect(jobs, j, 0 - job_expected_bytes(j));
	jobs->n--;
	producers_forget_job(&jobs->producers, producer);
	free(j->history);
	free(j->parts);
	j->magic = 0;
	free(j);
}

void
job_move(struct jobs *jobs, struct job *j, enum job_state to)
{
	enum job_state from = j->state;

	assert(j->magic == JOB_MAGIC && (allowed[from] & 1u << to) != 0);
	count(jobs, j, -1);
	j->state = to;
	j->since_ns = uv_hrtime();
	count(jobs, j, 1);
	if (to == JOB_ACTIVE)
		expect(jobs, j, job_expected_bytes(j));
	if (from == JOB_ACTIVE)
		expect(jobs, j, 0 - job_expected_bytes(j));
	if (!is_open(from) && is_open(to))
		j->producer->open_n++;
	if (is_open(from) && !is_open(to)) {
		j->producer->open_n--;
		jobs->ended_n[to]++;
		disown(jobs, j);
	}
	jobs->on_move(j, from, jobs->arg);
}

void
job_restore(struct jobs *jobs, struct job *j, enum job_state state)
{
	assert(j->state == JOB_NEW && !is_open(state) && state != JOB_NEW);
	count(jobs, j, -1);
	j->state = state;
	count(jobs, j, 1);
}

void
job_bury(struct jobs *jobs, struct job *j)
{
	assert(j->state == JOB_FAILED && !j->buried);
	j->buried = true;
	/* One that comes from the spool has been for some time. */
	if (j->buried_ns == 0)
		j->buried_ns = uv_hrtime();
	jobs->buried_n++;
	j->producer->buried_n++;
}

void
job_revive(struct jobs *jobs, struct job *j)
{
	assert(j->state == JOB_FAILED && j->running_n == 0 &&
	    job_has_input(j) && j->lease_pipe == 0);
	unbury(jobs, j);
	job_drop_result(jobs, j);
	j->done_n = 0;
	for (size_t i = 0; i < j->parts_n; i++) {
		struct part *part = &j->parts[i];

		/* Where putting them together failed, replies are gone. */
		if (part->reply == NULL)
			part->state = PART_TODO;
		else
			j->done_n++;
	}
	j->kicks_n++;
	j->failures_n = 0;
	j->failing = false;
	j->avoid = NULL;
	/* Who kicks it does not mind how late it is. */
	j->deadline_ns = 0;
	j->kept_since_ns = 0;
	j->retry_at_ns = 0;
	j->submitted_ns = uv_hrtime();
	j->started_ns = j->decoded_ns = j->finished_ns = 0;
	j->reason = (struct reason){.err = LATENTD_OK};
	j->tag = 0;
}

/* Put several parts' files behind each other. */
static enum latentd_err
gather_many(struct job *j)
{
	size_t bytes = 0, files_n = 0, at = 0;

	for (size_t i = 0; i < j->parts_n; i++)
		files_n += j->parts[i].files_n;
	j->file_bytes = calloc(files_n, sizeof(*j->file_bytes));
	if (j->file_bytes == NULL)
		return LATENTD_ERR_MEMORY;
	j->files_n = files_n;
	for (size_t i = 0; i < j->parts_n; i++)
		bytes += j->parts[i].reply->bytes;
	if ((j->result = buffer_create(bytes)) == NULL)
		return LATENTD_ERR_MEMORY;
	for (size_t i = 0; i < j->parts_n; i++) {
		struct part *part = &j->parts[i];

		memcpy(j->file_bytes + at, part->file_bytes,
		    part->files_n * sizeof(*part->file_bytes));
		at += part->files_n;
		if (!buffer_append(
			j->result, part->reply->at, part->reply->bytes))
			return LATENTD_ERR_MEMORY;
		part_release(part);
	}
	return LATENTD_OK;
}

enum latentd_err
job_gather(struct jobs *jobs, struct job *j)
{
	struct part *part = &j->parts[0];
	enum latentd_err err = LATENTD_OK;

	assert(j->done_n == j->parts_n && j->result == NULL);
	if (j->parts_n == 1) {
		j->result = part->reply;
		j->file_bytes = part->file_bytes;
		j->files_n = part->files_n;
		part->reply = NULL;
		part->file_bytes = NULL;
	} else {
		err = gather_many(j);
	}
	if (j->result != NULL) {
		j->result_bytes = j->result->bytes;
		jobs_hold_result(jobs, j->producer, 0, j->result_bytes);
	}
	if (err != LATENTD_OK)
		job_drop_result(jobs, j);
	return err;
}

const uint8_t *
job_part_data(const struct job *j, size_t i, size_t *bytes)
{
	*bytes = j->payload_bytes / j->parts_n;
	return j->payload + i * *bytes;
}

struct job *
jobs_by_id(const struct jobs *jobs, uint64_t id)
{
	struct job *j = RB_ROOT(&jobs->by_id);

	while (j != NULL && j->id != id)
		j = id < j->id ? RB_LEFT(j, by_id) : RB_RIGHT(j, by_id);
	return j;
}

struct job *
jobs_after(const struct jobs *jobs, uint64_t id)
{
	struct job *j = RB_ROOT(&jobs->by_id), *after = NULL;

	while (j != NULL) {
		if (j->id > id)
			after = j;
		j = j->id > id ? RB_LEFT(j, by_id) : RB_RIGHT(j, by_id);
	}
	return after;
}

struct job *
jobs_by_key(const struct producer *producer, struct text key)
{
	struct job *j;

	HASH_FIND(by_key, producer->by_key, key.at, key.bytes, j);
	return j;
}
