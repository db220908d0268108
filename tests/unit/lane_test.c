/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <uv.h>

#include "endpoint.h"
#include "lane.h"

#define MS_NS UINT64_C(1000000)
#define ENDPOINTS_MAX 6

static struct endpoint endpoints[ENDPOINTS_MAX];

/* A lane of ${n} fit endpoints, each for ${slots_n} requests at a time. */
static struct lane
lane_of(size_t n, unsigned slots_n)
{
	static struct endpoint *all[ENDPOINTS_MAX];

	for (size_t i = 0; i < n; i++) {
		all[i] = &endpoints[i];
		endpoints[i] = (struct endpoint){.weight = 1};
		limit_init(&endpoints[i].limit, slots_n);
		fitness_init(&endpoints[i].fitness, 1);
	}
	return (struct lane){.endpoints = all, .endpoints_n = n};
}

Test(lane, nothing_is_known_before_the_first_success)
{
	struct lane lane = lane_of(1, 2);

	cr_assert_eq(lane_estimate_ms(&lane, 1000000, 1000000), 0);
	lane_note(&lane, 100 * MS_NS, 1000);
	cr_assert_gt(lane_estimate_ms(&lane, 0, 1), 0);
}

Test(lane, while_no_endpoint_is_fit_estimates_are_for_one_slot)
{
	struct lane lane = lane_of(2, 4);

	lane_note(&lane, 100 * MS_NS, 1000);
	cr_assert_eq(lane_slots_n(&lane), 8);
	endpoints[0].fitness.state = FITNESS_OUT;
	cr_assert_eq(lane_slots_n(&lane), 4);
	endpoints[1].fitness.state = FITNESS_WARMING;
	cr_assert_eq(lane_slots_n(&lane), 1);
	cr_assert_eq(lane_estimate_ms(&lane, 4000, 1000), 501);
	/* The first trial is an hour away; one that is stopped has none. */
	endpoints[0].fitness.until_ns = uv_hrtime() + 3600000 * MS_NS;
	endpoints[1].fitness.state = FITNESS_STOPPED;
	cr_assert_gt(lane_estimate_ms(&lane, 4000, 1000), 3599000);
	endpoints[0].fitness.state = FITNESS_FIT;
	cr_assert_eq(lane_estimate_ms(&lane, 4000, 1000), 201);
}

Test(lane, an_estimate_follows_pixels_slots_and_pace)
{
	struct lane lane = lane_of(1, 4);

	/* 100 ms for each thousand pixels. */
	lane_note(&lane, 100 * MS_NS, 1000);
	cr_assert_eq(lane_estimate_ms(&lane, 0, 1000), 101);
	cr_assert_eq(lane_estimate_ms(&lane, 0, 2000), 201);
	/* What waits before it is shared out among the slots. */
	cr_assert_eq(lane_estimate_ms(&lane, 4000, 1000), 201);
	limit_init(&endpoints[0].limit, 1);
	cr_assert_eq(lane_estimate_ms(&lane, 4000, 1000), 501);
}

Test(lane, one_that_takes_no_time_is_still_at_least_1_ms)
{
	struct lane lane = lane_of(1, 1);

	lane_note(&lane, 0, 1000);
	cr_assert_eq(lane_estimate_ms(&lane, 0, 1), 1);
}

Test(lane, pixels_count_in_the_pace_not_requests)
{
	struct lane lane = lane_of(1, 1);

	/* A video of a million pixels and pictures of a thousand, all at the
	 * same pace. */
	for (int i = 0; i < 10; i++) {
		lane_note(&lane, 100 * MS_NS, 1000);
		lane_note(&lane, 100000 * MS_NS, 1000000);
	}
	cr_assert_eq(lane_estimate_ms(&lane, 0, 1000) / 2, 50);
}

