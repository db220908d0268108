/* SPDX-License-Identifier: Apache-2.0 */
/* Second requests beside late ones. */
#include <string.h>

#include "base/buffer.h"
#include "dispatch_fixture.h"
#include "fuzz.h"
#include "virtual_time.h"

#define USUAL_MS 100u
/* Later than the late ones of those that take as long as usual. */
#define LATE_MS 150u

static struct fixture_dispatch x;
static struct endpoint *a, *b;

/* Two endpoints that have shown what they usually take, and one job, now late,
 * whose second request is x.transfers[1] if it got one. */
static struct job *
begin(unsigned percent)
{
	struct job *job;

	fixture_hedging_open(&x, percent);
	a = fixture_endpoint(&x, "a", "sdxl", LATENTD_DECODE, 2);
	b = fixture_endpoint(&x, "b", "sdxl", LATENTD_DECODE, 2);
	for (unsigned i = 0; i < 30; i++) {
		fixture_submit(&x, "sdxl", 1);
		fixture_turn(&x);
		fixture_pass(&x, USUAL_MS);
		fixture_done(&x, 0, 'u');
	}
	/* Of those some were late too. */
	x.started_n = x.verdicts_n = x.aborted_n = 0;
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 1);
	fixture_pass(&x, LATE_MS);
	return job;
}

static struct job *
begin_hedged(void)
{
	struct job *job = begin(20);

	cr_assert_eq(x.transfers_n, 2);
	cr_assert(x.transfers[1]->hedge && !x.transfers[0]->hedge);
	cr_assert_neq(x.transfers[0]->endpoint, x.transfers[1]->endpoint);
	cr_assert_eq(x.transfers[1]->job, job);
	return job;
}

static void
finish(void)
{
	fixture_finish_all(&x);
	cr_assert_eq(x.started_n, x.verdicts_n + x.aborted_n);
	fixture_dispatch_close(&x);
}

static void
check_done(const struct job *job, const char *endpoint, uint8_t byte)
{

	cr_assert_eq(job->state, JOB_DONE);
	cr_assert_eq(job->attempts_n, 2);
	cr_assert_str_eq(job->endpoint, endpoint);
	cr_assert_eq(job->result->at[0], byte);
}

/* ---- when ---- */

Test(dispatch, a_late_request_gets_one_beside_it_elsewhere)
{
	begin_hedged();
	/* Once is enough. */
	fixture_pass(&x, 60000);
	cr_assert_eq(x.transfers_n, 2);
	finish();
}

Test(dispatch, without_hedging_nothing_is_done_about_late_requests)
{
	begin(0);
	fixture_pass(&x, 60000);
	cr_assert_eq(x.transfers_n, 1);
	cr_assert_eq(virtual_time_timers_n(), 0);
	finish();
}

Test(dispatch, one_that_is_not_late_stays_alone)
{
	begin_hedged();
	while (x.transfers_n > 0)
		fixture_done(&x, 0, 'a');
	fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_pass(&x, USUAL_MS / 2);
	cr_assert_eq(x.transfers_n, 1);
	finish();
}

Test(dispatch, a_slot_that_others_wait_for_is_not_spent_on_a_hedge)
{
	struct attempt *late;

	begin_hedged();
	fixture_done(&x, 1, 'h');
	/* Four slots, of which one is late; three jobs more than fit. */
	fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	late = x.transfers[0];
	for (unsigned i = 0; i < 6; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 4);
	fixture_pass(&x, 10 * LATE_MS);
	for (unsigned i = 0; i < 3; i++) {
		fixture_done(&x, 1, 'n');
		fixture_turn(&x);
		cr_assert_eq(x.transfers_n, 4);
		cr_assert_null(late->job->parts[0].beside);
	}
	/* Now nobody waits. */
	fixture_done(&x, 1, 'n');
	fixture_turn(&x);
	cr_assert_not_null(late->job->parts[0].beside);
	finish();
}

Test(dispatch, hedges_are_a_few_percent_of_all)
{
	size_t hedges_n = 0;

	begin(1);
	cr_assert_eq(x.transfers_n, 1, "31 requests pay for none");
	fixture_done(&x, 0, 'a');
	for (unsigned i = 0; i < 200; i++) {
		fixture_submit(&x, "sdxl", 1);
		fixture_turn(&x);
		/* Every tenth is late. */
		fixture_pass(&x, i % 10 == 0 ? 3 * LATE_MS : USUAL_MS);
		hedges_n += x.transfers_n - 1;
		fixture_done(&x, 0, 'a');
	}
	cr_assert(hedges_n >= 1 && hedges_n <= 2, "%zu", hedges_n);
	finish();
}

