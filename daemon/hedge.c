/* SPDX-License-Identifier: Apache-2.0 */
#include "hedge.h"

#include <string.h>

#define SAMPLES_LEAST 20u
#define CREDIT_MOST 4.0
#define QUANTILE 0.95
#define STEP 0.1

void
hedge_init(struct hedge *h, unsigned percent)
{
	memset(h, 0, sizeof(*h));
	h->percent = percent;
}

void
hedge_change(struct hedge *h, unsigned percent)
{
	h->percent = percent;
}

void
hedge_sent(struct hedge *h)
{
	h->credit += h->percent / 100.0;
	if (h->credit > CREDIT_MOST)
		h->credit = CREDIT_MOST;
}

/*
 * The quantile is followed by steps: up by 0.95 of a step when a request took
 * longer, down by 0.05 when not; it stands still where one in twenty takes
 * longer.
 */
void
hedge_took(struct hedge *h, uint64_t ns, uint64_t px)
{
	unsigned size = pixels_size(px);
	double *late_ns = &h->sizes[size].late_ns;

	if (h->sizes[size].samples_n++ == 0)
		*late_ns = (double)ns;
	else if ((double)ns > *late_ns)
		*late_ns += *late_ns * STEP * QUANTILE;
	else
		*late_ns -= *late_ns * STEP * (1 - QUANTILE);
}

uint64_t
hedge_late_ns(const struct hedge *h, uint64_t px)
{
	unsigned size = pixels_size(px);

	if (h->percent == 0 || h->sizes[size].samples_n < SAMPLES_LEAST)
		return 0;
	return (uint64_t)h->sizes[size].late_ns;
}

bool
hedge_take(struct hedge *h)
{
	if (h->credit < 1)
		return false;
	h->credit--;
	return true;
}
