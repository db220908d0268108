/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "jobs_fixture.h"
#include "queue.h"

struct fixture {
	struct fixture_jobs f;
	struct queue *q;
	struct lane lanes[2];
	struct producer *p;
	size_t ready_n;
	unsigned next_key;
};

static void
on_ready(void *arg)
{
	struct fixture *x = arg;

	x->ready_n++;
}

static void
open_queue(struct fixture *x, size_t jobs_max, uint64_t bytes_max)
{
	const struct queue_options options = {.jobs_max = jobs_max,
	    .bytes_max = bytes_max,
	    .on_ready = on_ready,
	    .arg = x};

	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	x->q = queue_open(&x->f.loop.uv, &x->f.jobs, &options);
	cr_assert_not_null(x->q);
	for (size_t i = 0; i < 2; i++) {
		order_init(&x->lanes[i].waiting, 0);
		TAILQ_INIT(&x->lanes[i].again);
	}
	x->p = fixture_producer(&x->f, "p");
	producers_hold(x->p);
}

static void
close_queue(struct fixture *x)
{
	for (size_t i = 0; i < 2; i++) {
		cr_assert(TAILQ_EMPTY(&x->lanes[i].again));
		cr_assert_eq(x->lanes[i].again_n, 0);
		order_fini(&x->lanes[i].waiting);
	}
	queue_close(x->q);
	producers_release(&x->f.jobs.producers, x->p);
	fixture_jobs_close(&x->f);
}

static struct job *
make(struct fixture *x, size_t lane, size_t message_bytes)
{
	char key[16];
	struct job *job;

	snprintf(key, sizeof(key), "k%u", x->next_key++);
	job = fixture_job(&x->f, x->p, key, 1, message_bytes);
	job->lane = &x->lanes[lane];
	return job;
}

static struct job *
push(struct fixture *x, size_t lane)
{
	struct job *job = make(x, lane, 0);

	cr_assert(queue_push(x->q, job));
	return job;
}

/* As dispatch does: those that were tried before first; the job becomes
 * active. */
static struct job *
pop(struct fixture *x, size_t lane)
{
	struct job *job = TAILQ_FIRST(&x->lanes[lane].again);

	if (job != NULL)
		cr_assert(queue_take(x->q, job));
	else
		job = queue_pop(x->q, &x->lanes[lane]);
	if (job != NULL)
		job_move(&x->f.jobs, job, JOB_ACTIVE);
	return job;
}

static void
retry(struct fixture *x, struct job *job, uint64_t at_ns)
{
	job->retry_at_ns = at_ns;
	cr_assert(queue_push(x->q, job));
}

#define DESTROY(x, job) job_destroy(&(x)->f.jobs, job)

Test(queue, jobs_leave_a_lane_in_the_order_in_which_they_came)
{
	struct fixture x;
	struct job *jobs[5];

	open_queue(&x, 100, 100);
	for (size_t i = 0; i < 5; i++) {
		jobs[i] = push(&x, 0);
		cr_assert_eq(x.ready_n, i + 1);
		cr_assert_eq(jobs[i]->state, JOB_QUEUED);
	}
	for (size_t i = 0; i < 5; i++) {
		cr_assert_eq(queue_pop(x.q, &x.lanes[0]), jobs[i]);
		cr_assert_eq(jobs[i]->state, JOB_QUEUED);
		DESTROY(&x, jobs[i]);
	}
	cr_assert_null(queue_pop(x.q, &x.lanes[0]));
	close_queue(&x);
}

Test(queue, lanes_do_not_see_each_others_jobs)
{
	struct fixture x;
	struct job *a, *b;

	open_queue(&x, 100, 100);
	a = push(&x, 0);
	b = push(&x, 1);
	cr_assert_eq(x.lanes[0].waiting.jobs_n, 1);
	cr_assert_eq(x.lanes[1].waiting.jobs_n, 1);
	cr_assert_eq(queue_pop(x.q, &x.lanes[1]), b);
	cr_assert_null(queue_pop(x.q, &x.lanes[1]));
	cr_assert_eq(queue_pop(x.q, &x.lanes[0]), a);
	DESTROY(&x, a);
	DESTROY(&x, b);
	close_queue(&x);
}

