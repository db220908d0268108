/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_KNOCK_H
#define BASE_KNOCK_H

#include <stdbool.h>

#include <uv.h>

struct knock;

struct knock_options {
	const char *path; /* the ipc socket of a REP listener; copied */
	/* on_answer(why, arg): of each knock_start(), from the loop, unless
	 * knock_close() comes first.  ${why} is NULL when somebody answered,
	 * else a few words. */
	void (*on_answer)(const char *why, void *arg);
	void *arg;
};

/*
 * knock_open(loop, options): whether producers can still connect, asked as they
 * would: connect, greet and be greeted, close.  NULL when memory is out.
 * knock_close(k): also in the middle; NULL is a no-op.
 */
struct knock *knock_open(uv_loop_t *loop, const struct knock_options *options);
void knock_close(struct knock *k);

/* knock_start(k): try once.  A try that is still on its way has failed. */
void knock_start(struct knock *k);

#endif
