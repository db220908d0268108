/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_USER_H
#define DAEMON_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

/* What all producers of one user may hold together. */
struct user_bounds {
	uint64_t jobs_max; /* 0: no bounds at all */
	uint64_t bytes_max; /* latents and results held */
};

/*
 * What the producers of one uid hold; over tcp, where there are no uids, all
 * that have no secret are one user, since a name proves nothing.
 */
struct user {
	uint64_t uid;
	size_t producers_n; /* that exist */
	size_t jobs_n;
	uint64_t bytes;
	UT_hash_handle hh;
};

struct users {
	struct user *table;
	struct user_bounds bounds;
	uint64_t own_uid; /* the daemon's; it and root have no bounds */
};

/*
 * users_join(us, uid, user): one more producer of ${uid} exists; ${*user} is
 * whose it is, or NULL where no bounds apply.  False when memory is out.
 * users_leave(us, user): one less; NULL is a no-op.
 */
bool users_join(struct users *us, uint64_t uid, struct user **user);
void users_leave(struct users *us, struct user *user);

/* user_hold(user, before, now): it holds ${now} bytes where it held ${before};
 * NULL is a no-op. */
void user_hold(struct user *user, uint64_t before, uint64_t now);

#endif
