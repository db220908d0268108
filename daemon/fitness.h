/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_FITNESS_H
#define DAEMON_FITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "fate.h"

/*
 * Whether an endpoint is fit for requests, judged by what came of those that
 * it got.
 *
 *   FIT ──── three bad in a row, or four of ten ────▶ OUT ─┐
 *    ▲ ────── turned away as cold, none fits ──▶ WARMING ─┤ a pause, then one
 *    └───────────────── the trial succeeded ◀─────────────┘ trial at a time
 *   any ──── set up wrongly ────▶ STOPPED ── fitness_resume() ──▶ OUT
 *
 * Each pause is twice the last one, up to a bound; Retry-After is a floor.
 * While an endpoint is FIT and only asks for patience (429), it pauses without
 * leaving its state.
 *
 * Pure: the caller says what time it is.
 */
enum fitness_state {
	FITNESS_FIT = 0,
	FITNESS_OUT,
	FITNESS_WARMING,
	FITNESS_STOPPED,
	FITNESS_STATE_COUNT
};

struct fitness {
	enum fitness_state state;
	uint64_t since_ns; /* in this state */
	uint64_t until_ns; /* nothing is sent before */
	unsigned trials_n; /* in flight; only one where not FIT */
	unsigned pauses_n; /* in a row, for doubling */
	unsigned bad_row_n; /* bad ones since the last good one */
	unsigned cold_row_n;
	bool ever_good;
	double good_n, bad_n; /* of late; they fade together */
};

#define FITNESS_OUT_FIRST_MS 1000u
#define FITNESS_OUT_MOST_MS 60000u
#define FITNESS_WARMING_FIRST_MS 1000u
#define FITNESS_WARMING_MOST_MS 10000u

void fitness_init(struct fitness *f, uint64_t now_ns);

/* fitness_name(state): "fit". */
const char *fitness_name(enum fitness_state state);

/* fitness_may_send(f, now_ns): whether a request may go there now.
 * fitness_is_trial(f): whether such a request is a trial.
 * fitness_is_sound(f): whether it is fit, and would be if lane_may_out() had not
 * kept it in.
 * fitness_at_ns(f): when something may change by time alone; 0: nothing does. */
bool fitness_may_send(const struct fitness *f, uint64_t now_ns);
bool fitness_is_trial(const struct fitness *f);
bool fitness_is_sound(const struct fitness *f);
uint64_t fitness_at_ns(const struct fitness *f);

/* fitness_sent(f, trial): a request went there. */
void fitness_sent(struct fitness *f, bool trial);

/*
 * fitness_ended(f, trial, fate, retry_after_ms, may_out, now_ns): a request
 * there has ended.  ${may_out}: the endpoint may be taken out for being bad, see
 * lane_may_out().  True when it has come back to FIT, so that its limit begins
 * anew.
 */
bool fitness_ended(struct fitness *f, bool trial, enum fate fate,
    uint64_t retry_after_ms, bool may_out, uint64_t now_ns);

/* fitness_dropped(f, trial): a request there was broken off; it says nothing. */
void fitness_dropped(struct fitness *f, bool trial);

/* fitness_absent(f, now_ns): nobody was there, as somebody other than a request
 * found out.  True when that takes it out. */
bool fitness_absent(struct fitness *f, uint64_t now_ns);

/* fitness_resume(f, now_ns): what it was stopped for has been mended. */
void fitness_resume(struct fitness *f, uint64_t now_ns);

#endif
