/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoint a request goes to. */
#include <string.h>

#include "dispatch_fixture.h"

#define PLENTY UINT64_C(1000000)

static struct fixture_dispatch x;

static struct endpoint *
sdxl(const char *name, unsigned parallel)
{
	return fixture_endpoint(&x, name, "sdxl", LATENTD_DECODE, parallel);
}

static void
submit(size_t n)
{
	while (n-- > 0)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
}

static void
finish(void)
{
	fixture_finish_all(&x);
	fixture_dispatch_close(&x);
}

static struct endpoint *
last(void)
{
	cr_assert_gt(x.transfers_n, 0, "nothing was sent");
	return x.transfers[x.transfers_n - 1]->endpoint;
}

/* What is in flight there fails and is to be tried again. */
static void
fail_at(const struct endpoint *ep, enum fate fate)
{
	for (size_t i = 0; i < x.transfers_n;) {
		if (x.transfers[i]->endpoint == ep)
			fixture_failed(&x, i, fate);
		else
			i++;
	}
}

Test(dispatch, never_the_same_endpoint_first_when_another_is_fit)
{
	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 4);
	sdxl("b", 4);
	sdxl("c", 4);
	for (unsigned i = 0; i < 30; i++) {
		const struct endpoint *failed;

		submit(1);
		failed = last();
		fixture_failed(
		    &x, x.transfers_n - 1, i % 2 == 0 ? FATE_AGAIN : FATE_LOAD);
		fixture_requeue(&x);
		fixture_pass(&x, 61000);
		cr_assert_neq(last(), failed, "round %u", i);
		for (unsigned k = 0; k < 6; k++) {
			fixture_done(&x, 0, 'a');
			submit(1);
		}
		fixture_done(&x, 0, 'a');
	}
	finish();
}

Test(dispatch, a_job_waits_for_another_endpoint_though_its_own_is_free)
{
	struct endpoint *a, *b;

	fixture_dispatch_open(&x, PLENTY);
	a = sdxl("a", 1);
	b = sdxl("b", 1);
	submit(2);
	cr_assert_eq(a->in_flight + b->in_flight, 2);
	fail_at(a, FATE_AGAIN);
	fixture_requeue(&x);
	fixture_turn(&x);
	cr_assert_eq(a->in_flight, 0);
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	cr_assert_eq(last(), b);
	finish();
}

Test(dispatch, parts_of_a_batch_to_be_tried_again_go_elsewhere_too)
{
	struct endpoint *a;

	fixture_dispatch_open(&x, PLENTY);
	a = sdxl("a", 3);
	fixture_submit(&x, "sdxl", 3);
	fixture_turn(&x);
	sdxl("b", 3);
	fail_at(a, FATE_LOAD);
	fixture_requeue(&x);
	/* Until it may be sent to again. */
	fixture_pass(&x, 600);
	cr_assert_eq(x.transfers_n, 3);
	for (size_t i = 0; i < 3; i++)
		cr_assert_str_eq(x.transfers[i]->endpoint->name, "b");
	finish();
}

Test(dispatch, the_same_endpoint_is_tried_again_when_there_is_no_other)
{
	struct endpoint *a, *b;

	fixture_dispatch_open(&x, PLENTY);
	a = sdxl("a", 1);
	b = sdxl("b", 1);
	b->fitness.state = FITNESS_STOPPED;
	submit(1);
	fail_at(a, FATE_AGAIN);
	fixture_requeue(&x);
	fixture_pass(&x, 61000);
	cr_assert_eq(last(), a);
	finish();
}

/* ---- backups ---- */

Test(dispatch, a_backup_gets_nothing_while_another_is_fit)
{
	struct endpoint *a, *b;

	fixture_dispatch_open(&x, PLENTY);
	a = sdxl("a", 2);
	b = sdxl("b", 8);
	b->backup = true;
	submit(10);
	cr_assert_eq(a->in_flight, 2);
	cr_assert_eq(b->in_flight, 0);
	/* Nor while it only asks for patience. */
	fixture_failed(&x, 0, FATE_LOAD);
	fixture_turn(&x);
	cr_assert_eq(b->requests_n, 0);
	fixture_failed(&x, 0, FATE_AWAY);
	fixture_turn(&x);
	cr_assert_eq(a->fitness.state, FITNESS_OUT);
	cr_assert_eq(b->in_flight, 8);
	finish();
}

