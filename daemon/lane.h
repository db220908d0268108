/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_LANE_H
#define DAEMON_LANE_H

#include "base/rate.h"
#include "order.h"

/*
 * All jobs of one model and task wait in one lane, and the endpoints that can
 * do them serve it; a lane whose endpoints are busy holds up no other.
 */
struct lane {
	const struct model *model;
	enum latentd_task task;
	struct order waiting; /* queue.c's: QUEUED, to be started */
	struct job_list again; /* queue.c's: QUEUED, tried before */
	size_t again_n;
	struct job_list begun; /* dispatch.c's: ACTIVE, with parts
	                                 * that no attempt runs for yet */
	struct endpoint **endpoints; /* dispatch.c's */
	size_t endpoints_n;
	size_t active_n; /* its active jobs, and their pixels */
	uint64_t active_px;

	/* How long requests took of late, and what they had to do; both fade
	 * together. */
	double busy_ns;
	double done_px;

	uint64_t done_n; /* pipeline.c's: jobs of it that are done */
	struct rate done; /* how often of late */
};

/* lane_note(lane, ns, px): a request for ${px} pixels succeeded in ${ns}. */
void lane_note(struct lane *lane, uint64_t ns, uint64_t px);

/*
 * lane_estimate_ms(lane, ahead_px, cost_px): until the result of a job of
 * ${cost_px} pixels before which ${ahead_px} wait, by the pace of late; at least
 * 1.  0: no request has succeeded yet, so nothing is known.  While no endpoint
 * is fit, the time until the next trial comes before.
 */
uint64_t lane_estimate_ms(
    const struct lane *lane, uint64_t ahead_px, uint64_t cost_px);

/* lane_slots_n(lane): requests that its endpoints take at the same time, those
 * that are fit; at least 1. */
unsigned lane_slots_n(const struct lane *lane);

/*
 * lane_has_fit(lane, ep): whether an endpoint other than ${ep} is fit that is no
 * backup, or with ${backups} any.
 * lane_has_other(lane, ep): whether one other than ${ep} is fit and its turn: a
 * backup's is only while nothing else is fit.
 * lane_may_out(lane, ep): whether ${ep} may be taken out for being bad: at most
 * half of a lane's endpoints are, unless no other is sound anyway.
 */
bool lane_has_fit(
    const struct lane *lane, const struct endpoint *ep, bool backups);
bool lane_has_other(const struct lane *lane, const struct endpoint *ep);
bool lane_may_out(const struct lane *lane, const struct endpoint *ep);

#endif
