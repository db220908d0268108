/* SPDX-License-Identifier: Apache-2.0 */
/* Who goes next: classes, shares, weights, and shares that are parked. */
#include "order_fixture.h"

#define SERVED(x, job)                             \
	do {                                       \
		cr_assert_eq(fixture_pop(x), job); \
		job_destroy(&(x)->f.jobs, job);    \
	} while (0)

/* Serve ${n} jobs and count those of ${producer}. */
static size_t
serve_n(struct fixture_order *x, size_t n, const struct producer *producer)
{
	size_t of_producer = 0;

	for (size_t i = 0; i < n; i++) {
		const struct producer *p = fixture_serve(x);

		cr_assert_not_null(p);
		of_producer += p == producer;
	}
	return of_producer;
}

Test(order, a_higher_class_goes_before_everything_below)
{
	struct fixture_order x;
	struct producer *a, *b;
	struct job *jobs[8];

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1000);
	for (unsigned i = 0; i < 4; i++) {
		jobs[i] = fixture_push(&x, b, LOW - i, 1);
		jobs[4 + i] = fixture_push(&x, a, LOW - i, SQUARE_2048);
	}
	for (unsigned i = 4; i-- > 0;) {
		SERVED(&x, jobs[i]);
		SERVED(&x, jobs[4 + i]);
	}
	cr_assert_null(fixture_pop(&x));
	fixture_order_close(&x);
}

Test(order, jobs_of_one_share_go_in_the_order_of_ids_whatever_they_cost)
{
	static const uint64_t costs[] = {900, 1, 500, 2, 2, 100000, 1};
	struct fixture_order x;
	struct producer *a;
	struct job *jobs[7];

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 3);
	for (size_t i = 0; i < 7; i++)
		jobs[i] = fixture_push(&x, a, NORMAL, costs[i]);
	for (size_t i = 0; i < 7; i++)
		SERVED(&x, jobs[i]);
	fixture_order_close(&x);
}

Test(order, equal_weights_alternate)
{
	struct fixture_order x;
	struct producer *a, *b, *before = NULL;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 7);
	b = fixture_weighted(&x, "b", 7);
	fixture_push_n(&x, a, NORMAL, SQUARE_512, 50);
	fixture_push_n(&x, b, NORMAL, SQUARE_512, 50);
	for (size_t i = 0; i < 100; i++) {
		struct producer *p = fixture_serve(&x);

		cr_assert_neq(p, before, "twice in a row at %zu", i);
		before = p;
	}
	fixture_order_close(&x);
}

Test(order, weights_of_1_and_3_give_pixels_1_to_3)
{
	struct fixture_order x;
	struct producer *a, *b;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 3);
	fixture_push_n(&x, a, NORMAL, SQUARE_512, 400);
	fixture_push_n(&x, b, NORMAL, SQUARE_512, 400);
	for (size_t i = 0; i < 100; i++)
		cr_assert_eq(serve_n(&x, 4, b), 3, "in round %zu", i);
	cr_assert_eq(fixture_drain(&x), 400);
	fixture_order_close(&x);
}

Test(order, weights_hold_for_pixels_not_for_jobs)
{
	struct fixture_order x;
	struct producer *a, *b, *p;
	uint64_t a_px = 0, b_px = 0;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 3);
	fixture_push_n(&x, a, NORMAL, 700, 3000);
	fixture_push_n(&x, b, NORMAL, 9100, 1000);
	while (a_px + b_px < 4000000) {
		p = fixture_serve(&x);
		*(p == a ? &a_px : &b_px) += p == a ? 700 : 9100;
		/* Never further apart than the largest job. */
		cr_assert_leq(b_px, 3 * a_px + 3 * 9100);
		cr_assert_leq(3 * a_px, b_px + 3 * 9100);
	}
	cr_assert_eq(fixture_drain(&x), x.next_key - a_px / 700 - b_px / 9100);
	fixture_order_close(&x);
}

