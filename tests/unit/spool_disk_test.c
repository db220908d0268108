/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's side of the spool on a disk that fails. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "faulty_disk.h"
#include "spool_fixture.h"

/* What a call that fails with ${error} does, and that an operator ends it. */
static void
check_failure(int write_error, int sync_error)
{
	struct job *kept, *gone, *refused;

	fixture_spool_open();
	kept = fixture_spool_put_now("kept");
	gone = fixture_spool_put_now("gone");
	(void)kept;
	faulty_disk_fail(write_error, sync_error);
	refused = fixture_spool_put_now("refused");
	cr_assert_eq(fixture_spool.put_n[STORE_FAILED], 1);
	cr_assert_not_null(spool_failure(fixture_spool.s));
	cr_assert_eq(strstr(spool_failure(fixture_spool.s)->text,
			 "No space left") != NULL,
	    write_error == ENOSPC);
	job_destroy(&fixture_spool.f.jobs, refused);
	/* The disk may be well again: nothing is written all the same. */
	faulty_disk_fail(0, 0);
	refused = fixture_spool_put_now("refused");
	cr_assert_eq(fixture_spool.put_n[STORE_FAILED], 2);
	job_destroy(&fixture_spool.f.jobs, refused);
	/* A result is kept in memory. */
	fixture_spool_end_now(kept, 10);
	cr_assert(kept->result != NULL && !kept->result_stored);
	fixture_spool_forget(gone, false);
	spool_resume(fixture_spool.s);
	FIXTURE_RUN_UNTIL(
	    &fixture_spool.f.loop, spool_failure(fixture_spool.s) == NULL);
	fixture_spool_put_now("new");
	cr_assert_eq(fixture_spool.put_n[STORE_OK], 3);
	fixture_spool_stop();
	fixture_spool_start();
	/* The deletion was made up for; what was not stored is to be done
	 * again. */
	cr_assert_eq(fixture_spool.jobs_n, 2);
	cr_assert_str_eq(fixture_spool.jobs[0]->key, "kept");
	cr_assert_eq(fixture_spool.jobs[0]->state, JOB_QUEUED);
	cr_assert_str_eq(fixture_spool.jobs[1]->key, "new");
	fixture_spool_close();
}

Test(spool_disk, a_failed_write_stops_it_until_an_operator_resumes)
{
	check_failure(EIO, 0);
}

Test(spool_disk, a_full_disk_stops_it_until_an_operator_resumes)
{
	check_failure(ENOSPC, 0);
}

Test(spool_disk, a_failed_sync_stops_it_until_an_operator_resumes)
{
	check_failure(0, EIO);
}

Test(spool_disk, latents_are_read_back_when_the_end_of_a_commit_failed)
{
	struct attempt attempt = {.part = 0};
	struct job *kept, *refused;

	fixture_spool_open();
	kept = fixture_spool_put_now("kept");
	job_shed_input(&fixture_spool.f.jobs, kept);
	faulty_disk_fail_meta(EIO);
	refused = fixture_spool_put_now("refused");
	cr_assert_eq(fixture_spool.put_n[STORE_FAILED], 1);
	job_destroy(&fixture_spool.f.jobs, refused);
	attempt.job = kept;
	spool_load_body(fixture_spool.s, &attempt);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, fixture_spool.bodies_n == 1);
	cr_assert_null(fixture_spool.body_why);
	faulty_disk_fail_meta(0);
	spool_resume(fixture_spool.s);
	FIXTURE_RUN_UNTIL(
	    &fixture_spool.f.loop, spool_failure(fixture_spool.s) == NULL);
	fixture_spool_put_now("new");
	cr_assert_eq(fixture_spool.put_n[STORE_OK], 2);
	fixture_spool_stop();
	fixture_spool_start();
	cr_assert_eq(fixture_spool.jobs_n, 2);
	cr_assert_str_eq(fixture_spool.jobs[1]->key, "new");
	fixture_spool_close();
}

Test(spool_disk, a_store_that_is_not_open_loses_no_latent)
{
	struct attempt attempt = {.part = 0};
	char away[sizeof(fixture_spool.dir.path) + 8];
	struct job *job;

	fixture_spool_open();
	job = fixture_spool_put_now("a");
	job_shed_input(&fixture_spool.f.jobs, job);
	faulty_disk_fail_meta(EIO);
	snprintf(away, sizeof(away), "%s.away", fixture_spool.dir.path);
	cr_assert_eq(rename(fixture_spool.dir.path, away), 0);
	job_destroy(&fixture_spool.f.jobs, fixture_spool_put_now("refused"));
	attempt.job = job;
	spool_load_body(fixture_spool.s, &attempt);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, fixture_spool.bodies_n == 1);
	cr_assert_eq(
	    fixture_spool.body_err, LATENTD_ERR_BUSY, "it may be read later");
	cr_assert_eq(spool_counts(fixture_spool.s).lost_n, 0);
	faulty_disk_fail_meta(0);
	cr_assert_eq(rename(away, fixture_spool.dir.path), 0);
	spool_resume(fixture_spool.s);
	FIXTURE_RUN_UNTIL(
	    &fixture_spool.f.loop, spool_failure(fixture_spool.s) == NULL);
	spool_load_body(fixture_spool.s, &attempt);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, fixture_spool.bodies_n == 2);
	cr_assert_null(fixture_spool.body_why);
	fixture_spool_close();
}

Test(spool_disk, resuming_on_a_disk_that_still_fails_changes_nothing)
{
	struct job *job;

	fixture_spool_open();
	faulty_disk_fail(0, EIO);
	job = fixture_spool_put_now("a");
	job_destroy(&fixture_spool.f.jobs, job);
	spool_resume(fixture_spool.s);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, !spool_busy(fixture_spool.s));
	cr_assert_not_null(spool_failure(fixture_spool.s));
	job = fixture_spool_put_now("b");
	cr_assert_eq(fixture_spool.put_n[STORE_FAILED], 2);
	job_destroy(&fixture_spool.f.jobs, job);
	faulty_disk_fail(0, 0);
	fixture_spool_close();
}
