/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Books, queue, deadlines, outbox and remembered keys together, joined by the
 * calls that pipeline.c and ingress.c make; the caller plays dispatch.  What
 * timers do is told to the model as it happens.
 */
#ifndef UNIT_QUEUE_STAGES_H
#define UNIT_QUEUE_STAGES_H

#include "deadline.h"
#include "jobs_fixture.h"
#include "outbox.h"
#include "queue.h"
#include "queue_model.h"
#include "remember.h"

struct stages {
	struct fixture_jobs f;
	struct queue_model *model;
	struct queue *queue;
	struct deadlines *deadlines;
	struct outbox *outbox;
	struct remember *remember;
	struct lane lanes[MODEL_LANES];
	struct producer_rule rules[MODEL_PRODUCERS];
	struct producer_identity identities[MODEL_PRODUCERS];
	bool by_timer; /* time passes, and nobody else does anything */
	/* Dispatch would look at this lane again. */
	bool kicked[MODEL_LANES];
};

/* Answers to a SUBMIT. */
enum stages_answer { KNOWN, COLLECTED, BUSY, TAKEN };

struct stages_submitted {
	enum stages_answer answer;
	uint64_t id; /* of KNOWN, COLLECTED and TAKEN */
	enum job_state state; /* of KNOWN */
	enum queue_room room; /* of BUSY */
	size_t position; /* of KNOWN and TAKEN */
};

/* stages_open(s, model): as model->rules say; the model is empty. */
void stages_open(struct stages *s, struct queue_model *model);
/* stages_close(s): all must be gone. */
void stages_close(struct stages *s);

/* stages_submit(s, job): ${job} as for model_submit(); it ends with
 * job->owner_pipe, if that is not 0. */
struct stages_submitted stages_submit(
    struct stages *s, const struct model_job *job);

/* stages_pop(s, lane): the id of the job that is ACTIVE now, or 0. */
uint64_t stages_pop(struct stages *s, size_t lane);

/* What becomes of an active job. */
void stages_done(struct stages *s, uint64_t id, size_t result_bytes);
void stages_failed(struct stages *s, uint64_t id);
void stages_retry(struct stages *s, uint64_t id, uint64_t retry_ns);

/* stages_cancel(s, producer, key, state): false: there is no such job;
 * ${*state} is what it had before. */
bool stages_cancel(
    struct stages *s, size_t producer, size_t key, enum job_state *state);

/* stages_gone(s, pipe): a connection ended. */
void stages_gone(struct stages *s, uint32_t pipe);

/*
 * stages_collect(s, producer, acks, acks_n, acked, pipe, job): false: DENIED.
 * ${acked}[i] says whether the tag was one; ${*job} is delivered, or NULL.
 */
bool stages_collect(struct stages *s, size_t producer, const uint64_t *acks,
    size_t acks_n, bool *acked, uint32_t pipe, const struct job **job);

/* stages_advance(s, ns): time passes. */
void stages_advance(struct stages *s, uint64_t ns);

/* stages_compare(s): every count and sum is the model's. */
void stages_compare(struct stages *s);

#endif
