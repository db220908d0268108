/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_DRAIN_H
#define DAEMON_DRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

struct drain;

/* After the last job a drain waits so long for results to be collected. */
#define DRAIN_COLLECT_MS 10000u

/* So often it says how far it is. */
#define DRAIN_SAY_MS 10000u

struct drain_options {
	uint64_t most_ms; /* a drain takes no longer */
	/* Jobs that are not done, and results that are not collected. */
	size_t (*open_n)(void *arg);
	size_t (*kept_n)(void *arg);
	/* on_drained(arg): once, from the loop; nothing is left, or time is
	 * up. */
	void (*on_drained)(void *arg);
	/* on_going(arg): at the beginning, and every DRAIN_SAY_MS. */
	void (*on_going)(void *arg);
	void *arg;
};

/* drain_open(loop, options): NULL when memory is out.
 * drain_close(d): also in the middle; NULL is a no-op. */
struct drain *drain_open(uv_loop_t *loop, const struct drain_options *options);
void drain_close(struct drain *d);

/* drain_change(d, most_ms): for a drain that has not begun. */
void drain_change(struct drain *d, uint64_t most_ms);

/* drain_start(d): begin; no-op when it has begun.  drain_look(d): something ended; nothing happens
 * before drain_start(). */
void drain_start(struct drain *d);
void drain_look(struct drain *d);

/* drain_stop(d): never mind, there is nothing to wait for any more. */
void drain_stop(struct drain *d);

/* drain_started(d): whether it has begun.  drain_left_ms(d): how long it may
 * take still; only when it has begun. */
bool drain_started(const struct drain *d);
uint64_t drain_left_ms(const struct drain *d);

#endif