Test(order, a_2048_square_costs_as_much_as_sixteen_512_squares)
{
	struct fixture_order x;
	struct producer *large, *small;

	fixture_order_open(&x, 0);
	large = fixture_weighted(&x, "large", 1);
	small = fixture_weighted(&x, "small", 1);
	fixture_push_n(&x, large, NORMAL, SQUARE_2048, 20);
	fixture_push_n(&x, small, NORMAL, SQUARE_512, 320);
	for (size_t i = 0; i < 20; i++)
		cr_assert_eq(serve_n(&x, 17, small), 16, "round %zu", i);
	cr_assert_null(fixture_pop(&x));
	fixture_order_close(&x);
}

Test(order, a_newcomer_gets_no_credit_for_the_time_it_was_away)
{
	struct fixture_order x;
	struct producer *old, *late;

	fixture_order_open(&x, 0);
	old = fixture_weighted(&x, "old", 1);
	late = fixture_weighted(&x, "late", 1);
	fixture_push_n(&x, old, NORMAL, SQUARE_512, 200);
	cr_assert_eq(serve_n(&x, 100, old), 100);
	fixture_push_n(&x, late, NORMAL, SQUARE_512, 100);
	for (size_t i = 1; i <= 50; i++)
		cr_assert_eq(serve_n(&x, 2, late), 1, "at %zu", i);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order, a_newcomer_goes_within_its_first_round)
{
	struct fixture_order x;
	struct producer *old, *late;

	fixture_order_open(&x, 0);
	old = fixture_weighted(&x, "old", 1);
	late = fixture_weighted(&x, "late", 1);
	fixture_push_n(&x, old, NORMAL, SQUARE_512, 500);
	cr_assert_eq(serve_n(&x, 313, old), 313);
	fixture_push(&x, late, NORMAL, SQUARE_512);
	cr_assert_eq(serve_n(&x, 2, late), 1);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order, a_share_that_empties_and_refills_gains_and_loses_nothing)
{
	struct fixture_order x;
	struct producer *one, *many;
	size_t one_n = 0;

	/* ${one} has never more than one job, as who waits for each result. */
	fixture_order_open(&x, 0);
	one = fixture_weighted(&x, "one", 1);
	many = fixture_weighted(&x, "many", 1);
	fixture_push_n(&x, many, NORMAL, SQUARE_512, 200);
	fixture_push(&x, one, NORMAL, SQUARE_512);
	for (size_t i = 0; i < 200; i++) {
		if (fixture_serve(&x) != one)
			continue;
		one_n++;
		fixture_push(&x, one, NORMAL, SQUARE_512);
	}
	cr_assert(one_n >= 99 && one_n <= 101, "%zu of 200", one_n);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order, cancelled_jobs_are_not_paid_for)
{
	struct fixture_order x;
	struct producer *a, *b;
	struct job *jobs[10];

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	for (size_t i = 0; i < 10; i++)
		jobs[i] = fixture_push(&x, a, NORMAL, SQUARE_2048);
	fixture_push_n(&x, a, NORMAL, SQUARE_512, 20);
	fixture_push_n(&x, b, NORMAL, SQUARE_512, 20);
	for (size_t i = 0; i < 10; i++)
		fixture_remove(&x, jobs[i]);
	for (size_t i = 0; i < 20; i++)
		cr_assert_eq(serve_n(&x, 2, a), 1, "at %zu", i);
	fixture_order_close(&x);
}

Test(order, classes_do_not_share_what_was_paid)
{
	struct fixture_order x;
	struct producer *a, *b;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	fixture_push_n(&x, a, NORMAL, 1000, 20);
	fixture_push_n(&x, b, NORMAL, 1000, 20);
	fixture_push_n(&x, a, URGENT, 1000000, 5);
	cr_assert_eq(serve_n(&x, 5, a), 5);
	for (size_t i = 0; i < 20; i++)
		cr_assert_eq(serve_n(&x, 2, a), 1);
	fixture_order_close(&x);
}

