/* SPDX-License-Identifier: Apache-2.0 */
/* Each producer's bounds, room for results, and memory that is out. */
#include <string.h>

#include "jobs_fixture.h"
#include "queue.h"
#include "virtual_time.h"

struct fixture {
	struct fixture_jobs f;
	struct queue *q;
	struct lane lane;
	struct producer *p, *other;
	size_t ready_n;
	unsigned next_key;
};

static bool calloc_fails;

void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);

void *
__wrap_calloc(size_t n, size_t bytes)
{
	return calloc_fails ? NULL : __real_calloc(n, bytes);
}

static void
on_ready(void *arg)
{
	struct fixture *x = arg;

	x->ready_n++;
}

static void
open_queue(struct fixture *x)
{
	const struct queue_options options = {.jobs_max = 1000,
	    .bytes_max = 1000000,
	    .on_ready = on_ready,
	    .arg = x};

	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	x->q = queue_open(&x->f.loop.uv, &x->f.jobs, &options);
	cr_assert_not_null(x->q);
	order_init(&x->lane.waiting, 0);
	TAILQ_INIT(&x->lane.again);
	x->p = fixture_producer(&x->f, "p");
	x->other = fixture_producer(&x->f, "other");
	producers_hold(x->p);
	producers_hold(x->other);
}

static void
close_queue(struct fixture *x)
{
	struct job *job, *next;

	for (job = jobs_after(&x->f.jobs, 0); job != NULL; job = next) {
		next = jobs_after(&x->f.jobs, job->id);
		if (job->state == JOB_QUEUED)
			queue_remove(x->q, job);
		job_destroy(&x->f.jobs, job);
	}
	order_fini(&x->lane.waiting);
	queue_close(x->q);
	producers_release(&x->f.jobs.producers, x->p);
	producers_release(&x->f.jobs.producers, x->other);
	fixture_jobs_close(&x->f);
}

/* A NEW job with an input of ${bytes}, and a result of at most
 * ${expected_bytes}. */
static struct job *
make(struct fixture *x, struct producer *producer, size_t bytes,
    uint64_t expected_bytes)
{
	char key[16];
	struct job *job;

	snprintf(key, sizeof(key), "k%u", x->next_key++);
	job = fixture_job(&x->f, producer, key, 1, bytes);
	job->lane = &x->lane;
	job->expect.max_bytes = expected_bytes;
	return job;
}

static struct job *
push(struct fixture *x, struct producer *producer, uint64_t expected_bytes)
{
	struct job *job = make(x, producer, 0, expected_bytes);

	cr_assert(queue_push(x->q, job));
	return job;
}

static struct job *
pop(struct fixture *x)
{
	struct job *job = TAILQ_FIRST(&x->lane.again);

	if (job == NULL || !queue_take(x->q, job))
		job = queue_pop(x->q, &x->lane);
	if (job != NULL)
		job_move(&x->f.jobs, job, JOB_ACTIVE);
	return job;
}

/* An active job is done; its result, of 3 bytes, is kept. */
static void
finish(struct fixture *x, struct job *job)
{
	cr_assert_not_null(job);
	job->parts[0].reply = fixture_reply(2, 'x', &job->parts[0].file_bytes);
	job->parts[0].files_n = 2;
	job->done_n = 1;
	cr_assert_eq(job_gather(&x->f.jobs, job), LATENTD_OK);
	job_release_input(&x->f.jobs, job);
	job_move(&x->f.jobs, job, JOB_DONE);
	queue_unpark(x->q, job->producer);
}

Test(queue_room, a_producers_jobs_are_bounded_and_its_neighbours_are_not)
{
	struct fixture x;
	struct job *done;

	open_queue(&x);
	x.p->bounds.jobs_max = 2;
	push(&x, x.p, 0);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_ROOM);
	push(&x, x.p, 0);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_FULL_PRODUCER_JOBS);
	cr_assert_eq(queue_room(x.q, x.other, 1), QUEUE_ROOM);
	cr_assert_eq(queue_room(x.q, NULL, 1), QUEUE_ROOM);
	/* A job counts until its result is acknowledged. */
	done = pop(&x);
	finish(&x, done);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_FULL_PRODUCER_JOBS);
	job_destroy(&x.f.jobs, done);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_ROOM);
	close_queue(&x);
}

Test(queue_room, a_producers_bytes_are_bounded_and_its_neighbours_are_not)
{
	struct fixture x;

	open_queue(&x);
	x.p->bounds.bytes_max = 1000;
	cr_assert(queue_push(x.q, make(&x, x.p, 600, 0)));
	cr_assert_eq(queue_room(x.q, x.p, 400), QUEUE_ROOM);
	cr_assert_eq(queue_room(x.q, x.p, 401), QUEUE_FULL_PRODUCER_BYTES);
	cr_assert_eq(queue_room(x.q, x.p, UINT64_MAX / 2), QUEUE_FULL_BYTES);
	cr_assert_eq(queue_room(x.q, x.other, 401), QUEUE_ROOM);
	cr_assert(queue_push(x.q, make(&x, x.p, 900, 0)));
	cr_assert_eq(queue_room(x.q, x.p, 0), QUEUE_FULL_PRODUCER_BYTES);
	close_queue(&x);
}

