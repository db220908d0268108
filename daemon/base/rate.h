/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include <stdint.h>

/* How often something happens of late: each event counts less with its age,
 * by 1/e in RATE_FADE_S seconds.  Zero-filled at first. */
struct rate {
	double sum;
	uint64_t at_ns;
};

#define RATE_FADE_S 20

/* rate_add(r, now_ns): it happened.  rate_per_s(r, now_ns): how often it does,
 * a second.  ${now_ns} never goes back. */
void rate_add(struct rate *r, uint64_t now_ns);
double rate_per_s(const struct rate *r, uint64_t now_ns);

#endif
