/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "buried.h"
#include "fuzz.h"
#include "jobs_fixture.h"
#include "lane.h"
#include "outbox.h"

#define LONG_MS 3600000u

struct fixture {
	struct fixture_jobs f;
	struct outbox *o;
	struct buried *b;
	struct producer *p, *q;
	size_t dropped_n, room_n, revived_n;
	char dropped[LATENTD_MAX_NAME_BYTES + 1];
	unsigned next_key;
};

static void
on_available(struct producer *producer, void *arg)
{
	(void)producer;
	(void)arg;
}

static void
on_outbox_dropped(const struct job *job, const char *reason, void *arg)
{
	(void)reason;
	(void)arg;
	cr_assert_neq(job->state, JOB_FAILED);
}

static void
on_failed(struct job *job, void *arg)
{
	struct fixture *x = arg;

	cr_assert_eq(job->state, JOB_FAILED);
	cr_assert_not_null(job->message);
	buried_put(x->b, job);
}

static void
on_dropped(const struct job *job, void *arg)
{
	struct fixture *x = arg;

	cr_assert(job->buried);
	memcpy(x->dropped, job->key, sizeof(job->key));
	x->dropped_n++;
}

static void
on_acked(const struct job *job, void *arg)
{
	(void)job;
	(void)arg;
}

static void
on_room(struct producer *producer, void *arg)
{
	struct fixture *x = arg;

	cr_assert(producer == x->p || producer == x->q);
	x->room_n++;
}

static void
open_fixture(struct fixture *x, uint64_t keep_ms, uint64_t bury_ms)
{
	const struct outbox_options outbox = {.first_tag = 1,
	    .keep_ms = keep_ms,
	    .on_available = on_available,
	    .on_dropped = on_outbox_dropped,
	    .on_acked = on_acked,
	    .on_failed = on_failed,
	    .on_room = on_room,
	    .arg = x};
	const struct buried_options buried = {.bury_ms = bury_ms,
	    .on_dropped = on_dropped,
	    .on_room = on_room,
	    .arg = x};

	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	x->o = outbox_open(&x->f.loop.uv, &x->f.jobs, &outbox);
	x->b = buried_open(&x->f.loop.uv, &x->f.jobs, &buried);
	cr_assert(x->o != NULL && x->b != NULL);
	x->p = fixture_producer(&x->f, "p");
	x->q = fixture_producer(&x->f, "q");
	producers_hold(x->p);
	producers_hold(x->q);
}

static void
close_fixture(struct fixture *x)
{
	outbox_close(x->o);
	buried_close(x->b);
	producers_release(&x->f.jobs.producers, x->p);
	producers_release(&x->f.jobs.producers, x->q);
	fixture_jobs_close(&x->f);
}

static struct job *
new_job(struct fixture *x, struct producer *p, size_t parts_n)
{
	char key[16];
	struct job *job;

	snprintf(key, sizeof(key), "k%u", x->next_key++);
	job = fixture_job(&x->f, p, key, parts_n, 10 * parts_n);
	job_move(&x->f.jobs, job, JOB_QUEUED);
	return job;
}

/* What dispatch and the pipeline do when a job fails. */
static void
fail(struct fixture *x, struct job *job)
{
	job_move(&x->f.jobs, job, JOB_ACTIVE);
	job->attempts_n++;
	job->failures_n = 5;
	job->failing = true;
	reason_set(&job->reason, LATENTD_ERR_ENDPOINT, "no luck");
	job->finished_ns = uv_hrtime();
	job_move(&x->f.jobs, job, JOB_FAILED);
	outbox_put(x->o, job);
}

/* The producer has been told. */
static void
deliver(struct fixture *x, struct producer *p)
{
	const struct job *job = outbox_take(x->o, p, 1);

	cr_assert_not_null(job);
	outbox_ack(x->o, p, job->tag);
}

static struct job *
bury(struct fixture *x, struct producer *p)
{
	struct job *job = new_job(x, p, 1);

	fail(x, job);
	deliver(x, p);
	cr_assert(job->buried);
	return job;
}

Test(buried, a_failed_job_is_kept_with_latent_and_reason_after_delivery)
{
	struct fixture x;
	struct job *job;

	open_fixture(&x, LONG_MS, LONG_MS);
	job = bury(&x, x.p);
	cr_assert_eq(jobs_by_id(&x.f.jobs, job->id), job);
	cr_assert_eq(x.f.jobs.n, 1);
	cr_assert_eq(x.f.jobs.buried_n, 1);
	cr_assert_eq(x.p->buried_n, 1);
	cr_assert_eq(x.p->state_n[JOB_FAILED], 1);
	cr_assert_eq(x.f.jobs.input_bytes, 10);
	cr_assert_str_eq(job->reason.text, "no luck");
	cr_assert_eq(outbox_kept_n(x.o), 0);
	cr_assert_null(outbox_take(x.o, x.p, 1));
	close_fixture(&x);
}