Test(queue_room, the_first_of_a_producer_always_fits)
{
	struct fixture x;

	open_queue(&x);
	x.p->bounds.bytes_max = 10;
	cr_assert_eq(queue_room(x.q, x.p, 5000), QUEUE_ROOM);
	cr_assert(queue_push(x.q, make(&x, x.p, 5000, 0)));
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_FULL_PRODUCER_BYTES);
	close_queue(&x);
}

Test(queue_room, results_that_nobody_collects_count_as_bytes)
{
	struct fixture x;
	struct job *job;

	open_queue(&x);
	x.p->bounds.bytes_max = 100;
	push(&x, x.p, 0);
	finish(&x, job = pop(&x));
	cr_assert_eq(x.p->result_bytes, 3);
	cr_assert_eq(queue_room(x.q, x.p, 97), QUEUE_ROOM);
	cr_assert_eq(queue_room(x.q, x.p, 98), QUEUE_FULL_PRODUCER_BYTES);
	job_drop_result(&x.f.jobs, job);
	cr_assert_eq(queue_room(x.q, x.p, 98), QUEUE_ROOM);
	close_queue(&x);
}

Test(queue_room, every_bound_has_its_name)
{
	cr_assert_null(queue_room_name(QUEUE_ROOM));
	cr_assert_str_eq(queue_room_name(QUEUE_FULL_JOBS), "jobs");
	cr_assert_str_eq(queue_room_name(QUEUE_FULL_BYTES), "bytes");
	cr_assert_str_eq(
	    queue_room_name(QUEUE_FULL_PRODUCER_JOBS), "producer_jobs");
	cr_assert_str_eq(
	    queue_room_name(QUEUE_FULL_PRODUCER_BYTES), "producer_bytes");
}

Test(queue_room, only_the_producer_whose_results_fill_its_bounds_is_stopped)
{
	struct fixture x;
	struct job *done, *mine, *next;

	open_queue(&x);
	x.p->bounds.bytes_max = 100;
	push(&x, x.p, 100);
	mine = push(&x, x.p, 98);
	next = push(&x, x.other, 5000);
	finish(&x, done = pop(&x));
	/* 3 bytes wait; of 98 more there is no telling. */
	cr_assert_eq(pop(&x), next);
	cr_assert_null(pop(&x));
	x.ready_n = 0;
	job_destroy(&x.f.jobs, done);
	queue_unpark(x.q, x.p);
	cr_assert_eq(x.ready_n, 1);
	cr_assert_eq(pop(&x), mine);
	close_queue(&x);
}

Test(queue_room, active_jobs_count_with_what_they_may_bring)
{
	struct fixture x;
	struct job *first, *second;

	open_queue(&x);
	x.p->bounds.bytes_max = 100;
	first = push(&x, x.p, 60);
	second = push(&x, x.p, 60);
	push(&x, x.p, 1);
	cr_assert_eq(pop(&x), first);
	/* The third would fit, but does not overtake. */
	cr_assert_null(pop(&x));
	finish(&x, first);
	cr_assert_eq(pop(&x), second);
	close_queue(&x);
}

Test(queue_room, the_first_result_always_has_room)
{
	struct fixture x;
	struct job *job;

	open_queue(&x);
	x.p->bounds.bytes_max = 100;
	job = push(&x, x.p, 1000000);
	push(&x, x.p, 1);
	cr_assert_eq(pop(&x), job);
	cr_assert_null(pop(&x));
	close_queue(&x);
}

Test(queue_room, a_job_to_be_tried_again_gives_its_room_back)
{
	struct fixture x;
	struct job *first, *second;

	open_queue(&x);
	x.p->bounds.bytes_max = 100;
	first = push(&x, x.p, 60);
	second = push(&x, x.p, 60);
	cr_assert_eq(pop(&x), first);
	cr_assert_null(pop(&x));
	/* While it sleeps the other one may go. */
	first->retry_at_ns = virtual_time_ns() + 500 * VIRTUAL_MS_NS;
	x.ready_n = 0;
	cr_assert(queue_push(x.q, first));
	cr_assert_gt(x.ready_n, 0);
	cr_assert_eq(pop(&x), second);
	virtual_time_advance(501 * VIRTUAL_MS_NS);
	cr_assert_null(pop(&x));
	finish(&x, second);
	job_drop_result(&x.f.jobs, second);
	queue_unpark(x.q, x.p);
	cr_assert_eq(pop(&x), first);
	close_queue(&x);
}

