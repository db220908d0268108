/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "deadline.h"
#include "fuzz.h"
#include "jobs_fixture.h"
#include "virtual_time.h"

#define MS VIRTUAL_MS_NS
#define JOBS_N 200

struct fixture {
	struct fixture_jobs f;
	struct deadlines *d;
	struct producer *p;
	struct job *expired[JOBS_N]; /* in this order */
	uint64_t expired_ns[JOBS_N];
	size_t expired_n;
	struct job *forget_too; /* ends with the first that expires */
	unsigned next_key;
};

static void
on_expired(struct job *job, void *arg)
{
	struct fixture *x = arg;

	cr_assert(job_is_late(job));
	cr_assert_not(job->deadline_watched);
	x->expired_ns[x->expired_n] = virtual_time_ns();
	x->expired[x->expired_n++] = job;
	if (x->forget_too != NULL)
		deadlines_forget(x->d, x->forget_too);
	x->forget_too = NULL;
}

static void
open_deadlines(struct fixture *x)
{
	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	x->d = deadlines_open(&x->f.loop.uv, on_expired, x);
	cr_assert_not_null(x->d);
	x->p = fixture_producer(&x->f, "p");
	producers_hold(x->p);
}

static void
close_deadlines(struct fixture *x)
{
	struct job *job, *next;

	cr_assert_eq(virtual_time_timers_n(), 0, "a timer waits for nothing");
	deadlines_close(x->d);
	for (job = jobs_after(&x->f.jobs, 0); job != NULL; job = next) {
		next = jobs_after(&x->f.jobs, job->id);
		job_destroy(&x->f.jobs, job);
	}
	producers_release(&x->f.jobs.producers, x->p);
	fixture_jobs_close(&x->f);
}

/* A job whose deadline is ${ns} from now; 0: none. */
static struct job *
watch(struct fixture *x, uint64_t ns)
{
	char key[16];
	struct job *job;

	snprintf(key, sizeof(key), "k%u", x->next_key++);
	job = fixture_job(&x->f, x->p, key, 1, 0);
	job->deadline_ns = ns != 0 ? virtual_time_ns() + ns : 0;
	deadlines_watch(x->d, job);
	return job;
}

Test(deadline, jobs_expire_in_order_of_their_deadlines_and_not_before)
{
	struct fixture x;
	struct job *late, *soon, *same;

	open_deadlines(&x);
	late = watch(&x, 30 * MS);
	soon = watch(&x, 10 * MS);
	same = watch(&x, 10 * MS);
	virtual_time_advance(10 * MS - 1);
	cr_assert_eq(x.expired_n, 0);
	virtual_time_advance(1);
	cr_assert_eq(x.expired_n, 2);
	cr_assert_eq(x.expired[0], soon);
	cr_assert_eq(x.expired[1], same);
	virtual_time_advance(1000 * MS);
	cr_assert_eq(x.expired_n, 3);
	cr_assert_eq(x.expired[2], late);
	cr_assert_eq(x.expired_ns[2], late->deadline_ns);
	close_deadlines(&x);
}

Test(deadline, a_job_without_a_deadline_is_never_watched)
{
	struct fixture x;
	struct job *job;

	open_deadlines(&x);
	job = watch(&x, 0);
	cr_assert_not(job->deadline_watched);
	cr_assert_not(job_is_late(job));
	cr_assert_eq(virtual_time_timers_n(), 0);
	virtual_time_advance(UINT64_C(1000000000) * MS);
	cr_assert_not(job_is_late(job));
	deadlines_forget(x.d, job);
	cr_assert_eq(x.expired_n, 0);
	close_deadlines(&x);
}

Test(deadline, a_forgotten_job_does_not_expire)
{
	struct fixture x;
	struct job *a, *b;

	open_deadlines(&x);
	a = watch(&x, 10 * MS);
	b = watch(&x, 20 * MS);
	deadlines_forget(x.d, a);
	deadlines_forget(x.d, a);
	virtual_time_advance(19 * MS);
	cr_assert_eq(x.expired_n, 0);
	virtual_time_advance(1 * MS);
	cr_assert_eq(x.expired_n, 1);
	cr_assert_eq(x.expired[0], b);
	close_deadlines(&x);
}

Test(deadline, a_job_may_end_another_one_when_it_expires)
{
	struct fixture x;

	open_deadlines(&x);
	watch(&x, 10 * MS);
	x.forget_too = watch(&x, 10 * MS);
	watch(&x, 10 * MS);
	virtual_time_advance(10 * MS);
	cr_assert_eq(x.expired_n, 2);
	close_deadlines(&x);
}

Test(deadline, one_that_is_over_already_expires_from_the_loop)
{
	struct fixture x;
	struct job *job;

	open_deadlines(&x);
	job = watch(&x, 3 * MS);
	virtual_time_skip(5 * MS);
	cr_assert(job_is_late(job));
	watch(&x, 1);
	cr_assert_eq(x.expired_n, 0);
	virtual_time_advance(0);
	cr_assert_eq(x.expired_n, 1);
	virtual_time_advance(1 * MS);
	cr_assert_eq(x.expired_n, 2);
	close_deadlines(&x);
}

Test(deadline, every_job_expires_once_and_within_the_next_2_ms)
{
	struct fuzz f = {.state = 6};
	struct fixture x;
	size_t forgotten_n = 0;
	struct job *last = NULL;

	open_deadlines(&x);
	for (size_t i = 0; i < JOBS_N; i++) {
		struct job *job = watch(&x, 1 + fuzz_below(&f, 50 * MS));

		if (fuzz_below(&f, 5) == 0 && last != NULL &&
		    last->deadline_watched) {
			deadlines_forget(x.d, last);
			forgotten_n++;
		}
		last = job;
		virtual_time_advance(fuzz_below(&f, MS));
	}
	virtual_time_advance(52 * MS);
	cr_assert_eq(x.expired_n + forgotten_n, JOBS_N);
	for (size_t i = 0; i < x.expired_n; i++) {
		uint64_t at_ns = x.expired[i]->deadline_ns;

		cr_assert_geq(x.expired_ns[i], at_ns);
		cr_assert_lt(x.expired_ns[i], at_ns + 2 * MS);
	}
	close_deadlines(&x);
}
