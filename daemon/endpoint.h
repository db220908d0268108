/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_ENDPOINT_H
#define DAEMON_ENDPOINT_H

#include "attempt.h"
#include "config.h"

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
	uint64_t good_n;
	uint64_t bad_n;
	struct reason last_error;
};

/* endpoint_create(config): NULL when memory is out. */
struct endpoint *endpoint_create(const struct config_endpoint *config);
void endpoint_destroy(struct endpoint *ep);

/* endpoint_free_slots(ep): how many more requests it may be given. */
unsigned endpoint_free_slots(const struct endpoint *ep);

/* endpoint_begin(ep) / endpoint_end(ep): a request takes and leaves a slot. */
void endpoint_begin(struct endpoint *ep);
void endpoint_end(struct endpoint *ep);

/* endpoint_judge(ep, verdict): remember how an attempt there ended. */
void endpoint_judge(struct endpoint *ep, const struct verdict *verdict);

#endif