Test(queue_room, a_producer_alone_is_not_stopped_by_its_own_retry)
{
	struct fixture x;
	struct job *first;

	open_queue(&x);
	x.p->bounds.bytes_max = 100;
	first = push(&x, x.p, 60);
	push(&x, x.p, 60);
	cr_assert_eq(pop(&x), first);
	cr_assert_null(pop(&x));
	cr_assert(queue_push(x.q, first));
	cr_assert_eq(pop(&x), first);
	close_queue(&x);
}

Test(queue_room, a_new_job_without_memory_for_its_share_is_as_it_was)
{
	struct fixture x;
	struct job *job;

	open_queue(&x);
	job = make(&x, x.p, 10, 10);
	calloc_fails = true;
	cr_assert_not(queue_push(x.q, job));
	calloc_fails = false;
	cr_assert_eq(job->state, JOB_NEW);
	cr_assert_eq(x.ready_n, 0);
	cr_assert_eq(x.lane.waiting.jobs_n, 0);
	cr_assert(queue_push(x.q, job));
	cr_assert_eq(pop(&x), job);
	close_queue(&x);
}

Test(queue_room, a_job_that_comes_back_needs_no_memory)
{
	struct fixture x;
	struct job *job;

	open_queue(&x);
	job = push(&x, x.p, 10);
	cr_assert_eq(pop(&x), job);
	calloc_fails = true;
	x.ready_n = 0;
	cr_assert(queue_push(x.q, job));
	cr_assert_eq(job->state, JOB_QUEUED);
	cr_assert_gt(x.ready_n, 0);
	cr_assert_eq(pop(&x), job);
	job->retry_at_ns = virtual_time_ns() + 500 * VIRTUAL_MS_NS;
	cr_assert(queue_push(x.q, job));
	cr_assert_null(pop(&x));
	virtual_time_advance(501 * VIRTUAL_MS_NS);
	cr_assert_eq(pop(&x), job);
	calloc_fails = false;
	close_queue(&x);
}

Test(queue_room, the_advice_to_try_again_is_the_pace_of_jobs_that_end)
{
	struct fixture x;

	open_queue(&x);
	for (int i = 0; i < 100; i++) {
		virtual_time_advance(400 * VIRTUAL_MS_NS);
		queue_note_end(x.q);
	}
	cr_assert(queue_retry_after_ms(x.q) >= 395 &&
	    queue_retry_after_ms(x.q) <= 400);
	for (int i = 0; i < 100; i++) {
		virtual_time_advance(60000 * VIRTUAL_MS_NS);
		queue_note_end(x.q);
	}
	cr_assert_eq(queue_retry_after_ms(x.q), 5000);
	for (int i = 0; i < 100; i++)
		queue_note_end(x.q);
	cr_assert_eq(queue_retry_after_ms(x.q), 50);
	close_queue(&x);
}

Test(queue_room, a_users_producers_are_bounded_together)
{
	struct fixture x;
	struct producer *stranger;
	struct job *job;

	open_queue(&x);
	stranger = producers_get(&x.f.jobs.producers,
	    &(struct producer_identity){.uid = 1001, .name = "p"});
	producers_hold(stranger);
	x.f.jobs.producers.users.bounds = (struct user_bounds){2, 1000};
	job = make(&x, x.p, 400, 0);
	cr_assert(queue_push(x.q, job));
	/* Nothing is too large for whoever has nothing here. */
	cr_assert_eq(queue_room(x.q, stranger, 900000), QUEUE_ROOM);
	cr_assert_eq(queue_room(x.q, x.other, 600), QUEUE_ROOM);
	cr_assert_eq(queue_room(x.q, x.other, 601), QUEUE_FULL_USER_BYTES);
	cr_assert_str_eq(queue_room_name(QUEUE_FULL_USER_BYTES), "user_bytes");
	push(&x, x.other, 0);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_FULL_USER_JOBS);
	cr_assert_eq(queue_room(x.q, x.other, 1), QUEUE_FULL_USER_JOBS);
	cr_assert_str_eq(queue_room_name(QUEUE_FULL_USER_JOBS), "user_jobs");
	cr_assert_eq(queue_room(x.q, stranger, 1), QUEUE_ROOM);
	cr_assert_eq(queue_room(x.q, NULL, 1), QUEUE_ROOM);
	/* A result counts in the place of its latent, until it is gone. */
	finish(&x, pop(&x));
	cr_assert_eq(x.p->user->bytes, 3);
	queue_remove(x.q, jobs_after(&x.f.jobs, job->id));
	job_destroy(&x.f.jobs, job);
	cr_assert_eq(x.p->user->bytes, 0);
	cr_assert_eq(x.p->user->jobs_n, 1);
	cr_assert_eq(queue_room(x.q, x.p, 1), QUEUE_ROOM);
	job_destroy(&x.f.jobs, jobs_after(&x.f.jobs, 0));
	producers_release(&x.f.jobs.producers, stranger);
	close_queue(&x);
}
