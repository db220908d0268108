/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of the spool: what is on disk when it says so, and what
 * comes back.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "faulty_disk.h"
#include "spool_fixture.h"

#define MS_NS 1000000u

Test(spool, a_job_comes_back_as_it_was)
{
	uint64_t left_ns;
	struct job *job;

	fixture_spool_open();
	job = fixture_spool_put_now("a");
	cr_assert_eq(fixture_spool.put_n[STORE_OK], 1);
	cr_assert(job->body_stored);
	job->attempts_n = 5;
	job->failures_n = 2;
	spool_note(fixture_spool.s, job);
	fixture_spool_stop();
	fixture_spool_start();
	cr_assert_eq(fixture_spool.jobs_n, 1);
	job = fixture_spool.jobs[0];
	cr_assert_str_eq(job->key, "a");
	cr_assert_eq(job->id, 1);
	cr_assert_eq(job->attempts_n, 5);
	cr_assert_eq(job->failures_n, 2);
	cr_assert_eq(job->lane, &fixture_spool.lane);
	cr_assert_eq(job->payload_bytes, LATENT_BYTES);
	cr_assert_eq(job->output, LATENTD_OUT_PIXELS);
	cr_assert_eq(job->deadline_ms, 600000);
	left_ns = job->deadline_ns - uv_hrtime();
	cr_assert(left_ns > 0 && left_ns <= UINT64_C(600000000000));
	cr_assert_eq(
	    fixture_spool.f.jobs.input_bytes, 0, "nothing is in memory");
	cr_assert_eq(fixture_spool.p->input_bytes, LATENT_BYTES);
	cr_assert_gt(fixture_spool.f.jobs.stored_bytes, LATENT_BYTES);
	fixture_spool_close();
}

Test(spool, a_latent_is_read_back_for_all_who_wait_for_it)
{
	struct attempt first = {.part = 0}, second = {.part = 0};
	uint8_t want[LATENT_BYTES];
	struct job *job;

	fixture_spool_open();
	fixture_spool_put_now("a");
	fixture_spool_stop();
	fixture_spool_start();
	first.job = second.job = job = fixture_spool.jobs[0];
	spool_load_body(fixture_spool.s, &first);
	spool_load_body(fixture_spool.s, &second);
	cr_assert(
	    first.loading && second.loading && spool_busy(fixture_spool.s));
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, fixture_spool.bodies_n == 2);
	cr_assert_null(fixture_spool.body_why);
	store_fill('a', want, LATENT_BYTES);
	cr_assert_arr_eq(job->payload, want, LATENT_BYTES);
	cr_assert_eq(fixture_spool.f.jobs.input_bytes, LATENT_BYTES);
	job_shed_input(&fixture_spool.f.jobs, job);
	cr_assert_eq(fixture_spool.f.jobs.input_bytes, 0);
	fixture_spool_close();
}

Test(spool, a_result_comes_back_until_it_is_forgotten)
{
	uint8_t want[5000];
	struct job *job;

	fixture_spool_open();
	fixture_spool_end_now(fixture_spool_put_now("a"), sizeof(want));
	cr_assert_eq(fixture_spool.stored_n, 1);
	fixture_spool_stop();
	fixture_spool_start();
	job = fixture_spool.jobs[0];
	cr_assert_eq(job->state, JOB_DONE);
	cr_assert(job->result_stored && job->result == NULL);
	cr_assert_eq(job->files_n, 1);
	cr_assert_eq(job->file_bytes[0], sizeof(want));
	cr_assert_str_eq(job->endpoint, "gpu1");
	cr_assert_eq(fixture_spool.p->result_bytes, sizeof(want));
	spool_load_result(fixture_spool.s, job);
	spool_load_result(fixture_spool.s, job);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, fixture_spool.results_n == 1);
	cr_assert_eq(fixture_spool.result_err, LATENTD_OK);
	store_fill(job->id, want, sizeof(want));
	cr_assert_arr_eq(job->result->at, want, sizeof(want));
	fixture_spool_forget(job, true);
	fixture_spool_stop();
	fixture_spool.known_id = 0;
	fixture_spool_start();
	cr_assert_eq(fixture_spool.jobs_n, 0);
	cr_assert_eq(fixture_spool.known_id, 1);
	cr_assert_eq(
	    fixture_spool.f.jobs.next_id, 1, "ids are not given twice");
	fixture_spool_close();
}

