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

int
timer_open(struct timer *timer, struct latentd_client *c)
{
	timer->client = c;
	return nng_aio_alloc(&timer->aio, on_timer, timer);
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

bool
timer_start(struct timer *timer)
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

bool
timer_start_due(struct timer *timer)
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
	return timer_start(timer);
}
