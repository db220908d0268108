/* SPDX-License-Identifier: Apache-2.0 */
#include "spool_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "faulty_disk.h"

struct fixture_spool fixture_spool;

static void
on_put(struct job *job, enum store_result result, void *arg)
{
	(void)arg;
	fixture_spool.put_n[result]++;
	cr_assert_eq(job->spooled, result == STORE_OK);
	if (result == STORE_OK)
		job_move(&fixture_spool.f.jobs, job, JOB_QUEUED);
}

static void
on_end(struct job *job, void *arg)
{
	(void)arg;
	fixture_spool.ended_n++;
	fixture_spool.stored_n += job->result_stored;
}

static void
on_body(struct attempt *attempt, const struct reason *why, void *arg)
{
	(void)arg;
	cr_assert_not(attempt->loading);
	fixture_spool.bodies_n++;
	fixture_spool.body_why = why;
	fixture_spool.body_err = why != NULL ? why->err : LATENTD_OK;
}

static void
on_result(struct job *job, const struct reason *why, void *arg)
{
	(void)job;
	(void)arg;
	fixture_spool.results_n++;
	fixture_spool.result_err = why != NULL ? why->err : LATENTD_OK;
}

static void
on_rested(void *arg)
{
	(void)arg;
	fixture_spool.rested = true;
}

static struct lane *
on_lane(const struct model *model, enum latentd_task task, void *arg)
{
	(void)arg;
	return strcmp(model->name, "sdxl") == 0 && task == LATENTD_DECODE
	    ? &fixture_spool.lane
	    : NULL;
}

static void
on_job(struct job *job, void *arg)
{
	(void)arg;
	fixture_spool.jobs[fixture_spool.jobs_n++] = job;
	if (job->state == JOB_NEW)
		job_move(&fixture_spool.f.jobs, job, JOB_QUEUED);
}

static void
on_known(const struct record_known *known, uint64_t acked_ns, void *arg)
{
	(void)arg;
	cr_assert(acked_ns > 0 && acked_ns <= uv_hrtime());
	fixture_spool.known_id = known->id;
}

/* Start a spool, or start it again, with what it has. */
void
fixture_spool_start(void)
{
	const struct spool_options options = {.path = fixture_spool.dir.path,
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

	fixture_jobs_open(&fixture_spool.f);
	cr_assert_eq(spool_open(&fixture_spool.f.loop.uv, &fixture_spool.f.jobs,
			 &options, &fixture_spool.s, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(
	    spool_restore(fixture_spool.s, &visitor, &why), LATENTD_OK);
	cr_assert_eq(spool_start(fixture_spool.s, &why), LATENTD_OK);
	fixture_spool.p = fixture_producer(&fixture_spool.f, "p");
	producers_hold(fixture_spool.p);
}

void
fixture_spool_open(void)
{
	memset(&fixture_spool, 0, sizeof(fixture_spool));
	faulty_disk_fail(0, 0);
	faulty_disk_fail_meta(0);
	fixture_spool.dir = store_dir_make();
	fixture_spool_start();
}

/* End it as a crash would, as far as the spool can tell. */
void
fixture_spool_stop(void)
{
	uint64_t id = 0;
	struct job *job;

	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, !spool_busy(fixture_spool.s));
	while ((job = jobs_after(&fixture_spool.f.jobs, id)) != NULL) {
		id = job->id;
		job_destroy(&fixture_spool.f.jobs, job);
	}
	producers_release(&fixture_spool.f.jobs.producers, fixture_spool.p);
	spool_close(fixture_spool.s);
	fixture_jobs_close(&fixture_spool.f);
	memset(fixture_spool.jobs, 0, sizeof(fixture_spool.jobs));
	fixture_spool.jobs_n = 0;
}

void
fixture_spool_close(void)
{
	fixture_spool_stop();
	store_dir_remove(&fixture_spool.dir);
}

struct job *
fixture_spool_put_bytes(
    const char *key, struct latentd_tensor tensor, size_t bytes)
{
	const struct message_submit s = {.task = LATENTD_DECODE,
	    .model = {"sdxl", 4},
	    .tensor = tensor,
	    .output = LATENTD_OUT_PIXELS,
	    .deadline_ms = 600000};
	struct reason why = {.err = LATENTD_OK};
	struct intake intake;
	struct job *job;
	nng_msg *msg;

	cr_assert_eq(nng_msg_alloc(&msg, bytes), 0);
	store_fill((uint64_t)key[0], nng_msg_body(msg), bytes);
	cr_assert_eq(intake_read(&s, nng_msg_body(msg), bytes, &intake, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(intake_job(&intake, &fixture_spool.f.jobs, fixture_spool.p,
			 (struct text){key, strlen(key)}, &job, &why),
	    LATENTD_OK);
	job->lane = &fixture_spool.lane;
	job_hold(&fixture_spool.f.jobs, job, msg);
	spool_put(fixture_spool.s, job, &s, &intake);
	return job;
}

struct job *
fixture_spool_put(const char *key)
{
	return fixture_spool_put_bytes(key,
	    (struct latentd_tensor){LATENTD_F16, 4, {1, 4, 8, 8}},
	    LATENT_BYTES);
}

/* Put a job and wait until it is on disk. */
struct job *
fixture_spool_put_now(const char *key)
{
	struct job *job = fixture_spool_put(key);

	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, !job->storing);
	return job;
}

/* Let a job end with a result of ${n} bytes. */
void
fixture_spool_end_now(struct job *job, size_t n)
{
	struct buffer *result = buffer_create(n);

	store_fill(job->id, buffer_extend(result, n), n);
	job_move(&fixture_spool.f.jobs, job, JOB_ACTIVE);
	job->parts[0].reply = result;
	job->parts[0].file_bytes = calloc(1, sizeof(uint64_t));
	job->parts[0].file_bytes[0] = n;
	job->parts[0].files_n = 1;
	job->done_n = 1;
	job->finished_ns = uv_hrtime();
	snprintf(job->endpoint, sizeof(job->endpoint), "gpu1");
	cr_assert_eq(job_gather(&fixture_spool.f.jobs, job), LATENTD_OK);
	job_move(&fixture_spool.f.jobs, job, JOB_DONE);
	job_release_input(&fixture_spool.f.jobs, job);
	spool_end(fixture_spool.s, job);
	FIXTURE_RUN_UNTIL(&fixture_spool.f.loop, !job->storing);
}

void
fixture_spool_forget(struct job *job, bool known)
{
	spool_forget(fixture_spool.s, job, known);
	job_destroy(&fixture_spool.f.jobs, job);
}