Test(dispatch, a_hedge_goes_to_no_endpoint_that_is_to_be_tried_out)
{
	struct job *job;

	begin_hedged();
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fitness_absent(
	    &(x.transfers[0]->endpoint == a ? b : a)->fitness, uv_hrtime());
	fixture_pass(&x, 60000);
	cr_assert_eq(x.transfers_n, 1);
	cr_assert_eq(job->attempts_n, 1);
	finish();
}

/* ---- who wins ---- */

Test(dispatch, a_hedge_that_wins_ends_the_late_one)
{
	struct job *job = begin_hedged();
	const char *winner = x.transfers[1]->endpoint->name;

	fixture_done(&x, 1, 'h');
	cr_assert_eq(x.aborted_n, 1);
	cr_assert_eq(x.transfers_n, 0);
	check_done(job, winner, 'h');
	cr_assert_eq(a->in_flight + b->in_flight, 0);
	finish();
}

Test(dispatch, a_late_one_that_wins_ends_its_hedge)
{
	struct job *job = begin_hedged();
	const char *winner = x.transfers[0]->endpoint->name;

	fixture_done(&x, 0, 'l');
	cr_assert_eq(x.aborted_n, 1);
	check_done(job, winner, 'l');
	finish();
}

Test(dispatch, a_loser_that_a_worker_has_is_awaited)
{
	for (size_t loser = 0; loser < 2; loser++) {
		struct job *job = begin_hedged();
		const char *winner = x.transfers[1 - loser]->endpoint->name;

		fixture_transferred(&x, loser);
		fixture_transferred(&x, 0);
		cr_assert_eq(x.finishes_n, 2);
		fixture_finished(&x, 1, 'w');
		cr_assert_eq(job->state, JOB_ACTIVE);
		cr_assert_eq(x.aborted_n, 0);
		fixture_turn(&x);
		/* Whatever it comes to. */
		if (loser == 0)
			fixture_finished(&x, 0, 'x');
		else
			fixture_spoilt(&x, 0);
		check_done(job, winner, 'w');
		finish();
	}
}

Test(dispatch, one_that_fails_leaves_it_to_the_other)
{
	for (size_t failed = 0; failed < 2; failed++) {
		struct job *job = begin_hedged();
		const char *winner = x.transfers[1 - failed]->endpoint->name;

		fixture_failed(&x, failed, FATE_AGAIN);
		cr_assert_eq(job->state, JOB_ACTIVE);
		cr_assert_eq(job->failures_n, 0);
		cr_assert_eq(x.transfers_n, 1);
		fixture_turn(&x);
		fixture_done(&x, 0, 'w');
		check_done(job, winner, 'w');
		finish();
	}
}

Test(dispatch, both_failing_is_one_failure)
{
	struct job *job = begin_hedged();

	fixture_failed(&x, 0, FATE_AGAIN);
	fixture_failed(&x, 0, FATE_AGAIN);
	cr_assert_eq(x.retries_n, 1);
	cr_assert_eq(job->failures_n, 1);
	fixture_requeue(&x);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 1);
	finish();
	(void)job;
}

Test(dispatch, a_job_that_is_wrong_ends_both)
{
	for (size_t i = 0; i < 2; i++) {
		struct job *job = begin_hedged();

		fixture_failed(&x, i, FATE_JOB);
		cr_assert_eq(job->state, JOB_FAILED);
		cr_assert_eq(x.aborted_n, 1);
		cr_assert_eq(x.transfers_n, 0);
		finish();
	}
}

/* ---- the end from outside ---- */

Test(dispatch, cancelling_and_deadlines_end_both)
{
	static const enum latentd_err errs[] = {
	    LATENTD_ERR_CANCELLED, LATENTD_ERR_EXPIRED};

	for (size_t i = 0; i < 2; i++) {
		struct job *job = begin_hedged();
		struct reason why;

		reason_set(&why, errs[i], "enough");
		dispatch_cancel(x.d, job, &why);
		cr_assert_eq(job->state, job_end_state(&why));
		cr_assert_eq(x.aborted_n, 2);
		finish();
	}
}

Test(dispatch, cancelling_awaits_those_that_workers_have)
{
	for (size_t finishing = 0; finishing < 3; finishing++) {
		struct job *job = begin_hedged();

		/* The late one, its hedge, or both. */
		fixture_transferred(&x, finishing % 2);
		if (finishing == 2)
			fixture_transferred(&x, 0);
		fixture_cancel(&x, job);
		cr_assert_eq(job->state, JOB_ACTIVE);
		cr_assert_eq(x.transfers_n, 0);
		while (x.finishes_n > 0) {
			cr_assert_eq(job->state, JOB_ACTIVE);
			fixture_finished(&x, 0, 'x');
		}
		cr_assert_eq(job->state, JOB_CANCELLED);
		cr_assert_null(job->result);
		finish();
	}
}

