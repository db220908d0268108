/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "jobs_fixture.h"
#include "outbox.h"

#define LONG_MS 3600000u
#define FIRST_TAG UINT64_C(1000)

struct fixture {
	struct fixture_jobs f;
	struct outbox *o;
	struct producer *p, *q;
	size_t available_n, dropped_n, acked_n, room_n;
	struct job *failed; /* the last one given on */
	struct producer *available; /* the last one told of */
	char dropped[16][LATENTD_MAX_NAME_BYTES + 1];
	unsigned next_key;
};

static void
on_available(struct producer *producer, void *arg)
{
	struct fixture *x = arg;

	x->available = producer;
	x->available_n++;
}

static void
on_dropped(const struct job *job, const char *reason, void *arg)
{
	struct fixture *x = arg;

	cr_assert(strlen(reason) > 0);
	if (x->dropped_n < 16)
		memcpy(x->dropped[x->dropped_n], job->key, sizeof(job->key));
	x->dropped_n++;
}

static void
on_acked(const struct job *job, void *arg)
{
	struct fixture *x = arg;

	cr_assert_neq(job->lease_pipe, 0);
	x->acked_n++;
}

static void
on_room(struct producer *producer, void *arg)
{
	struct fixture *x = arg;

	cr_assert(producer == x->p || producer == x->q);

	x->room_n++;
}

static void
on_failed(struct job *job, void *arg)
{
	struct fixture *x = arg;

	cr_assert_null(x->failed);
	x->failed = job;
}

static void
open_outbox(struct fixture *x, uint64_t keep_ms)
{
	const struct outbox_options options = {.first_tag = FIRST_TAG,
	    .keep_ms = keep_ms,
	    .on_available = on_available,
	    .on_dropped = on_dropped,
	    .on_acked = on_acked,
	    .on_failed = on_failed,
	    .on_room = on_room,
	    .arg = x};

	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	x->o = outbox_open(&x->f.loop.uv, &x->f.jobs, &options);
	cr_assert_not_null(x->o);
	x->p = fixture_producer(&x->f, "p");
	x->q = fixture_producer(&x->f, "q");
	producers_hold(x->p);
	producers_hold(x->q);
}

static void
close_outbox(struct fixture *x)
{
	outbox_close(x->o);
	cr_assert_eq(x->f.jobs.n, 0);
	producers_release(&x->f.jobs.producers, x->p);
	producers_release(&x->f.jobs.producers, x->q);
	fixture_jobs_close(&x->f);
}

/* A job of ${p} that has ended now, with a result of 3 bytes. */
static struct job *
put(struct fixture *x, struct producer *p)
{
	char key[16];
	struct job *job;

	snprintf(key, sizeof(key), "k%u", x->next_key++);
	job = fixture_job(&x->f, p, key, 1, 10);
	job_move(&x->f.jobs, job, JOB_QUEUED);
	job_move(&x->f.jobs, job, JOB_ACTIVE);
	job->parts[0].reply = fixture_reply(2, 'x', &job->parts[0].file_bytes);
	job->parts[0].files_n = 2;
	job->done_n = 1;
	cr_assert_eq(job_gather(&x->f.jobs, job), LATENTD_OK);
	job_release_input(&x->f.jobs, job);
	job->finished_ns = uv_hrtime();
	job_move(&x->f.jobs, job, JOB_DONE);
	outbox_put(x->o, job);
	return job;
}

Test(outbox, results_are_leased_in_the_order_in_which_they_came)
{
	struct fixture x;
	struct job *jobs[4];

	open_outbox(&x, LONG_MS);
	cr_assert_null(outbox_take(x.o, x.p, 1));
	for (size_t i = 0; i < 4; i++) {
		jobs[i] = put(&x, x.p);
		cr_assert_eq(x.available_n, i + 1);
		cr_assert_eq(x.available, x.p);
	}
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(outbox_take(x.o, x.p, 1), jobs[i]);
		cr_assert(jobs[i]->tag != 0);
	}
	cr_assert_null(outbox_take(x.o, x.p, 1));
	cr_assert_eq(outbox_kept_n(x.o), 4);
	close_outbox(&x);
}

