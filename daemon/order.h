/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_ORDER_H
#define DAEMON_ORDER_H

#include "job.h"

/*
 * In which order the waiting jobs of one lane go.
 *
 * By class first: urgent, high, normal, low.  A job that has waited ${age_ms}
 * in its class moves up one, so that the lowest is urgent in the end.
 *
 * Within a class, producers take turns by deficit round-robin: each round
 * gives a producer as many pixels as its weight says, and its next job goes in
 * the round in which that covers the job's pixels.  The rounds are not walked
 * but computed: a producer's jobs of a class are a *share*, its next job is
 * *due* in a round, and the share that is due first goes first.  So the cost
 * of a step does not depend on how jobs differ in size.
 *
 * Within a share by age, which is the order of ids; a job that comes back to
 * be tried again takes its old place and is paid for again.
 *
 * Pure: the caller says what time it is.  Every call is O(log n).
 */

RB_HEAD(due_tree, share);

struct order_class {
	struct due_tree due; /* shares that may go, by round */
	struct job_list by_age; /* its jobs, longest in the class first */
	struct share *shares; /* all that have jobs; uthash by producer */
	uint64_t round;
	uint64_t cost_px; /* of its jobs */
	size_t jobs_n;
	uint64_t weights; /* sum over its shares */
};

struct order {
	struct order_class classes[JOB_CLASSES];
	size_t jobs_n;
	uint64_t age_ns;
};

/* How a job stands in an order, for position and estimate. */
struct order_rank {
	size_t jobs_n; /* about how many go before it */
	uint64_t cost_px; /* about how many pixels these have */
};

/* order_init(o, age_ms): empty; 0: nothing ages.  order_change(o, age_ms): from
 * now on.  A producer's new weight counts from its next job on.  order_fini(o): it must be
 * empty again. */
void order_init(struct order *o, uint64_t age_ms);
void order_change(struct order *o, uint64_t age_ms);
void order_fini(struct order *o);

/*
 * order_push(o, job, now_ns): let ${job} wait in job->class.  False when memory
 * is out; then nothing has changed.
 */
bool order_push(struct order *o, struct job *job, uint64_t now_ns);

/* order_remove(o, job): take out a job that waits in ${o}. */
void order_remove(struct order *o, struct job *job);

/*
 * order_pop(o, now_ns, fits, arg): take out the job that goes next, or NULL.
 * Where ${fits}(job, arg) says no, the whole share is parked until
 * order_unpark().
 */
struct job *order_pop(struct order *o, uint64_t now_ns,
    bool (*fits)(const struct job *job, void *arg), void *arg);

/* order_unpark(producer): its parked shares, of all lanes, may go again; true
 * if there was one. */
bool order_unpark(struct producer *producer);

/*
 * order_rank(o, job): where ${job}, which waits in ${o}, stands if nothing else
 * comes; 0 for the one that goes next.
 * order_rank_new(o, producer, class, cost_px): where a new job of that many
 * pixels would.
 */
struct order_rank order_rank(const struct order *o, const struct job *job);
struct order_rank order_rank_new(const struct order *o,
    const struct producer *producer, unsigned class, uint64_t cost_px);

#endif
