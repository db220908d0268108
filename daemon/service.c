/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speaks to the service manager, from two timers on the loop: one says STATUS
 * when something has changed, at most once a second; the other feeds the
 * watchdog.  A watchdog's message proves that the loop turns, since it sends
 * it, and that producers can connect, since a knock was answered.  It is tried
 * four times in the time that the manager allows, because a daemon that is
 * killed loses what it does, and one try may meet a full backlog.
 */
#include "service.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/knock.h"
#include "base/log.h"
#include "base/notify.h"
#include "latentd/limits.h"

#define STATUS_MS UINT64_C(1000)
#define STATUS_BYTES 160
#define TRIES 4u

struct service {
	struct service_options options;
	char socket[LATENTD_MAX_URL_BYTES]; /* "": none */
	struct notify *notify; /* NULL: no manager */
	struct knock *knock; /* NULL: no watchdog, or no socket */
	uv_timer_t status;
	uv_timer_t watchdog;
	uint64_t status_ns; /* when it was said; 0: never */
	char said[STATUS_BYTES];
	bool starved; /* the last knock was in vain */
	unsigned handles_n;
};

/* ---- STATUS ---- */

static void
write_status(const struct service *s, char text[STATUS_BYTES])
{
	struct service_counts now = {.queued_n = 0};
	int n;

	s->options.count(&now, s->options.arg);
	if (now.draining) {
		n = snprintf(text, STATUS_BYTES,
		    "Draining: %zu jobs to finish, %zu results to collect, "
		    "at most %" PRIu64 " s more",
		    now.queued_n + now.active_n, now.kept_n,
		    (now.drain_left_ms + 999) / 1000);
		if (now.stay_n > 0)
			snprintf(text + n, STATUS_BYTES - (size_t)n,
			    "; %zu jobs stay in the spool", now.stay_n);
	} else {
		snprintf(text, STATUS_BYTES,
		    "%zu jobs queued, %zu active, %zu results waiting",
		    now.queued_n, now.active_n, now.kept_n);
	}
}

static void
on_status(uv_timer_t *timer)
{
	struct service *s = timer->data;
	char text[STATUS_BYTES];

	write_status(s, text);
	s->status_ns = uv_hrtime();
	if (strcmp(text, s->said) != 0 &&
	    notify_hint(s->notify, "STATUS=%s", text))
		memcpy(s->said, text, sizeof(text));
}

void
service_look(struct service *s)
{
	uint64_t since_ms;

	if (s == NULL || s->notify == NULL ||
	    uv_is_active((uv_handle_t *)&s->status))
		return;
	since_ms = (uv_hrtime() - s->status_ns) / MS_NS;
	uv_timer_start(&s->status, on_status,
	    since_ms < STATUS_MS ? STATUS_MS - since_ms : 0, 0);
}

/* ---- the watchdog ---- */

static void
on_answer(const char *why, void *arg)
{
	struct service *s = arg;

	if (why == NULL)
		notify_hint(s->notify, "WATCHDOG=1");
	if (why != NULL && !s->starved)
		log_error("the watchdog is not fed: %s takes no connection: %s",
		    s->socket, why);
	else if (why == NULL && s->starved)
		log_info("the watchdog is fed again");
	s->starved = why != NULL;
}

static void
on_watchdog(uv_timer_t *timer)
{
	struct service *s = timer->data;

	if (s->knock != NULL)
		knock_start(s->knock);
	else
		notify_hint(s->notify, "WATCHDOG=1");
}

static bool
start_watchdog(struct service *s)
{
	const struct knock_options knock = {
	    .path = s->socket, .on_answer = on_answer, .arg = s};
	uint64_t every_ms = notify_watchdog_us() / 1000 / TRIES;

	if (s->notify == NULL || notify_watchdog_us() == 0)
		return true;
	if (s->socket[0] != '\0' &&
	    (s->knock = knock_open(s->watchdog.loop, &knock)) == NULL)
		return false;
	every_ms = every_ms > 0 ? every_ms : 1;
	uv_timer_start(&s->watchdog, on_watchdog, 0, every_ms);
	return true;
}

/* ---- opening and closing ---- */

struct service *
service_open(uv_loop_t *loop, const struct service_options *options)
{
	struct service *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->options = *options;
	if (options->socket != NULL)
		snprintf(s->socket, sizeof(s->socket), "%s", options->socket);
	s->notify = notify_open();
	uv_timer_init(loop, &s->status);
	uv_timer_init(loop, &s->watchdog);
	s->status.data = s->watchdog.data = s;
	s->handles_n = 2;
	if (!start_watchdog(s)) {
		service_close(s);
		return NULL;
	}
	return s;
}

static void
on_closed(uv_handle_t *timer)
{
	struct service *s = timer->data;

	if (--s->handles_n == 0)
		free(s);
}

void
service_close(struct service *s)
{
	if (s == NULL)
		return;
	knock_close(s->knock);
	notify_close(s->notify);
	s->knock = NULL;
	s->notify = NULL;
	uv_close((uv_handle_t *)&s->status, on_closed);
	uv_close((uv_handle_t *)&s->watchdog, on_closed);
}

/* ---- what happens once in a while ---- */

void
service_ready(struct service *s)
{
	char text[STATUS_BYTES];

	if (s == NULL || s->notify == NULL)
		return;
	write_status(s, text);
	if (notify_state(s->notify, "READY=1\nSTATUS=%s", text))
		memcpy(s->said, text, sizeof(text));
	s->status_ns = uv_hrtime();
}

void
service_reloading(struct service *s)
{
	/* uv_hrtime() is CLOCK_MONOTONIC, as the manager wants it. */
	if (s != NULL)
		notify_state(s->notify,
		    "RELOADING=1\nMONOTONIC_USEC=%" PRIu64
		    "\nSTATUS=Reading the configuration",
		    uv_hrtime() / 1000);
}

void
service_stopping(struct service *s)
{
	if (s == NULL)
		return;
	notify_state(s->notify, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64,
	    SERVICE_EXTEND_MS * UINT64_C(1000));
	service_look(s);
}
