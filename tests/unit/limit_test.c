/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit before simulated endpoints that serve k requests at a time, each in
 * a time that grows with its pixels, and let the others wait in order.  There is
 * always work, so as many are in flight as the limit allows.
 */

#include <criterion/criterion.h>

#include "fuzz.h"
#include "limit.h"

#define MS_NS UINT64_C(1000000)
#define PX UINT64_C(1048576)
#define WAY_NS (2 * MS_NS) /* there and back */
#define IN_FLIGHT_MAX 512u

struct request {
	uint64_t sent_ns;
	uint64_t end_ns; /* 0: waits at the endpoint */
	uint64_t px;
	unsigned in_flight;
};

struct sim {
	struct fuzz fuzz;
	struct limit limit;
	unsigned k;
	double ns_per_px;
	bool mixed; /* sizes of 1/4, 1 and 4 PX */
	uint64_t now_ns;
	struct request requests[IN_FLIGHT_MAX]; /* in the order of sending */
	size_t n;
};

static void
begin(struct sim *s, unsigned k, bool mixed, uint64_t seed)
{
	*s = (struct sim){.fuzz = {.state = seed},
	    .k = k,
	    .ns_per_px = 100.0 * (double)MS_NS / (double)PX,
	    .mixed = mixed};
	limit_init(&s->limit, 0);
}

static void
serve(struct sim *s)
{
	unsigned served_n = 0;

	for (size_t i = 0; i < s->n; i++)
		served_n += s->requests[i].end_ns != 0;
	for (size_t i = 0; i < s->n && served_n < s->k; i++) {
		struct request *r = &s->requests[i];
		double ns = s->ns_per_px * (double)r->px;

		if (r->end_ns != 0)
			continue;
		/* 10 % jitter. */
		ns *= 0.9 + 0.2 * (double)fuzz_below(&s->fuzz, 1001) / 1000;
		r->end_ns = s->now_ns + (uint64_t)ns;
		served_n++;
	}
}

static void
fill(struct sim *s)
{
	static const uint64_t sizes[] = {PX / 4, PX, PX, 4 * PX};

	while (s->n < limit_now(&s->limit)) {
		cr_assert_lt(s->n, IN_FLIGHT_MAX);
		s->requests[s->n] = (struct request){.sent_ns = s->now_ns,
		    .px = s->mixed ? sizes[fuzz_below(&s->fuzz, 4)] : PX,
		    .in_flight = (unsigned)s->n + 1};
		s->n++;
	}
}

/* Until one more request has ended. */
static void
step(struct sim *s)
{
	struct limit_sample sample;
	size_t first = IN_FLIGHT_MAX;

	fill(s);
	serve(s);
	for (size_t i = 0; i < s->n; i++) {
		if (s->requests[i].end_ns != 0 &&
		    (first == IN_FLIGHT_MAX ||
			s->requests[i].end_ns < s->requests[first].end_ns))
			first = i;
	}
	s->now_ns = s->requests[first].end_ns;
	sample = (struct limit_sample){
	    .ns = s->now_ns - s->requests[first].sent_ns + WAY_NS,
	    .px = s->requests[first].px,
	    .in_flight = s->requests[first].in_flight};
	s->n--;
	for (size_t i = first; i < s->n; i++)
		s->requests[i] = s->requests[i + 1];
	limit_good(&s->limit, &sample);
	cr_assert_geq(limit_now(&s->limit), 1);
}

static void
run(struct sim *s, unsigned jobs_n)
{
	while (jobs_n-- > 0)
		step(s);
}

/* The mean limit over ${jobs_n} jobs. */
static double
mean(struct sim *s, unsigned jobs_n)
{
	double sum = 0;

	for (unsigned i = 0; i < jobs_n; i++) {
		step(s);
		sum += limit_now(&s->limit);
	}
	return sum / jobs_n;
}

/* What ${s}'s endpoint can do at the most. */
static double
capacity(const struct sim *s)
{
	double px = s->mixed ? (double)PX * 6.25 / 4 : (double)PX;

	return s->k * 1e9 / (s->ns_per_px * px);
}

/* The limit is right for what the endpoint is now: between k and what covers
 * the way, and enough to keep it busy. */
static void
check_right(struct sim *s, unsigned jobs_n, double busy)
{
	uint64_t from_ns = s->now_ns;
	double n = mean(s, jobs_n), got;

	got = jobs_n * 1e9 / (double)(s->now_ns - from_ns);
	cr_expect(n >= 0.75 * s->k && n <= 2 * s->k + 2.5,
	    "k %u: the mean is %f", s->k, n);
	cr_expect(got >= busy * capacity(s), "k %u: %f of %f in a second", s->k,
	    got, capacity(s));
}

#define SEEDS 5u

static const unsigned useful[] = {1, 2, 4, 8, 16};
#define USEFUL_N (sizeof(useful) / sizeof(useful[0]))

static struct sim s;

Test(limit, the_useful_parallelism_is_found_within_60_jobs)
{
	for (size_t i = 0; i < USEFUL_N; i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			begin(&s, useful[i], false, seed);
			cr_assert_eq(limit_now(&s.limit), LIMIT_FIRST);
			run(&s, 60);
			cr_expect(limit_now(&s.limit) >= useful[i] &&
				limit_now(&s.limit) <= 2 * useful[i] + 2,
			    "k %u: %u", useful[i], limit_now(&s.limit));
			check_right(&s, 1000, 0.93);
		}
	}
}

Test(limit, mixed_sizes_do_not_look_like_overload)
{
	for (size_t i = 0; i < USEFUL_N; i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			begin(&s, useful[i], true, seed);
			run(&s, 60);
			check_right(&s, 1000, 0.85);
		}
	}
}

