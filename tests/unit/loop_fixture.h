/* SPDX-License-Identifier: Apache-2.0 */
/* A loop that is run until something has happened, and no longer. */
#ifndef UNIT_LOOP_FIXTURE_H
#define UNIT_LOOP_FIXTURE_H

#include <criterion/criterion.h>
#include <uv.h>

struct fixture_loop {
	uv_loop_t uv;
	uv_timer_t tick;
};

static inline void
fixture_on_tick(uv_timer_t *tick)
{
	(void)tick;
}

static inline void
fixture_loop_open(struct fixture_loop *l)
{
	cr_assert_eq(uv_loop_init(&l->uv), 0);
	/* A turn of the loop runs timers first and then waits for the next
	 * thing, however late: the tick comes sooner. */
	uv_timer_init(&l->uv, &l->tick);
	uv_timer_start(&l->tick, fixture_on_tick, 1, 1);
	uv_unref((uv_handle_t *)&l->tick);
}

/* Run the loop until all handles are closed that somebody has begun to close;
 * fails when another one is left. */
static inline void
fixture_loop_close(struct fixture_loop *l)
{
	uv_close((uv_handle_t *)&l->tick, NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	cr_assert_eq(uv_loop_close(&l->uv), 0, "a handle is still open");
}

/* Run the loop until ${condition} holds; fails when nothing is left that could
 * make it so. */
#define FIXTURE_RUN_UNTIL(l, condition)                              \
	while (!(condition))                                         \
	cr_assert(uv_run(&(l)->uv, UV_RUN_ONCE) != 0 || (condition), \
	    "nothing is under way: %s", #condition)

#endif