Test(dispatch, a_batch_is_hedged_part_by_part)
{
	struct job *job;
	size_t hedges_n = 0;

	begin_hedged();
	fixture_done(&x, 0, 'a');
	job = fixture_submit(&x, "sdxl", 2);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 2);
	fixture_pass(&x, LATE_MS);
	for (size_t i = 0; i < x.transfers_n; i++)
		hedges_n += x.transfers[i]->hedge;
	cr_assert_eq(hedges_n, 2);
	fixture_done(&x, 0, 'a');
	cr_assert_eq(job->done_n, 1);
	cr_assert_eq(x.transfers_n, 2);
	fixture_cancel(&x, job);
	cr_assert_eq(x.transfers_n, 0);
	finish();
}

/* ---- random histories ---- */

#define JOBS_N 200
#define ROUNDS 15

static void
check(size_t submitted_n)
{
	size_t in_flight_n = 0;

	for (size_t i = 0; i < dispatch_endpoints_n(x.d); i++) {
		const struct endpoint *ep = dispatch_endpoint(x.d, i);

		in_flight_n += ep->in_flight;
		cr_assert_leq(ep->fitness.trials_n, 1);
	}
	cr_assert_eq(in_flight_n, x.transfers_n);
	cr_assert_eq(x.f.jobs.n, submitted_n);
	for (size_t i = 0; i < x.transfers_n; i++) {
		const struct attempt *t = x.transfers[i];
		const struct part *part = &t->job->parts[t->part];

		cr_assert(!t->aborted);
		cr_assert(part->attempt == t || part->beside == t);
		cr_assert_neq(part->attempt, part->beside);
		cr_assert_eq(part->state, PART_RUNNING);
	}
}

static void
random_step(struct fuzz *f, size_t *submitted_n)
{
	switch (fuzz_below(f, 10)) {
	case 0:
		if (*submitted_n < JOBS_N) {
			++*submitted_n;
			fixture_submit(&x, "sdxl", 1 + fuzz_below(f, 3));
		}
		return;
	case 1:
	case 2:
	case 3:
		if (x.transfers_n > 0)
			fixture_transferred(&x, fuzz_below(f, x.transfers_n));
		return;
	case 4:
	case 5:
		if (x.finishes_n > 0 && fuzz_below(f, 10) == 0)
			fixture_spoilt(&x, fuzz_below(f, x.finishes_n));
		else if (x.finishes_n > 0)
			fixture_finished(&x, fuzz_below(f, x.finishes_n), 'x');
		return;
	case 6:
		if (x.transfers_n > 0 && fuzz_below(f, 2) == 0)
			fixture_failed(&x, fuzz_below(f, x.transfers_n),
			    FATE_JOB +
				(enum fate)fuzz_below(f, FATE_COUNT - 1));
		return;
	case 7:
		if (x.transfers_n > 0 && fuzz_below(f, 8) == 0)
			fixture_cancel(
			    &x, x.transfers[fuzz_below(f, x.transfers_n)]->job);
		for (size_t i = 0; i < dispatch_endpoints_n(x.d); i++)
			fitness_resume(
			    &dispatch_endpoint(x.d, i)->fitness, uv_hrtime());
		dispatch_kick(x.d);
		return;
	default:
		fixture_requeue(&x);
		fixture_pass(&x, fuzz_below(f, 400));
		return;
	}
}

static size_t
random_history(uint64_t seed)
{
	struct fuzz f = {.state = seed};
	size_t submitted_n = 0, hedges_n = 0;

	fixture_hedging_open(&x, 20);
	fixture_endpoint(&x, "a", "sdxl", LATENTD_DECODE, 0);
	fixture_endpoint(&x, "b", "sdxl", LATENTD_DECODE, 4);
	fixture_endpoint(&x, "c", "sdxl", LATENTD_DECODE, 2)->backup = true;
	for (size_t i = 0; x.ended_n < JOBS_N; i++) {
		cr_assert(
		    i < 200000, "%zu of %d jobs ended", x.ended_n, JOBS_N);
		random_step(&f, &submitted_n);
		if (fuzz_below(&f, 3) != 0)
			uv_run(&x.f.loop.uv, UV_RUN_NOWAIT);
		for (size_t k = 0; k < x.transfers_n; k++)
			hedges_n += x.transfers[k]->hedge;
		check(submitted_n);
	}
	fixture_turn(&x);
	cr_assert_eq(x.started_n, x.verdicts_n + x.aborted_n);
	fixture_dispatch_close(&x);
	return hedges_n;
}

Test(dispatch, in_random_histories_every_attempt_ends_once)
{
	size_t hedges_n = 0;

	for (uint64_t seed = 1; seed <= ROUNDS; seed++)
		hedges_n += random_history(seed);
	cr_assert_gt(hedges_n, 100, "hardly any hedges");
}
