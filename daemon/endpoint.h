/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_ENDPOINT_H
#define DAEMON_ENDPOINT_H

#include "attempt.h"
#include "config.h"

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
	char *authorization; /* "Authorization: Bearer ...", or NULL */
	unsigned parallel; /* requests at the same time */
	unsigned in_flight;
	uint64_t requests_n;
	uint64_t outcomes_n[LATENTD_ERR_COUNT];
	uint64_t sent_bytes;
	uint64_t received_bytes;
	struct reason last_error;
	enum endpoint_health health;
};

/* endpoint_create(config): NULL when memory is out. */
struct endpoint *endpoint_create(const struct config_endpoint *config);
void endpoint_destroy(struct endpoint *ep);

/* endpoint_free_slots(ep): how many more requests it may be given. */
unsigned endpoint_free_slots(const struct endpoint *ep);

/* endpoint_begin(ep) / endpoint_end(ep): a request takes and leaves a slot. */
void endpoint_begin(struct endpoint *ep);
void endpoint_end(struct endpoint *ep);

/* endpoint_judge(ep, attempt): remember how an attempt there ended. */
void endpoint_judge(struct endpoint *ep, const struct attempt *attempt);

/* endpoint_aborted(ep): an attempt there was ended by us, which says nothing
 * of it. */
void endpoint_aborted(struct endpoint *ep);

/* endpoint_heard(ep, http_status): it was asked; 0: there was no reply. */
void endpoint_heard(struct endpoint *ep, long http_status);

/* endpoint_bad_n(ep): how many attempts failed there. */
uint64_t endpoint_bad_n(const struct endpoint *ep);

#endif
