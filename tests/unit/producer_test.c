/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "jobs_fixture.h"

#define TEXT(s) ((struct text){s, sizeof(s) - 1})
#define NONE ((struct text){NULL, 0})

static struct producer *
get(struct producers *ps, uint64_t uid, struct text name, struct text secret)
{
	struct producer_identity identity;

	/* What was there before must not matter. */
	memset(&identity, 0xa5, sizeof(identity));
	producer_identity(uid, name, secret, &identity);
	return producers_get(ps, &identity);
}

Test(producer, the_same_uid_secret_and_name_are_the_same_producer)
{
	struct producers ps = {.table = NULL};
	struct producer *p = get(&ps, 5, TEXT("name"), TEXT("secret"));

	cr_assert_not_null(p);
	cr_assert_eq(get(&ps, 5, TEXT("name"), TEXT("secret")), p);
	producers_hold(p);
	producers_release(&ps, p);
	cr_assert_null(ps.table);
}

Test(producer, any_difference_of_uid_secret_or_name_is_another_producer)
{
	static char name[65], secret[65];
	struct producers ps = {.table = NULL};
	struct producer *all[16];
	size_t n = 0;

	memset(name, 'n', 64);
	memset(secret, 's', 64);
	all[n++] = get(&ps, 5, TEXT("name"), TEXT("s"));
	all[n++] = get(&ps, 6, TEXT("name"), TEXT("s"));
	all[n++] = get(&ps, 0, TEXT("name"), TEXT("s"));
	all[n++] = get(&ps, PRODUCER_NO_UID, TEXT("name"), TEXT("s"));
	all[n++] = get(&ps, 5, TEXT("name"), NONE);
	all[n++] = get(&ps, 5, TEXT("name"), TEXT("s\0"));
	all[n++] = get(&ps, 5, TEXT("name"), TEXT("s\0\0"));
	all[n++] = get(&ps, 5, TEXT("name"), TEXT("t"));
	all[n++] = get(&ps, 5, TEXT("nam"), TEXT("s"));
	all[n++] = get(&ps, 5, TEXT("name2"), TEXT("s"));
	all[n++] = get(&ps, 5, TEXT("names"), NONE);
	all[n++] = get(&ps, 5, TEXT("Name"), TEXT("s"));
	all[n++] = get(&ps, 5, (struct text){name, 64}, TEXT("s"));
	all[n++] = get(&ps, 5, (struct text){name, 63}, TEXT("s"));
	all[n++] = get(&ps, 5, TEXT("name"), (struct text){secret, 64});
	all[n++] = get(&ps, 5, TEXT("name"), (struct text){secret, 63});
	for (size_t i = 0; i < n; i++) {
		cr_assert_not_null(all[i]);
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(all[i], all[k], "%zu and %zu", i, k);
	}
	for (size_t i = 0; i < n; i++) {
		producers_hold(all[i]);
		producers_release(&ps, all[i]);
	}
	cr_assert_null(ps.table);
}

Test(producer, find_makes_none)
{
	struct producers ps = {.table = NULL};
	struct producer_identity identity;

	producer_identity(1, TEXT("p"), NONE, &identity);
	cr_assert_null(producers_find(&ps, &identity));
	cr_assert_null(ps.table);
}

Test(producer, it_lives_as_long_as_it_is_held_or_has_jobs)
{
	struct fixture_jobs f;
	struct producer_identity identity;
	struct producer *p;
	struct job *job;

	fixture_jobs_open(&f);
	p = fixture_producer(&f, "p");
	identity = p->identity;
	producers_hold(p);
	producers_hold(p);
	job = fixture_job(&f, p, "k", 1, 0);
	producers_release(&f.jobs.producers, p);
	cr_assert_eq(producers_find(&f.jobs.producers, &identity), p);
	job_destroy(&f.jobs, job);
	cr_assert_eq(producers_find(&f.jobs.producers, &identity), p);
	producers_release(&f.jobs.producers, p);
	cr_assert_null(producers_find(&f.jobs.producers, &identity));
	p = fixture_producer(&f, "p");
	producers_hold(p);
	job = fixture_job(&f, p, "k", 1, 0);
	producers_release(&f.jobs.producers, p);
	cr_assert_eq(producers_find(&f.jobs.producers, &identity), p);
	job_destroy(&f.jobs, job);
	fixture_jobs_close(&f);
}

Test(producer, there_is_a_most_and_those_there_are_are_still_found)
{
	struct producers ps = {.table = NULL};
	struct producer *first = NULL, *p, *next;
	char name[16];

	for (unsigned i = 0; i < PRODUCERS_MAX; i++) {
		snprintf(name, sizeof(name), "p%u", i);
		p = get(&ps, 1, (struct text){name, strlen(name)}, NONE);
		cr_assert_not_null(p);
		producers_hold(p);
		first = first == NULL ? p : first;
	}
	cr_assert_null(get(&ps, 1, TEXT("more"), NONE));
	cr_assert_eq(get(&ps, 1, TEXT("p0"), NONE), first);
	producers_release(&ps, first);
	p = get(&ps, 1, TEXT("more"), NONE);
	cr_assert_not_null(p);
	producers_hold(p);
	for (p = ps.table; p != NULL; p = next) {
		next = p->hh.next;
		producers_release(&ps, p);
	}
	cr_assert_null(ps.table);
}
