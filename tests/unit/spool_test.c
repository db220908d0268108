/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of the spool: what is on disk when it says so, what a
 * failing disk does, and what comes back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/msgbuf.h"
#include "faulty_disk.h"
#include "jobs_fixture.h"
#include "lane.h"
#include "spool.h"
#include "store_fixture.h"

#define LATENT_BYTES ((size_t)4 * 8 * 8 * 2)
#define MIB (UINT64_C(1) << 20)

static struct fixture {
	struct fixture_jobs f;
	struct store_dir dir;
	struct spool *s;
	struct lane lane;
	struct producer *p;
	/* What the spool said. */
	size_t put_n[3]; /* by result */
	size_t ended_n, stored_n;
	const struct reason *body_why;
	size_t bodies_n, results_n;
	enum latentd_err result_err;
	bool rested;
	/* What it restored. */
	struct job *jobs[64];
	size_t jobs_n;
	uint64_t known_id;
} x;

static void
on_put(struct job *job, enum store_result result, void *arg)
{
	(void)arg;
	x.put_n[result]++;
	cr_assert_eq(job->spooled, result == STORE_OK);
	if (result == STORE_OK)
		job_move(&x.f.jobs, job, JOB_QUEUED);
}

static void
on_end(struct job *job, void *arg)
{
	(void)arg;
	x.ended_n++;
	x.stored_n += job->result_stored;
}

static void
on_body(struct attempt *attempt, const struct reason *why, void *arg)
{
	(void)arg;
	cr_assert_not(attempt->loading);
	x.bodies_n++;
	x.body_why = why;
}

static void
on_result(struct job *job, const struct reason *why, void *arg)
{
	(void)job;
	(void)arg;
	x.results_n++;
	x.result_err = why != NULL ? why->err : LATENTD_OK;
}

static void
on_rested(void *arg)
{
	(void)arg;
	x.rested = true;
}

static struct lane *
on_lane(const struct model *model, enum latentd_task task, void *arg)
{
	(void)arg;
	return strcmp(model->name, "sdxl") == 0 && task == LATENTD_DECODE
	    ? &x.lane
	    : NULL;
}

static void
on_job(struct job *job, void *arg)
{
	(void)arg;
	x.jobs[x.jobs_n++] = job;
	if (job->state == JOB_NEW)
		job_move(&x.f.jobs, job, JOB_QUEUED);
}

static void
on_known(const struct record_known *known, uint64_t acked_ns, void *arg)
{
	(void)arg;
	cr_assert(acked_ns > 0 && acked_ns <= uv_hrtime());
	x.known_id = known->id;
}

