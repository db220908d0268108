/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_CONTROL_H
#define ENDPOINT_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/http_uv.h"
#include "faults.h"
#include "metrics.h"
#include "tally.h"

/* What may be changed while the endpoint runs; pure but for the request. */
struct control {
	struct faults faults;
	unsigned parallel;
	uint64_t service_ms;
	bool down;
	/* What a change asks for besides values. */
	bool reseed; /* begin the dice anew */
	bool recold; /* begin or (with cold false) end the cold */
	bool cold;
	bool redie; /* count to die-after anew */
};

/*
 * control_set(control, name, value, why): apply one parameter of POST /control:
 * what faults_set() knows, parallel, service-ms, down and cold (1 or 0).
 * cold-ms begins the cold at once.  Fails as faults_set() does.
 */
enum latentd_err control_set(struct control *control, const char *name,
    const char *value, struct reason *why);

/*
 * control_read(control, http, why): apply the whole query of ${http}, or
 * nothing of it.  Fails with INVALID and a sentence that names every unknown
 * parameter, or the first wrong value.
 */
enum latentd_err control_read(struct control *control,
    const struct http_request *http, struct reason *why);

/*
 * control_format(control, metrics, tally, cold_left_ms): everything as JSON
 * text, the caller's to free(); NULL without memory.
 */
char *control_format(const struct control *control,
    const struct metrics *metrics, const struct tally *tally,
    uint64_t cold_left_ms);

#endif
