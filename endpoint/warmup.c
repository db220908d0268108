/* SPDX-License-Identifier: Apache-2.0 */
/* One timer, armed for the earliest of the end of the cold and the ends of the
 * requests' patience. */
#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "warmup.h"

struct guest {
	TAILQ_ENTRY(guest) link;
	struct http_request *http;
	uint64_t until_ms;
};

TAILQ_HEAD(guest_list, guest);

struct warmup {
	uv_timer_t timer;
	struct warmup_options options;
	struct guest_list guests;
	uint64_t cold_until_ms; /* of the loop's clock */
	void (*closed)(void *);
	void *closed_arg;
};

static uint64_t
now_ms(const struct warmup *w)
{
	return uv_now(w->timer.loop);
}

uint64_t
warmup_left_ms(const struct warmup *w)
{
	const uint64_t now = now_ms(w);

	return w->cold_until_ms > now ? w->cold_until_ms - now : 0;
}

/* Take it out before the owner is called, who may hold others. */
static void
give_back(struct warmup *w, struct guest *guest, bool warm)
{
	struct http_request *http = guest->http;

	TAILQ_REMOVE(&w->guests, guest, link);
	free(guest);
	w->options.held(http, warm, w->options.arg);
}

static void on_timer(uv_timer_t *timer);

static void
arm(struct warmup *w)
{
	uint64_t first_ms = w->cold_until_ms;
	const struct guest *guest;

	TAILQ_FOREACH(guest, &w->guests, link)
	{
		if (guest->until_ms < first_ms)
			first_ms = guest->until_ms;
	}
	if (TAILQ_EMPTY(&w->guests))
		uv_timer_stop(&w->timer);
	else
		uv_timer_start(&w->timer, on_timer,
		    first_ms > now_ms(w) ? first_ms - now_ms(w) : 0, 0);
}

static void
look(struct warmup *w)
{
	const bool warm = warmup_left_ms(w) == 0;
	struct guest *guest, *next;

	for (guest = TAILQ_FIRST(&w->guests); guest != NULL; guest = next) {
		next = TAILQ_NEXT(guest, link);
		if (warm || guest->until_ms <= now_ms(w))
			give_back(w, guest, warm);
	}
	arm(w);
}

static void
on_timer(uv_timer_t *timer)
{
	look(timer->data);
}

void
warmup_begin(struct warmup *w, uint64_t cold_ms)
{
	w->cold_until_ms = now_ms(w) + cold_ms;
	look(w);
}

bool
warmup_hold(struct warmup *w, struct http_request *http, uint64_t ms)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	if (guest == NULL)
		return false;
	guest->http = http;
	guest->until_ms = now_ms(w) + ms;
	TAILQ_INSERT_TAIL(&w->guests, guest, link);
	arm(w);
	return true;
}

void
warmup_release(struct warmup *w)
{
	struct guest *guest;

	while ((guest = TAILQ_FIRST(&w->guests)) != NULL)
		give_back(w, guest, false);
	arm(w);
}

void
warmup_gone(struct warmup *w, const struct http_request *http)
{
	struct guest *guest;

	TAILQ_FOREACH(guest, &w->guests, link)
	{
		if (guest->http == http)
			break;
	}
	if (guest == NULL)
		return;
	TAILQ_REMOVE(&w->guests, guest, link);
	free(guest);
}

struct warmup *
warmup_open(uv_loop_t *loop, const struct warmup_options *options)
{
	struct warmup *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->options = *options;
	TAILQ_INIT(&w->guests);
	uv_timer_init(loop, &w->timer);
	w->timer.data = w;
	return w;
}

static void
on_closed(uv_handle_t *handle)
{
	struct warmup *w = handle->data;

	assert(TAILQ_EMPTY(&w->guests));
	if (w->closed != NULL)
		w->closed(w->closed_arg);
	free(w);
}

void
warmup_close(struct warmup *w, void (*closed)(void *), void *arg)
{
	w->closed = closed;
	w->closed_arg = arg;
	uv_close((uv_handle_t *)&w->timer, on_closed);
}
