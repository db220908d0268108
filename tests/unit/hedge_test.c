/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "fuzz.h"
#include "hedge.h"

#define MS_NS UINT64_C(1000000)
#define PX 1048576u

static struct hedge h;

static void
take_steady(unsigned n, uint64_t ns, uint64_t px)
{
	for (unsigned i = 0; i < n; i++)
		hedge_took(&h, ns, px);
}

Test(hedge, nothing_is_late_before_enough_is_known)
{
	hedge_init(&h, 5);
	cr_assert_eq(hedge_late_ns(&h, PX), 0);
	take_steady(19, 100 * MS_NS, PX);
	cr_assert_eq(hedge_late_ns(&h, PX), 0);
	take_steady(1, 100 * MS_NS, PX);
	cr_assert_gt(hedge_late_ns(&h, PX), 0);
}

Test(hedge, without_a_percentage_nothing_is_ever_late)
{
	hedge_init(&h, 0);
	take_steady(1000, 100 * MS_NS, PX);
	cr_assert_eq(hedge_late_ns(&h, PX), 0);
	for (int i = 0; i < 1000; i++)
		hedge_sent(&h);
	cr_assert_not(hedge_take(&h));
}

Test(hedge, each_size_has_its_own_time)
{
	hedge_init(&h, 5);
	take_steady(200, 100 * MS_NS, PX);
	take_steady(200, 4000 * MS_NS, 16 * PX);
	cr_assert_lt(hedge_late_ns(&h, PX), 200 * MS_NS);
	cr_assert_gt(hedge_late_ns(&h, 16 * PX), 3000 * MS_NS);
	cr_assert_eq(hedge_late_ns(&h, 4 * PX), 0);
	/* Sizes without end share the last place. */
	take_steady(20, 1, UINT64_MAX);
	cr_assert_eq(
	    hedge_late_ns(&h, UINT64_MAX), hedge_late_ns(&h, UINT64_MAX - 1));
}

/* How many of ${n} requests of 100 to 200 ms, evenly spread, are late. */
static unsigned
late_of(struct fuzz *f, unsigned n)
{
	unsigned late_n = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t ns = (100 + fuzz_below(f, 101)) * MS_NS;

		late_n += ns > hedge_late_ns(&h, PX);
		hedge_took(&h, ns, PX);
	}
	return late_n;
}

Test(hedge, about_one_in_twenty_is_late)
{
	struct fuzz f = {.state = 1};
	unsigned late_n;

	hedge_init(&h, 5);
	late_of(&f, 200);
	late_n = late_of(&f, 4000);
	cr_assert(
	    late_n >= 4000 * 3 / 100 && late_n <= 4000 * 8 / 100, "%u", late_n);
	cr_assert(hedge_late_ns(&h, PX) > 180 * MS_NS &&
	    hedge_late_ns(&h, PX) < 225 * MS_NS);
}

Test(hedge, an_endpoint_that_became_slower_is_followed)
{
	hedge_init(&h, 5);
	take_steady(200, 100 * MS_NS, PX);
	take_steady(60, 1000 * MS_NS, PX);
	cr_assert_gt(hedge_late_ns(&h, PX), 900 * MS_NS);
}

Test(hedge, extra_requests_are_a_part_of_all)
{
	unsigned taken_n = 0;

	hedge_init(&h, 5);
	cr_assert_not(hedge_take(&h));
	for (unsigned i = 0; i < 1000; i++) {
		hedge_sent(&h);
		taken_n += hedge_take(&h);
	}
	cr_assert(taken_n >= 49 && taken_n <= 50, "%u", taken_n);
}

Test(hedge, credit_that_nobody_used_does_not_pile_up)
{
	unsigned taken_n = 0;

	hedge_init(&h, 20);
	for (unsigned i = 0; i < 100000; i++)
		hedge_sent(&h);
	while (hedge_take(&h))
		cr_assert_lt(++taken_n, 10);
	cr_assert_eq(taken_n, 4);
}
