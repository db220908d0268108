/* SPDX-License-Identifier: Apache-2.0 */
#include "lane.h"

/* A request's weight in the pace; about twenty of them count. */
#define FADE 0.95
#define ESTIMATE_MAX_MS 1e12

void
lane_note(struct lane *lane, uint64_t ns, uint64_t px)
{
	lane->busy_ns = lane->busy_ns * FADE + (double)ns;
	lane->done_px = lane->done_px * FADE + (double)px;
}

uint64_t
lane_estimate_ms(const struct lane *lane, uint64_t ahead_px, uint64_t cost_px)
{
	double ns_per_px, ms;

	if (lane->done_px <= 0 || lane->slots_n == 0)
		return 0;
	ns_per_px = lane->busy_ns / lane->done_px;
	ms = ((double)ahead_px / lane->slots_n + (double)cost_px) * ns_per_px /
	    1e6;
	if (ms > ESTIMATE_MAX_MS)
		ms = ESTIMATE_MAX_MS;
	return (uint64_t)ms + 1;
}
