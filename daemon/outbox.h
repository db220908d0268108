/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_OUTBOX_H
#define DAEMON_OUTBOX_H

#include <uv.h>

#include "job.h"

struct outbox;

/* How long a producer may hold a result before it is delivered again. */
#define OUTBOX_LEASE_MS 120000u

struct outbox_options {
	uint64_t first_tag; /* differs after a restart, so that an old
	                         * acknowledgement hits nothing */
	uint64_t keep_ms; /* how long results wait for their producer */
	/* on_available(producer, arg): it has something to take (again). */
	void (*on_available)(struct producer *producer, void *arg);
	/* on_dropped(job, reason, arg): the result is given up, or the notice
	 * of that is; the job's payload, or the job, is destroyed next. */
	void (*on_dropped)(
	    const struct job *job, const char *reason, void *arg);
	/* on_acked(job, arg): acknowledged; the job is destroyed, or
	 * goes to on_failed, next. */
	void (*on_acked)(const struct job *job, void *arg);
	/* on_failed(job, arg): takes a FAILED job that has its latent still;
	 * its producer knows, or did not want to know in time. */
	void (*on_failed)(struct job *job, void *arg);
	/* on_noticed(job, arg): a notice stands in its result's place. */
	void (*on_noticed)(struct job *job, void *arg);
	/* on_forget(job, acked, arg): the job is destroyed next. */
	void (*on_forget)(const struct job *job, bool acked, void *arg);
	/* on_room(producer, arg): a result's memory was given back. */
	void (*on_room)(struct producer *producer, void *arg);
	void *arg;
};

/* outbox_open(loop, jobs, options): NULL when memory is out.
 * outbox_close(o): forgets all results. */
struct outbox *outbox_open(
    uv_loop_t *loop, struct jobs *jobs, const struct outbox_options *options);
void outbox_close(struct outbox *o);

/* outbox_change(o, keep_ms): for results that are there already too. */
void outbox_change(struct outbox *o, uint64_t keep_ms);

/*
 * outbox_put(o, job): take a job that has ended and keep it until it is
 * acknowledged.  After keep_ms the result is dropped and a notice with code
 * DROPPED stands in its place, which is kept for keep_ms as well.
 */
void outbox_put(struct outbox *o, struct job *job);

/*
 * outbox_take(o, producer, pipe): lease ${producer}'s oldest result to the
 * connection ${pipe}; NULL if none is ready.  The outbox still owns the job.
 * job->tag names this delivery.
 */
const struct job *outbox_take(
    struct outbox *o, struct producer *producer, uint32_t pipe);

/*
 * outbox_ack(o, producer, tag): the producer has it; forget the job.  A tag that is not
 * leased to ${producer} changes nothing and gives false: it was acknowledged
 * before, or delivered again under another tag.  The caller holds ${producer}.
 */
bool outbox_ack(struct outbox *o, struct producer *producer, uint64_t tag);

/* outbox_release(o, pipe): a connection is gone; what it held unacknowledged
 * is ready for its producer's next COLLECT. */
void outbox_release(struct outbox *o, uint32_t pipe);

/* outbox_remove(o, job): take out a job that is in the outbox, delivered or
 * not; a later acknowledgement of its tag hits nothing. */
void outbox_remove(struct outbox *o, struct job *job);

size_t outbox_kept_n(const struct outbox *o);

#endif
