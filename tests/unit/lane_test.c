/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "lane.h"

#define MS_NS UINT64_C(1000000)

Test(lane, nothing_is_known_before_the_first_success)
{
	struct lane lane = {.slots_n = 2};

	cr_assert_eq(lane_estimate_ms(&lane, 1000000, 1000000), 0);
	lane_note(&lane, 100 * MS_NS, 1000);
	cr_assert_gt(lane_estimate_ms(&lane, 0, 1), 0);
}

Test(lane, nothing_is_known_of_a_lane_without_slots)
{
	struct lane lane = {.slots_n = 0};

	lane_note(&lane, 100 * MS_NS, 1000);
	cr_assert_eq(lane_estimate_ms(&lane, 0, 1000), 0);
}

Test(lane, an_estimate_follows_pixels_slots_and_pace)
{
	struct lane lane = {.slots_n = 4};

	/* 100 ms for each thousand pixels. */
	lane_note(&lane, 100 * MS_NS, 1000);
	cr_assert_eq(lane_estimate_ms(&lane, 0, 1000), 101);
	cr_assert_eq(lane_estimate_ms(&lane, 0, 2000), 201);
	/* What waits before it is shared out among the slots. */
	cr_assert_eq(lane_estimate_ms(&lane, 4000, 1000), 201);
	lane.slots_n = 1;
	cr_assert_eq(lane_estimate_ms(&lane, 4000, 1000), 501);
}

Test(lane, one_that_takes_no_time_is_still_at_least_1_ms)
{
	struct lane lane = {.slots_n = 1};

	lane_note(&lane, 0, 1000);
	cr_assert_eq(lane_estimate_ms(&lane, 0, 1), 1);
}

Test(lane, pixels_count_in_the_pace_not_requests)
{
	struct lane lane = {.slots_n = 1};

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
	struct lane lane = {.slots_n = 1};
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
	struct lane lane = {.slots_n = 1};

	lane_note(&lane, UINT64_MAX, 1);
	cr_assert_eq(lane_estimate_ms(&lane, UINT64_MAX, UINT64_MAX),
	    UINT64_C(1000000000001));
}
