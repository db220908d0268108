/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference model of the queue: what the headers and protocol.md promise,
 * by plain arrays and linear searches, without the code's structures.  Times
 * are absolute, of uv_hrtime()'s clock; producers, keys and lanes are small
 * numbers.  The model is told what was asked and says what the answer must be;
 * of timers it is told when they came, and checks that this is right.
 */
#ifndef UNIT_QUEUE_MODEL_H
#define UNIT_QUEUE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "job.h"
#include "queue.h"

#define MODEL_JOBS 256
#define MODEL_PRODUCERS 6
#define MODEL_LANES 2
#define MODEL_REMEMBERED 128
/* How late a timer may be. */
#define MODEL_SLACK_NS UINT64_C(2000000)

struct model_rules {
	size_t jobs_max;
	uint64_t bytes_max;
	uint64_t age_ns; /* 0: nothing ages */
	uint64_t keep_ns;
	uint64_t lease_ns;
	uint64_t remember_ns;
	size_t keys_max;
	struct producer_bounds bounds[MODEL_PRODUCERS];
	/* Those of the same number have the same name. */
	unsigned names[MODEL_PRODUCERS];
};

struct model_job {
	uint64_t id; /* 0: this place is free */
	size_t producer, key, lane;
	enum job_state state;
	unsigned class;
	uint64_t cost_px;
	uint64_t input_bytes;
	uint64_t expected_bytes;
	uint64_t result_bytes;
	uint64_t deadline_ns; /* 0: none */
	uint32_t owner_pipe; /* 0: none */
	uint64_t owned_nr; /* in order of owning */

	bool asleep; /* QUEUED, not before retry_ns */
	bool again; /* QUEUED, tried before: goes before the lane's others */
	uint64_t retry_ns;
	uint64_t since_ns; /* in its class */
	uint64_t since_nr;

	enum latentd_err err;
	uint64_t ended_nr; /* in order of ending */
	bool notice; /* the result was dropped */
	uint64_t kept_ns;
	uint64_t tag; /* 0: never delivered */
	bool leased;
	uint32_t lease_pipe;
	uint64_t lease_ns; /* since */
};

struct model_share {
	bool there; /* it has jobs that wait */
	bool parked;
	uint64_t paid;
};

struct model_class {
	uint64_t round;
	struct model_share shares[MODEL_PRODUCERS];
};

struct model_key {
	size_t producer, key;
	uint64_t id;
	uint64_t since_ns;
};

struct queue_model {
	struct model_rules rules;
	struct model_job jobs[MODEL_JOBS];
	struct model_class classes[MODEL_LANES][JOB_CLASSES];
	struct model_key remembered[MODEL_REMEMBERED]; /* oldest first */
	size_t remembered_n;
	uint64_t last_id, last_tag, last_nr;
	size_t again_n, expired_n, aged_n, parked_n, redelivered_n, dropped_n;
	size_t aged_most_n; /* steps in which more would have aged */
};

/* NOLINTBEGIN(bugprone-macro-parentheses): they declare ${job} */
#define FOREACH_JOB(m, job)                                                   \
	for (struct model_job *job = (m)->jobs; job < (m)->jobs + MODEL_JOBS; \
	     job++)                                                           \
		if (job->id != 0)
#define FOREACH_CONST_JOB(m, job)                     \
	for (const struct model_job *job = (m)->jobs; \
	     job < (m)->jobs + MODEL_JOBS; job++)     \
		if (job->id != 0)

/* NOLINTEND(bugprone-macro-parentheses) */

static inline bool
model_is_open(const struct model_job *job)
{
	return job->state == JOB_QUEUED || job->state == JOB_ACTIVE;
}

void model_init(
    struct queue_model *m, const struct model_rules *rules, uint64_t last_tag);

/* ---- questions; they change nothing, but for keys that are too old ---- */

struct model_job *model_by_id(struct queue_model *m, uint64_t id);
struct model_job *model_by_key(
    struct queue_model *m, size_t producer, size_t key);
uint64_t model_remembered(
    struct queue_model *m, size_t producer, size_t key, uint64_t now_ns);
enum queue_room model_room(
    const struct queue_model *m, size_t producer, uint64_t bytes);
/* Somebody has its name and another secret, and it is not there itself. */
bool model_stranger(const struct queue_model *m, size_t producer);
size_t model_jobs_n(const struct queue_model *m, size_t producer);
/* Bytes of its results, kept and expected. */
uint64_t model_results(const struct queue_model *m, size_t producer);

/* Between which bounds a job's position must be; the same for the one that goes
 * next. */
void model_position(const struct queue_model *m, const struct model_job *job,
    size_t *least, size_t *most);
/* A job of the lane waits although its producer has no result at all. */
bool model_starves(const struct queue_model *m, size_t lane);

/* ---- what happens; each end of a job takes 1 ns ---- */

/* model_submit(m, job, now_ns): a new job; its fields down to owner_pipe are
 * set.  Returns it in the model. */
struct model_job *model_submit(
    struct queue_model *m, const struct model_job *job, uint64_t now_ns);

/* model_own(m, job, pipe): it ends with this connection from now on. */
void model_own(struct queue_model *m, struct model_job *job, uint32_t pipe);

/* model_pop(m, lane, now_ns): the job that goes next, ACTIVE now, or NULL; on
 * the way to it those that are late expire, but for jobs tried before, which are
 * passed over. */
struct model_job *model_pop(
    struct queue_model *m, size_t lane, uint64_t now_ns);

/* model_retry(m, job, retry_ns): an active one is to be tried again;
 * 0: at once. */
void model_retry(
    struct queue_model *m, struct model_job *job, uint64_t retry_ns);

/* model_end(m, job, err, result_bytes, now_ns): an open job ends. */
void model_end(struct queue_model *m, struct model_job *job,
    enum latentd_err err, uint64_t result_bytes, uint64_t now_ns);

/* model_gone(m, pipe, now_ns): a connection ended. */
void model_gone(struct queue_model *m, uint32_t pipe, uint64_t now_ns);

/* model_take(m, producer, pipe, now_ns): the result that is delivered, or NULL.
 * model_ack(m, producer, tag, now_ns): whether that was a delivery's tag. */
struct model_job *model_take(
    struct queue_model *m, size_t producer, uint32_t pipe, uint64_t now_ns);
bool model_ack(
    struct queue_model *m, size_t producer, uint64_t tag, uint64_t now_ns);

/* ---- timers; each checks that it was time ---- */

void model_on_expired(struct queue_model *m, uint64_t id, uint64_t now_ns);
void model_on_awake(struct queue_model *m, uint64_t now_ns);
void model_on_dropped(struct queue_model *m, uint64_t id, uint64_t now_ns);
/* A lease of ${producer} ran out: the oldest. */
void model_on_returned(struct queue_model *m, size_t producer, uint64_t now_ns);

/* model_check_time(m, now_ns): nothing is overdue. */
void model_check_time(const struct queue_model *m, uint64_t now_ns);

/* ---- between the model's halves ---- */

void model_enter(struct queue_model *m, struct model_job *job, uint64_t now_ns);
void model_enter_again(struct queue_model *m, struct model_job *job);
void model_unpark(struct queue_model *m, size_t producer);

#endif
