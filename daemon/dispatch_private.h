/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What dispatch.c (lanes, verdicts, ends) and dispatch_start.c (what is started
 * where, and when) share, and nobody else includes.
 */
#ifndef DAEMON_DISPATCH_PRIVATE_H
#define DAEMON_DISPATCH_PRIVATE_H

#include "dispatch.h"
#include "hedge.h"

struct dispatch {
	uv_idle_t idle;
	uv_timer_t timer;
	unsigned handles_n; /* not closed yet */
	struct jobs *jobs;
	struct dispatch_sinks sinks;
	struct dispatch_options options;
	struct endpoint **endpoints;
	size_t endpoints_n;
	struct endpoint **retired; /* used no more, but there are requests */
	size_t retired_n;
	struct lane **lanes;
	size_t lanes_n;
	struct hedge hedge;
	TAILQ_HEAD(attempt_list, attempt) running;
	size_t running_n;
	size_t again_n; /* of these: of parts that were tried before */
	bool paused;
};

/* dispatch_look(d): start what can be started; from the loop. */
void dispatch_look(struct dispatch *d);

/* dispatch_reap(d): forget retired endpoints whose last request is over. */
void dispatch_reap(struct dispatch *d);

/* dispatch_lane_of(d, model, task): the lane, with endpoints or without, or
 * NULL. */
struct lane *dispatch_lane_of(
    struct dispatch *d, const struct model *model, enum latentd_task task);

/* dispatch_leave(d, attempt): it is no longer with an endpoint or a worker. */
void dispatch_leave(struct dispatch *d, struct attempt *attempt);

/* dispatch_leave_begun(job) / dispatch_join_begun(job): around a change of its
 * parts: out of its lane's list of begun jobs, and in again if it belongs
 * there. */
void dispatch_leave_begun(struct job *job);
void dispatch_join_begun(struct job *job);

#endif
