/* SPDX-License-Identifier: Apache-2.0 */
/* Aging, ranks, memory that is out, and that the sums stay right. */
#include <stdlib.h>

#include "fuzz.h"
#include "order_fixture.h"

#define AGE_MS 1000u
#define AGE_NS (UINT64_C(1000000) * AGE_MS)
/* As many as order.h's O(log n) allows in one step; see order.c. */
#define AGED_MAX 64u

static bool calloc_fails;

void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);

void *
__wrap_calloc(size_t n, size_t bytes)
{
	return calloc_fails ? NULL : __real_calloc(n, bytes);
}

static bool
nothing_fits(const struct job *job, void *arg)
{
	(void)job;
	(void)arg;
	return false;
}

static bool
anything_fits(const struct job *job, void *arg)
{
	(void)job;
	(void)arg;
	return true;
}

Test(order_age, a_job_moves_up_one_class_with_each_age)
{
	struct fixture_order x;
	struct producer *a, *b;
	struct job *job;

	fixture_order_open(&x, AGE_MS);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	fixture_push_n(&x, b, URGENT, 1, 10);
	job = fixture_push(&x, a, LOW, 1000000);
	for (unsigned class = LOW; class > URGENT; class --) {
		x.now_ns += AGE_NS - 1;
		cr_assert_eq(fixture_serve(&x), b);
		cr_assert_eq(job->class, class);
		x.now_ns += 1;
		cr_assert_eq(fixture_serve(&x), b);
		cr_assert_eq(job->class, class - 1);
	}
	x.now_ns += 100 * AGE_NS;
	cr_assert_eq(fixture_serve(&x), b);
	cr_assert_eq(job->class, URGENT);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order_age, a_long_silence_moves_a_job_up_by_one_only)
{
	struct fixture_order x;
	struct producer *a;
	struct job *job;

	fixture_order_open(&x, AGE_MS);
	a = fixture_weighted(&x, "a", 1);
	fixture_push_n(&x, a, URGENT, 1, 1);
	job = fixture_push(&x, a, LOW, 1);
	x.now_ns += 50 * AGE_NS;
	cr_assert_eq(fixture_serve(&x), a);
	cr_assert_eq(job->class, NORMAL);
	cr_assert_eq(job->class_since_ns, x.now_ns);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order_age, nothing_ages_where_the_age_is_0)
{
	struct fixture_order x;
	struct producer *a;
	struct job *job;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	fixture_push_n(&x, a, URGENT, 1, 100);
	job = fixture_push(&x, a, LOW, 1);
	for (int i = 0; i < 100; i++) {
		x.now_ns += 1000 * AGE_NS;
		cr_assert_eq(fixture_serve(&x), a);
		cr_assert_eq(job->class, LOW);
	}
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order_age, a_step_moves_64_at_the_most_and_the_rest_follow)
{
	struct fixture_order x;
	struct producer *a;
	const struct order_class *low, *normal;

	fixture_order_open(&x, AGE_MS);
	a = fixture_weighted(&x, "a", 1);
	low = &x.order.classes[LOW];
	normal = &x.order.classes[NORMAL];
	fixture_push_n(&x, a, LOW, 1, 3 * AGED_MAX);
	fixture_push_n(&x, a, HIGH, 1, 3);
	x.now_ns += AGE_NS - 1;
	cr_assert_null(order_pop(&x.order, x.now_ns, nothing_fits, NULL));
	cr_assert_eq(low->jobs_n, 3 * AGED_MAX);
	order_unpark(a);
	for (size_t i = 1; i <= 3; i++) {
		/* The three of HIGH are in the first step, and in no other. */
		x.now_ns += i == 1;
		cr_assert_null(
		    order_pop(&x.order, x.now_ns, nothing_fits, NULL));
		cr_assert_eq(x.order.classes[URGENT].jobs_n, 3);
		cr_assert_eq(normal->jobs_n, i * AGED_MAX - 3);
		cr_assert_eq(low->jobs_n, (3 - i) * AGED_MAX + 3);
	}
	order_unpark(a);
	cr_assert_eq(fixture_drain(&x), 3 * AGED_MAX + 3);
	fixture_order_close(&x);
}

