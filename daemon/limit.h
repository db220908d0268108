/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_LIMIT_H
#define DAEMON_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "pixels.h"

/*
 * How many requests an endpoint may have at the same time: a fixed number, or
 * one that is found.
 *
 * The adaptive limit looks for the parallelism that the endpoint can use.
 * Beyond it requests only wait there, and that is seen by the time they take:
 * of n requests that take r times as long as when nobody waited, n(1 - 1/r)
 * were waiting.  It grows while nobody waits, and goes back to where one or two
 * do, which covers the way there and back.  Time is judged against the least
 * that was seen lately for pictures of that size, so that a large one does not
 * look like overload.  Now and then the limit is eased, to the half for a round,
 * so that the least can be seen again; if that makes nothing faster, it is the
 * endpoint that has become slower.
 *
 * Pure: no clock of its own.
 */
#define LIMIT_FIRST 2u
#define LIMIT_MOST 256u

struct limit {
	unsigned fixed; /* 0: adaptive */
	double value;
	bool doubling; /* nobody was ever seen to wait */
	unsigned grown_n; /* rounds of growth in a row */
	unsigned slow_n; /* rounds in a row in which requests waited */
	unsigned slow_most_n; /* of these before easing tells why */
	double calm; /* mean time over least, when nobody waits */

	/* The least time of late by size, this window's and the last one's. */
	struct limit_least {
		uint64_t ns; /* 0: none */
		uint64_t px;
	} least[2][PIXELS_SIZES];
	unsigned rounds_n; /* of this window */
	bool easing; /* halved until this round ends */

	/* The round that is being observed. */
	unsigned samples_n;
	double ratios;
	double in_flight;
	unsigned most_in_flight;
	bool cut; /* once a round is enough */
};

/* What a request that has ended says. */
struct limit_sample {
	uint64_t ns; /* from its connection to the reply's first byte */
	uint64_t px;
	unsigned in_flight; /* with it, when it began */
};

/* limit_init(l, fixed): 0: adaptive, beginning with LIMIT_FIRST. */
void limit_init(struct limit *l, unsigned fixed);

/* limit_now(l): at least 1. */
unsigned limit_now(const struct limit *l);

/* limit_good(l, sample): a request succeeded.
 * limit_overload(l): one was turned away for load, or took too long. */
void limit_good(struct limit *l, const struct limit_sample *sample);
void limit_overload(struct limit *l);

/* limit_restart(l): it comes back after a pause: from 1, doubling. */
void limit_restart(struct limit *l);

#endif
