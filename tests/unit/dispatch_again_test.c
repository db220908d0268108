/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of jobs whose requests failed: when they are tried again, how
 * many at a time, and when they are given up. */
#include <string.h>

#include "dispatch_fixture.h"
#include "virtual_time.h"

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

/* ---- giving up ---- */

Test(dispatch, a_job_waits_for_a_dead_endpoint_without_losing_attempts)
{
	static const enum fate fates[] = {FATE_AWAY, FATE_COLD, FATE_LOAD};
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	for (unsigned i = 0; i < 50; i++) {
		cr_assert_eq(x.transfers_n, 1);
		fixture_failed(&x, 0, fates[i % 3]);
		cr_assert_eq(job->state, JOB_QUEUED);
		cr_assert_eq(job->failures_n, 0);
		fixture_requeue(&x);
		fixture_turn(&x);
		/* The endpoint is left in peace. */
		cr_assert_eq(x.transfers_n, 0);
		fixture_pass(&x, 61000);
	}
	fixture_done(&x, 0, 'a');
	cr_assert_eq(job->state, JOB_DONE);
	cr_assert_eq(job->attempts_n, 51);
	finish();
}

Test(dispatch, a_job_fails_after_as_many_failures_as_count)
{
	static const enum fate fates[] = {
	    FATE_AGAIN, FATE_LATE, FATE_OURS, FATE_AGAIN, FATE_AGAIN};
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	for (unsigned i = 0; i < FIXTURE_FAILURES_MAX; i++) {
		cr_assert_eq(job->state, JOB_ACTIVE);
		fixture_failed(&x, 0, fates[i]);
		fixture_requeue(&x);
		fixture_pass(&x, 61000);
		if (job->state == JOB_FAILED)
			break;
		/* What is waited out in between makes no difference. */
		fixture_failed(&x, 0, FATE_LOAD);
		fixture_requeue(&x);
		fixture_pass(&x, 61000);
	}
	cr_assert_eq(job->state, JOB_FAILED);
	cr_assert_eq(job->failures_n, FIXTURE_FAILURES_MAX);
	cr_assert_eq(job->reason.err, LATENTD_ERR_ENDPOINT);
	finish();
}

Test(dispatch, a_stopped_endpoint_leaves_its_jobs_waiting)
{
	struct endpoint *ep;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 1);
	submit(3);
	fixture_failed(&x, 0, FATE_STOP);
	cr_assert_eq(ep->fitness.state, FITNESS_STOPPED);
	fixture_requeue(&x);
	fixture_pass(&x, 3600 * 1000);
	cr_assert_eq(x.started_n, 1);
	cr_assert_eq(x.ended_n, 0);
	fitness_resume(&ep->fitness, uv_hrtime());
	dispatch_kick(x.d);
	finish();
}

Test(dispatch, a_reply_that_is_none_counts_like_any_failure)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_transferred(&x, 0);
	fixture_spoilt(&x, 0);
	cr_assert_eq(job->state, JOB_QUEUED);
	cr_assert_eq(job->failures_n, 1);
	fixture_requeue(&x);
	finish();
}

/* ---- the budget ---- */

static size_t
in_flight_again_n(void)
{
	size_t n = 0;

	for (size_t i = 0; i < x.transfers_n; i++)
		n += x.transfers[i]->again;
	return n;
}

Test(dispatch, what_was_tried_before_is_at_most_a_fifth_of_what_is_in_flight)
{
	struct endpoint *ep;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 40);
	submit(120);
	cr_assert_eq(x.transfers_n, 40);
	while (x.transfers_n > 0)
		fixture_failed(&x, 0, FATE_LOAD);
	cr_assert_eq(ep->fitness.state, FITNESS_FIT);
	fixture_requeue(&x);
	fixture_pass(&x, 600);
	cr_assert_eq(x.transfers_n, 40);
	cr_assert(in_flight_again_n() >= 3 && in_flight_again_n() <= 8);
	/* It holds while they end and others begin. */
	for (unsigned i = 0; i < 60; i++) {
		fixture_done(&x, 0, 'a');
		fixture_turn(&x);
		cr_assert_leq(in_flight_again_n(), 8);
	}
	finish();
}