Test(queue, a_job_counts_until_it_is_destroyed)
{
	struct fixture x;
	struct job *a, *b;

	open_queue(&x, 2, 1000);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_ROOM);
	a = push(&x, 0);
	b = make(&x, 0, 0);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_FULL_JOBS);
	cr_assert(queue_push(x.q, b));
	cr_assert_eq(pop(&x, 0), a);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_FULL_JOBS);
	job_move(&x.f.jobs, a, JOB_DONE);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_FULL_JOBS);
	DESTROY(&x, a);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_ROOM);
	queue_remove(x.q, b);
	DESTROY(&x, b);
	close_queue(&x);
}

Test(queue, bytes_are_bounded_by_what_messages_are_held)
{
	struct fixture x;
	struct job *a;

	open_queue(&x, 10, 1000);
	a = make(&x, 0, 600);
	cr_assert_eq(queue_room(x.q, x.p, 400), QUEUE_ROOM);
	cr_assert_eq(queue_room(x.q, x.p, 401), QUEUE_FULL_BYTES);
	cr_assert_eq(queue_room(x.q, x.p, UINT64_MAX), QUEUE_FULL_BYTES);
	job_release_input(&x.f.jobs, a);
	cr_assert_eq(queue_room(x.q, x.p, 1000), QUEUE_ROOM);
	DESTROY(&x, a);
	close_queue(&x);
}

Test(queue, messages_beyond_the_bound_do_not_turn_it_over)
{
	struct fixture x;
	struct job *a;

	open_queue(&x, 10, 1000);
	a = make(&x, 0, 1500);
	cr_assert_eq(queue_room(x.q, x.p, 0), QUEUE_FULL_BYTES);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_FULL_BYTES);
	DESTROY(&x, a);
	close_queue(&x);
}

Test(queue, the_largest_message_that_the_door_lets_in_finds_room_when_alone)
{
	struct fixture x;
	struct job *a;

	/* The door's bound is on bodies: a message may be a header longer. */
	open_queue(&x, 10, 1000);
	cr_assert_eq(
	    queue_room(x.q, x.p, 1000 + MESSAGE_FRONT_BYTES), QUEUE_ROOM);
	a = make(&x, 0, 1);
	cr_assert_eq(queue_room(x.q, x.p, 1000), QUEUE_FULL_BYTES);
	DESTROY(&x, a);
	close_queue(&x);
}

Test(queue, retried_job_goes_before_waiting_ones)
{
	struct fixture x;
	struct job *first, *second;

	open_queue(&x, 10, 1000);
	first = push(&x, 0);
	second = push(&x, 0);
	cr_assert_eq(pop(&x, 0), first);
	retry(&x, first, 0);
	cr_assert_eq(pop(&x, 0), first);
	retry(&x, first, uv_hrtime());
	FIXTURE_RUN_UNTIL(&x.f.loop, x.lanes[0].again_n == 1);
	cr_assert_eq(first->retry_at_ns, 0);
	cr_assert_eq(pop(&x, 0), first);
	cr_assert_eq(pop(&x, 0), second);
	DESTROY(&x, first);
	DESTROY(&x, second);
	close_queue(&x);
}