Test(dispatch, a_backup_rests_again_when_the_first_is_back)
{
	struct endpoint *a, *b;

	fixture_dispatch_open(&x, PLENTY);
	a = sdxl("a", 2);
	b = sdxl("b", 1);
	b->backup = true;
	submit(1);
	fail_at(a, FATE_AWAY);
	fixture_requeue(&x);
	submit(4);
	cr_assert_eq(b->in_flight, 1);
	fixture_pass(&x, 2000);
	cr_assert_eq(a->in_flight, 1, "a trial");
	for (size_t i = 0; i < x.transfers_n; i++) {
		if (x.transfers[i]->endpoint == a)
			fixture_done(&x, i, 'a');
	}
	cr_assert_eq(a->fitness.state, FITNESS_FIT);
	fixture_done(&x, 0, 'b');
	fixture_turn(&x);
	cr_assert_eq(b->in_flight, 0);
	cr_assert_eq(a->in_flight, 2);
	finish();
}

Test(dispatch, no_job_waits_for_a_backup_whose_turn_it_is_not)
{
	struct endpoint *a;

	fixture_dispatch_open(&x, PLENTY);
	a = sdxl("a", 1);
	sdxl("b", 1)->backup = true;
	submit(1);
	fail_at(a, FATE_AGAIN);
	fixture_requeue(&x);
	fixture_turn(&x);
	cr_assert_eq(last(), a);
	finish();
}

/* ---- shares ---- */

Test(dispatch, weights_share_out_what_there_is_to_do)
{
	struct endpoint *one, *three;

	fixture_dispatch_open(&x, PLENTY);
	one = sdxl("one", 40);
	three = sdxl("three", 40);
	three->weight = 3;
	submit(40);
	cr_assert(three->in_flight >= 28 && three->in_flight <= 32, "%u",
	    three->in_flight);
	cr_assert_eq(one->in_flight + three->in_flight, 40);
	finish();
}

Test(dispatch, pixels_count_not_requests)
{
	struct endpoint *a, *b;
	struct job *large;

	fixture_dispatch_open(&x, PLENTY);
	a = sdxl("a", 10);
	b = sdxl("b", 10);
	large = fixture_submit(&x, "sdxl", 1);
	large->cost_px = 8;
	fixture_turn(&x);
	submit(8);
	cr_assert_eq(a->in_flight_px, 8);
	cr_assert_eq(b->in_flight_px, 8);
	cr_assert_eq(a->in_flight + b->in_flight, 9);
	finish();
}

Test(dispatch, an_adaptive_limit_is_kept_and_used)
{
	struct endpoint *ep;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 0);
	submit(60);
	cr_assert_eq(ep->in_flight, LIMIT_FIRST);
	/* It serves as many at a time as it is sent. */
	for (unsigned i = 0; i < 3; i++) {
		fixture_pass(&x, 100);
		while (x.transfers_n > 0)
			fixture_done(&x, 0, 'a');
		fixture_turn(&x);
		cr_assert_eq(ep->in_flight, limit_now(&ep->limit));
	}
	cr_assert_gt(ep->in_flight, LIMIT_FIRST);
	finish();
}

/* ---- trials ---- */

Test(dispatch, an_endpoint_that_is_out_is_tried_by_one_job_at_a_time)
{
	struct endpoint *ep;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 8);
	submit(20);
	cr_assert_eq(x.transfers_n, 8);
	fail_at(ep, FATE_AWAY);
	cr_assert_eq(ep->fitness.state, FITNESS_OUT);
	fixture_requeue(&x);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 0);
	fixture_pass(&x, 2000);
	cr_assert_eq(x.transfers_n, 1);
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	cr_assert_eq(ep->fitness.state, FITNESS_FIT);
	cr_assert_gt(x.transfers_n, 1);
	finish();
}

Test(dispatch, a_trial_waits_while_requests_from_before_fill_the_limit)
{
	struct endpoint *ep;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 2);
	submit(4);
	cr_assert(fitness_absent(&ep->fitness, uv_hrtime()));
	fixture_pass(&x, 5000);
	cr_assert_eq(x.started_n, 2);
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	cr_assert_eq(x.started_n, 3);
	finish();
}

Test(dispatch, a_trial_that_is_cancelled_makes_room_for_the_next)
{
	struct endpoint *ep;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 1);
	submit(1);
	fail_at(ep, FATE_COLD);
	cr_assert_eq(ep->fitness.state, FITNESS_WARMING);
	fixture_requeue(&x);
	submit(1);
	fixture_pass(&x, 2000);
	cr_assert(x.transfers[0]->trial && x.transfers[0]->warming);
	fixture_cancel(&x, x.transfers[0]->job);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 1);
	cr_assert(x.transfers[0]->trial);
	finish();
}
