/* SPDX-License-Identifier: Apache-2.0 */
/* Cancelling in every phase, bounds that hold jobs back, and random histories
 * of everything together. */
#include <string.h>

#include "dispatch_fixture.h"
#include "fuzz.h"

#define PLENTY UINT64_C(1000000)

static struct fixture_dispatch x;

static struct endpoint *
sdxl(const char *name, unsigned parallel)
{
	return fixture_endpoint(&x, name, "sdxl", LATENTD_DECODE, parallel);
}

static void
check_cancelled(const struct job *job)
{
	cr_assert_eq(job->state, JOB_CANCELLED);
	cr_assert_eq(job->reason.err, LATENTD_ERR_CANCELLED);
	cr_assert_str_eq(job->reason.text, "never mind");
	cr_assert_null(job->result);
}

Test(dispatch, cancelling_in_transfer_breaks_it_off_at_once)
{
	struct job *job, *next;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	next = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_cancel(&x, job);
	check_cancelled(job);
	cr_assert_eq(x.aborted_n, 1);
	/* Its slot is free for the next. */
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 1);
	fixture_done(&x, 0, 'a');
	cr_assert_eq(next->state, JOB_DONE);
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, cancelling_in_finish_waits_for_the_worker)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_transferred(&x, 0);
	fixture_cancel(&x, job);
	fixture_cancel(&x, job);
	cr_assert_eq(job->state, JOB_ACTIVE);
	cr_assert_eq(x.aborted_n, 0);
	fixture_finished(&x, 0, 'a');
	check_cancelled(job);
	cr_assert_eq(x.ended_n, 1);
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, a_batch_in_all_phases_at_once_can_be_cancelled)
{
	struct job *job, *next;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 3);
	job = fixture_submit(&x, "sdxl", 8);
	next = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_done(&x, 0, 'a');
	fixture_transferred(&x, 0);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 3);
	fixture_cancel(&x, job);
	cr_assert_eq(x.aborted_n, 3);
	cr_assert_eq(job->state, JOB_ACTIVE);
	/* The freed slots do not wait for the worker. */
	fixture_turn(&x);
	cr_assert_eq(next->state, JOB_ACTIVE);
	fixture_finished(&x, 0, 'b');
	check_cancelled(job);
	fixture_done(&x, 0, 'c');
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, a_batch_that_waits_for_slots_can_be_cancelled)
{
	struct job *a, *b;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	a = fixture_submit(&x, "sdxl", 2);
	b = fixture_submit(&x, "sdxl", 2);
	fixture_turn(&x);
	fixture_cancel(&x, a);
	check_cancelled(a);
	fixture_turn(&x);
	fixture_done(&x, 0, 'a');
	fixture_cancel(&x, b);
	check_cancelled(b);
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, a_batch_that_will_be_retried_can_be_cancelled)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 2);
	job = fixture_submit(&x, "sdxl", 3);
	fixture_turn(&x);
	fixture_failed(&x, 0, FATE_AGAIN);
	fixture_cancel(&x, job);
	check_cancelled(job);
	cr_assert_eq(x.retries_n, 0);
	cr_assert_eq(x.aborted_n, 1);
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, a_job_that_fails_anyway_is_not_cancelled_any_more)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 2);
	job = fixture_submit(&x, "sdxl", 2);
	fixture_turn(&x);
	fixture_transferred(&x, 0);
	fixture_failed(&x, 0, FATE_JOB);
	fixture_cancel(&x, job);
	fixture_finished(&x, 0, 'a');
	cr_assert_eq(job->state, JOB_FAILED);
	cr_assert_eq(job->reason.err, LATENTD_ERR_REFUSED);
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

/* ---- bounds ---- */

Test(dispatch, results_that_wait_hold_new_jobs_back)
{
	fixture_dispatch_open(&x, 25);
	sdxl("a", 10);
	for (int i = 0; i < 6; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	/* 10 bytes are expected of each: 0, 10 and 20 are below 25. */
	cr_assert_eq(x.transfers_n, 3);
	/* 3 have come of 10: 20 + 3 are. */
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 3);
	fixture_done(&x, 0, 'b');
	fixture_turn(&x);
	/* 20 + 6 are not. */
	cr_assert_eq(x.transfers_n, 2);
	job_drop_result(&x.f.jobs, x.ended[0]);
	dispatch_kick(x.d);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 3);
	while (x.transfers_n > 0) {
		fixture_done(&x, 0, 'c');
		job_drop_result(&x.f.jobs, x.ended[x.ended_n - 1]);
		fixture_turn(&x);
	}
	job_drop_result(&x.f.jobs, x.ended[1]);
	dispatch_kick(x.d);
	fixture_turn(&x);
	while (x.transfers_n > 0)
		fixture_done(&x, 0, 'd');
	cr_assert_eq(x.ended_n, 6);
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, a_job_larger_than_the_bound_gets_through_alone)
{
	struct job *large;

	fixture_dispatch_open(&x, 1);
	sdxl("a", 10);
	large = fixture_submit(&x, "sdxl", 5);
	fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 5);
	while (x.transfers_n > 0)
		fixture_done(&x, 0, 'a');
	cr_assert_eq(large->state, JOB_DONE);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 0);
	job_drop_result(&x.f.jobs, large);
	dispatch_kick(x.d);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 1);
	fixture_done(&x, 0, 'b');
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, failures_and_cancels_and_retries_give_back_what_was_expected)
{
	struct job *job;

	fixture_dispatch_open(&x, 5);
	sdxl("a", 4);
	for (int i = 0; i < 4; i++) {
		job = fixture_submit(&x, "sdxl", 1);
		fixture_turn(&x);
		cr_assert_eq(x.transfers_n, 1, "round %d", i);
		if (i == 0)
			fixture_failed(&x, 0, FATE_JOB);
		else if (i == 1)
			fixture_cancel(&x, job);
		else
			fixture_failed(&x, 0, FATE_AGAIN);
		fixture_requeue(&x);
		fixture_turn(&x);
		if (i < 2)
			continue;
		cr_assert_eq(x.transfers_n, 1);
		fixture_done(&x, 0, 'a');
		job_drop_result(&x.f.jobs, job);
		fixture_turn(&x);
	}
	fixture_dispatch_close(&x);
}

