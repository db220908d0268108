/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_DISPATCH_H
#define DAEMON_DISPATCH_H

#include <uv.h>

#include "endpoint.h"
#include "lane.h"

struct dispatch;

struct dispatch_sinks {
	/* Take a QUEUED job that was tried before out of lane->again; false:
	 * its producer has no room for its result now. */
	bool (*take)(struct job *job, void *arg);
	/* Pop the next new QUEUED job of a lane whose deadline has not passed, or
	 * NULL. */
	struct job *(*pop)(struct lane *lane, void *arg);
	/* Start an attempt; false: its verdict says why not. */
	bool (*start)(struct attempt *attempt, void *arg);
	/* Break off an attempt that is in transfer; true if it was. */
	bool (*abort)(struct attempt *attempt, void *arg);
	/* Take a job back into the queue, to be tried at retry_at_ns. */
	void (*retry)(struct job *job, void *arg);
	/* Take a job that has ended: still ACTIVE, its reason set. */
	void (*ended)(struct job *job, void *arg);
	void *arg;
};

struct dispatch_options {
	/* While results of that size wait for their producers, nothing new is
	 * started. */
	uint64_t result_bytes_max;
	uint64_t age_ms; /* see order.h */
	/* How often a job's requests may fail in ways that count (fate.h)
	 * before the job does; those of a batch that fail together count
	 * once. */
	unsigned attempts_max;
	unsigned hedge_percent; /* see hedge.h */
};

/* dispatch_open(loop, jobs, options, sinks): without endpoints.  NULL when
 * memory is out. */
struct dispatch *dispatch_open(uv_loop_t *loop, struct jobs *jobs,
    const struct dispatch_options *options, const struct dispatch_sinks *sinks);

/* dispatch_close(d): no job may be active; frees endpoints and lanes. */
void dispatch_close(struct dispatch *d);

/*
 * dispatch_endpoints(d, endpoints, n): use these from now on, in the place of
 * all others; takes them, not the array.  One that is the same place as one in
 * use lives on there (endpoint_adopt()); what is used no more finishes the
 * requests that it has.  ${on_gone}(endpoint, arg) is called for each of these,
 * and nobody else may keep it then.  False when memory is out: nothing is
 * changed, nothing taken.
 */
bool dispatch_endpoints(struct dispatch *d, struct endpoint *const *endpoints,
    size_t n, void (*on_gone)(const struct endpoint *ep, void *arg), void *arg);

/* dispatch_change(d, options): from now on. */
void dispatch_change(
    struct dispatch *d, const struct dispatch_options *options);

/* dispatch_lane(d, model, task): the lane, or NULL if no endpoint does that.
 * Jobs may wait in a lane that has no endpoint any more.
 * dispatch_lane_get(d, model, task): the lane, with endpoints or without, made if
 * missing; NULL when memory is out. */
struct lane *dispatch_lane(
    struct dispatch *d, const struct model *model, enum latentd_task task);
struct lane *dispatch_lane_get(
    struct dispatch *d, const struct model *model, enum latentd_task task);

/* dispatch_pause(d, paused): start no more requests, or go on; those in flight
 * are not touched.  dispatch_is_paused(d): which it is. */
void dispatch_pause(struct dispatch *d, bool paused);
bool dispatch_is_paused(const struct dispatch *d);

/* dispatch_has_room(d): whether results leave room for more of them. */
bool dispatch_has_room(const struct dispatch *d);

/* dispatch_kick(d): something may have become possible; look, from the loop. */
void dispatch_kick(struct dispatch *d);

/* dispatch_verdict(d, attempt): an attempt came back; takes it. */
void dispatch_verdict(struct dispatch *d, struct attempt *attempt);

/*
 * dispatch_cancel(d, job, why): end an ACTIVE job with ${why}; its requests are
 * broken off.  sinks.ended follows, perhaps from inside.
 */
void dispatch_cancel(
    struct dispatch *d, struct job *job, const struct reason *why);

/* For the report. */
size_t dispatch_endpoints_n(const struct dispatch *d);
struct endpoint *dispatch_endpoint(const struct dispatch *d, size_t i);
size_t dispatch_lanes_n(const struct dispatch *d);
const struct lane *dispatch_lane_at(const struct dispatch *d, size_t i);

#endif
