/* SPDX-License-Identifier: Apache-2.0 */
#include "limit.h"

#include <math.h>
#include <string.h>

/* How many requests may wait at the endpoint: fewer, and the limit grows; more,
 * and it goes back.  Of many in flight a few more, for their times differ. */
#define WAITING_FEW(n) (1.0 + (n) / 20)
#define WAITING_MANY(n) (2.5 + (n) / 10)
#define OVERLOAD_CUT 0.7
/* Rounds of a window; then the least time is looked for anew. */
#define WINDOW_ROUNDS 40u
/* Rounds of growth in a row before it doubles again. */
#define DOUBLE_AFTER 3u
#define FEW_IN_FLIGHT 2u
#define SLOW_RATIO 1.4
#define SLOW_ROUNDS 4u
#define CALM_MOST 1.3
#define ROUND_LEAST 4u

void
limit_init(struct limit *l, unsigned fixed)
{
	memset(l, 0, sizeof(*l));
	l->fixed = fixed;
	l->value = LIMIT_FIRST;
	l->doubling = true;
	l->slow_most_n = SLOW_ROUNDS;
	l->calm = 1;
}

unsigned
limit_now(const struct limit *l)
{
	double value = l->easing ? l->value / 2 : l->value;

	if (l->fixed != 0)
		return l->fixed;
	return value < 1 ? 1 : (unsigned)value;
}

static void
set_value(struct limit *l, double value)
{
	l->value = value < 1 ? 1 : value > LIMIT_MOST ? LIMIT_MOST : value;
}

static void
begin_round(struct limit *l)
{
	l->samples_n = 0;
	l->ratios = l->in_flight = 0;
	l->most_in_flight = 0;
	l->cut = false;
}

void
limit_restart(struct limit *l)
{
	set_value(l, 1);
	l->doubling = true;
	l->easing = false;
	begin_round(l);
}

void
limit_overload(struct limit *l)
{
	if (l->fixed != 0 || l->cut)
		return;
	set_value(l, l->value * OVERLOAD_CUT);
	l->doubling = false;
	l->grown_n = 0;
	begin_round(l);
	l->cut = true;
}

/* ---- the least time ---- */

/* What ${least} makes of ${px}: work grows with the pixels, and fewer take no
 * more. */
static double
scaled(const struct limit_least *least, uint64_t px)
{
	double ns = (double)least->ns;

	return px > least->px ? ns * (double)px / (double)least->px : ns;
}

static double
least_of(const struct limit *l, unsigned size, uint64_t px)
{
	double least = 0, ns;

	for (unsigned w = 0; w < 2; w++) {
		if (l->least[w][size].ns == 0)
			continue;
		ns = scaled(&l->least[w][size], px);
		if (least <= 0 || ns < least)
			least = ns;
	}
	return least;
}

/* What ${px} pixels take when nobody waits: by that size, or the nearest that
 * was seen; 0: nothing was. */
static double
expected_ns(const struct limit *l, uint64_t px)
{
	unsigned size = pixels_size(px);
	double ns = 0;

	for (unsigned d = 0; d < PIXELS_SIZES && ns <= 0; d++) {
		if (size >= d)
			ns = least_of(l, size - d, px);
		if (ns <= 0 && size + d < PIXELS_SIZES)
			ns = least_of(l, size + d, px);
	}
	return ns;
}

static void
note_least(struct limit *l, const struct limit_sample *s)
{
	unsigned size = pixels_size(s->px);
	struct limit_least *least = &l->least[0][size];
	double ns = (double)s->ns, expected = expected_ns(l, s->px);

	/* A size that is new here may have come when others waited. */
	if (least_of(l, size, s->px) <= 0 && expected > 0 && expected < ns &&
	    !l->easing && s->in_flight > FEW_IN_FLIGHT)
		return;
	if (least->ns == 0 || ns < scaled(least, s->px))
		*least = (struct limit_least){s->ns, s->px};
}

static void
begin_window(struct limit *l)
{
	memcpy(l->least[1], l->least[0], sizeof(l->least[0]));
	memset(l->least[0], 0, sizeof(l->least[0]));
	l->rounds_n = 0;
}

/* The endpoint itself has become slower: what was the least is no more. */
static void
forget_least(struct limit *l)
{
	memset(l->least, 0, sizeof(l->least));
	l->rounds_n = l->slow_n = 0;
	l->slow_most_n = SLOW_ROUNDS;
	l->doubling = true;
}

/* ---- rounds ---- */

static void
grow(struct limit *l)
{
	if (++l->grown_n >= DOUBLE_AFTER)
		l->doubling = true;
	set_value(l, l->doubling ? l->value * 2 : l->value + 1);
}

/* The eased round is over: half as many were in flight. */
static void
end_easing(struct limit *l, double ratio)
{
	l->easing = false;
	l->slow_n = 0;
	if (ratio > SLOW_RATIO) {
		forget_least(l);
		return;
	}
	l->calm = (l->calm + fmin(fmax(ratio, 1), CALM_MOST)) / 2;
	/* It was the waiting; do not ask again so soon. */
	if (l->slow_most_n < WINDOW_ROUNDS)
		l->slow_most_n *= 2;
}

static void
look(struct limit *l, double ratio, double in_flight)
{
	double waiting = 0;

	if (ratio > l->calm)
		waiting = in_flight * (1 - l->calm / ratio);
	l->slow_n = ratio > SLOW_RATIO ? l->slow_n + 1 : 0;
	if (waiting >= WAITING_FEW(in_flight)) {
		l->doubling = false;
		l->grown_n = 0;
	}
	if (waiting > WAITING_MANY(in_flight))
		set_value(
		    l, in_flight - waiting + WAITING_FEW(in_flight) + 0.5);
	else if (waiting < WAITING_FEW(in_flight) &&
	    l->most_in_flight >= limit_now(l))
		grow(l);
	if (l->slow_n >= l->slow_most_n)
		l->easing = true;
}

static void
end_round(struct limit *l)
{
	double ratio = l->ratios / l->samples_n;

	if (l->easing)
		end_easing(l, ratio);
	else
		look(l, ratio, l->in_flight / l->samples_n);
	if (++l->rounds_n >= WINDOW_ROUNDS) {
		begin_window(l);
		l->easing = true;
	}
	begin_round(l);
}

void
limit_good(struct limit *l, const struct limit_sample *sample)
{
	double round_n;

	if (l->fixed != 0 || sample->ns == 0)
		return;
	note_least(l, sample);
	/* One from before the easing. */
	if (l->easing && sample->in_flight > limit_now(l))
		return;
	l->ratios += (double)sample->ns / expected_ns(l, sample->px);
	l->in_flight += sample->in_flight;
	if (l->most_in_flight < sample->in_flight)
		l->most_in_flight = sample->in_flight;
	round_n = l->doubling ? limit_now(l) : fmax(limit_now(l), ROUND_LEAST);
	if (++l->samples_n >= (unsigned)round_n)
		end_round(l);
}
