/* SPDX-License-Identifier: Apache-2.0 */
#include "lane.h"

#include <uv.h>

#include "endpoint.h"

/* A request's weight in the pace; about twenty of them count. */
#define FADE 0.95
#define ESTIMATE_MAX_MS 1e12

void
lane_note(struct lane *lane, uint64_t ns, uint64_t px)
{
	lane->busy_ns = lane->busy_ns * FADE + (double)ns;
	lane->done_px = lane->done_px * FADE + (double)px;
}

/* Until one of its endpoints may be tried, while none is fit. */
static double
pause_ms(const struct lane *lane)
{
	uint64_t now_ns = uv_hrtime(), first_ns = UINT64_MAX;

	if (lane_has_fit(lane, NULL, true))
		return 0;
	for (size_t i = 0; i < lane->endpoints_n; i++) {
		const struct fitness *f = &lane->endpoints[i]->fitness;

		if (f->state != FITNESS_STOPPED && f->until_ns < first_ns)
			first_ns = f->until_ns;
	}
	if (first_ns == UINT64_MAX || first_ns < now_ns)
		return 0;
	return (double)(first_ns - now_ns) / 1e6;
}

uint64_t
lane_estimate_ms(const struct lane *lane, uint64_t ahead_px, uint64_t cost_px)
{
	double ns_per_px, ms;

	if (lane->done_px <= 0)
		return 0;
	ns_per_px = lane->busy_ns / lane->done_px;
	ms = ((double)ahead_px / lane_slots_n(lane) + (double)cost_px) *
		ns_per_px / 1e6 +
	    pause_ms(lane);
	if (ms > ESTIMATE_MAX_MS)
		ms = ESTIMATE_MAX_MS;
	return (uint64_t)ms + 1;
}

unsigned
lane_slots_n(const struct lane *lane)
{
	unsigned n = 0;

	for (size_t i = 0; i < lane->endpoints_n; i++) {
		const struct endpoint *ep = lane->endpoints[i];

		if (ep->fitness.state == FITNESS_FIT &&
		    (!ep->backup || !lane_has_fit(lane, ep, false)))
			n += limit_now(&ep->limit);
	}
	return n > 0 ? n : 1;
}

bool
lane_has_fit(const struct lane *lane, const struct endpoint *ep, bool backups)
{
	for (size_t i = 0; i < lane->endpoints_n; i++) {
		const struct endpoint *other = lane->endpoints[i];

		if (other != ep && other->fitness.state == FITNESS_FIT &&
		    (backups || !other->backup))
			return true;
	}
	return false;
}

bool
lane_has_other(const struct lane *lane, const struct endpoint *ep)
{
	for (size_t i = 0; i < lane->endpoints_n; i++) {
		const struct endpoint *other = lane->endpoints[i];

		if (other != ep && other->fitness.state == FITNESS_FIT &&
		    (!other->backup || !lane_has_fit(lane, other, false)))
			return true;
	}
	return false;
}

bool
lane_may_out(const struct lane *lane, const struct endpoint *ep)
{
	size_t out_n = 1, sound_n = 0;

	for (size_t i = 0; i < lane->endpoints_n; i++) {
		const struct endpoint *other = lane->endpoints[i];

		if (other == ep)
			continue;
		out_n += other->fitness.state != FITNESS_FIT;
		sound_n += fitness_is_sound(&other->fitness);
	}
	return sound_n == 0 || out_n * 2 <= lane->endpoints_n;
}