Test(outbox, an_acknowledged_result_is_gone_and_gives_its_room_back)
{
	struct fixture x;
	struct job *job;

	open_outbox(&x, LONG_MS);
	job = put(&x, x.p);
	cr_assert_eq(x.f.jobs.result_bytes, 3);
	cr_assert_eq(outbox_take(x.o, x.p, 1), job);
	outbox_ack(x.o, x.p, job->tag);
	cr_assert_eq(x.acked_n, 1);
	cr_assert_eq(outbox_kept_n(x.o), 0);
	cr_assert_eq(x.f.jobs.n, 0);
	cr_assert_eq(x.f.jobs.result_bytes, 0);
	cr_assert_eq(x.room_n, 1);
	cr_assert_eq(x.dropped_n, 0);
	cr_assert_null(outbox_take(x.o, x.p, 1));
	close_outbox(&x);
}

Test(outbox, producers_get_their_own_results_only)
{
	struct fixture x;
	struct job *a, *b;

	open_outbox(&x, LONG_MS);
	a = put(&x, x.p);
	b = put(&x, x.q);
	cr_assert_eq(outbox_take(x.o, x.q, 1), b);
	cr_assert_null(outbox_take(x.o, x.q, 1));
	cr_assert_eq(outbox_take(x.o, x.p, 1), a);
	close_outbox(&x);
}

Test(outbox, tags_that_are_wrong_old_or_of_others_change_nothing)
{
	struct fixture x;
	struct job *a, *b;
	uint64_t tag;

	open_outbox(&x, LONG_MS);
	a = put(&x, x.p);
	b = put(&x, x.q);
	outbox_ack(x.o, x.p, 0);
	outbox_ack(x.o, x.p, a->tag);
	cr_assert_eq(outbox_take(x.o, x.p, 1), a);
	cr_assert_eq(outbox_take(x.o, x.q, 2), b);
	outbox_ack(x.o, x.p, b->tag);
	outbox_ack(x.o, x.q, a->tag);
	outbox_ack(x.o, x.p, a->tag + 77);
	outbox_ack(x.o, x.p, a->id);
	cr_assert_eq(outbox_kept_n(x.o), 2);
	tag = a->tag;
	outbox_ack(x.o, x.p, tag);
	outbox_ack(x.o, x.p, tag);
	cr_assert_eq(outbox_kept_n(x.o), 1);
	cr_assert_eq(x.room_n, 1);
	close_outbox(&x);
}

Test(outbox, the_tag_of_a_lease_that_ended_acknowledges_nothing)
{
	struct fixture x;
	struct job *job;
	uint64_t old;

	open_outbox(&x, LONG_MS);
	job = put(&x, x.p);
	outbox_take(x.o, x.p, 1);
	old = job->tag;
	outbox_release(x.o, 1);
	outbox_ack(x.o, x.p, old);
	cr_assert_eq(outbox_kept_n(x.o), 1);
	cr_assert_eq(outbox_take(x.o, x.p, 2), job);
	cr_assert_neq(job->tag, old);
	outbox_ack(x.o, x.p, old);
	cr_assert_eq(outbox_kept_n(x.o), 1);
	outbox_ack(x.o, x.p, job->tag);
	cr_assert_eq(outbox_kept_n(x.o), 0);
	close_outbox(&x);
}

