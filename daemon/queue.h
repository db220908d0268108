/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_QUEUE_H
#define DAEMON_QUEUE_H

#include <uv.h>

#include "lane.h"

struct queue;

struct queue_options {
	size_t jobs_max; /* jobs of any state, results included */
	uint64_t bytes_max; /* of SUBMIT messages held */
	/* on_ready(arg): a job may be popped that could not before. */
	void (*on_ready)(void *arg);
	void *arg;
};

/* What stands against taking one more job. */
enum queue_room { QUEUE_ROOM, QUEUE_FULL_JOBS, QUEUE_FULL_BYTES };

/* queue_open(loop, jobs, options): NULL when memory is out.
 * queue_close(q): every job must have left it. */
struct queue *queue_open(
    uv_loop_t *loop, struct jobs *jobs, const struct queue_options *options);
void queue_close(struct queue *q);

/* queue_room(q, message_bytes): whether a job with such a message fits. */
enum queue_room queue_room(const struct queue *q, uint64_t message_bytes);

/* queue_retry_after_ms(q): when trying again makes sense, from the pace at
 * which jobs end; 50 to 5000. */
uint64_t queue_retry_after_ms(const struct queue *q);

/* queue_note_end(q): a job has ended. */
void queue_note_end(struct queue *q);

/*
 * queue_push(q, job): take a NEW job to the end of its lane, or an ACTIVE one
 * that is to be tried again: to the front, once job->retry_at_ns is there.
 */
void queue_push(struct queue *q, struct job *job);

/* queue_pop(q, lane): the next job, still QUEUED, or NULL. */
struct job *queue_pop(struct queue *q, struct lane *lane);

/* queue_remove(q, job): take out a QUEUED job that is in the queue. */
void queue_remove(struct queue *q, struct job *job);

/* queue_position(q, job): how many jobs of its lane go before it. */
size_t queue_position(const struct queue *q, const struct job *job);

#endif