Test(buried, a_failure_that_nobody_collects_is_buried_when_its_time_is_over)
{
	struct fixture x;
	struct job *job;

	open_fixture(&x, 1, LONG_MS);
	job = new_job(&x, x.p, 1);
	fail(&x, job);
	while (!job->buried)
		uv_run(&x.f.loop.uv, UV_RUN_ONCE);
	cr_assert_eq(outbox_kept_n(x.o), 0);
	cr_assert_eq(x.f.jobs.n, 1);
	close_fixture(&x);
}

Test(buried, a_failed_job_without_its_latent_is_forgotten_with_its_delivery)
{
	struct fixture x;
	struct job *job;

	open_fixture(&x, LONG_MS, LONG_MS);
	job = new_job(&x, x.p, 1);
	fail(&x, job);
	job_release_input(&x.f.jobs, job);
	deliver(&x, x.p);
	cr_assert_eq(x.f.jobs.n, 0);
	cr_assert_eq(x.f.jobs.buried_n, 0);
	close_fixture(&x);
}

Test(buried, what_nobody_kicks_in_time_is_dropped_in_order_and_counted)
{
	struct fixture x;

	open_fixture(&x, LONG_MS, 1);
	bury(&x, x.p);
	bury(&x, x.q);
	while (x.dropped_n < 2)
		uv_run(&x.f.loop.uv, UV_RUN_ONCE);
	cr_assert_str_eq(x.dropped, "k1");
	cr_assert_eq(buried_dropped_n(x.b), 2);
	cr_assert_eq(x.f.jobs.n, 0);
	cr_assert_eq(x.f.jobs.input_bytes, 0);
	cr_assert_eq(x.room_n, 4);
	close_fixture(&x);
}

Test(buried, a_revived_job_is_as_new_but_for_the_parts_that_are_done)
{
	struct fixture x;
	struct job *job;

	open_fixture(&x, LONG_MS, LONG_MS);
	job = new_job(&x, x.p, 3);
	job->parts[1].state = PART_DONE;
	job->parts[1].reply = fixture_reply(1, 'x', &job->parts[1].file_bytes);
	job->parts[1].files_n = 1;
	/* As after replies could not be put together. */
	job->parts[2].state = PART_DONE;
	job->done_n = 2;
	fail(&x, job);
	deliver(&x, x.p);
	buried_remove(x.b, job);
	job_revive(&x.f.jobs, job);
	cr_assert(!job->buried && !job->failing && job->failures_n == 0);
	cr_assert_eq(x.f.jobs.buried_n + x.p->buried_n, 0);
	cr_assert_eq(job->done_n, 1);
	cr_assert_eq((int)job->parts[0].state, PART_TODO);
	cr_assert_eq((int)job->parts[1].state, PART_DONE);
	cr_assert_eq((int)job->parts[2].state, PART_TODO);
	cr_assert_eq(job->reason.err, LATENTD_OK);
	cr_assert_eq(job->kicks_n, 1);
	cr_assert_eq(job->tag, 0);
	job_move(&x.f.jobs, job, JOB_QUEUED);
	cr_assert_eq(x.p->open_n, 1);
	job_destroy(&x.f.jobs, job);
	close_fixture(&x);
}

Test(buried, the_acknowledgement_of_a_failure_that_was_kicked_hits_nothing)
{
	struct fixture x;
	struct job *job;
	uint64_t tag;

	open_fixture(&x, LONG_MS, LONG_MS);
	job = new_job(&x, x.p, 1);
	fail(&x, job);
	tag = outbox_take(x.o, x.p, 7)->tag;
	outbox_remove(x.o, job);
	job_revive(&x.f.jobs, job);
	job_move(&x.f.jobs, job, JOB_QUEUED);
	outbox_ack(x.o, x.p, tag);
	outbox_release(x.o, 7);
	cr_assert_eq(jobs_by_id(&x.f.jobs, job->id), job);
	cr_assert_eq((int)job->state, JOB_QUEUED);
	fail(&x, job);
	cr_assert(outbox_take(x.o, x.p, 7)->tag != tag);
	close_fixture(&x);
}

/* ---- random steps against a model of a few numbers ---- */