Test(lane, an_endpoint_that_became_slow_is_believed_after_some_requests)
{
	struct lane lane = lane_of(1, 1);
	uint64_t before, ms;

	for (int i = 0; i < 1000; i++)
		lane_note(&lane, 10 * MS_NS, 1000);
	before = lane_estimate_ms(&lane, 0, 1000);
	cr_assert(before >= 10 && before <= 11);
	for (int i = 0; i < 100; i++) {
		lane_note(&lane, 1000 * MS_NS, 1000);
		ms = lane_estimate_ms(&lane, 0, 1000);
		cr_assert(ms >= before && ms <= 1001);
		before = ms;
	}
	cr_assert_gt(before, 980);
}

Test(lane, estimates_have_an_end)
{
	struct lane lane = lane_of(1, 1);

	lane_note(&lane, UINT64_MAX, 1);
	cr_assert_eq(lane_estimate_ms(&lane, UINT64_MAX, UINT64_MAX),
	    UINT64_C(1000000000001));
}

/* ---- which endpoints count ---- */

Test(lane, slots_of_backups_count_only_while_nothing_else_is_fit)
{
	struct lane lane = lane_of(3, 4);

	endpoints[2].backup = true;
	cr_assert_eq(lane_slots_n(&lane), 8);
	endpoints[0].fitness.state = FITNESS_STOPPED;
	cr_assert_eq(lane_slots_n(&lane), 4);
	endpoints[1].fitness.state = FITNESS_OUT;
	cr_assert_eq(lane_slots_n(&lane), 4);
	endpoints[2].fitness.state = FITNESS_OUT;
	cr_assert_eq(lane_slots_n(&lane), 1);
}

Test(lane, others_that_are_fit_are_found)
{
	struct lane lane = lane_of(3, 1);

	endpoints[1].fitness.state = FITNESS_OUT;
	endpoints[2].backup = true;
	cr_assert(lane_has_fit(&lane, NULL, false));
	cr_assert(lane_has_fit(&lane, &endpoints[1], false));
	cr_assert_not(lane_has_fit(&lane, &endpoints[0], false));
	cr_assert(lane_has_fit(&lane, &endpoints[0], true));
	endpoints[2].fitness.state = FITNESS_OUT;
	cr_assert_not(lane_has_fit(&lane, &endpoints[0], true));
}

Test(lane, a_backup_is_no_other_place_while_it_is_not_its_turn)
{
	struct lane lane = lane_of(2, 1);

	endpoints[1].backup = true;
	cr_assert_not(lane_has_other(&lane, &endpoints[0]));
	cr_assert(lane_has_other(&lane, &endpoints[1]));
	endpoints[0].fitness.state = FITNESS_OUT;
	cr_assert(lane_has_other(&lane, &endpoints[0]));
	cr_assert_not(lane_has_other(&lane, &endpoints[1]));
	endpoints[0].backup = true;
	endpoints[0].fitness.state = FITNESS_FIT;
	cr_assert(lane_has_other(&lane, &endpoints[0]));
}

Test(lane, at_most_half_are_taken_out_while_others_are_sound)
{
	for (size_t n = 2; n <= ENDPOINTS_MAX; n++) {
		struct lane lane = lane_of(n, 1);
		size_t out_n = 0;

		for (size_t i = 0; i < n - 1; i++) {
			cr_assert_eq(lane_may_out(&lane, &endpoints[i]),
			    (out_n + 1) * 2 <= n, "%zu of %zu", i, n);
			if (!lane_may_out(&lane, &endpoints[i]))
				continue;
			endpoints[i].fitness.state =
			    i % 2 == 0 ? FITNESS_OUT : FITNESS_STOPPED;
			out_n++;
		}
		cr_assert_eq(out_n, n / 2);
	}
}

Test(lane, the_last_one_may_go_and_so_may_all_when_all_are_bad)
{
	struct lane lane = lane_of(1, 1);

	cr_assert(lane_may_out(&lane, &endpoints[0]));
	lane = lane_of(3, 1);
	endpoints[0].fitness.state = FITNESS_OUT;
	cr_assert_not(lane_may_out(&lane, &endpoints[1]));
	/* The third is as bad, and only kept in. */
	endpoints[2].fitness.bad_row_n = 3;
	cr_assert(lane_may_out(&lane, &endpoints[1]));
	endpoints[1].fitness.state = FITNESS_OUT;
	cr_assert(lane_may_out(&lane, &endpoints[2]));
}