Test(outbox, what_a_gone_connection_held_comes_again_oldest_first)
{
	struct fixture x;
	struct job *jobs[5];
	size_t available_n;

	open_outbox(&x, LONG_MS);
	for (size_t i = 0; i < 5; i++)
		jobs[i] = put(&x, x.p);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(outbox_take(x.o, x.p, i == 1 ? 9 : 7), jobs[i]);
	available_n = x.available_n;
	outbox_release(x.o, 8);
	cr_assert_eq(x.available_n, available_n);
	outbox_release(x.o, 7);
	cr_assert(x.available_n > available_n);
	/* 0, 2 and 3 were delivered before 4 ever was; 1 is still leased. */
	cr_assert_eq(outbox_take(x.o, x.p, 5), jobs[0]);
	cr_assert_eq(outbox_take(x.o, x.p, 5), jobs[2]);
	cr_assert_eq(outbox_take(x.o, x.p, 5), jobs[3]);
	cr_assert_eq(outbox_take(x.o, x.p, 5), jobs[4]);
	cr_assert_null(outbox_take(x.o, x.p, 5));
	outbox_release(x.o, 9);
	cr_assert_eq(outbox_take(x.o, x.p, 5), jobs[1]);
	close_outbox(&x);
}

Test(outbox, a_lease_can_be_acknowledged_over_another_connection)
{
	struct fixture x;
	struct job *job;

	open_outbox(&x, LONG_MS);
	job = put(&x, x.p);
	cr_assert_eq(outbox_take(x.o, x.p, 1), job);
	outbox_ack(x.o, x.p, job->tag);
	outbox_release(x.o, 1);
	cr_assert_eq(outbox_kept_n(x.o), 0);
	close_outbox(&x);
}

Test(outbox, a_result_that_nobody_collects_leaves_a_notice_and_that_goes_too)
{
	struct fixture x;
	struct job *job;

	open_outbox(&x, 1);
	job = put(&x, x.p);
	put(&x, x.q);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.dropped_n >= 2);
	cr_assert_str_eq(x.dropped[0], "k0");
	cr_assert_str_eq(x.dropped[1], "k1");
	cr_assert_eq(x.f.jobs.result_bytes, 0);
	if (x.dropped_n == 2) {
		cr_assert_eq(outbox_kept_n(x.o), 2);
		cr_assert_eq(job->reason.err, LATENTD_ERR_DROPPED);
		cr_assert_null(job->result);
	}
	FIXTURE_RUN_UNTIL(&x.f.loop, x.dropped_n == 4);
	cr_assert_str_eq(x.dropped[2], "k0");
	cr_assert_eq(outbox_kept_n(x.o), 0);
	cr_assert_eq(x.room_n, 4);
	close_outbox(&x);
}

Test(outbox, the_notice_of_a_dropped_result_is_delivered_like_one)
{
	struct fixture x;
	struct job *job;

	open_outbox(&x, LONG_MS);
	job = put(&x, x.p);
	/* As if it had waited for long; the second one arms the timer. */
	job->kept_since_ns = 1;
	put(&x, x.p);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.dropped_n == 1);
	cr_assert_eq(outbox_kept_n(x.o), 2);
	cr_assert_eq(outbox_take(x.o, x.p, 1), job);
	cr_assert_eq(job->state, JOB_DONE);
	cr_assert_eq(job->reason.err, LATENTD_ERR_DROPPED);
	cr_assert(outbox_ack(x.o, x.p, job->tag));
	cr_assert_eq(x.f.jobs.result_bytes, 3);
	close_outbox(&x);
}

Test(outbox, a_leased_result_is_dropped_in_time_too)
{
	struct fixture x;
	struct job *job;

	open_outbox(&x, 1);
	job = put(&x, x.p);
	cr_assert_eq(outbox_take(x.o, x.p, 1), job);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.dropped_n == 2);
	outbox_release(x.o, 1);
	cr_assert_null(outbox_take(x.o, x.p, 1));
	close_outbox(&x);
}