Test(spool, a_job_that_goes_while_its_result_is_read_is_not_touched)
{
	fixture_spool_open();
	fixture_spool_end_now(fixture_spool_put_now("a"), 100);
	fixture_spool_stop();
	fixture_spool_start();
	spool_load_result(fixture_spool.s, fixture_spool.jobs[0]);
	fixture_spool_forget(fixture_spool.jobs[0], false);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, !spool_busy(fixture_spool.s));
	cr_assert_eq(fixture_spool.results_n, 0);
	fixture_spool_close();
}

Test(spool, what_comes_during_a_sync_shares_the_next)
{
	char key[16];

	fixture_spool_open();
	faulty_disk_hold(true);
	fixture_spool_put("first");
	faulty_disk_wait_held();
	for (int i = 0; i < 50; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		fixture_spool_put(key);
	}
	cr_assert_eq(fixture_spool.put_n[STORE_OK], 0,
	    "nothing is said before the sync");
	faulty_disk_hold(false);
	FIXTURE_RUN_UNTIL(
	    &fixture_spool.f.loop, fixture_spool.put_n[STORE_OK] == 51);
	cr_assert_eq(spool_counts(fixture_spool.s).commits_n, 2);
	cr_assert_eq(spool_counts(fixture_spool.s).written_n, 51);
	fixture_spool_close();
}

Test(spool, a_full_map_refuses_what_does_not_fit_and_only_that)
{
	const struct latentd_tensor tensor = {
	    LATENTD_F16, 4, {1, 4, 1024, 1024}};
	const size_t bytes = (size_t)4 * 1024 * 1024 * 2;
	struct job *job, *small;
	char key[16];

	fixture_spool_open();
	for (int i = 0; fixture_spool.put_n[STORE_FULL] == 0; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		job = fixture_spool_put_bytes(key, tensor, bytes);
		small = fixture_spool_put_now("small");
		if (fixture_spool.put_n[STORE_FULL] == 0) {
			fixture_spool_forget(small, false);
			continue;
		}
		cr_assert(small->spooled && !job->spooled);
		job_destroy(&fixture_spool.f.jobs, job);
		cr_assert_geq(i, 5);
	}
	cr_assert_null(spool_failure(fixture_spool.s));
	/* Deleting has room always, and makes some. */
	fixture_spool_forget(jobs_after(&fixture_spool.f.jobs, 0), false);
	fixture_spool_put_now("s2");
	job = fixture_spool_put_bytes("big", tensor, bytes);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, !job->storing);
	cr_assert(job->spooled);
	fixture_spool_close();
}

Test(spool, a_damaged_record_is_set_aside_and_clients_submit_again)
{
	uint64_t instance;
	struct store *s;
	struct reason why;

	fixture_spool_open();
	instance = spool_instance(fixture_spool.s);
	fixture_spool_put_now("a");
	fixture_spool_put_now("b");
	fixture_spool_stop();
	s = store_must_open(&fixture_spool.dir, 64 * MIB);
	cr_assert_eq(store_begin(s, &why), STORE_OK);
	/* A state that cannot be, and no latent. */
	cr_assert_eq(store_delete_body(s, 1, &why), STORE_OK);
	cr_assert_eq(store_put_raw_state(s, 1, "nonsense", 8), STORE_OK);
	cr_assert_eq(store_commit(s, &why), STORE_OK);
	store_close(s);
	fixture_spool_start();
	cr_assert_eq(fixture_spool.jobs_n, 1);
	cr_assert_str_eq(fixture_spool.jobs[0]->key, "b");
	cr_assert_neq(spool_instance(fixture_spool.s), instance);
	cr_assert_eq(spool_counts(fixture_spool.s).aside_n, 1);
	fixture_spool_close();
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / MS_NS;
}

