/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs_fixture.h"
#include "remember.h"

#include <string.h>

#define KEEP_MS 1000u
#define KEEP_NS (UINT64_C(1000000) * KEEP_MS)

struct fixture {
	struct fixture_jobs f;
	struct remember *r;
	struct producer *p, *q;
	uint64_t now_ns;
};

static void
open_remember(struct fixture *x, uint64_t keep_ms, size_t keys_max)
{
	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	cr_assert_not_null(x->r = remember_create(keep_ms, keys_max));
	x->p = fixture_producer(&x->f, "p");
	x->q = fixture_producer(&x->f, "q");
	producers_hold(x->p);
	producers_hold(x->q);
	x->now_ns = 5;
}

static void
close_remember(struct fixture *x)
{
	remember_destroy(x->r);
	producers_release(&x->f.jobs.producers, x->p);
	producers_release(&x->f.jobs.producers, x->q);
	fixture_jobs_close(&x->f);
}

/* A job of that key comes, is acknowledged, and goes; its id. */
static uint64_t
put(struct fixture *x, struct producer *producer, const char *key)
{
	struct job *job = fixture_job(&x->f, producer, key, 1, 0);
	uint64_t id = job->id;

	remember_put(x->r, job, x->now_ns);
	job_destroy(&x->f.jobs, job);
	return id;
}

static uint64_t
find(struct fixture *x, const struct producer *producer, const char *key)
{
	return remember_find(x->r, &producer->identity,
	    (struct text){key, strlen(key)}, x->now_ns);
}

Test(remember, a_key_is_found_until_its_time_is_over)
{
	struct fixture x;
	uint64_t id;

	open_remember(&x, KEEP_MS, 10);
	cr_assert_eq(find(&x, x.p, "k"), 0);
	id = put(&x, x.p, "k");
	cr_assert_eq(find(&x, x.p, "k"), id);
	x.now_ns += KEEP_NS - 1;
	cr_assert_eq(find(&x, x.p, "k"), id);
	x.now_ns += 1;
	cr_assert_eq(find(&x, x.p, "k"), 0);
	close_remember(&x);
}

Test(remember, keys_of_others_and_other_keys_are_not_it)
{
	struct fixture x;
	uint64_t of_p, of_q;

	open_remember(&x, KEEP_MS, 10);
	of_p = put(&x, x.p, "k");
	cr_assert_eq(find(&x, x.q, "k"), 0);
	of_q = put(&x, x.q, "k");
	cr_assert_neq(of_p, of_q);
	cr_assert_eq(find(&x, x.p, "k"), of_p);
	cr_assert_eq(find(&x, x.q, "k"), of_q);
	cr_assert_eq(find(&x, x.p, "k2"), 0);
	cr_assert_eq(find(&x, x.p, "K"), 0);
	close_remember(&x);
}

Test(remember, a_key_that_is_put_again_is_young_again_and_the_new_job)
{
	struct fixture x;
	uint64_t id;

	open_remember(&x, KEEP_MS, 10);
	put(&x, x.p, "k");
	x.now_ns += KEEP_NS - 1;
	id = put(&x, x.p, "k");
	x.now_ns += KEEP_NS - 1;
	cr_assert_eq(find(&x, x.p, "k"), id);
	x.now_ns += 1;
	cr_assert_eq(find(&x, x.p, "k"), 0);
	close_remember(&x);
}

Test(remember, beyond_the_most_the_oldest_is_forgotten)
{
	struct fixture x;
	char key[16];

	open_remember(&x, KEEP_MS, 8);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		put(&x, x.p, key);
		for (unsigned k = 0; k <= i; k++) {
			snprintf(key, sizeof(key), "k%u", k);
			cr_assert_eq(find(&x, x.p, key) != 0, i - k < 8,
			    "%u after %u", k, i);
		}
	}
	close_remember(&x);
}

Test(remember, a_full_memory_loses_nobody_when_a_known_key_is_put_again)
{
	struct fixture x;

	open_remember(&x, KEEP_MS, 2);
	put(&x, x.p, "a");
	put(&x, x.p, "b");
	put(&x, x.p, "b");
	cr_assert_neq(find(&x, x.p, "a"), 0);
	cr_assert_neq(find(&x, x.p, "b"), 0);
	put(&x, x.p, "c");
	cr_assert_eq(find(&x, x.p, "a"), 0);
	close_remember(&x);
}

Test(remember, nothing_is_remembered_for_no_time_or_in_no_place)
{
	struct fixture x;

	open_remember(&x, 0, 10);
	put(&x, x.p, "k");
	cr_assert_eq(find(&x, x.p, "k"), 0);
	close_remember(&x);
	open_remember(&x, KEEP_MS, 0);
	put(&x, x.p, "k");
	cr_assert_eq(find(&x, x.p, "k"), 0);
	close_remember(&x);
}

Test(remember, the_longest_key_is_remembered_whole)
{
	static char key[LATENTD_MAX_NAME_BYTES + 1];
	struct fixture x;
	uint64_t id;

	memset(key, 'k', LATENTD_MAX_NAME_BYTES);
	open_remember(&x, KEEP_MS, 10);
	id = put(&x, x.p, key);
	cr_assert_eq(find(&x, x.p, key), id);
	key[LATENTD_MAX_NAME_BYTES - 1] = 'x';
	cr_assert_eq(find(&x, x.p, key), 0);
	key[LATENTD_MAX_NAME_BYTES - 1] = '\0';
	cr_assert_eq(find(&x, x.p, key), 0);
	close_remember(&x);
}
