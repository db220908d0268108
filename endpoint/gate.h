/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_GATE_H
#define ENDPOINT_GATE_H

#include <stdbool.h>

#include <uv.h>

#include "base/http_uv.h"
#include "metrics.h"
#include "options.h"
#include "replica.h"

/*
 * What stands before the replica and makes a bad endpoint of a good one: it
 * decides each request's fate, is cold or down, dies, counts, and is changed
 * over the control path.  Loop thread.
 */
struct gate;

struct gate_options {
	const struct options *options;
	struct metrics *metrics; /* counted into; outlives it */
	struct replica *replica; /* outlives it */
};

/* gate_open(loop, options, gate, why): the cold begins, if there is one.  Fails
 * with MEMORY. */
enum latentd_err gate_open(uv_loop_t *loop, const struct gate_options *options,
    struct gate **gate, struct reason *why);

/* gate_close(gate, closed, arg): after gate_drain(), when nothing is under way
 * any more; ${closed} (may be NULL) is called when it is freed. */
void gate_close(struct gate *gate, void (*closed)(void *), void *arg);

/*
 * gate_arrive(gate, http): the headers of a request are there.  One for a model
 * is reset while the gate is down.
 * gate_leave(gate): a request for a model is over: it had an http_user().
 */
void gate_arrive(struct gate *gate, struct http_request *http);
void gate_leave(struct gate *gate);

/* gate_serve(gate, http): give ${http}, which is for a model and whole, what it
 * has coming. */
void gate_serve(struct gate *gate, struct http_request *http);

/* gate_is_serving(gate): neither cold nor down. */
bool gate_is_serving(const struct gate *gate);

/* gate_control(gate, http): answer GET, HEAD or POST of the control path. */
void gate_control(struct gate *gate, struct http_request *http);

/* gate_drain(gate): hold nothing any longer. */
void gate_drain(struct gate *gate);

/* gate_gone(gate, http): ${http} is gone unanswered. */
void gate_gone(struct gate *gate, struct http_request *http);

#endif
