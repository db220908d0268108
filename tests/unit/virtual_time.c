/* SPDX-License-Identifier: Apache-2.0 */
#include "virtual_time.h"

#include <criterion/criterion.h>
#include <uv.h>

#define TIMERS_MAX 64

struct waiting {
	uv_timer_t *timer;
	uv_timer_cb cb;
	uint64_t due_ns;
};

static uint64_t now_ns = 1000000 * VIRTUAL_MS_NS;
/* In the order in which they were started. */
static struct waiting waiting[TIMERS_MAX];
static size_t waiting_n;

uint64_t __wrap_uv_hrtime(void);
int __real_uv_timer_start(uv_timer_t *, uv_timer_cb, uint64_t, uint64_t);
int __wrap_uv_timer_start(uv_timer_t *, uv_timer_cb, uint64_t, uint64_t);
int __real_uv_timer_stop(uv_timer_t *);
int __wrap_uv_timer_stop(uv_timer_t *);
void __real_uv_close(uv_handle_t *, uv_close_cb);
void __wrap_uv_close(uv_handle_t *, uv_close_cb);

uint64_t
virtual_time_ns(void)
{
	return now_ns;
}

size_t
virtual_time_timers_n(void)
{
	return waiting_n;
}

static void
drop(const uv_handle_t *handle)
{
	for (size_t i = 0; i < waiting_n; i++) {
		if ((uv_handle_t *)waiting[i].timer != handle)
			continue;
		waiting_n--;
		memmove(&waiting[i], &waiting[i + 1],
		    (waiting_n - i) * sizeof(waiting[0]));
		return;
	}
}

uint64_t
__wrap_uv_hrtime(void)
{
	return now_ns;
}

int
__wrap_uv_timer_start(
    uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout_ms, uint64_t repeat_ms)
{
	if (repeat_ms != 0)
		return __real_uv_timer_start(timer, cb, timeout_ms, repeat_ms);
	cr_assert(!uv_is_closing((uv_handle_t *)timer));
	drop((uv_handle_t *)timer);
	cr_assert_lt(waiting_n, TIMERS_MAX, "more timers than expected");
	waiting[waiting_n++] = (struct waiting){
	    timer, cb, (now_ns / VIRTUAL_MS_NS + timeout_ms) * VIRTUAL_MS_NS};
	return 0;
}

int
__wrap_uv_timer_stop(uv_timer_t *timer)
{
	drop((uv_handle_t *)timer);
	return __real_uv_timer_stop(timer);
}

void
__wrap_uv_close(uv_handle_t *handle, uv_close_cb cb)
{
	drop(handle);
	__real_uv_close(handle, cb);
}

void
virtual_time_advance(uint64_t ns)
{
	uint64_t until_ns = now_ns + ns;

	for (;;) {
		const struct waiting *first = NULL;
		struct waiting due;

		for (size_t i = 0; i < waiting_n; i++) {
			if (first == NULL || waiting[i].due_ns < first->due_ns)
				first = &waiting[i];
		}
		if (first == NULL || first->due_ns > until_ns)
			break;
		due = *first;
		drop((uv_handle_t *)due.timer);
		if (now_ns < due.due_ns)
			now_ns = due.due_ns;
		due.cb(due.timer);
	}
	if (now_ns < until_ns)
		now_ns = until_ns;
}

void
virtual_time_skip(uint64_t ns)
{
	now_ns += ns;
}