enum where { GONE, QUEUED, READY, LEASED, BURIED };

#define MODEL_MAX 64

struct books {
	struct job *jobs[MODEL_MAX];
	enum where where[MODEL_MAX];
	uint64_t tags[MODEL_MAX];
};

static size_t
count(const struct books *m, enum where where)
{
	size_t n = 0;

	for (size_t i = 0; i < MODEL_MAX; i++)
		n += m->where[i] == where;
	return n;
}

static void
kick(struct fixture *x, struct books *m, size_t i)
{
	if (m->where[i] == BURIED)
		buried_remove(x->b, m->jobs[i]);
	else
		outbox_remove(x->o, m->jobs[i]);
	job_revive(&x->f.jobs, m->jobs[i]);
	job_move(&x->f.jobs, m->jobs[i], JOB_QUEUED);
	m->where[i] = QUEUED;
}

static void
purge(struct fixture *x, struct books *m, size_t i)
{
	if (m->where[i] == BURIED)
		buried_remove(x->b, m->jobs[i]);
	else
		outbox_remove(x->o, m->jobs[i]);
	job_destroy(&x->f.jobs, m->jobs[i]);
	m->where[i] = GONE;
}

static void
lease(struct fixture *x, struct books *m, struct producer *p)
{
	const struct job *job = outbox_take(x->o, p, 1);

	for (size_t i = 0; job != NULL && i < MODEL_MAX; i++) {
		if (m->where[i] != GONE && m->jobs[i] == job) {
			cr_assert_eq((int)m->where[i], READY);
			m->where[i] = LEASED;
			m->tags[i] = job->tag;
			return;
		}
	}
	cr_assert_null(job, "a job that the model does not know");
}

static void
step(struct fixture *x, struct books *m, struct fuzz *fuzz)
{
	size_t i = fuzz_below(fuzz, MODEL_MAX);
	struct producer *p = fuzz_below(fuzz, 2) == 0 ? x->p : x->q;

	switch (m->where[i]) {
	case GONE:
		m->jobs[i] = new_job(x, p, 1 + fuzz_below(fuzz, 3));
		m->where[i] = QUEUED;
		return;
	case QUEUED:
		fail(x, m->jobs[i]);
		m->where[i] = READY;
		return;
	case READY:
		if (fuzz_below(fuzz, 3) != 0)
			lease(x, m, m->jobs[i]->producer);
		else if (fuzz_below(fuzz, 2) == 0)
			kick(x, m, i);
		else
			purge(x, m, i);
		return;
	case LEASED:
		if (fuzz_below(fuzz, 3) != 0) {
			outbox_ack(x->o, m->jobs[i]->producer, m->tags[i]);
			m->where[i] = BURIED;
		} else {
			kick(x, m, i);
		}
		return;
	case BURIED:
		outbox_ack(x->o, m->jobs[i]->producer, m->tags[i]);
		if (fuzz_below(fuzz, 2) == 0)
			kick(x, m, i);
		else
			purge(x, m, i);
		return;
	}
}

static void
check(const struct fixture *x, const struct books *m)
{
	cr_assert_eq(x->f.jobs.n, MODEL_MAX - count(m, GONE));
	cr_assert_eq(x->f.jobs.state_n[JOB_QUEUED], count(m, QUEUED));
	cr_assert_eq(x->f.jobs.buried_n, count(m, BURIED));
	cr_assert_eq(x->p->buried_n + x->q->buried_n, count(m, BURIED));
	cr_assert_eq(outbox_kept_n(x->o), count(m, READY) + count(m, LEASED));
	for (size_t i = 0; i < MODEL_MAX; i++) {
		const struct job *job = m->jobs[i];

		if (m->where[i] == GONE)
			continue;
		cr_assert_eq(job->buried, m->where[i] == BURIED);
		cr_assert_eq(job->lease_pipe != 0, m->where[i] == LEASED);
		cr_assert_not_null(job->message);
	}
}

Test(buried, any_order_of_failing_delivering_kicking_and_purging_adds_up)
{
	struct fuzz fuzz = {.state = 4};
	struct books m = {.where = {GONE}};
	struct fixture x;

	open_fixture(&x, LONG_MS, LONG_MS);
	for (int i = 0; i < 20000; i++) {
		step(&x, &m, &fuzz);
		if (i % 16 == 0)
			check(&x, &m);
	}
	check(&x, &m);
	for (size_t i = 0; i < MODEL_MAX; i++) {
		if (m.where[i] == QUEUED)
			job_destroy(&x.f.jobs, m.jobs[i]);
	}
	close_fixture(&x);
}
