/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_HEDGE_H
#define DAEMON_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "pixels.h"

/*
 * When a request takes so long that a second one beside it pays: longer than
 * nineteen of twenty of its size did.  Extra requests are a given part of all.
 * Pure.
 */

struct hedge {
	unsigned percent; /* 0: none */
	double credit; /* extra requests that may be made now */
	struct {
		double late_ns; /* the 95th of a hundred */
		unsigned samples_n;
	} sizes[PIXELS_SIZES];
};

void hedge_init(struct hedge *h, unsigned percent);

/* hedge_change(h, percent): from now on; what was learned stays. */
void hedge_change(struct hedge *h, unsigned percent);

/* hedge_sent(h): a first request was made. */
void hedge_sent(struct hedge *h);

/* hedge_took(h, ns, px): a request of ${px} pixels succeeded in ${ns}. */
void hedge_took(struct hedge *h, uint64_t ns, uint64_t px);

/* hedge_late_ns(h, px): after how long one of ${px} pixels is late; 0: not
 * enough is known, or there are no extra requests. */
uint64_t hedge_late_ns(const struct hedge *h, uint64_t px);

/* hedge_take(h): whether one extra request may be made; it is then paid for. */
bool hedge_take(struct hedge *h);

#endif