Test(queue, a_job_is_not_offered_before_its_time)
{
	struct fixture x;
	struct job *job;
	uint64_t at_ns = uv_hrtime() + 3000000;
	size_t ready_n;

	open_queue(&x, 10, 1000);
	job = push(&x, 0);
	cr_assert_eq(pop(&x, 0), job);
	ready_n = x.ready_n;
	retry(&x, job, at_ns);
	cr_assert_eq(job->state, JOB_QUEUED);
	if (uv_hrtime() < at_ns)
		cr_assert_null(pop(&x, 0));
	FIXTURE_RUN_UNTIL(&x.f.loop, x.lanes[0].again_n == 1);
	cr_assert(uv_hrtime() >= at_ns);
	cr_assert(x.ready_n > ready_n);
	cr_assert_eq(pop(&x, 0), job);
	DESTROY(&x, job);
	close_queue(&x);
}

/* Push ${n} jobs to be retried at times in random order, all past. */
static void
retry_all(struct fixture *x, struct job **jobs, const uint64_t *times, size_t n)
{
	for (size_t i = 0; i < n; i++)
		jobs[i] = push(x, 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(pop(x, 0), jobs[i]);
	for (size_t i = 0; i < n; i++)
		retry(x, jobs[i], times[i]);
}

Test(queue, retried_jobs_go_in_the_order_of_their_times)
{
	static const uint64_t times[] = {50, 10, 40, 20, 30, 30};
	static const size_t order[] = {1, 3, 4, 5, 2, 0};
	struct fixture x;
	struct job *jobs[6], *waiting;

	open_queue(&x, 10, 1000);
	retry_all(&x, jobs, times, 6);
	waiting = push(&x, 0);
	FIXTURE_RUN_UNTIL(&x.f.loop, x.lanes[0].again_n == 6);
	for (size_t i = 0; i < 6; i++)
		cr_assert_eq(pop(&x, 0), jobs[order[i]], "place %zu", i);
	cr_assert_eq(pop(&x, 0), waiting);
	for (size_t i = 0; i < 6; i++)
		DESTROY(&x, jobs[i]);
	DESTROY(&x, waiting);
	close_queue(&x);
}

Test(queue, jobs_tried_before_keep_their_order_among_themselves)
{
	struct fixture x;
	struct job *jobs[4];

	open_queue(&x, 10, 1000);
	for (size_t i = 0; i < 4; i++)
		jobs[i] = push(&x, 0);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(pop(&x, 0), jobs[i]);
	for (size_t i = 0; i < 2; i++) {
		retry(&x, jobs[i], uv_hrtime());
		FIXTURE_RUN_UNTIL(&x.f.loop, x.lanes[0].again_n == 1 + i);
	}
	retry(&x, jobs[2], 0);
	/* Removing the last of them leaves the place behind the others. */
	queue_remove(x.q, jobs[2]);
	job_move(&x.f.jobs, jobs[2], JOB_ACTIVE);
	retry(&x, jobs[2], 0);
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(pop(&x, 0), jobs[i], "place %zu", i);
		DESTROY(&x, jobs[i]);
	}
	close_queue(&x);
}

Test(queue, a_job_can_be_removed_from_every_place)
{
	for (size_t which = 0; which < 6; which++) {
		static const uint64_t times[] = {10, 20, 30};
		struct fixture x;
		struct job *jobs[6];

		open_queue(&x, 10, 1000);
		retry_all(&x, jobs, times, 3);
		for (size_t i = 3; i < 6; i++)
			jobs[i] = push(&x, 0);
		queue_remove(x.q, jobs[which]);
		cr_assert_eq(jobs[which]->state, JOB_QUEUED);
		DESTROY(&x, jobs[which]);
		FIXTURE_RUN_UNTIL(&x.f.loop,
		    x.lanes[0].again_n + x.lanes[0].waiting.jobs_n == 5);
		for (size_t i = 0; i < 6; i++) {
			if (i == which)
				continue;
			cr_assert_eq(
			    pop(&x, 0), jobs[i], "%zu without %zu", i, which);
			DESTROY(&x, jobs[i]);
		}
		close_queue(&x);
	}
}

