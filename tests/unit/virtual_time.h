/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A clock that stands still until the test moves it, for modules that ask
 * uv_hrtime() and wait with uv timers.  The linker puts it below them, so they
 * are tested as they are: link virtual_time.c and wrap what it says, which in
 * CMake is virtual_time(TARGET).
 *
 * Timers are handles of the loop as always and are closed by it; only waiting
 * is virtual, of timers that fire once.  One that repeats, as a fixture's, runs
 * by the real clock.  As in libuv a timer counts from the millisecond that
 * has begun, so it may fire a part of one before its time by uv_hrtime().
 *
 * One thread, one clock; the time starts again in each test, since Criterion
 * gives each a process of its own.
 */
#ifndef UNIT_VIRTUAL_TIME_H
#define UNIT_VIRTUAL_TIME_H

#include <stddef.h>
#include <stdint.h>

#define VIRTUAL_MS_NS UINT64_C(1000000)

/* virtual_time_ns(): what uv_hrtime() says now; never 0. */
uint64_t virtual_time_ns(void);

/*
 * virtual_time_advance(ns): let that much time pass; each timer that is due
 * fires at its time, those of the same time in the order in which they were
 * started.  A callback may start and stop timers, and advance by itself.
 */
void virtual_time_advance(uint64_t ns);

/* virtual_time_skip(ns): the same, but no timer notices yet, as when the loop is
 * busy. */
void virtual_time_skip(uint64_t ns);

/* virtual_time_timers_n(): timers that wait. */
size_t virtual_time_timers_n(void);

#endif