Test(limit, looking_for_more_never_goes_far_beyond)
{
	for (size_t i = 0; i < USEFUL_N; i++) {
		unsigned most = 0;

		begin(&s, useful[i], true, 1 + i);
		for (unsigned n = 0; n < 2000; n++) {
			step(&s);
			if (most < limit_now(&s.limit))
				most = limit_now(&s.limit);
		}
		cr_expect(
		    most <= 3 * useful[i] + 4, "k %u: %u", useful[i], most);
	}
}

Test(limit, a_change_of_the_parallelism_is_followed_within_120_jobs)
{
	static const unsigned changes[][2] = {
	    {4, 1}, {16, 4}, {4, 16}, {1, 16}, {16, 1}, {1, 4}};

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			begin(&s, changes[i][0], seed % 2 == 0, seed);
			run(&s, 300);
			s.k = changes[i][1];
			run(&s, 120);
			check_right(&s, 400, 0.7);
		}
	}
}

Test(limit, a_change_of_the_time_is_followed_within_120_jobs)
{
	static const double factors[] = {3, 1.5, 0.33};

	for (size_t i = 0; i < USEFUL_N * 3; i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			begin(&s, useful[i / 3], seed % 2 == 0, seed);
			run(&s, 300);
			s.ns_per_px *= factors[i % 3];
			run(&s, 120);
			check_right(&s, 400, 0.7);
		}
	}
}

Test(limit, it_has_an_end_before_an_endpoint_without_one)
{
	begin(&s, IN_FLIGHT_MAX, false, 1);
	run(&s, 3000);
	cr_assert_leq(limit_now(&s.limit), LIMIT_MOST);
	cr_assert_geq(limit_now(&s.limit), LIMIT_MOST / 2);
}

/* ---- by hand ---- */

static void
good(struct limit *l, uint64_t ms, uint64_t px, unsigned in_flight)
{
	const struct limit_sample sample = {ms * MS_NS, px, in_flight};

	limit_good(l, &sample);
}

Test(limit, it_grows_only_while_it_is_used)
{
	struct limit l;

	limit_init(&l, 0);
	for (unsigned i = 0; i < 1000; i++)
		good(&l, 100, PX, 1);
	cr_assert_leq(limit_now(&l), LIMIT_FIRST);
	for (unsigned i = 0; i < 30; i++)
		good(&l, 100, PX, limit_now(&l));
	cr_assert_gt(limit_now(&l), LIMIT_FIRST);
}

Test(limit, a_large_picture_after_small_ones_takes_its_time)
{
	struct limit l;
	double before;

	limit_init(&l, 0);
	for (unsigned i = 0; i < 20; i++)
		good(&l, 100, PX, limit_now(&l));
	before = l.value;
	for (unsigned i = 0; i < 100; i++)
		good(&l, 1600, 16 * PX, limit_now(&l));
	cr_assert_geq(l.value, before);
}

Test(limit, overload_cuts_once_a_round)
{
	struct limit l;
	double value;

	limit_init(&l, 0);
	while (limit_now(&l) < 32)
		good(&l, 100, PX, limit_now(&l));
	value = l.value;
	for (unsigned i = 0; i < 30; i++)
		limit_overload(&l);
	cr_assert(l.value > 0.6 * value && l.value < 0.8 * value);
	value = l.value;
	for (unsigned i = 0; i < 32; i++)
		good(&l, 100, PX, limit_now(&l));
	value = l.value;
	limit_overload(&l);
	cr_assert(l.value > 0.6 * value && l.value < 0.8 * value);
}

Test(limit, it_is_never_below_1)
{
	struct limit l;

	limit_init(&l, 0);
	for (unsigned i = 0; i < 1000; i++) {
		limit_overload(&l);
		cr_assert_geq(limit_now(&l), 1);
		/* Slower and slower, too. */
		for (unsigned k = 0; k < 8; k++)
			good(&l, 100 + 10 * i, PX, limit_now(&l));
		cr_assert_geq(limit_now(&l), 1);
	}
}

Test(limit, an_endpoint_that_comes_back_begins_with_1_and_doubles)
{
	begin(&s, 16, false, 1);
	run(&s, 200);
	limit_restart(&s.limit);
	cr_assert_eq(limit_now(&s.limit), 1);
	s.n = 0;
	run(&s, 60);
	check_right(&s, 500, 0.9);
}

Test(limit, a_fixed_one_stays)
{
	struct limit l;

	limit_init(&l, 7);
	for (unsigned i = 0; i < 200; i++) {
		good(&l, 100 + 100 * (i % 17), PX, 7);
		limit_overload(&l);
		cr_assert_eq(limit_now(&l), 7);
	}
	limit_restart(&l);
	cr_assert_eq(limit_now(&l), 7);
}

Test(limit, samples_at_the_ends_of_their_ranges_do_no_harm)
{
	static const uint64_t ends[] = {0, 1, 1000, UINT64_MAX / 1000000};
	struct fuzz f = {.state = 9};
	struct limit l;

	limit_init(&l, 0);
	for (unsigned i = 0; i < 100000; i++) {
		good(&l, ends[fuzz_below(&f, 4)],
		    fuzz_below(&f, 2) == 0 ? fuzz_next(&f) : fuzz_below(&f, 3),
		    (unsigned)fuzz_below(&f, 300));
		if (fuzz_below(&f, 50) == 0)
			limit_overload(&l);
		cr_assert(limit_now(&l) >= 1 && limit_now(&l) <= LIMIT_MOST,
		    "%u", limit_now(&l));
	}
}
