/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each timer is an aio of nng's that sleeps.  Only session_pump() starts and
 * aborts them; one that ends makes it look again.
 */
#include "timer.h"

#include "due.h"
#include "session.h"

#define TIMER_MAX_MS 60000u

static void
on_timer(void *arg)
{
	struct timer *timer = arg;
	struct latentd_client *c = timer->client;

	pthread_mutex_lock(&c->mutex);
	timer->running = false;
	timer->aborted = false;
	timer->armed = false;
	session_pump(c);
	pthread_mutex_unlock(&c->mutex);
}

/* All of them, ended by NULL. */
static void
list(struct latentd_client *c, struct timer *timers[6])
{
	timers[0] = &c->busy_timer;
	timers[1] = &c->collect_timer;
	timers[2] = &c->hello_timer;
	timers[3] = &c->missing_timer;
	timers[4] = &c->due_timer;
	timers[5] = NULL;
}

int
timer_open_all(struct latentd_client *c)
{
	struct timer *timers[6];
	int rv = 0;

	list(c, timers);
	for (size_t i = 0; timers[i] != NULL && rv == 0; i++) {
		timers[i]->client = c;
		rv = nng_aio_alloc(&timers[i]->aio, on_timer, timers[i]);
	}
	return rv;
}

void
timer_close_all(struct latentd_client *c)
{
	struct timer *timers[6];

	list(c, timers);
	for (size_t i = 0; timers[i] != NULL; i++)
		nng_aio_free(timers[i]->aio);
}

void
timer_hold(struct timer *timer, uint64_t ms)
{
	if (timer->armed)
		return;
	timer->armed = true;
	timer->until_ms =
	    due_now_ms() + (ms > TIMER_MAX_MS ? TIMER_MAX_MS : ms);
}

static bool
start(struct timer *timer)
{
	struct latentd_client *c = timer->client;
	uint64_t now_ms = due_now_ms(), ms = 0;

	if (!timer->armed || timer->running)
		return false;
	if (timer->until_ms > now_ms)
		ms = timer->until_ms - now_ms;
	timer->running = true;
	pthread_mutex_unlock(&c->mutex);
	nng_sleep_aio((nng_duration)ms, timer->aio);
	pthread_mutex_lock(&c->mutex);
	return true;
}

static bool
start_due(struct timer *timer)
{
	struct latentd_client *c = timer->client;
	const struct job *first = jobs_first_deadline(&c->jobs);
	uint64_t soonest_ms = due_now_ms() + TIMER_MAX_MS;

	if (first == NULL || timer->aborted)
		return false;
	if (timer->running && timer->until_ms <= first->options.deadline_at_ms)
		return false;
	if (timer->running) {
		timer->aborted = true;
		pthread_mutex_unlock(&c->mutex);
		nng_aio_cancel(timer->aio);
		pthread_mutex_lock(&c->mutex);
		return true;
	}
	timer->armed = true;
	timer->until_ms = first->options.deadline_at_ms < soonest_ms
	    ? first->options.deadline_at_ms
	    : soonest_ms;
	return start(timer);
}

bool
timer_start_any(struct latentd_client *c)
{
	return start(&c->busy_timer) || start(&c->collect_timer) ||
	    start(&c->hello_timer) || start(&c->missing_timer) ||
	    start_due(&c->due_timer);
}
