/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waits, bounded, for the jobs there are and then for their producers.  One
 * timer, which drain_look() sets to "now", so that the end comes from the loop
 * and never from inside the stage that caused it.
 */
#include "drain.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

struct drain {
	struct drain_options options;
	uv_timer_t timer;
	bool started;
	bool ended;
	uint64_t until_ns;
	uint64_t say_ns; /* when to say how far it is */
	uint64_t idle_since_ns; /* 0: jobs are open */
};

struct drain *
drain_open(uv_loop_t *loop, const struct drain_options *options)
{
	struct drain *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->options = *options;
	uv_timer_init(loop, &d->timer);
	d->timer.data = d;
	return d;
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
drain_close(struct drain *d)
{
	if (d != NULL)
		uv_close((uv_handle_t *)&d->timer, on_closed);
}

void
drain_change(struct drain *d, uint64_t most_ms)
{
	d->options.most_ms = most_ms;
}

/* Say how far it is, when it is time to. */
static void
say(struct drain *d, uint64_t now_ns)
{
	if (now_ns < d->say_ns)
		return;
	log_info("draining: %zu jobs to finish, %zu results to collect, at "
		 "most %llu s more",
	    d->options.open_n(d->options.arg),
	    d->options.kept_n(d->options.arg),
	    (unsigned long long)(drain_left_ms(d) + 999) / 1000);
	d->say_ns = now_ns + DRAIN_SAY_MS * MS_NS;
	d->options.on_going(d->options.arg);
}

static void
on_timer(uv_timer_t *timer)
{
	struct drain *d = timer->data;
	size_t open_n = d->options.open_n(d->options.arg);
	size_t kept_n = d->options.kept_n(d->options.arg);
	uint64_t now_ns = uv_hrtime(), until_ns = d->until_ns, idle_until_ns;
	uint64_t next_ns;

	if (open_n == 0) {
		if (d->idle_since_ns == 0)
			d->idle_since_ns = now_ns;
		idle_until_ns = d->idle_since_ns + DRAIN_COLLECT_MS * MS_NS;
		if (idle_until_ns < until_ns)
			until_ns = idle_until_ns;
	}
	if ((open_n > 0 || kept_n > 0) && now_ns < until_ns) {
		say(d, now_ns);
		next_ns = until_ns < d->say_ns ? until_ns : d->say_ns;
		uv_timer_start(
		    timer, on_timer, (next_ns - now_ns) / MS_NS + 1, 0);
		return;
	}
	d->ended = true;
	log_info("drained: %zu jobs unfinished, %zu results not collected",
	    open_n, kept_n);
	d->options.on_drained(d->options.arg);
}

void
drain_start(struct drain *d)
{
	if (d->started)
		return;
	d->started = true;
	d->until_ns = uv_hrtime() + d->options.most_ms * MS_NS;
	say(d, uv_hrtime());
	drain_look(d);
}

void
drain_look(struct drain *d)
{
	if (d->started && !d->ended)
		uv_timer_start(&d->timer, on_timer, 0, 0);
}

void
drain_stop(struct drain *d)
{
	d->ended = true;
	uv_timer_stop(&d->timer);
}

bool
drain_started(const struct drain *d)
{
	return d->started;
}

uint64_t
drain_left_ms(const struct drain *d)
{
	uint64_t now_ns = uv_hrtime(), until_ns = d->until_ns;

	if (d->idle_since_ns != 0 &&
	    d->idle_since_ns + DRAIN_COLLECT_MS * MS_NS < until_ns)
		until_ns = d->idle_since_ns + DRAIN_COLLECT_MS * MS_NS;
	return until_ns > now_ns ? (until_ns - now_ns) / MS_NS : 0;
}
