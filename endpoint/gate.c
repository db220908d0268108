/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request comes by twice: with its headers (counted; reset when down) and
 * whole, when its fate is decided in this order: death, down, cold, dice.  What
 * happens before a reply is computed happens here, the rest in the replica.
 * Requests held during the cold carry on from the dice.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "control.h"
#include "gate.h"
#include "number.h"
#include "reply.h"
#include "route.h"
#include "tally.h"
#include "warmup.h"

#define GATE_MAGIC 0x67617465u
#define HOLD_MAX_S 3600

struct gate {
	unsigned magic;
	struct gate_options options;
	struct control control;
	struct tally *tally;
	struct warmup *warmup;
	uint64_t drawn_n; /* since the seed was set */
	uint64_t served_n; /* since die-after was set */
	void (*closed)(void *);
	void *closed_arg;
};

/* ---- fates ---- */

static void
drop(struct gate *gate, struct http_request *http)
{
	gate->options.metrics->down_n++;
	http_drop(http);
}

/* Answer a fault that needs no reply of the replica's. */
static void
fail(struct gate *gate, struct http_request *http, unsigned status,
    uint64_t retry_after_s, const struct reason *why)
{
	const bool later = status == 429 || status == 503;
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, retry_after_s);
	log_debug("%s %s: %u: %s", http_method(http), http_path(http), status,
	    why->text);
	reply_error(http, gate->options.metrics, status,
	    later && retry_after_s > 0 ? "Retry-After" : NULL, text, why);
}

static void
suffer(struct gate *gate, struct http_request *http, const struct fate *fate)
{
	struct reason why;
	unsigned status = fate->status;

	gate->options.metrics->faults_n[fate->fault]++;
	if (fate->fault == FAULT_DROP) {
		log_debug("%s %s: reset", http_method(http), http_path(http));
		http_drop(http);
		return;
	}
	if (fate->fault == FAULT_FAIL) {
		reason_set(&why, LATENTD_ERR_INTERNAL,
		    "%u, as --fail-rate wants it", status);
	} else {
		status = 400;
		reason_set(&why, LATENTD_ERR_MEMORY,
		    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has "
		    "a total capacity of 15.77 GiB of which 1.21 GiB is free.");
	}
	fail(gate, http, status, gate->control.faults.retry_after_s, &why);
}

static void
draw(struct gate *gate, struct http_request *http)
{
	const struct model *model;
	enum latentd_task task;
	struct fate fate;

	model = route_find(http_path(http), &task);
	assert(model != NULL);

	faults_draw(&gate->control.faults, gate->drawn_n++, &fate);
	if (fate.fault == FAULT_FAIL || fate.fault == FAULT_OOM ||
	    (fate.fault == FAULT_DROP && !fate.midway))
		suffer(gate, http, &fate);
	else
		replica_serve(gate->options.replica, http, task, model, &fate);
}

/* ---- the cold ---- */

static void
refuse_cold(struct gate *gate, struct http_request *http)
{
	const uint64_t left_s = (warmup_left_ms(gate->warmup) + 999) / 1000;
	const uint64_t said_s = gate->control.faults.retry_after_s;
	struct reason why;

	gate->options.metrics->cold_n++;
	reason_set(&why, LATENTD_ERR_STOPPING, "503 Service Unavailable");
	fail(gate, http, 503,
	    said_s > 0       ? said_s
		: left_s > 0 ? left_s
			     : 1,
	    &why);
}

/* How long the request would wait for the replica; 0: not at all. */
static uint64_t
patience_ms(const struct http_request *http)
{
	const char *text = http_header(http, "X-Scale-Up-Timeout");
	uint64_t seconds = 0;
	struct reason why;

	if (text == NULL ||
	    number_read("X-Scale-Up-Timeout", text, 0, HOLD_MAX_S, &seconds,
		&why) != LATENTD_OK)
		return 0;
	return seconds * 1000;
}

static void
wait_for_warmth(struct gate *gate, struct http_request *http)
{
	const uint64_t ms = patience_ms(http);

	if (ms == 0 || !warmup_hold(gate->warmup, http, ms))
		refuse_cold(gate, http);
}

static void
on_held(struct http_request *http, bool warm, void *arg)
{
	struct gate *gate = arg;

	assert(gate->magic == GATE_MAGIC);
	if (gate->control.down)
		drop(gate, http);
	else if (!warm)
		refuse_cold(gate, http);
	else
		draw(gate, http);
}

/* ---- requests ---- */

static void
die_when_due(struct gate *gate)
{
	const uint64_t after_n = gate->control.faults.die_after_n;

	if (after_n == 0 || ++gate->served_n < after_n)
		return;
	log_warn("request %" PRIu64 ": dying, as --die-after wants it",
	    gate->served_n);
	_exit(EXIT_FAILURE);
}

