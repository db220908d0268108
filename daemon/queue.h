/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_QUEUE_H
#define DAEMON_QUEUE_H

#include <uv.h>

#include "lane.h"

struct queue;

struct queue_options {
	size_t jobs_max; /* jobs of any state, results included */
	uint64_t bytes_max; /* of latents held */
	/* on_ready(arg): a job may be popped that could not before. */
	void (*on_ready)(void *arg);
	void *arg;
};

/* What stands against taking one more job. */
enum queue_room {
	QUEUE_ROOM,
	QUEUE_FULL_JOBS,
	QUEUE_FULL_BYTES,
	QUEUE_FULL_PRODUCER_JOBS,
	QUEUE_FULL_PRODUCER_BYTES,
	QUEUE_FULL_USER_JOBS,
	QUEUE_FULL_USER_BYTES,
};

/* queue_open(loop, jobs, options): NULL when memory is out.
 * queue_close(q): every job must have left it. */
struct queue *queue_open(
    uv_loop_t *loop, struct jobs *jobs, const struct queue_options *options);
void queue_close(struct queue *q);

/* queue_change(q, jobs_max, bytes_max): from now on; what is there stays. */
void queue_change(struct queue *q, size_t jobs_max, uint64_t bytes_max);

/*
 * queue_room(q, producer, bytes): whether a job of ${producer} with that many
 * bytes fits.  Results that it has not collected count as its own bytes, and all
 * of a user's producers as its user's.  NULL: of some producer that has nothing
 * here.
 * queue_room_name(room): "producer_bytes", as BUSY says it; NULL for ROOM.
 */
enum queue_room queue_room(
    const struct queue *q, const struct producer *producer, uint64_t bytes);
const char *queue_room_name(enum queue_room room);

/* queue_retry_after_ms(q): when trying again makes sense, from the pace at
 * which jobs end; 50 to 5000. */
uint64_t queue_retry_after_ms(const struct queue *q);

/* queue_note_end(q): a job has ended. */
void queue_note_end(struct queue *q);

/*
 * queue_push(q, job): take a NEW job, or an ACTIVE one that is to be tried
 * again, from lane->again, once job->retry_at_ns is there.  False when memory is
 * out: a NEW job is then as it was; any other is always taken, and its producer
 * has the room again that its result would have needed.
 */
bool queue_push(struct queue *q, struct job *job);

/*
 * queue_pop(q, lane): the new job of ${lane} that goes next, still QUEUED, or
 * NULL.
 * A producer whose results fill its bounds is passed over until
 * queue_unpark().
 */
struct job *queue_pop(struct queue *q, struct lane *lane);

/* queue_take(q, job): take ${job}, which was tried before, out of lane->again;
 * false, and nothing is changed: its producer's results fill its bounds. */
bool queue_take(struct queue *q, struct job *job);

/* queue_unpark(q, producer): it may have room for results again. */
void queue_unpark(struct queue *q, struct producer *producer);

/* queue_remove(q, job): take out a QUEUED job. */
void queue_remove(struct queue *q, struct job *job);

/*
 * queue_position(job): about how many jobs of its lane go before it.
 * queue_estimate_ms(job): about how long until its result; 0: not known, or
 * not QUEUED.
 * queue_estimate_new_ms(lane, producer, class, cost_px): the same for a job
 * that is not there yet.
 */
size_t queue_position(const struct job *job);
uint64_t queue_estimate_ms(const struct job *job);
uint64_t queue_estimate_new_ms(const struct lane *lane,
    const struct producer *producer, unsigned class, uint64_t cost_px);

#endif