Test(order, a_job_that_comes_back_takes_its_old_place_and_pays_again)
{
	struct fixture_order x;
	struct producer *a, *b;
	struct job *first;
	size_t a_n = 0;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	first = fixture_push(&x, a, NORMAL, SQUARE_512);
	fixture_push_n(&x, a, NORMAL, SQUARE_512, 30);
	fixture_push_n(&x, b, NORMAL, SQUARE_512, 30);
	for (size_t i = 0; i < 20; i++) {
		struct job *job = fixture_pop(&x);

		if (job->producer == b) {
			job_destroy(&x.f.jobs, job);
			continue;
		}
		cr_assert_eq(job, first, "at %zu", i);
		cr_assert(order_push(&x.order, first, x.now_ns));
		a_n++;
	}
	cr_assert_eq(a_n, 10);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order, a_share_whose_results_do_not_fit_is_passed_over)
{
	struct fixture_order x;
	struct producer *a, *b;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	cr_assert_not(order_unpark(a));
	fixture_push_n(&x, a, URGENT, SQUARE_512, 3);
	fixture_push_n(&x, a, NORMAL, SQUARE_512, 3);
	fixture_push_n(&x, b, NORMAL, SQUARE_512, 3);
	x.full = a;
	cr_assert_eq(serve_n(&x, 3, b), 3);
	cr_assert_null(fixture_pop(&x));
	/* It is not asked again until it is said to be worth it. */
	x.full = NULL;
	cr_assert_null(fixture_pop(&x));
	fixture_push(&x, a, NORMAL, SQUARE_512);
	cr_assert_null(fixture_pop(&x));
	cr_assert_not(order_unpark(b));
	cr_assert(order_unpark(a));
	cr_assert_not(order_unpark(a));
	cr_assert_eq(serve_n(&x, 7, a), 7);
	cr_assert_null(fixture_pop(&x));
	fixture_order_close(&x);
}

Test(order, a_parked_share_comes_back_without_credit)
{
	struct fixture_order x;
	struct producer *a, *b;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	fixture_push_n(&x, a, NORMAL, SQUARE_512, 50);
	fixture_push_n(&x, b, NORMAL, SQUARE_512, 200);
	x.full = a;
	cr_assert_eq(serve_n(&x, 100, b), 100);
	x.full = NULL;
	cr_assert(order_unpark(a));
	for (size_t i = 0; i < 50; i++)
		cr_assert_eq(serve_n(&x, 2, a), 1, "at %zu", i);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order, jobs_of_a_parked_share_can_be_cancelled_to_the_last)
{
	struct fixture_order x;
	struct producer *a;
	struct job *jobs[4];

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	for (size_t i = 0; i < 4; i++)
		jobs[i] = fixture_push(&x, a, NORMAL, SQUARE_512);
	x.full = a;
	cr_assert_null(fixture_pop(&x));
	for (size_t i = 0; i < 4; i++)
		fixture_remove(&x, jobs[i]);
	cr_assert_not(order_unpark(a));
	/* What comes after is a new share, and not parked. */
	x.full = NULL;
	fixture_push(&x, a, NORMAL, SQUARE_512);
	cr_assert_eq(fixture_serve(&x), a);
	fixture_order_close(&x);
}

Test(order, ten_thousand_jobs_of_a_flood_do_not_delay_nine_neighbours)
{
	struct fixture_order x;
	struct producer *polite[9], *flood;
	size_t polite_n = 0;

	fixture_order_open(&x, 0);
	flood = fixture_weighted(&x, "flood", 1);
	fixture_push_n(&x, flood, NORMAL, SQUARE_512, 10000);
	for (size_t i = 0; i < 9; i++) {
		char name[8];

		snprintf(name, sizeof(name), "p%zu", i);
		polite[i] = fixture_weighted(&x, name, 1);
		fixture_push_n(&x, polite[i], NORMAL, SQUARE_512, 10);
	}
	for (size_t i = 0; i < 101; i++)
		polite_n += fixture_serve(&x) != flood;
	cr_assert_eq(polite_n, 90);
	fixture_drain(&x);
	fixture_order_close(&x);
}
