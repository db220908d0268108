/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_FAULTS_H
#define ENDPOINT_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/errors.h"
#include "reason.h"

/*
 * What the endpoint does wrong on purpose: the settings and the dice.  Pure
 * functions; any thread.
 */

/* One request has at most one of these; they are drawn in this order. */
enum fault {
	FAULT_DROP, /* the connection is reset */
	FAULT_FAIL, /* an error status, by --fail-rate */
	FAULT_OOM, /* 400 that speaks of the endpoint's memory */
	FAULT_STALL, /* the reply stops */
	FAULT_TRUNCATE, /* shorter than its Content-Length */
	FAULT_GARBAGE, /* a body of noise */
	FAULT_WRONG_SIZE, /* a good reply to another question */
	FAULTS,
	FAULT_NONE = FAULTS
};

#define FAULTS_STATUSES 8 /* of --fail-rate */
#define FAULTS_SEED 1 /* the default */

struct faults {
	uint64_t seed;
	double rates[FAULTS]; /* 0..1 each; that of FAIL is not used */
	struct {
		unsigned status;
		double rate;
	} fails[FAULTS_STATUSES]; /* in order of their first mention */
	size_t fails_n;
	uint64_t retry_after_s; /* 0: no such header */
	uint64_t cold_ms;
	uint64_t stall_ms; /* 0: until the peer gives up */
	double slow_rate;
	double slow_factor; /* at least 1 */
	uint64_t die_after_n; /* 0: never */
};

/* What happens to one request. */
struct fate {
	enum fault fault;
	unsigned status; /* of FAIL */
	bool midway; /* DROP, STALL: after half of the body, else before the
		      * reply (DROP) or its body (STALL) */
	uint64_t stall_ms; /* of STALL; 0: until the peer gives up */
	double slowdown; /* of the service time; 1: none */
	uint64_t noise; /* for what else is left to chance */
};

/* faults_init(f): no faults, and the default seed. */
void faults_init(struct faults *f);

/*
 * faults_set(f, name, value, why): apply one setting, named as on the command
 * line with or without "--".  Fails with NOT_FOUND when there is no such
 * setting, with INVALID when the value is wrong; ${f} unchanged.
 *
 *   seed N, drop-rate P, oom-rate P, stall-rate P, truncate-rate P,
 *   garbage-rate P, wrong-size-rate P, slow-rate P:FACTOR, retry-after S,
 *   cold-ms N, stall-ms N, die-after N, and fail-rate P[:STATUS], which is kept
 *   per status (500 if not given); "0" without a status forgets them all.
 */
enum latentd_err faults_set(
    struct faults *f, const char *name, const char *value, struct reason *why);

/* faults_name(fault): "wrong-size"; as in the counters. */
const char *faults_name(enum fault fault);

/*
 * faults_draw(f, n, fate): the fate of request number ${n}.  It depends on
 * ${f}'s seed, ${n} and the rates only.  Each kind has dice of its own: the
 * first in the order above that hits is it (of FAIL, the first status), so
 * changing one rate never moves another kind's dice.  Slowness is drawn for
 * every request, beside its fault.
 */
void faults_draw(const struct faults *f, uint64_t n, struct fate *fate);

/* faults_noise(noise, data, bytes): fill ${data} with noise that begins with
 * no known file's magic; the same for the same ${noise}. */
void faults_noise(uint64_t noise, unsigned char *data, size_t bytes);

#endif
