/* SPDX-License-Identifier: Apache-2.0 */
/* What producers are answered, where that is more than passing on. */
#include "ingress_fixture.h"

Test(ingress, an_accepted_job_is_told_its_position_and_estimate)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.estimate_ms = 1234;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.instance, INSTANCE);
	cr_assert_eq(m.accepted.id, 1);
	cr_assert_eq(m.accepted.state, JOB_QUEUED);
	cr_assert_eq(m.accepted.position, 11);
	cr_assert_eq(m.accepted.estimated_wait_ms, 1234);
	close_ingress();
}

Test(ingress, the_same_key_is_the_same_job_even_when_there_is_no_room)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.estimate_ms = 5;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	x.busy.reason = "jobs";
	x.remembered_id = 77;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(m.accepted.id, 1);
	cr_assert_eq(m.accepted.estimated_wait_ms, 10);
	cr_assert_eq(x.accepted_n, 1);
	close_ingress();
}

Test(ingress, busy_says_which_bound_when_to_come_again_and_how_long_it_is)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.estimate_ms = 800;
	x.busy =
	    (struct job_busy){.reason = "producer_bytes", .retry_after_ms = 70};
	cr_assert_eq(submit(&s, &m), MESSAGE_BUSY);
	cr_assert_eq(m.busy.instance, INSTANCE);
	cr_assert_eq(m.busy.reason.bytes, strlen("producer_bytes"));
	cr_assert_arr_eq(
	    m.busy.reason.at, "producer_bytes", m.busy.reason.bytes);
	cr_assert_eq(m.busy.retry_after_ms, 70);
	cr_assert_eq(m.busy.estimated_wait_ms, 800);
	/* Nothing was taken, nobody is kept for it. */
	cr_assert_eq(x.f.jobs.n, 0);
	cr_assert_null(x.f.jobs.producers.table);
	close_ingress();
}

Test(ingress, a_job_that_would_be_late_is_refused_where_that_is_wished)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.estimate_ms = 1000;
	s.deadline_ms = 999;
	s.refuse_late = true;
	cr_assert_eq(submit(&s, &m), MESSAGE_BUSY);
	cr_assert_arr_eq(m.busy.reason.at, "deadline", m.busy.reason.bytes);
	cr_assert_eq(m.busy.estimated_wait_ms, 1000);
	cr_assert_eq(m.busy.retry_after_ms, 1);
	cr_assert_eq(x.refused_n, 1);
	x.estimate_ms = UINT64_C(1000000000000);
	cr_assert_eq(submit(&s, &m), MESSAGE_BUSY);
	cr_assert_eq(m.busy.retry_after_ms, 60000);
	/* On the dot is in time; so is what nobody knows. */
	x.estimate_ms = 999;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	s.key = TEXT("k2");
	x.estimate_ms = 0;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	/* Others take their chance. */
	s.key = TEXT("k3");
	s.refuse_late = false;
	x.estimate_ms = 100000;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(x.refused_n, 2);
	close_ingress();
}

Test(ingress, a_key_whose_result_was_acknowledged_is_refused)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;

	open_ingress();
	x.remembered_id = 42;
	x.busy.reason = "jobs";
	expect_rejected(submit(&s, &m), &m, LATENTD_ERR_COLLECTED);
	cr_assert_not_null(
	    memmem(m.rejected.message.at, m.rejected.message.bytes, "42", 2));
	cr_assert_eq(x.f.jobs.n, 0);
	cr_assert_null(x.f.jobs.producers.table);
	close_ingress();
}

Test(ingress, acknowledgements_that_hit_nothing_are_counted)
{
	struct message_collect c = {.producer = TEXT("p"), .wait_ms = 3};
	uint64_t acks[] = {8, 9, 10, 9};
	union message_any m;

	open_ingress();
	x.known_tag = 9;
	c.acks = acks;
	c.acks_n = 4;
	cr_assert_eq(ask(MESSAGE_COLLECT, &c, 0, &m), MESSAGE_EMPTY);
	cr_assert_eq(x.unknown_acks, 2);
	cr_assert_eq(x.wait_ms, 3);
	c.acks_n = 0;
	cr_assert_eq(ask(MESSAGE_COLLECT, &c, 0, &m), MESSAGE_EMPTY);
	cr_assert_eq(x.unknown_acks, 0);
	close_ingress();
}

Test(ingress, another_secret_than_the_producers_is_denied_and_changes_nothing)
{
	struct message_submit s = submit_of("p", "k");
	struct message_collect collect = {.producer = TEXT("p")};
	union message_any m;

	open_ingress();
	s.secret = TEXT("right");
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	collect.secret = TEXT("wrong");
	expect_rejected(
	    ask(MESSAGE_COLLECT, &collect, 0, &m), &m, LATENTD_ERR_DENIED);
	cr_assert_eq(x.collects_n, 0);
	cr_assert_eq(HASH_COUNT(x.f.jobs.producers.table), 1);
	collect.secret = TEXT("right");
	cr_assert_eq(ask(MESSAGE_COLLECT, &collect, 0, &m), MESSAGE_EMPTY);
	cr_assert_eq(x.collects_n, 1);
	close_ingress();
}

Test(ingress, a_name_that_nobody_has_may_be_asked_for_with_any_secret)
{
	struct message_collect collect = {
	    .producer = TEXT("nobody"), .secret = TEXT("s")};
	union message_any m;

	open_ingress();
	cr_assert_eq(ask(MESSAGE_COLLECT, &collect, 0, &m), MESSAGE_EMPTY);
	cr_assert_null(x.f.jobs.producers.table);
	close_ingress();
}

Test(ingress, a_job_ends_with_the_connection_that_submitted_it_last)
{
	struct message_submit s = submit_of("p", "k");
	struct message_submit other = submit_of("p", "other");
	union message_any m;

	open_ingress();
	s.cancel_on_disconnect = true;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(jobs_by_id(&x.f.jobs, 1)->owner_pipe, 1);
	x.pipe = 2;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(jobs_by_id(&x.f.jobs, 1)->owner_pipe, 2);
	/* One that was to outlive its connection is not made to end. */
	cr_assert_eq(submit(&other, &m), MESSAGE_ACCEPTED);
	other.cancel_on_disconnect = true;
	cr_assert_eq(submit(&other, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(jobs_by_id(&x.f.jobs, 2)->owner_pipe, 0);
	close_ingress();
}

Test(ingress, a_buried_job_gives_way_to_the_same_key_where_there_is_room)
{
	struct message_submit s = submit_of("p", "k");
	union message_any m;
	struct job *job;

	open_ingress();
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	job = jobs_by_id(&x.f.jobs, 1);
	job_move(&x.f.jobs, job, JOB_FAILED);
	job_bury(&x.f.jobs, job);
	x.busy.reason = "jobs";
	cr_assert_eq(submit(&s, &m), MESSAGE_BUSY);
	cr_assert_eq(x.replaced_id, 0);
	x.busy.reason = NULL;
	cr_assert_eq(submit(&s, &m), MESSAGE_ACCEPTED);
	cr_assert_eq(x.replaced_id, 1);
	cr_assert_eq(m.accepted.id, 2);
	cr_assert_eq(m.accepted.state, JOB_QUEUED);
	close_ingress();
}

Test(ingress, what_is_asked_about_jobs_is_passed_on)
{
	struct message_cancel cancel = {.producer = TEXT("p"), .id = 5};
	union message_any m;

	open_ingress();
	cr_assert_eq(ask(MESSAGE_CANCEL, &cancel, 0, &m), MESSAGE_CANCELLED);
	cr_assert_eq(m.cancelled.id, 5);
	close_ingress();
}
