/* SPDX-License-Identifier: Apache-2.0 */
/* The books of users: they exist while producers of theirs do. */
#include "user.h"

#include <assert.h>
#include <stdlib.h>

bool
users_join(struct users *us, uint64_t uid, struct user **user)
{
	struct user *u;

	*user = NULL;
	if (uid == 0 || uid == us->own_uid)
		return true;
	HASH_FIND(hh, us->table, &uid, sizeof(uid), u);
	if (u == NULL) {
		if ((u = calloc(1, sizeof(*u))) == NULL)
			return false;
		u->uid = uid;
		HASH_ADD(hh, us->table, uid, sizeof(u->uid), u);
	}
	u->producers_n++;
	*user = u;
	return true;
}

void
users_leave(struct users *us, struct user *u)
{
	if (u == NULL || --u->producers_n > 0)
		return;
	assert(u->jobs_n == 0 && u->bytes == 0);
	HASH_DEL(us->table, u);
	free(u);
}

void
user_hold(struct user *u, uint64_t before, uint64_t now)
{
	if (u == NULL)
		return;
	assert(u->bytes >= before);
	u->bytes = u->bytes - before + now;
}
