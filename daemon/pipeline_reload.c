/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes over a changed configuration, whole or not at all: a worker reads it
 * and the files that it names, the loop thread checks it against the one in
 * force and then changes everything in one step.  Whoever asks while one is
 * being read gets the next one, because the file may have changed meanwhile.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "pipeline_private.h"
#include "reply.h"

/* Administrators that wait for an answer. */
#define ASKERS_MAX 16u

struct askers {
	struct door_request *requests[ASKERS_MAX];
	size_t n;
};

struct reloads {
	uv_work_t work;
	struct pipeline *pipeline;
	bool working;
	bool again; /* somebody asked meanwhile */
	struct askers now; /* who asked before the worker began */
	struct askers next;
	char path[CONFIG_PATH_BYTES];
	struct config *config; /* what was read; NULL: ${why} says why not */
	struct reason why;
	struct reason last;
};

struct reloads *
reloads_create(struct pipeline *p)
{
	struct reloads *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->pipeline = p;
	r->work.data = r;
	return r;
}

void
reloads_destroy(struct reloads *r)
{
	if (r == NULL)
		return;
	assert(!r->working && r->now.n == 0 && r->next.n == 0);
	free(r);
}

bool
reloads_working(const struct reloads *r)
{
	return r->working;
}

const struct reason *
reloads_last(const struct reloads *r)
{
	return &r->last;
}

/* ---- answers ---- */

static void
answer(struct reloads *r, struct askers *askers, const struct reason *why)
{
	const struct message_done done = {
	    .instance = r->pipeline->instance, .jobs = 0};

	for (size_t i = 0; i < askers->n; i++)
		door_reply(askers->requests[i],
		    why->err == LATENTD_OK
			? reply_create(MESSAGE_DONE, &done, NULL, 0)
			: reply_rejected(why));
	askers->n = 0;
}

void
reloads_refuse(struct reloads *r, const struct reason *why)
{
	r->again = false;
	answer(r, &r->now, why);
	answer(r, &r->next, why);
}

/* ---- reading and taking over ---- */

static void
on_read(uv_work_t *work)
{
	struct reloads *r = work->data;

	(void)config_read(r->path, &r->config, &r->why);
}

/* Jobs of a lane that no endpoint serves wait for better times. */
void
pipeline_warn_of_lanes(const struct pipeline *p)
{
	for (size_t i = 0; i < dispatch_lanes_n(p->dispatch); i++) {
		const struct lane *lane = dispatch_lane_at(p->dispatch, i);
		size_t n = lane->waiting.jobs_n + lane->again_n;

		if (lane->endpoints_n == 0 && n > 0)
			log_warn("%zu jobs wait to %s %s, which no endpoint "
				 "does now",
			    n, task_name(lane->task), lane->model->name);
	}
}

static enum latentd_err
take_over(struct pipeline *p, struct config *next, struct reason *why)
{
	struct config *old = p->config;

	if (config_may_follow(old, next, why) != LATENTD_OK ||
	    pipeline_endpoints(p, next, why) != LATENTD_OK)
		return why->err;
	if (!config_same_tls(old, next))
		log_warn("the TLS files hold something else than at the start, "
			 "which is used until the daemon is started again");
	p->config = next;
	pipeline_settings(p);
	config_destroy(old);
	pipeline_warn_of_lanes(p);
	return LATENTD_OK;
}

static void begin(struct reloads *r);

static void
on_was_read(uv_work_t *work, int status)
{
	struct reloads *r = work->data;
	struct pipeline *p = r->pipeline;
	enum latentd_err err = r->config != NULL ? LATENTD_OK : r->why.err;

	(void)status;
	r->working = false;
	if (p->closing) {
		config_destroy(r->config);
		pipeline_close_soon(p);
		return;
	}
	if (err == LATENTD_OK)
		err = take_over(p, r->config, &r->why);
	if (err != LATENTD_OK) {
		config_destroy(p->config != r->config ? r->config : NULL);
		log_error("configuration not taken over, everything stays as "
			  "it was: %s",
		    r->why.text);
	} else {
		r->why = (struct reason){.err = LATENTD_OK};
		log_info("configuration taken over: %s, %zu endpoints", r->path,
		    p->config->endpoints_n);
	}
	r->last = r->why;
	r->config = NULL;
	answer(r, &r->now, &r->last);
	if (r->again)
		begin(r);
	else
		service_ready(p->service);
}

static void
begin(struct reloads *r)
{
	r->working = true;
	r->again = false;
	r->now = r->next;
	r->next.n = 0;
	service_reloading(r->pipeline->service);
	snprintf(r->path, sizeof(r->path), "%s", r->pipeline->config->path);
	if (uv_queue_work(r->pipeline->loop, &r->work, on_read, on_was_read) !=
	    0)
		abort();
}

void
reloads_ask(struct reloads *r, struct door_request *request)
{
	struct reason why;

	if (r->next.n == ASKERS_MAX || r->pipeline->closing) {
		reason_set(&why, LATENTD_ERR_STOPPING,
		    r->pipeline->closing
			? "the daemon is stopping"
			: "too many wait for a reload already");
		if (request != NULL)
			door_reply(request, reply_rejected(&why));
		return;
	}
	if (request != NULL)
		r->next.requests[r->next.n++] = request;
	r->again = true;
	if (!r->working)
		begin(r);
}

void
pipeline_reload(struct pipeline *p)
{
	reloads_ask(p->reloads, NULL);
}