Test(dispatch, a_few_may_always_be_tried_again)
{
	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 8);
	submit(8);
	while (x.transfers_n > 0)
		fixture_failed(&x, 0, FATE_LOAD);
	fixture_requeue(&x);
	fixture_pass(&x, 600);
	cr_assert_eq(x.transfers_n, 3);
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 3);
	finish();
}

Test(dispatch, a_batch_that_the_budget_holds_holds_up_no_other)
{
	struct job *held, *begun;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 6);
	held = fixture_submit(&x, "sdxl", 6);
	fixture_turn(&x);
	while (x.transfers_n > 0)
		fixture_failed(&x, 0, FATE_LOAD);
	fixture_requeue(&x);
	fixture_pass(&x, 600);
	cr_assert_eq(x.transfers_n, 3);
	cr_assert_eq(held->running_n, 3);
	begun = fixture_submit(&x, "sdxl", 8);
	fixture_turn(&x);
	cr_assert_eq(begun->running_n, 3);
	/* One of its own ends: the next is its own too. */
	fixture_done(&x, x.transfers_n - 1, 'a');
	fixture_turn(&x);
	cr_assert_eq(begun->running_n, 3);
	cr_assert_eq(held->running_n, 3);
	/* One of those held ends: the next of them may go. */
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	cr_assert_eq(held->running_n, 3);
	finish();
}

Test(dispatch, jobs_tried_before_go_before_new_ones)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	submit(5);
	fixture_failed(&x, 0, FATE_AGAIN);
	fixture_requeue(&x);
	fixture_turn(&x);
	cr_assert_eq(x.transfers[0]->job, job);
	finish();
}

/* ---- sleeping and waking ---- */

Test(dispatch, nothing_wakes_the_daemon_while_there_is_nothing_to_do)
{
	struct endpoint *ep;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 1);
	submit(1);
	fixture_failed(&x, 0, FATE_AWAY);
	cr_assert_eq(ep->fitness.state, FITNESS_OUT);
	fixture_turn(&x);
	/* Its job sleeps in the queue. */
	cr_assert_eq(virtual_time_timers_n(), 0);
	fixture_requeue(&x);
	fixture_turn(&x);
	cr_assert_eq(virtual_time_timers_n(), 1);
	fixture_pass(&x, 1001);
	cr_assert_eq(x.transfers_n, 1);
	cr_assert_eq(virtual_time_timers_n(), 0);
	finish();
}

Test(dispatch, a_pause_that_ends_while_dispatch_is_paused_is_not_forgotten)
{
	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	submit(2);
	fixture_failed(&x, 0, FATE_AWAY);
	fixture_requeue(&x);
	fixture_turn(&x);
	dispatch_pause(x.d, true);
	fixture_pass(&x, 5000);
	cr_assert_eq(x.transfers_n, 0);
	dispatch_pause(x.d, false);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 1);
	finish();
}

/* No matter what a request comes to, its job comes to its end without being
 * helped by anything but time. */
Test(dispatch, whatever_happens_once_the_job_gets_through)
{
	for (enum fate fate = FATE_AGAIN; fate < FATE_COUNT; fate++) {
		for (unsigned endpoints_n = 1; endpoints_n <= 3;
		     endpoints_n++) {
			struct job *job;

			if (fate == FATE_STOP && endpoints_n == 1)
				continue;
			fixture_dispatch_open(&x, PLENTY);
			sdxl("a", 1);
			if (endpoints_n > 1)
				sdxl("b", 0);
			if (endpoints_n > 2)
				sdxl("c", 2)->backup = true;
			job = fixture_submit(&x, "sdxl", 1);
			fixture_turn(&x);
			fixture_failed(&x, 0, fate);
			fixture_requeue(&x);
			fixture_pass(&x, 61000);
			cr_assert_eq(x.transfers_n, 1, "%s, %u endpoints",
			    fate_name(fate), endpoints_n);
			fixture_done(&x, 0, 'a');
			cr_assert_eq(job->state, JOB_DONE);
			finish();
		}
	}
}
