/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_ADMISSION_H
#define ENDPOINT_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <uv.h>

#include "latentd/errors.h"
#include "reason.h"

/*
 * A replica's capacity: so many slots, held for a service time at least; who
 * finds none free waits in order of arrival.  Everything on the loop thread.
 */
struct admission;

enum turn_state {
	TURN_OUT = 0, /* before and after */
	TURN_WAITING, /* for a slot */
	TURN_SERVING, /* has one, service time runs */
	TURN_LATE, /* has one, service time is over */
	TURN_STATES
};

/* One request's turn; the members are admission.c's own but for the last. */
struct turn {
	TAILQ_ENTRY(turn) link;
	enum turn_state state;
	bool computed;
	uint64_t granted_ns;
	uint64_t due_ns;
	double slowdown; /* the owner's: service time and work take so many
			  * times as long; 0 means 1 */
};

struct admission_options {
	unsigned parallel; /* slots, at least 1 */
	uint64_t service_ms; /* how long one is held at least */
	/* granted(turn, arg): the turn has a slot.  Begin its work, and call
	 * admission_computed() when it is done, at once if need be. */
	void (*granted)(struct turn *turn, void *arg);
	/* released(turn, arg): work done, time over, the slot is free again:
	 * answer.  The turn is out and may be freed. */
	void (*released)(struct turn *turn, void *arg);
	void *arg;
};

/* admission_open(loop, options, admission, why): fails with IO or MEMORY. */
enum latentd_err admission_open(uv_loop_t *loop,
    const struct admission_options *options, struct admission **admission,
    struct reason *why);

/* admission_close(a): free it; no turn may be in.  Its handle is closed when
 * the loop turns. */
void admission_close(struct admission *a);

/* admission_adjust(a, parallel, service_ms): so many slots from now on, and so
 * long a service time for who gets one from now on. */
void admission_adjust(
    struct admission *a, unsigned parallel, uint64_t service_ms);

/* admission_enter(a, turn): queue a turn (TURN_OUT) for a slot.  It may be
 * granted, even released, before the call returns. */
void admission_enter(struct admission *a, struct turn *turn);

/*
 * admission_computed(a, turn, hold): the turn's work is done.  It is released
 * when its service time is over, or now if not ${hold}.
 */
void admission_computed(struct admission *a, struct turn *turn, bool hold);

/* admission_leave(a, turn): take a turn out in whatever state it is, without
 * released(). */
void admission_leave(struct admission *a, struct turn *turn);

/* admission_stop(a): grant no more slots; who leaves then frees none. */
void admission_stop(struct admission *a);

/* How many turns have a slot, and how many wait for one. */
size_t admission_active(const struct admission *a);
size_t admission_waiting(const struct admission *a);

#endif
