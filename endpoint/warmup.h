/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_WARMUP_H
#define ENDPOINT_WARMUP_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/http_uv.h"

/*
 * A replica that is scaled to zero and takes its time to come up: until then it
 * is cold, and requests may be held.  Loop thread.
 */
struct warmup;

struct warmup_options {
	/* held(http, warm, arg): a held request comes back, because the replica
	 * is warm or else because its own time is over. */
	void (*held)(struct http_request *http, bool warm, void *arg);
	void *arg;
};

/* warmup_open(loop, options): warm at first; NULL without memory. */
struct warmup *warmup_open(
    uv_loop_t *loop, const struct warmup_options *options);

/* warmup_close(w, closed, arg): nothing may be held; ${closed} is called when
 * it is freed. */
void warmup_close(struct warmup *w, void (*closed)(void *), void *arg);

/* warmup_begin(w, cold_ms): be cold from now on for so long; 0: warm. */
void warmup_begin(struct warmup *w, uint64_t cold_ms);

/* warmup_left_ms(w): how long it stays cold; 0: it is warm. */
uint64_t warmup_left_ms(const struct warmup *w);

/* warmup_hold(w, http, ms): hold a request for at most ${ms}, which is answered
 * by nobody else.  False without memory. */
bool warmup_hold(struct warmup *w, struct http_request *http, uint64_t ms);

/*
 * warmup_release(w): give all that is held back, as after their time.
 * warmup_gone(w, http): forget a request, if it is held.
 */
void warmup_release(struct warmup *w);
void warmup_gone(struct warmup *w, const struct http_request *http);

#endif
