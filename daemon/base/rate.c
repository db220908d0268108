/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rate.h"

#include <math.h>

static double
faded(const struct rate *r, uint64_t now_ns)
{
	return r->sum * exp((double)(now_ns - r->at_ns) / -1e9 / RATE_FADE_S);
}

void
rate_add(struct rate *r, uint64_t now_ns)
{
	r->sum = faded(r, now_ns) + 1;
	r->at_ns = now_ns;
}

double
rate_per_s(const struct rate *r, uint64_t now_ns)
{
	return faded(r, now_ns) / RATE_FADE_S;
}