Test(queue, removing_the_last_sleeping_job_ends_the_loop)
{
	struct fixture x;
	struct job *job;

	open_queue(&x, 10, 1000);
	job = push(&x, 0);
	cr_assert_eq(pop(&x, 0), job);
	retry(&x, job, uv_hrtime() + UINT64_C(3600000000000));
	queue_remove(x.q, job);
	cr_assert_eq(job->retry_at_ns, 0);
	cr_assert_eq(uv_run(&x.f.loop.uv, UV_RUN_NOWAIT), 0);
	DESTROY(&x, job);
	close_queue(&x);
}

Test(queue, position_is_how_many_jobs_of_the_lane_go_before)
{
	struct fixture x;
	struct job *jobs[4], *other, *active, *asleep;

	open_queue(&x, 10, 1000);
	active = push(&x, 0);
	asleep = push(&x, 0);
	cr_assert_eq(pop(&x, 0), active);
	cr_assert_eq(queue_position(active), 0);
	cr_assert_eq(pop(&x, 0), asleep);
	other = push(&x, 1);
	for (size_t i = 0; i < 4; i++)
		jobs[i] = push(&x, 0);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(queue_position(jobs[i]), i);
	cr_assert_eq(queue_position(other), 0);
	retry(&x, asleep, uv_hrtime() + UINT64_C(3600000000000));
	cr_assert_eq(queue_position(asleep), 0);
	queue_remove(x.q, jobs[1]);
	cr_assert_eq(queue_position(jobs[0]), 0);
	cr_assert_eq(queue_position(jobs[3]), 2);
	queue_remove(x.q, asleep);
	queue_remove(x.q, other);
	DESTROY(&x, active);
	DESTROY(&x, asleep);
	DESTROY(&x, other);
	DESTROY(&x, jobs[1]);
	for (size_t i = 0; i < 4; i++) {
		if (i == 1)
			continue;
		queue_remove(x.q, jobs[i]);
		DESTROY(&x, jobs[i]);
	}
	close_queue(&x);
}

Test(queue, the_advice_to_try_again_stays_within_its_bounds)
{
	struct fixture x;

	open_queue(&x, 10, 1000);
	cr_assert_eq(queue_retry_after_ms(x.q), 50);
	for (int i = 0; i < 1000; i++) {
		queue_note_end(x.q);
		cr_assert(queue_retry_after_ms(x.q) >= 50);
		cr_assert(queue_retry_after_ms(x.q) <= 5000);
	}
	close_queue(&x);
}

#define JOBS_N 24

/* Random pushes, pops, retries and removals: nobody is lost or doubled. */
Test(queue, no_job_is_lost_or_doubled_in_random_sequences)
{
	struct fuzz f = {.state = 3};
	struct fixture x;
	struct job *jobs[JOBS_N] = {NULL};

	open_queue(&x, 100, 1000);
	for (int i = 0; i < 20000; i++) {
		size_t k = fuzz_below(&f, JOBS_N), lane = fuzz_below(&f, 2);
		struct job *job = jobs[k], *popped;

		if (job == NULL)
			jobs[k] = push(&x, lane);
		else if (job->state == JOB_ACTIVE)
			retry(
			    &x, job, fuzz_below(&f, 3) * fuzz_below(&f, 1000));
		else if (fuzz_below(&f, 4) == 0)
			queue_remove(x.q, job), DESTROY(&x, job),
			    jobs[k] = NULL;
		else if ((popped = pop(&x, lane)) != NULL)
			cr_assert_eq(popped->lane, &x.lanes[lane]);
		if (fuzz_below(&f, 4) == 0)
			uv_run(&x.f.loop.uv, UV_RUN_NOWAIT);
	}
	for (size_t k = 0; k < JOBS_N; k++) {
		if (jobs[k] == NULL)
			continue;
		if (jobs[k]->state == JOB_QUEUED)
			queue_remove(x.q, jobs[k]);
		DESTROY(&x, jobs[k]);
	}
	cr_assert_eq(x.f.jobs.n, 0);
	close_queue(&x);
}
