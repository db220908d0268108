/* SPDX-License-Identifier: Apache-2.0 */
/* What the producers of one user hold together. */
#include <criterion/criterion.h>
#include <string.h>

#include "producer.h"

#define TEXT(s) ((struct text){s, strlen(s)})

static struct producers ps = {.users = {.own_uid = 7}};

static struct producer *
get(uint64_t uid, const char *name)
{
	const struct text none = {NULL, 0};
	struct producer_identity identity;
	struct producer *p;

	producer_identity(uid, TEXT(name), none, &identity);
	p = producers_get(&ps, &identity);
	cr_assert_not_null(p);
	producers_hold(p);
	return p;
}

Test(user, producers_of_a_uid_are_one_user_and_exist_as_long_as_it)
{
	struct producer *a = get(1000, "a"), *b = get(1000, "b");
	struct producer *c = get(1001, "a");
	struct user *user = a->user;

	cr_assert_not_null(user);
	cr_assert_eq(b->user, user);
	cr_assert_neq(c->user, user);
	cr_assert_eq(user->producers_n, 2);
	producers_release(&ps, a);
	cr_assert_eq(user->producers_n, 1);
	producers_release(&ps, b);
	cr_assert_eq(HASH_COUNT(ps.users.table), 1);
	producers_release(&ps, c);
	cr_assert_null(ps.users.table);
}

Test(user, root_and_the_daemon_s_own_user_have_no_bounds)
{
	struct producer *root = get(0, "a"), *own = get(7, "a");

	cr_assert_null(root->user);
	cr_assert_null(own->user);
	producers_release(&ps, root);
	producers_release(&ps, own);
}

Test(user, without_uids_all_names_are_one_user_but_those_with_a_secret)
{
	struct producer *a = get(PRODUCER_NO_UID, "a");
	struct producer *b = get(PRODUCER_NO_UID, "b");
	struct producer *proved = get(PRODUCER_SECRET_UID, "a");
	struct producer *http = get(PRODUCER_HTTP_UID, "a");

	cr_assert_not_null(a->user);
	cr_assert_eq(a->user, b->user);
	cr_assert_null(proved->user);
	cr_assert_null(http->user);
	producers_release(&ps, a);
	producers_release(&ps, b);
	producers_release(&ps, proved);
	producers_release(&ps, http);
	cr_assert_null(ps.users.table);
}

Test(user, bytes_are_counted_for_the_user_whoever_of_its_producers_has_them)
{
	struct producer *a = get(1000, "a"), *b = get(1000, "b");

	user_hold(a->user, 0, 100);
	user_hold(b->user, 0, 20);
	cr_assert_eq(a->user->bytes, 120);
	user_hold(b->user, 20, 30);
	user_hold(a->user, 100, 0);
	cr_assert_eq(b->user->bytes, 30);
	user_hold(b->user, 30, 0);
	user_hold(NULL, 0, 5);
	producers_release(&ps, a);
	producers_release(&ps, b);
}