Test(outbox, a_lease_that_runs_out_is_ready_again_oldest_first)
{
	struct fixture x;
	struct job *jobs[3];

	open_outbox(&x, LONG_MS);
	for (size_t i = 0; i < 3; i++)
		jobs[i] = put(&x, x.p);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_eq(outbox_take(x.o, x.p, 1), jobs[i]);
		/* As if it had been leased long ago. */
		jobs[i]->lease_until_ns = 1 + i;
	}
	x.available_n = 0;
	/* Arms the timer for the head of the leased ones. */
	outbox_release(x.o, 99);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.available_n > 0);
	cr_assert_eq(x.available, x.p);
	cr_assert_eq(outbox_take(x.o, x.p, 2), jobs[0]);
	cr_assert_eq(outbox_take(x.o, x.p, 2), jobs[1]);
	cr_assert_eq(outbox_take(x.o, x.p, 2), jobs[2]);
	close_outbox(&x);
}

/* Whoever is told of a result may take it from inside. */
static const struct job *taken[64];
static size_t taken_n;

static void
on_available_take(struct producer *producer, void *arg)
{
	struct fixture *x = arg;
	const struct job *job;

	while ((job = outbox_take(x->o, producer, 77)) != NULL)
		taken[taken_n++] = job;
}

Test(outbox, results_may_be_taken_from_inside_the_news_of_them)
{
	const struct outbox_options options = {.first_tag = 1,
	    .keep_ms = LONG_MS,
	    .on_available = on_available_take,
	    .on_dropped = on_dropped,
	    .on_acked = on_acked,
	    .on_room = on_room};
	struct outbox_options here = options;
	struct fixture x;
	struct job *jobs[4];

	open_outbox(&x, LONG_MS);
	outbox_close(x.o);
	here.arg = &x;
	x.o = outbox_open(&x.f.loop.uv, &x.f.jobs, &here);
	for (size_t i = 0; i < 4; i++)
		jobs[i] = put(&x, x.p);
	cr_assert_eq(taken_n, 4);
	outbox_release(x.o, 77);
	cr_assert_eq(taken_n, 8);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(taken[4 + i], jobs[i], "place %zu", i);
	close_outbox(&x);
}

Test(outbox, tags_never_repeat_and_begin_where_they_are_told)
{
	struct fixture x;
	uint64_t last = FIRST_TAG;

	open_outbox(&x, LONG_MS);
	for (size_t i = 0; i < 5; i++)
		put(&x, x.p);
	for (int i = 0; i < 200; i++) {
		const struct job *job = outbox_take(x.o, x.p, 3);

		if (job == NULL) {
			outbox_release(x.o, 3);
			continue;
		}
		cr_assert(job->tag > last);
		last = job->tag;
	}
	close_outbox(&x);
}

#define JOBS_N 30

Test(outbox, every_result_is_delivered_until_acknowledged_once)
{
	struct fuzz f = {.state = 5};
	struct fixture x;
	uint64_t tags[JOBS_N] = {0};
	size_t put_n = 0, acked_n = 0;

	open_outbox(&x, LONG_MS);
	for (int i = 0; i < 20000; i++) {
		struct producer *p = fuzz_below(&f, 2) ? x.p : x.q;
		uint32_t pipe = 1 + (uint32_t)fuzz_below(&f, 3);
		const struct job *job;
		size_t before = outbox_kept_n(x.o);

		switch (fuzz_below(&f, 5)) {
		case 0:
			if (outbox_kept_n(x.o) < JOBS_N)
				put(&x, p), put_n++;
			break;
		case 1:
			if ((job = outbox_take(x.o, p, pipe)) != NULL)
				tags[fuzz_below(&f, JOBS_N)] = job->tag;
			break;
		case 2:
			outbox_release(x.o, pipe);
			break;
		default:
			outbox_ack(x.o, p, tags[fuzz_below(&f, JOBS_N)]);
			acked_n += before - outbox_kept_n(x.o);
			break;
		}
		cr_assert_eq(outbox_kept_n(x.o), put_n - acked_n);
		cr_assert_eq(x.f.jobs.n, put_n - acked_n);
	}
	cr_assert(acked_n > 100);
	cr_assert_eq(x.room_n, acked_n);
	close_outbox(&x);
}