void
gate_arrive(struct gate *gate, struct http_request *http)
{
	enum latentd_task task;

	assert(gate->magic == GATE_MAGIC);
	tally_path(gate->tally, route_label(http_path(http)));
	if (route_find(http_path(http), &task) == NULL)
		return;
	tally_key(gate->tally, http_header(http, "Idempotency-Key"));
	tally_begin(gate->tally);
	http_set_user(http, gate);
	if (gate->control.down)
		drop(gate, http);
}

void
gate_leave(struct gate *gate)
{
	tally_end(gate->tally);
}

void
gate_serve(struct gate *gate, struct http_request *http)
{
	assert(gate->magic == GATE_MAGIC);
	die_when_due(gate);
	if (gate->control.down)
		drop(gate, http);
	else if (warmup_left_ms(gate->warmup) > 0)
		wait_for_warmth(gate, http);
	else
		draw(gate, http);
}

bool
gate_is_serving(const struct gate *gate)
{
	return !gate->control.down && warmup_left_ms(gate->warmup) == 0;
}

/* ---- the control path ---- */

/* Put a change into effect: what is running, and what waits. */
static void
apply(struct gate *gate, const struct control *next)
{
	const bool falls = next->down && !gate->control.down;

	gate->control = *next;
	gate->control.reseed = gate->control.recold = false;
	gate->control.cold = gate->control.redie = false;
	if (next->reseed)
		gate->drawn_n = 0;
	if (next->redie)
		gate->served_n = 0;
	replica_adjust(gate->options.replica, next->parallel, next->service_ms);
	if (falls) {
		replica_drop(gate->options.replica);
		warmup_release(gate->warmup);
	}
	if (next->recold)
		warmup_begin(
		    gate->warmup, next->cold ? next->faults.cold_ms : 0);
}

static void
show(struct gate *gate, struct http_request *http)
{
	static const char *const headers[] = {
	    "Content-Type", "application/json"};
	struct metrics *metrics = gate->options.metrics;
	char *text = control_format(
	    &gate->control, metrics, gate->tally, warmup_left_ms(gate->warmup));
	struct reason why;

	if (text == NULL) {
		reason_set(&why, LATENTD_ERR_MEMORY, "not enough memory");
		reply_error(http, metrics, 503, NULL, NULL, &why);
		return;
	}
	metrics_count_reply(metrics, 200);
	metrics->reply_bytes += strlen(text);
	http_reply(http, 200, headers, 1, text, strlen(text), free, text);
}

void
gate_control(struct gate *gate, struct http_request *http)
{
	struct control next = gate->control;
	struct reason why;

	if (!http_is_local(http)) {
		reason_set(&why, LATENTD_ERR_DENIED,
		    "only peers on this machine may use %s", http_path(http));
		reply_error(http, gate->options.metrics, 403, NULL, NULL, &why);
		return;
	}
	if (strcmp(http_method(http), "POST") == 0) {
		if (control_read(&next, http, &why) != LATENTD_OK) {
			reply_error(
			    http, gate->options.metrics, 400, NULL, NULL, &why);
			return;
		}
		apply(gate, &next);
	}
	show(gate, http);
}

/* ---- opening and closing ---- */

void
gate_drain(struct gate *gate)
{
	warmup_release(gate->warmup);
}

void
gate_gone(struct gate *gate, struct http_request *http)
{
	warmup_gone(gate->warmup, http);
}

static void
on_warmup_closed(void *arg)
{
	struct gate *gate = arg;

	tally_destroy(gate->tally);
	if (gate->closed != NULL)
		gate->closed(gate->closed_arg);
	gate->magic = 0;
	free(gate);
}

void
gate_close(struct gate *gate, void (*closed)(void *), void *arg)
{
	assert(gate->magic == GATE_MAGIC);
	gate->closed = closed;
	gate->closed_arg = arg;
	warmup_close(gate->warmup, on_warmup_closed, gate);
}

enum latentd_err
gate_open(uv_loop_t *loop, const struct gate_options *options,
    struct gate **out, struct reason *why)
{
	struct gate *gate = calloc(1, sizeof(*gate));
	const struct warmup_options warmup = {.held = on_held, .arg = gate};

	if (gate == NULL)
		goto no_memory;
	gate->magic = GATE_MAGIC;
	gate->options = *options;
	gate->control.faults = options->options->faults;
	gate->control.parallel = options->options->parallel;
	gate->control.service_ms = options->options->service_ms;
	gate->tally = tally_create();
	if (gate->tally == NULL)
		goto free_gate;
	gate->warmup = warmup_open(loop, &warmup);
	if (gate->warmup == NULL)
		goto destroy_tally;
	warmup_begin(gate->warmup, gate->control.faults.cold_ms);
	*out = gate;
	return LATENTD_OK;

destroy_tally:
	tally_destroy(gate->tally);
free_gate:
	free(gate);
no_memory:
	return reason_set(
	    why, LATENTD_ERR_MEMORY, "not enough memory to begin");
}
