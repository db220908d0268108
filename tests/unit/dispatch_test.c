/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/buffer.h"
#include "dispatch_fixture.h"

#define PLENTY UINT64_C(1000000)

static struct fixture_dispatch x;

static struct endpoint *
sdxl(const char *name, unsigned parallel)
{
	return fixture_endpoint(&x, name, "sdxl", LATENTD_DECODE, parallel);
}

static uint64_t
waits_ms(const struct job *job)
{
	uint64_t now_ns = uv_hrtime();

	return job->retry_at_ns > now_ns
	    ? (job->retry_at_ns - now_ns + 999999) / 1000000
	    : 0;
}

/* Let every running transfer succeed, until all jobs have ended. */
static void
finish_all(void)
{
	fixture_finish_all(&x);
	fixture_dispatch_close(&x);
}

Test(dispatch, lanes_are_those_of_the_endpoints)
{
	struct lane *lane;

	fixture_dispatch_open(&x, PLENTY);
	cr_assert_null(
	    dispatch_lane(x.d, model_find("sdxl", 4), LATENTD_DECODE));
	sdxl("a", 1);
	sdxl("b", 2);
	fixture_endpoint(&x, "c", "sdxl", LATENTD_ENCODE, 3);
	lane = dispatch_lane(x.d, model_find("sdxl", 4), LATENTD_DECODE);
	cr_assert_not_null(lane);
	cr_assert_eq(lane->endpoints_n, 2);
	cr_assert_neq(
	    dispatch_lane(x.d, model_find("sdxl", 4), LATENTD_ENCODE), lane);
	cr_assert_null(
	    dispatch_lane(x.d, model_find("flux", 4), LATENTD_DECODE));
	cr_assert_eq(dispatch_endpoints_n(x.d), 3);
	cr_assert_str_eq(dispatch_endpoint(x.d, 2)->name, "c");
	fixture_dispatch_close(&x);
}

Test(dispatch, nothing_starts_from_inside_a_call)
{
	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	fixture_submit(&x, "sdxl", 1);
	fixture_submit(&x, "sdxl", 1);
	cr_assert_eq(x.started_n, 0);
	fixture_turn(&x);
	cr_assert_eq(x.started_n, 1);
	fixture_done(&x, 0, 'a');
	cr_assert_eq(x.started_n, 1);
	finish_all();
}

Test(dispatch, an_endpoint_gets_no_more_requests_than_it_may)
{
	struct endpoint *ep;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 3);
	for (int i = 0; i < 10; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 3);
	cr_assert_eq(ep->in_flight, 3);
	/* A reply that is still being checked takes no slot. */
	fixture_transferred(&x, 1);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 3);
	cr_assert_eq(x.started_n, 4);
	fixture_finished(&x, 0, 'a');
	fixture_turn(&x);
	cr_assert_eq(x.started_n, 4);
	fixture_failed(&x, 0, FATE_JOB);
	fixture_turn(&x);
	cr_assert_eq(x.started_n, 5);
	cr_assert_eq(ep->requests_n, 5);
	cr_assert_eq(ep->outcomes_n[LATENTD_OK], 1);
	cr_assert_eq(endpoint_bad_n(ep), 1);
	cr_assert_str_eq(ep->last_error.text, "part 0");
	finish_all();
}

Test(dispatch, the_endpoint_with_the_smallest_share_taken_is_next)
{
	struct endpoint *four, *two;

	fixture_dispatch_open(&x, PLENTY);
	four = sdxl("four", 4);
	two = sdxl("two", 2);
	for (int i = 0; i < 3; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	cr_assert_eq(four->in_flight, 2);
	cr_assert_eq(two->in_flight, 1);
	for (int i = 0; i < 10; i++)
		fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	cr_assert_eq(four->in_flight, 4);
	cr_assert_eq(two->in_flight, 2);
	finish_all();
}

Test(dispatch, idle_endpoints_take_turns)
{
	struct endpoint *eps[3];

	fixture_dispatch_open(&x, PLENTY);
	eps[0] = sdxl("a", 1);
	eps[1] = sdxl("b", 1);
	eps[2] = sdxl("c", 1);
	for (int i = 0; i < 30; i++) {
		fixture_submit(&x, "sdxl", 1);
		fixture_turn(&x);
		fixture_done(&x, 0, 'a');
		fixture_turn(&x);
	}
	for (int i = 0; i < 3; i++)
		cr_assert(eps[i]->requests_n > 0, "%s", eps[i]->name);
	finish_all();
}

Test(dispatch, parts_of_a_batch_run_at_once_and_their_results_keep_order)
{
	static const size_t order[] = {2, 0, 1, 0};
	static const char bytes[] = "cadb";
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 2);
	sdxl("b", 2);
	job = fixture_submit(&x, "sdxl", 4);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 4);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(x.transfers[i]->part, i);
	/* Part 2, then 0, then 3 of {1, 3}, then 1. */
	for (size_t i = 0; i < 4; i++)
		fixture_done(&x, order[i], (uint8_t)bytes[i]);
	cr_assert_eq(x.ended_n, 1);
	cr_assert_eq(job->state, JOB_DONE);
	cr_assert_eq(job->files_n, 4);
	cr_assert_arr_eq(job->result->at, "aaabbbcccddd", 12);
	cr_assert_eq(job->attempts_n, 4);
	finish_all();
}