Test(order_age, no_class_starves_under_a_flood_of_urgent_jobs)
{
	struct fixture_order x;
	struct producer *flood, *meek;
	struct job *job;
	size_t steps_n = 0;

	fixture_order_open(&x, AGE_MS);
	flood = fixture_weighted(&x, "flood", 1000);
	meek = fixture_weighted(&x, "meek", 1);
	job = fixture_push(&x, meek, LOW, SQUARE_512);
	for (;;) {
		struct job *next;

		fixture_push_n(&x, flood, URGENT, SQUARE_512, 2);
		x.now_ns += AGE_NS / 10;
		next = fixture_pop(&x);
		if (next == job)
			break;
		job_destroy(&x.f.jobs, next);
		cr_assert_lt(++steps_n, 30 + 1001, "it waits for ever");
	}
	cr_assert_geq(steps_n, 30);
	job_destroy(&x.f.jobs, job);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order_age, aged_jobs_take_the_place_of_their_id_in_the_class_above)
{
	struct fixture_order x;
	struct producer *a;
	struct job *old, *young;

	fixture_order_open(&x, AGE_MS);
	a = fixture_weighted(&x, "a", 1);
	old = fixture_push(&x, a, NORMAL, 5);
	x.now_ns += AGE_NS;
	young = fixture_push(&x, a, HIGH, 1);
	cr_assert_eq(fixture_pop(&x), old);
	cr_assert_eq(fixture_pop(&x), young);
	job_destroy(&x.f.jobs, old);
	job_destroy(&x.f.jobs, young);
	fixture_order_close(&x);
}

Test(order_age, a_job_that_comes_back_begins_a_new_age_in_its_class)
{
	struct fixture_order x;
	struct producer *a, *b;
	struct job *job;

	fixture_order_open(&x, AGE_MS);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	job = fixture_push(&x, a, NORMAL, 1);
	x.now_ns += AGE_NS / 2;
	cr_assert_eq(fixture_pop(&x), job);
	fixture_push_n(&x, b, URGENT, 1, 2);
	cr_assert(order_push(&x.order, job, x.now_ns));
	x.now_ns += AGE_NS / 2;
	cr_assert_eq(fixture_serve(&x), b);
	cr_assert_eq(job->class, NORMAL);
	x.now_ns += AGE_NS / 2;
	cr_assert_eq(fixture_serve(&x), b);
	cr_assert_eq(job->class, HIGH);
	fixture_drain(&x);
	fixture_order_close(&x);
}

/* ---- memory ---- */

Test(order_age, a_share_without_memory_changes_nothing)
{
	struct fixture_order x;
	struct producer *a, *b;
	struct order before;
	struct job *job;

	fixture_order_open(&x, AGE_MS);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	job = fixture_push(&x, b, NORMAL, 1);
	cr_assert_eq(fixture_pop(&x), job);
	fixture_push(&x, a, NORMAL, 7);
	before = x.order;
	calloc_fails = true;
	cr_assert_not(order_push(&x.order, job, x.now_ns));
	calloc_fails = false;
	cr_assert_arr_eq(&x.order, &before, sizeof(before));
	cr_assert_null(job->share);
	cr_assert(order_push(&x.order, job, x.now_ns));
	cr_assert_eq(fixture_drain(&x), 2);
	fixture_order_close(&x);
}

