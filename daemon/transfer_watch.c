/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl bounds the connection and the whole; what lies between is bounded
 * here, since curl's own bound on slowness also runs while the server thinks.
 * One look a second at all requests, while there are any.
 */
#include <inttypes.h>

#include "base/curl_uv.h"
#include "transfer_private.h"

#define S_NS UINT64_C(1000000000)
#define WATCH_MS 1000u

enum phase
transfer_phase(const struct transfer *t)
{
	const struct attempt *a = t->attempt;

	if (a->answered_ns != 0)
		return PHASE_DOWNLOAD;
	if (a->uploaded_ns != 0)
		return PHASE_THINK;
	return t->bytes > 0 ? PHASE_UPLOAD : PHASE_CONNECT;
}

/* When the present phase of ${t} is late; 0: curl sees to it. */
static uint64_t
late_ns(const struct transfer *t, unsigned *bound_s)
{
	const struct config_times *times = &t->attempt->endpoint->times;

	switch (transfer_phase(t)) {
	case PHASE_UPLOAD:
	case PHASE_DOWNLOAD:
		*bound_s = times->stall_s;
		return t->byte_ns + times->stall_s * S_NS;
	case PHASE_THINK:
		*bound_s = times->think_s;
		if (t->attempt->warming)
			*bound_s += times->scale_up_s;
		return t->attempt->uploaded_ns + *bound_s * S_NS;
	case PHASE_CONNECT:
	case PHASE_COUNT:
		break;
	}
	return 0;
}

static void
time_out(struct transfer *t, unsigned bound_s)
{
	static const char *const sentences[PHASE_COUNT] = {
	    [PHASE_UPLOAD] = "took no byte of the request for",
	    [PHASE_THINK] = "gave no reply within",
	    [PHASE_DOWNLOAD] = "sent no byte of the reply for"};
	static const char *const keys[PHASE_COUNT] = {
	    [PHASE_UPLOAD] = "stall_s",
	    [PHASE_THINK] = "think_s",
	    [PHASE_DOWNLOAD] = "stall_s"};
	struct attempt *a = t->attempt;
	enum phase phase = transfer_phase(t);

	curl_uv_stop(t->ts->curl, t->easy);
	a->verdict.fate = fate_of_curl(CURLE_OPERATION_TIMEDOUT, phase);
	reason_set(&a->verdict.reason, LATENTD_ERR_TIMEOUT,
	    "endpoint %s %s %u s (%s)", a->endpoint->name, sentences[phase],
	    bound_s, keys[phase]);
	transfer_end(t);
}

static void
on_watch(uv_timer_t *timer)
{
	struct transfers *ts = timer->data;
	uint64_t now_ns = uv_hrtime();
	struct transfer *t;
	unsigned bound_s = 0;

	if (TAILQ_EMPTY(&ts->running))
		uv_timer_stop(timer);
	t = TAILQ_FIRST(&ts->running);
	while (t != NULL) {
		uint64_t ns = late_ns(t, &bound_s);

		if (ns == 0 || ns > now_ns) {
			t = TAILQ_NEXT(t, running);
			continue;
		}
		time_out(t, bound_s);
		/* The next one may have been broken off for it. */
		t = TAILQ_FIRST(&ts->running);
	}
}

void
transfer_watch(struct transfers *ts)
{
	if (!uv_is_active((uv_handle_t *)&ts->watch))
		uv_timer_start(&ts->watch, on_watch, WATCH_MS, WATCH_MS);
}
