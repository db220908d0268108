/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_ENDPOINT_H
#define DAEMON_ENDPOINT_H

#include "attempt.h"
#include "config.h"
#include "fitness.h"
#include "limit.h"

/*
 * Whether an endpoint answers: its latest attempt, or a question of probe.c's
 * since then, got any HTTP reply but 502, 503 and 504.  UNKNOWN until then.
 */
enum endpoint_health {
	ENDPOINT_UNKNOWN = 0,
	ENDPOINT_ANSWERS,
	ENDPOINT_SILENT,
};

/* One remote URL that can do one task for one model: its limit and its luck. */
struct endpoint {
	char name[LATENTD_MAX_NAME_BYTES + 1];
	const struct model *model;
	enum latentd_task task;
	char url[LATENTD_MAX_URL_BYTES];
	char health_path[LATENTD_MAX_URL_BYTES]; /* "": none is configured */
	char *authorization; /* "Authorization: Bearer ...", or NULL */
	unsigned weight;
	bool backup; /* only while no other one is fit */
	struct config_times times;
	struct limit limit;
	struct fitness fitness;
	unsigned in_flight;
	uint64_t in_flight_px;
	uint64_t requests_n;
	uint64_t outcomes_n[LATENTD_ERR_COUNT];
	uint64_t sent_bytes;
	uint64_t received_bytes;
	struct reason last_error;
	enum endpoint_health health;
	unsigned checks_bad_n; /* failed questions for health_path in a row */
};

/* endpoint_create(config): NULL when memory is out. */
struct endpoint *endpoint_create(const struct config_endpoint *config);
void endpoint_destroy(struct endpoint *ep);

/* endpoint_is(ep, other): whether both are the same place: name, model, task and
 * URL.
 * endpoint_adopt(ep, fresh): take over what else was configured for ${fresh},
 * the same place, which is destroyed; what was learned of it stays.  If it was
 * stopped, what for may be mended now. */
bool endpoint_is(const struct endpoint *ep, const struct endpoint *other);
void endpoint_adopt(struct endpoint *ep, struct endpoint *fresh);

/* endpoint_free_slots(ep, now_ns): how many more requests it may be given now;
 * one at a time where it is not fit. */
unsigned endpoint_free_slots(const struct endpoint *ep, uint64_t now_ns);

/* endpoint_load(ep): how much of it is taken, for comparing: pixels in flight
 * for its limit and weight. */
double endpoint_load(const struct endpoint *ep);

/* endpoint_begin(ep, attempt): ${attempt} takes a slot; notes in it what of that
 * endpoint_judge() will want.
 * endpoint_end(ep, attempt): it leaves the slot. */
void endpoint_begin(struct endpoint *ep, struct attempt *attempt);
void endpoint_end(struct endpoint *ep, const struct attempt *attempt);

/*
 * endpoint_judge(ep, attempt, may_out): draw from how an attempt ended what it
 * says of the endpoint; ${may_out} as in fitness.h.
 * endpoint_dropped(ep, attempt): the same for one that was broken off.
 */
void endpoint_judge(
    struct endpoint *ep, const struct attempt *attempt, bool may_out);
void endpoint_dropped(struct endpoint *ep, const struct attempt *attempt);

/* endpoint_heard(ep, http_status): it was asked; 0: there was no reply. */
void endpoint_heard(struct endpoint *ep, long http_status);

/* endpoint_checked(ep, http_status): its health_path was asked; what is not 2xx
 * is a failure, and so many in a row take it out like a request that met
 * nobody. */
#define ENDPOINT_CHECKS_BAD 3u
void endpoint_checked(struct endpoint *ep, long http_status);

/* endpoint_bad_n(ep): how many attempts failed there. */
uint64_t endpoint_bad_n(const struct endpoint *ep);

#endif