Test(order_age, a_job_without_memory_for_its_share_waits_where_it_is)
{
	struct fixture_order x;
	struct producer *a;
	struct job *job, *next;

	fixture_order_open(&x, AGE_MS);
	a = fixture_weighted(&x, "a", 1);
	next = fixture_push(&x, a, NORMAL, 1);
	job = fixture_push(&x, a, NORMAL, 1);
	x.now_ns += AGE_NS;
	calloc_fails = true;
	cr_assert_eq(fixture_pop(&x), next);
	cr_assert_eq(job->class, NORMAL);
	calloc_fails = false;
	cr_assert_eq(fixture_pop(&x), job);
	cr_assert_eq(job->class, HIGH);
	job_destroy(&x.f.jobs, job);
	job_destroy(&x.f.jobs, next);
	fixture_order_close(&x);
}

/* ---- ranks ---- */

Test(order_age, the_job_that_goes_next_has_rank_0)
{
	struct fixture_order x;
	struct producer *a, *b;
	struct job *of_a, *of_b, *next;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	of_a = fixture_push(&x, a, NORMAL, 100);
	of_b = fixture_push(&x, b, NORMAL, 99);
	cr_assert_eq(order_rank(&x.order, of_b).jobs_n, 0);
	cr_assert_eq(order_rank(&x.order, of_b).cost_px, 0);
	cr_assert_eq(order_rank(&x.order, of_a).jobs_n, 1);
	cr_assert_eq(order_rank(&x.order, of_a).cost_px, 99);
	next = fixture_push(&x, a, HIGH, 50);
	cr_assert_eq(order_rank(&x.order, next).jobs_n, 0);
	cr_assert_eq(order_rank(&x.order, of_b).jobs_n, 1);
	cr_assert_eq(order_rank(&x.order, of_b).cost_px, 50);
	fixture_drain(&x);
	fixture_order_close(&x);
}

Test(order_age, a_new_jobs_rank_counts_its_own_the_others_turns_and_classes)
{
	struct fixture_order x;
	struct producer *a, *b;
	struct order_rank r;

	fixture_order_open(&x, 0);
	a = fixture_weighted(&x, "a", 1);
	b = fixture_weighted(&x, "b", 1);
	r = order_rank_new(&x.order, a, NORMAL, 10);
	cr_assert(r.jobs_n == 0 && r.cost_px == 0);
	fixture_push_n(&x, a, NORMAL, 10, 4);
	r = order_rank_new(&x.order, a, NORMAL, 10);
	cr_assert(r.jobs_n == 4 && r.cost_px == 40);
	fixture_push_n(&x, b, NORMAL, 10, 100);
	r = order_rank_new(&x.order, a, NORMAL, 10);
	cr_assert(r.jobs_n == 4 + 5 && r.cost_px == 40 + 50);
	/* The others have no more than there is. */
	r = order_rank_new(&x.order, b, NORMAL, 10);
	cr_assert(r.jobs_n == 100 + 4 && r.cost_px == 1000 + 40);
	fixture_push_n(&x, b, HIGH, 7, 3);
	fixture_push_n(&x, b, LOW, 7, 50);
	r = order_rank_new(&x.order, a, NORMAL, 10);
	cr_assert(r.jobs_n == 9 + 3 && r.cost_px == 90 + 21);
	fixture_drain(&x);
	fixture_order_close(&x);
}

/* ---- random sequences ---- */

#define JOBS_N 96
#define PRODUCERS_N 6

struct sums {
	size_t jobs_n[JOB_CLASSES];
	uint64_t cost_px[JOB_CLASSES];
	uint64_t weights[JOB_CLASSES];
};

static void
check_sums(const struct fixture_order *x, struct job *const *jobs,
    struct producer *const *producers)
{
	struct sums s = {.jobs_n = {0}};
	size_t n = 0;

