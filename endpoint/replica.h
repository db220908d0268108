/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_REPLICA_H
#define ENDPOINT_REPLICA_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/http_uv.h"
#include "faults.h"
#include "metrics.h"
#include "model.h"

/*
 * What stands behind the endpoint's paths: slots, workers and the cache.  It
 * takes over requests for a model and answers them.  Loop thread.
 */
struct replica;

struct replica_options {
	unsigned parallel; /* slots, at least 1 */
	uint64_t service_ms;
	size_t cache_bytes; /* 0: none */
	unsigned fps; /* of mp4 */
	struct metrics *metrics; /* counted into; outlives it */
};

enum latentd_err replica_open(uv_loop_t *loop,
    const struct replica_options *options, struct replica **replica,
    struct reason *why);

/* replica_serve(replica, http, task, model, fate): answer ${http} in its turn,
 * as ${fate} has it; with 400 at once where its parameters are wrong. */
void replica_serve(struct replica *replica, struct http_request *http,
    enum latentd_task task, const struct model *model, const struct fate *fate);

/* replica_adjust(replica, parallel, service_ms): for requests that begin from
 * now on. */
void replica_adjust(
    struct replica *replica, unsigned parallel, uint64_t service_ms);

/* replica_drop(replica): reset everything that waits or is served; what a
 * worker computes, when it is done. */
void replica_drop(struct replica *replica);

/* replica_gone(replica, http): ${http} is gone unanswered; forget it.  Only
 * after replica_stop() has called back. */
void replica_gone(struct replica *replica, struct http_request *http);

/* replica_measure(replica, metrics): set the gauges of ${metrics}. */
void replica_measure(const struct replica *replica, struct metrics *metrics);

/*
 * replica_stop(replica, stopped, arg): begin nothing further and answer nobody
 * any more; ${stopped} is called when no worker reads a request's body, maybe
 * before the call returns.
 */
void replica_stop(struct replica *replica, void (*stopped)(void *), void *arg);

/* replica_close(replica): free it; every request is answered or gone.  Its
 * handle is closed when the loop turns.  NULL is a no-op. */
void replica_close(struct replica *replica);

#endif