Test(dispatch, a_begun_batch_goes_on_before_the_next_job_begins)
{
	struct job *batch, *next;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 2);
	batch = fixture_submit(&x, "sdxl", 5);
	next = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(next->state, JOB_QUEUED);
		fixture_done(&x, 0, 'a');
		fixture_turn(&x);
	}
	cr_assert_eq(batch->done_n, 4);
	cr_assert_eq(next->state, JOB_ACTIVE);
	finish_all();
}

/* ---- failures ---- */

Test(dispatch, a_failure_that_counts_is_tried_again_later_and_later)
{
	uint64_t low_ms = 250, high_ms = 500;
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	for (unsigned i = 1; i < FIXTURE_FAILURES_MAX; i++) {
		fixture_failed(&x, 0, FATE_AGAIN);
		cr_assert_eq(x.retries_n, 1);
		cr_assert_eq(job->state, JOB_QUEUED);
		cr_assert_eq(job->reason.err, LATENTD_ERR_ENDPOINT);
		cr_assert(waits_ms(job) >= low_ms && waits_ms(job) <= high_ms,
		    "%d ms", (int)waits_ms(job));
		fixture_requeue(&x);
		/* The endpoint may be out by now. */
		fixture_pass(&x, 60000);
		low_ms *= 2;
		high_ms *= 2;
	}
	fixture_failed(&x, 0, FATE_AGAIN);
	cr_assert_eq(x.ended_n, 1);
	cr_assert_eq(job->state, JOB_FAILED);
	cr_assert_eq(job->attempts_n, FIXTURE_FAILURES_MAX);
	cr_assert_eq(job->http_status, 500);
	cr_assert_eq(job->reason.err, LATENTD_ERR_ENDPOINT);
	cr_assert_not_null(strstr(job->reason.text, "5 requests"));
	cr_assert_not_null(strstr(job->reason.text, "part 0"));
	finish_all();
}

Test(dispatch, an_endpoint_that_asks_for_time_gets_it)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	x.transfers[0]->verdict.retry_after_ms = 90000;
	fixture_failed(&x, 0, FATE_LOAD);
	/* It is the endpoint that waits, not the job. */
	cr_assert_eq(waits_ms(job), 0);
	fixture_requeue(&x);
	fixture_pass(&x, 89999);
	cr_assert_eq(x.transfers_n, 0);
	fixture_pass(&x, 2);
	cr_assert_eq(x.transfers_n, 1);
	finish_all();
}

Test(dispatch, a_retried_job_that_succeeds_is_done)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 1);
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_failed(&x, 0, FATE_AGAIN);
	fixture_requeue(&x);
	fixture_turn(&x);
	fixture_done(&x, 0, 'a');
	cr_assert_eq(job->state, JOB_DONE);
	cr_assert_eq(job->reason.err, LATENTD_OK);
	cr_assert_eq(job->attempts_n, 2);
	finish_all();
}

Test(dispatch, a_retried_batch_repeats_only_the_parts_that_failed)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 3);
	job = fixture_submit(&x, "sdxl", 3);
	fixture_turn(&x);
	fixture_failed(&x, 1, FATE_AGAIN);
	cr_assert_eq(x.retries_n, 0);
	fixture_done(&x, 0, 'a');
	cr_assert_eq(x.retries_n, 0);
	fixture_done(&x, 0, 'c');
	cr_assert_eq(x.retries_n, 1);
	fixture_requeue(&x);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 1);
	cr_assert_eq(x.transfers[0]->part, 1);
	fixture_done(&x, 0, 'b');
	cr_assert_eq(job->state, JOB_DONE);
	cr_assert_arr_eq(job->result->at, "aaabbbccc", 9);
	finish_all();
}