/* Write what became of the first job, and a key, as a daemon would that ran ${later_ms} from now. */
static void
write_later(uint64_t later_ms)
{
	const uint64_t at_ms = now_ms() + later_ms;
	const struct record_known known = {.id = 7,
	    .producer = {"p", 1},
	    .key = {"seven", 5},
	    .acked_at_ms = at_ms};
	const struct record_state state = {.state = JOB_FAILED,
	    .ended_at_ms = at_ms,
	    .kept_at_ms = at_ms,
	    .buried_at_ms = at_ms,
	    .queued_ms = 1000,
	    .decode_ms = 200,
	    .finish_ms = 30,
	    .endpoint = {"gpu1", 4},
	    .code = LATENTD_ERR_ENDPOINT};
	struct reason why = {.err = LATENTD_OK};
	struct store *store;

	cr_assert_eq(store_open(fixture_spool.dir.path, 64 * MIB, &store, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(store_begin(store, &why), STORE_OK);
	cr_assert_eq(store_put_known(store, &known, &why), STORE_OK);
	cr_assert_eq(store_put_state(store, 1, &state, &why), STORE_OK);
	cr_assert_eq(store_commit(store, &why), STORE_OK);
	store_close(store);
}

Test(spool, a_clock_that_was_set_back_puts_nothing_into_the_future)
{
	struct job *job;

	fixture_spool_open();
	fixture_spool_put_now("a");
	fixture_spool_stop();
	write_later(3600000);
	fixture_spool_start();
	/* on_known() has looked at the time of the key. */
	cr_assert_eq(fixture_spool.known_id, 7);
	cr_assert_eq(fixture_spool.jobs_n, 1);
	job = fixture_spool.jobs[0];
	cr_assert(job->buried_ns > 0 && job->buried_ns <= uv_hrtime());
	cr_assert(job->kept_since_ns <= uv_hrtime());
	cr_assert(job->finished_ns <= uv_hrtime());
	cr_assert_eq(job->started_ns - job->submitted_ns, 1000 * MS_NS);
	cr_assert_eq(job->decoded_ns - job->started_ns, 200 * MS_NS);
	cr_assert_eq(job->finished_ns - job->decoded_ns, 30 * MS_NS);
	fixture_spool_close();
}

Test(spool, what_took_longer_than_this_boot_took_as_long)
{
	struct job *job;

	fixture_spool_open();
	fixture_spool_put_now("a");
	fixture_spool_stop();
	/* Before anything that this clock can tell. */
	write_later(0 - UINT64_C(400) * 86400000);
	fixture_spool_start();
	job = fixture_spool.jobs[0];
	cr_assert_eq(job->started_ns - job->submitted_ns, 1000 * MS_NS);
	cr_assert_eq(job->decoded_ns - job->started_ns, 200 * MS_NS);
	cr_assert_eq(job->finished_ns - job->decoded_ns, 30 * MS_NS);
	fixture_spool_close();
}

Test(spool, keys_are_remembered_for_as_long_as_was_said_last)
{
	fixture_spool_open();
	fixture_spool_end_now(fixture_spool_put_now("a"), 100);
	spool_change(fixture_spool.s, 0, 100);
	fixture_spool_forget(jobs_by_id(&fixture_spool.f.jobs, 1), true);
	fixture_spool_end_now(fixture_spool_put_now("b"), 100);
	fixture_spool_stop();
	fixture_spool.known_id = 0;
	fixture_spool_start();
	cr_assert_eq(fixture_spool.known_id, 0);
	spool_change(fixture_spool.s, 600000, 100);
	fixture_spool_forget(jobs_by_id(&fixture_spool.f.jobs, 2), true);
	fixture_spool_stop();
	fixture_spool_start();
	cr_assert_eq(fixture_spool.known_id, 2);
	fixture_spool_close();
}

Test(spool, a_user_holds_what_its_jobs_have_in_memory_or_in_the_spool)
{
	struct attempt attempt = {.part = 0};
	const struct user *user;
	struct job *job;

	fixture_spool_open();
	user = fixture_spool.p->user;
	cr_assert_not_null(user);
	job = fixture_spool_put_now("a");
	cr_assert_eq(user->bytes, LATENT_BYTES);
	job_shed_input(&fixture_spool.f.jobs, job);
	cr_assert_eq(user->bytes, LATENT_BYTES, "it is in the spool still");
	attempt.job = job;
	spool_load_body(fixture_spool.s, &attempt);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, fixture_spool.bodies_n == 1);
	cr_assert_eq(user->bytes, LATENT_BYTES);
	fixture_spool_end_now(job, 100);
	cr_assert_eq(user->bytes, 100);
	job_shed_result(&fixture_spool.f.jobs, job);
	cr_assert_eq(user->bytes, 100);
	fixture_spool_put_now("b");
	fixture_spool_stop();
	fixture_spool_start();
	user = fixture_spool.p->user;
	cr_assert_eq(user->jobs_n, 2);
	cr_assert_eq(user->bytes, LATENT_BYTES + 100);
	job = fixture_spool.jobs[0];
	spool_load_result(fixture_spool.s, job);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, fixture_spool.results_n == 1);
	cr_assert_eq(user->bytes, LATENT_BYTES + 100);
	job_drop_result(&fixture_spool.f.jobs, job);
	cr_assert_eq(user->bytes, LATENT_BYTES);
	fixture_spool_forget(job, false);
	job_release_input(&fixture_spool.f.jobs, fixture_spool.jobs[1]);
	cr_assert_eq(user->bytes, 0);
	fixture_spool_close();
}