	for (unsigned c = 0; c < JOB_CLASSES; c++) {
		unsigned seen = 0;

		for (size_t i = 0; i < JOBS_N; i++) {
			if (jobs[i] == NULL || jobs[i]->class != c)
				continue;
			s.jobs_n[c]++;
			s.cost_px[c] += jobs[i]->cost_px;
			for (unsigned p = 0; p < PRODUCERS_N; p++)
				seen |= jobs[i]->producer == producers[p]
				    ? 1u << p
				    : 0;
		}
		for (unsigned p = 0; p < PRODUCERS_N; p++)
			s.weights[c] += (seen >> p & 1) != 0
			    ? producers[p]->bounds.weight
			    : 0;
		cr_assert_eq(x->order.classes[c].jobs_n, s.jobs_n[c]);
		cr_assert_eq(x->order.classes[c].cost_px, s.cost_px[c]);
		cr_assert_eq(x->order.classes[c].weights, s.weights[c]);
		n += s.jobs_n[c];
	}
	cr_assert_eq(x->order.jobs_n, n);
}

/* A rank is never beyond what is there, nor below the classes above. */
static void
check_rank(const struct fixture_order *x, const struct job *job)
{
	struct order_rank r = order_rank(&x->order, job);
	uint64_t above_n = 0, above_px = 0;

	for (unsigned c = 0; c < job->class; c++) {
		above_n += x->order.classes[c].jobs_n;
		above_px += x->order.classes[c].cost_px;
	}
	cr_assert(r.jobs_n >= above_n && r.cost_px >= above_px);
	cr_assert_lt(r.jobs_n, above_n + x->order.classes[job->class].jobs_n);
	cr_assert_leq(
	    r.cost_px, above_px + x->order.classes[job->class].cost_px);
}

static void
fuzz_step(struct fuzz *f, struct fixture_order *x, struct job **jobs,
    struct producer **producers)
{
	struct producer *p = producers[fuzz_below(f, PRODUCERS_N)];
	size_t k = fuzz_below(f, JOBS_N);
	struct job *job;

	x->now_ns += fuzz_below(f, AGE_NS / 16);
	switch (fuzz_below(f, 8)) {
	case 0:
		if (jobs[k] != NULL)
			fixture_remove(x, jobs[k]), jobs[k] = NULL;
		break;
	case 1:
		job = order_pop(&x->order, x->now_ns,
		    fuzz_below(f, 4) == 0 ? nothing_fits : anything_fits, NULL);
		for (k = 0; job != NULL && jobs[k] != job; k++)
			;
		if (job == NULL)
			break;
		if (fuzz_below(f, 3) == 0) {
			cr_assert(order_push(&x->order, job, x->now_ns));
			break;
		}
		job_destroy(&x->f.jobs, job);
		jobs[k] = NULL;
		break;
	case 2:
		order_unpark(p);
		break;
	default:
		if (jobs[k] == NULL)
			jobs[k] = fixture_push(x, p, (unsigned)fuzz_below(f, 4),
			    1 + fuzz_below(f, 100000));
		check_rank(x, jobs[k]);
		break;
	}
}

Test(order_age, sums_and_ranks_stay_right_in_random_sequences)
{
	struct fuzz f = {.state = 4};
	struct fixture_order x;
	struct producer *producers[PRODUCERS_N];
	struct job *jobs[JOBS_N] = {NULL};
	size_t left_n = 0;

	fixture_order_open(&x, AGE_MS);
	for (size_t i = 0; i < PRODUCERS_N; i++) {
		char name[8];

		snprintf(name, sizeof(name), "p%zu", i);
		producers[i] = fixture_weighted(
		    &x, name, (unsigned)(1 + fuzz_below(&f, 1000)));
	}
	for (int i = 0; i < 20000; i++) {
		fuzz_step(&f, &x, jobs, producers);
		check_sums(&x, jobs, producers);
	}
	for (size_t i = 0; i < JOBS_N; i++)
		left_n += jobs[i] != NULL;
	for (size_t i = 0; i < PRODUCERS_N; i++)
		order_unpark(producers[i]);
	cr_assert_eq(fixture_drain(&x), left_n);
	fixture_order_close(&x);
}