Test(dispatch, a_lane_whose_endpoints_are_busy_holds_up_no_other)
{
	struct job *other;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	fixture_endpoint(&x, "f", "flux", LATENTD_DECODE, 1);
	for (int i = 0; i < 5; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	other = fixture_submit(&x, "flux", 1);
	fixture_turn(&x);
	cr_assert_eq(other->state, JOB_ACTIVE);
	cr_assert_eq(x.transfers_n, 2);
	cr_assert_str_eq(x.transfers[1]->endpoint->name, "f");
	while (x.transfers_n > 0) {
		fixture_done(&x, 0, 'a');
		fixture_turn(&x);
	}
	fixture_dispatch_close(&x);
}

/* ---- random histories ---- */

#define JOBS_N 200
#define ROUNDS 25

/* All but STOP, after which a lane is dead. */
static enum fate
random_fate(struct fuzz *f)
{
	enum fate fate = FATE_JOB + (enum fate)fuzz_below(f, FATE_COUNT - 1);

	return fate == FATE_STOP ? FATE_AGAIN : fate;
}

static void
random_step(struct fuzz *f, size_t *submitted_n)
{
	static const char *const models[] = {"sdxl", "flux", "sd-v1"};
	size_t i;

	switch (fuzz_below(f, 12)) {
	case 0:
	case 1:
		if (*submitted_n == JOBS_N)
			return;
		++*submitted_n;
		fixture_submit(
		    &x, models[fuzz_below(f, 3)], 1 + fuzz_below(f, 5));
		return;
	case 2:
	case 3:
	case 4:
		if (x.transfers_n > 0)
			fixture_transferred(&x, fuzz_below(f, x.transfers_n));
		return;
	case 5:
	case 6:
	case 7:
		if (x.finishes_n > 0)
			fixture_finished(&x, fuzz_below(f, x.finishes_n), 'x');
		return;
	case 8:
		if (x.transfers_n > 0)
			fixture_failed(
			    &x, fuzz_below(f, x.transfers_n), random_fate(f));
		return;
	case 9:
		i = fuzz_below(f, 6);
		if (i < x.transfers_n)
			fixture_cancel(&x, x.transfers[i]->job);
		else if (x.finishes_n > 0 && i == 5)
			fixture_cancel(&x, x.finishes[0]->job);
		return;
	case 10:
		fixture_requeue(&x);
		fixture_pass(&x, fuzz_below(f, 3000));
		return;
	default:
		if (x.ended_n > 0)
			job_drop_result(
			    &x.f.jobs, x.ended[fuzz_below(f, x.ended_n)]);
		dispatch_kick(x.d);
		return;
	}
}

static void
check_history(size_t submitted_n)
{
	size_t in_flight_n = 0;

	for (size_t i = 0; i < dispatch_endpoints_n(x.d); i++) {
		const struct endpoint *ep = dispatch_endpoint(x.d, i);

		cr_assert(ep->in_flight <= limit_now(&ep->limit));
		in_flight_n += ep->in_flight;
	}
	cr_assert_eq(in_flight_n, x.transfers_n);
	cr_assert_eq(x.f.jobs.n, submitted_n);
	for (size_t i = 0; i < x.ended_n; i++) {
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(x.ended[i], x.ended[k], "ended twice");
	}
}

static void
random_history(uint64_t seed)
{
	struct fuzz f = {.state = seed};
	size_t submitted_n = 0;
	size_t ends[JOB_STATE_COUNT] = {0};

	fixture_dispatch_open(&x, 20 + fuzz_below(&f, 500));
	sdxl("a", 1 + (unsigned)fuzz_below(&f, 4));
	sdxl("b", 1 + (unsigned)fuzz_below(&f, 4));
	fixture_endpoint(&x, "c", "flux", LATENTD_DECODE, 2);
	fixture_endpoint(&x, "d", "sd-v1", LATENTD_DECODE, 1);
	for (size_t i = 0; x.ended_n < JOBS_N; i++) {
		cr_assert(
		    i < 1000000, "%zu of %d jobs ended", x.ended_n, JOBS_N);
		random_step(&f, &submitted_n);
		if (fuzz_below(&f, 3) != 0)
			uv_run(&x.f.loop.uv, UV_RUN_NOWAIT);
		if (i % 64 == 0)
			check_history(submitted_n);
	}
	check_history(submitted_n);
	for (size_t i = 0; i < x.ended_n; i++)
		ends[x.ended[i]->state]++;
	cr_assert(ends[JOB_DONE] > 0 && ends[JOB_CANCELLED] > 0);
	fixture_turn(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, in_random_histories_every_job_ends_once_and_no_slot_is_lost)
{
	for (uint64_t seed = 1; seed <= ROUNDS; seed++)
		random_history(seed);
}
