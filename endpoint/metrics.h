/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_METRICS_H
#define ENDPOINT_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "faults.h"

#define METRICS_STATUSES 12
#define METRICS_TEXT_BYTES 6144

/* What is counted since the start; loop thread.  Zero it first. */
struct metrics {
	uint64_t replies_n[METRICS_STATUSES]; /* metrics_count_reply() */
	uint64_t request_bytes; /* of decode and encode */
	uint64_t reply_bytes;
	uint64_t compute_ns;
	uint64_t cache_hits_n;
	uint64_t cache_misses_n;
	uint64_t replies_other_n; /* of other statuses */
	uint64_t faults_n[FAULTS]; /* done on purpose */
	uint64_t slow_n;
	uint64_t cold_n; /* refused because of the cold */
	uint64_t down_n; /* reset because it is down */
	/* As it is now. */
	size_t active_n;
	size_t waiting_n;
	size_t cache_bytes;
};

/* metrics_count_reply(m, status): one more reply of that HTTP status. */
void metrics_count_reply(struct metrics *m, unsigned status);

/* metrics_format(m, text): write them in Prometheus' text format; return the
 * length. */
size_t metrics_format(const struct metrics *m, char text[METRICS_TEXT_BYTES]);

#endif