Test(dispatch, no_part_of_a_batch_starts_while_it_waits_for_a_retry)
{
	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 2);
	fixture_submit(&x, "sdxl", 6);
	fixture_turn(&x);
	fixture_failed(&x, 0, FATE_AGAIN);
	fixture_turn(&x);
	cr_assert_eq(x.started_n, 2);
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	cr_assert_eq(x.started_n, 2);
	cr_assert_eq(x.retries_n, 1);
	finish_all();
}

Test(dispatch, a_batch_whose_parts_fail_together_has_failed_once)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 8);
	job = fixture_submit(&x, "sdxl", 8);
	fixture_turn(&x);
	cr_assert_eq(x.transfers_n, 8);
	/* An endpoint that restarts breaks off all its requests. */
	while (x.transfers_n > 0)
		fixture_failed(&x, 0, FATE_AGAIN);
	cr_assert_eq(x.retries_n, 1);
	cr_assert_eq(job->failures_n, 1);
	for (unsigned i = 1; i < FIXTURE_FAILURES_MAX; i++) {
		cr_assert_eq(job->state, JOB_QUEUED, "given up in round %u", i);
		fixture_requeue(&x);
		fixture_pass(&x, 60000);
		cr_assert_eq(x.transfers_n, 1, "a trial");
		fixture_failed(&x, 0, FATE_AGAIN);
	}
	cr_assert_eq(job->state, JOB_FAILED);
	finish_all();
}

Test(dispatch, the_longest_wish_of_an_endpoint_counts)
{
	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 2);
	fixture_submit(&x, "sdxl", 2);
	fixture_turn(&x);
	x.transfers[0]->verdict.retry_after_ms = 90000;
	fixture_failed(&x, 0, FATE_LOAD);
	fixture_failed(&x, 0, FATE_LOAD);
	cr_assert_eq(x.retries_n, 1);
	fixture_requeue(&x);
	fixture_pass(&x, 89999);
	cr_assert_eq(x.transfers_n, 0);
	fixture_pass(&x, 2);
	cr_assert_eq(x.transfers_n, 2);
	finish_all();
}

Test(dispatch, a_permanent_failure_ends_the_job_and_breaks_off_the_rest)
{
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 4);
	job = fixture_submit(&x, "sdxl", 6);
	fixture_turn(&x);
	fixture_done(&x, 0, 'a');
	fixture_turn(&x);
	fixture_failed(&x, 1, FATE_JOB);
	cr_assert_eq(x.aborted_n, 3);
	cr_assert_eq(x.transfers_n, 0);
	cr_assert_eq(job->state, JOB_FAILED);
	cr_assert_eq(job->reason.err, LATENTD_ERR_REFUSED);
	cr_assert_str_eq(job->reason.text, "part 2");
	cr_assert_null(job->result);
	finish_all();
}

Test(dispatch, a_failed_job_ends_only_when_its_last_worker_is_back)
{
	struct job *job, *next;

	fixture_dispatch_open(&x, PLENTY);
	sdxl("a", 3);
	job = fixture_submit(&x, "sdxl", 3);
	next = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	fixture_transferred(&x, 0);
	fixture_failed(&x, 0, FATE_JOB);
	cr_assert_eq(x.aborted_n, 1);
	cr_assert_eq(job->state, JOB_ACTIVE);
	fixture_turn(&x);
	cr_assert_eq(next->state, JOB_ACTIVE);
	fixture_finished(&x, 0, 'a');
	cr_assert_eq(job->state, JOB_FAILED);
	cr_assert_eq(job->reason.err, LATENTD_ERR_REFUSED);
	finish_all();
}

Test(dispatch, a_request_that_cannot_start_is_a_failed_one)
{
	struct endpoint *ep;
	struct job *job;

	fixture_dispatch_open(&x, PLENTY);
	ep = sdxl("a", 2);
	x.refusal.fate = FATE_OURS;
	reason_set(&x.refusal.reason, LATENTD_ERR_MEMORY, "no memory");
	job = fixture_submit(&x, "sdxl", 1);
	fixture_turn(&x);
	for (unsigned i = 1; i < FIXTURE_FAILURES_MAX; i++) {
		cr_assert_eq(x.retries_n, 1);
		cr_assert_geq(waits_ms(job), 250);
		cr_assert_eq(ep->in_flight, 0);
		fixture_requeue(&x);
		fixture_turn(&x);
	}
	cr_assert_eq(job->state, JOB_FAILED);
	cr_assert_eq(job->reason.err, LATENTD_ERR_MEMORY);
	cr_assert_eq(ep->fitness.state, FITNESS_FIT);
	finish_all();
}