/* Start a spool, or start it again, with what it has. */
static void
start(void)
{
	const struct spool_options options = {.path = x.dir.path,
	    .size_bytes = 64 * MIB,
	    .durable = true,
	    .remember_ms = 600000,
	    .remember_n = 100,
	    .on_put = on_put,
	    .on_end = on_end,
	    .on_body = on_body,
	    .on_result = on_result,
	    .on_rested = on_rested};
	const struct spool_visitor visitor = {
	    .lane = on_lane, .job = on_job, .known = on_known};
	struct reason why = {.err = LATENTD_OK};

	fixture_jobs_open(&x.f);
	cr_assert_eq(spool_open(&x.f.loop.uv, &x.f.jobs, &options, &x.s, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(spool_restore(x.s, &visitor, &why), LATENTD_OK);
	cr_assert_eq(spool_start(x.s, &why), LATENTD_OK);
	x.p = fixture_producer(&x.f, "p");
	producers_hold(x.p);
}

static void
open_spool(void)
{
	memset(&x, 0, sizeof(x));
	faulty_disk_fail(0, 0);
	x.dir = store_dir_make();
	start();
}

/* End it as a crash would, as far as the spool can tell. */
static void
stop(void)
{
	uint64_t id = 0;
	struct job *job;

	FIXTURE_RUN_UNTIL(&x.f.loop, !spool_busy(x.s));
	while ((job = jobs_after(&x.f.jobs, id)) != NULL) {
		id = job->id;
		job_destroy(&x.f.jobs, job);
	}
	producers_release(&x.f.jobs.producers, x.p);
	spool_close(x.s);
	fixture_jobs_close(&x.f);
	memset(x.jobs, 0, sizeof(x.jobs));
	x.jobs_n = 0;
}

static void
close_spool(void)
{
	stop();
	store_dir_remove(&x.dir);
}

static struct job *
put_bytes(const char *key, struct latentd_tensor tensor, size_t bytes)
{
	const struct message_submit s = {.task = LATENTD_DECODE,
	    .model = {"sdxl", 4},
	    .tensor = tensor,
	    .output = LATENTD_OUT_PIXELS,
	    .deadline_ms = 600000};
	nng_msg *msg = msgbuf_create(bytes, 0);
	struct reason why = {.err = LATENTD_OK};
	struct intake intake;
	struct job *job;

	store_fill((uint64_t)key[0], nng_msg_body(msg), bytes);
	cr_assert_eq(intake_read(&s, nng_msg_body(msg), bytes, &intake, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(intake_job(&intake, &x.f.jobs, x.p,
			 (struct text){key, strlen(key)}, &job, &why),
	    LATENTD_OK);
	job->lane = &x.lane;
	job_hold(&x.f.jobs, job, msg);
	spool_put(x.s, job, &s, &intake);
	return job;
}

static struct job *
put(const char *key)
{
	return put_bytes(key,
	    (struct latentd_tensor){LATENTD_F16, 4, {1, 4, 8, 8}},
	    LATENT_BYTES);
}

/* Put a job and wait until it is on disk. */
static struct job *
put_now(const char *key)
{
	struct job *job = put(key);

	FIXTURE_RUN_UNTIL(&x.f.loop, !job->storing);
	return job;
}

/* Let a job end with a result of ${n} bytes. */
static void
end_now(struct job *job, size_t n)
{
	nng_msg *result = msgbuf_create(job_front_bytes(job) + n, 0);

	store_fill(
	    job->id, (uint8_t *)nng_msg_body(result) + job_front_bytes(job), n);
	job_move(&x.f.jobs, job, JOB_ACTIVE);
	job->parts[0].reply = result;
	job->parts[0].file_bytes = calloc(1, sizeof(uint64_t));
	job->parts[0].file_bytes[0] = n;
	job->parts[0].files_n = 1;
	job->done_n = 1;
	job->finished_ns = uv_hrtime();
	snprintf(job->endpoint, sizeof(job->endpoint), "gpu1");
	cr_assert_eq(job_gather(&x.f.jobs, job), LATENTD_OK);
	job_move(&x.f.jobs, job, JOB_DONE);
	job_release_input(&x.f.jobs, job);
	spool_end(x.s, job);
	FIXTURE_RUN_UNTIL(&x.f.loop, !job->storing);
}

static void
forget(struct job *job, bool known)
{
	spool_forget(x.s, job, known);
	job_destroy(&x.f.jobs, job);
}

Test(spool, a_job_comes_back_as_it_was)
{
	uint64_t left_ns;
	struct job *job;

	open_spool();
	job = put_now("a");
	cr_assert_eq(x.put_n[STORE_OK], 1);
	cr_assert(job->body_stored);
	job->attempts_n = 5;
	job->failures_n = 2;
	spool_note(x.s, job);
	stop();
	start();
	cr_assert_eq(x.jobs_n, 1);
	job = x.jobs[0];
	cr_assert_str_eq(job->key, "a");
	cr_assert_eq(job->id, 1);
	cr_assert_eq(job->attempts_n, 5);
	cr_assert_eq(job->failures_n, 2);
	cr_assert_eq(job->lane, &x.lane);
	cr_assert_eq(job->payload_bytes, LATENT_BYTES);
	cr_assert_eq(job->output, LATENTD_OUT_PIXELS);
	cr_assert_eq(job->deadline_ms, 600000);
	left_ns = job->deadline_ns - uv_hrtime();
	cr_assert(left_ns > 0 && left_ns <= UINT64_C(600000000000));
	cr_assert_eq(x.f.jobs.input_bytes, 0, "nothing is in memory");
	cr_assert_eq(x.p->input_bytes, LATENT_BYTES);
	cr_assert_gt(x.f.jobs.stored_bytes, LATENT_BYTES);
	close_spool();
}

Test(spool, a_latent_is_read_back_for_all_who_wait_for_it)
{
	struct attempt first = {.part = 0}, second = {.part = 0};
	uint8_t want[LATENT_BYTES];
	struct job *job;

	open_spool();
	put_now("a");
	stop();
	start();
	first.job = second.job = job = x.jobs[0];
	spool_load_body(x.s, &first);
	spool_load_body(x.s, &second);
	cr_assert(first.loading && second.loading && spool_busy(x.s));
	FIXTURE_RUN_UNTIL(&x.f.loop, x.bodies_n == 2);
	cr_assert_null(x.body_why);
	store_fill('a', want, LATENT_BYTES);
	cr_assert_arr_eq(job->payload, want, LATENT_BYTES);
	cr_assert_eq(x.f.jobs.input_bytes, LATENT_BYTES);
	job_shed_input(&x.f.jobs, job);
	cr_assert_eq(x.f.jobs.input_bytes, 0);
	close_spool();
}

Test(spool, a_result_comes_back_until_it_is_forgotten)
{
	uint8_t want[5000];
	struct job *job;

	open_spool();
	end_now(put_now("a"), sizeof(want));
	cr_assert_eq(x.stored_n, 1);
	stop();
	start();
	job = x.jobs[0];
	cr_assert_eq(job->state, JOB_DONE);
	cr_assert(job->result_stored && job->result == NULL);
	cr_assert_eq(job->files_n, 1);
	cr_assert_eq(job->file_bytes[0], sizeof(want));
	cr_assert_str_eq(job->endpoint, "gpu1");
	cr_assert_eq(x.p->result_bytes, sizeof(want));
	spool_load_result(x.s, job);
	spool_load_result(x.s, job);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.results_n == 1);
	cr_assert_eq(x.result_err, LATENTD_OK);
	store_fill(job->id, want, sizeof(want));
	cr_assert_arr_eq(
	    (uint8_t *)nng_msg_body(job->result) + job_front_bytes(job), want,
	    sizeof(want));
	forget(job, true);
	stop();
	x.known_id = 0;
	start();
	cr_assert_eq(x.jobs_n, 0);
	cr_assert_eq(x.known_id, 1);
	cr_assert_eq(x.f.jobs.next_id, 1, "ids are not given twice");
	close_spool();
}

Test(spool, a_job_that_goes_while_its_result_is_read_is_not_touched)
{
	open_spool();
	end_now(put_now("a"), 100);
	stop();
	start();
	spool_load_result(x.s, x.jobs[0]);
	forget(x.jobs[0], false);
	FIXTURE_RUN_UNTIL(&x.f.loop, !spool_busy(x.s));
	cr_assert_eq(x.results_n, 0);
	close_spool();
}

Test(spool, what_comes_during_a_sync_shares_the_next)
{
	char key[16];

	open_spool();
	faulty_disk_hold(true);
	put("first");
	faulty_disk_wait_held();
	for (int i = 0; i < 50; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		put(key);
	}
	cr_assert_eq(x.put_n[STORE_OK], 0, "nothing is said before the sync");
	faulty_disk_hold(false);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.put_n[STORE_OK] == 51);
	cr_assert_eq(spool_counts(x.s).commits_n, 2);
	cr_assert_eq(spool_counts(x.s).written_n, 51);
	close_spool();
}

/* What a call that fails with ${error} does, and that an operator ends it. */
static void
check_failure(int write_error, int sync_error)
{
	struct job *kept, *gone, *refused;

	open_spool();
	kept = put_now("kept");
	gone = put_now("gone");
	(void)kept;
	faulty_disk_fail(write_error, sync_error);
	refused = put_now("refused");
	cr_assert_eq(x.put_n[STORE_FAILED], 1);
	cr_assert_not_null(spool_failure(x.s));
	job_destroy(&x.f.jobs, refused);
	/* The disk may be well again: nothing is written all the same. */
	faulty_disk_fail(0, 0);
	refused = put_now("refused");
	cr_assert_eq(x.put_n[STORE_FAILED], 2);
	job_destroy(&x.f.jobs, refused);
	/* A result is kept in memory. */
	end_now(kept, 10);
	cr_assert(kept->result != NULL && !kept->result_stored);
	forget(gone, false);
	spool_resume(x.s);
	FIXTURE_RUN_UNTIL(&x.f.loop, spool_failure(x.s) == NULL);
	put_now("new");
	cr_assert_eq(x.put_n[STORE_OK], 3);
	stop();
	start();
	/* The deletion was made up for; what was not stored is to be done
	 * again. */
	cr_assert_eq(x.jobs_n, 2);
	cr_assert_str_eq(x.jobs[0]->key, "kept");
	cr_assert_eq(x.jobs[0]->state, JOB_QUEUED);
	cr_assert_str_eq(x.jobs[1]->key, "new");
	close_spool();
}

Test(spool, a_failed_write_stops_it_until_an_operator_resumes)
{
	check_failure(EIO, 0);
}

Test(spool, a_full_disk_stops_it_until_an_operator_resumes)
{
	check_failure(ENOSPC, 0);
}

Test(spool, a_failed_sync_stops_it_until_an_operator_resumes)
{
	check_failure(0, EIO);
}

Test(spool, resuming_on_a_disk_that_still_fails_changes_nothing)
{
	struct job *job;

	open_spool();
	faulty_disk_fail(0, EIO);
	job = put_now("a");
	job_destroy(&x.f.jobs, job);
	spool_resume(x.s);
	FIXTURE_RUN_UNTIL(&x.f.loop, !spool_busy(x.s));
	cr_assert_not_null(spool_failure(x.s));
	job = put_now("b");
	cr_assert_eq(x.put_n[STORE_FAILED], 2);
	job_destroy(&x.f.jobs, job);
	faulty_disk_fail(0, 0);
	close_spool();
}

Test(spool, a_full_map_refuses_what_does_not_fit_and_only_that)
{
	const struct latentd_tensor tensor = {
	    LATENTD_F16, 4, {1, 4, 1024, 1024}};
	const size_t bytes = (size_t)4 * 1024 * 1024 * 2;
	struct job *job, *small;
	char key[16];

	open_spool();
	for (int i = 0; x.put_n[STORE_FULL] == 0; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		job = put_bytes(key, tensor, bytes);
		small = put_now("small");
		if (x.put_n[STORE_FULL] == 0) {
			forget(small, false);
			continue;
		}
		cr_assert(small->spooled && !job->spooled);
		job_destroy(&x.f.jobs, job);
		cr_assert_geq(i, 5);
	}
	cr_assert_null(spool_failure(x.s));
	/* Deleting has room always, and makes some. */
	forget(jobs_after(&x.f.jobs, 0), false);
	put_now("s2");
	job = put_bytes("big", tensor, bytes);
	FIXTURE_RUN_UNTIL(&x.f.loop, !job->storing);
	cr_assert(job->spooled);
	close_spool();
}

Test(spool, a_damaged_record_is_set_aside_and_clients_submit_again)
{
	uint64_t instance;
	struct store *s;
	struct reason why;

	open_spool();
	instance = spool_instance(x.s);
	put_now("a");
	put_now("b");
	stop();
	s = store_must_open(&x.dir, 64 * MIB);
	cr_assert_eq(store_begin(s, &why), STORE_OK);
	/* A state that cannot be, and no latent. */
	cr_assert_eq(store_delete_body(s, 1, &why), STORE_OK);
	cr_assert_eq(store_put_raw_state(s, 1, "nonsense", 8), STORE_OK);
	cr_assert_eq(store_commit(s, &why), STORE_OK);
	store_close(s);
	start();
	cr_assert_eq(x.jobs_n, 1);
	cr_assert_str_eq(x.jobs[0]->key, "b");
	cr_assert_neq(spool_instance(x.s), instance);
	cr_assert_eq(spool_counts(x.s).aside_n, 1);
	close_spool();
}
