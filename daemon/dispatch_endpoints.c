/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which endpoints there are.  A new list is prepared beside the one in use, with
 * everything that may fail, and then takes its place.  An endpoint that is not
 * in it any more is retired: it gets no request, and lives until the last one
 * that it has is over.
 */
#include <stdlib.h>

#include "dispatch_private.h"

/* The list to come. */
struct change {
	struct endpoint **endpoints;
	size_t n;
	struct endpoint **retired; /* with room for all that are in use */
	struct endpoint ***of_lanes; /* for each lane, with room for all */
};

struct lane *
dispatch_lane_get(
    struct dispatch *d, const struct model *model, enum latentd_task task)
{
	struct lane *lane = dispatch_lane_of(d, model, task), **more;

	if (lane != NULL)
		return lane;
	more = reallocarray(d->lanes, d->lanes_n + 1, sizeof(*more));
	if (more == NULL)
		return NULL;
	d->lanes = more;
	if ((lane = calloc(1, sizeof(*lane))) == NULL)
		return NULL;
	lane->model = model;
	lane->task = task;
	order_init(&lane->waiting, d->options.age_ms);
	TAILQ_INIT(&lane->again);
	TAILQ_INIT(&lane->begun);
	d->lanes[d->lanes_n++] = lane;
	return lane;
}

static void
drop_change(const struct dispatch *d, struct change *c)
{
	for (size_t i = 0; c->of_lanes != NULL && i < d->lanes_n; i++)
		free(c->of_lanes[i]);
	free(c->of_lanes);
	free(c->endpoints);
	free(c->retired);
}

static bool
prepare(struct dispatch *d, struct endpoint *const *endpoints, size_t n,
    struct change *c)
{
	size_t retired_most_n = d->retired_n + d->endpoints_n;

	/* A lane without endpoints does no harm if the rest fails. */
	for (size_t i = 0; i < n; i++) {
		if (dispatch_lane_get(
			d, endpoints[i]->model, endpoints[i]->task) == NULL)
			return false;
	}
	c->n = n;
	c->endpoints = calloc(n + 1, sizeof(*c->endpoints));
	c->retired = calloc(retired_most_n + 1, sizeof(*c->retired));
	c->of_lanes = calloc(d->lanes_n + 1, sizeof(*c->of_lanes));
	if (c->endpoints == NULL || c->retired == NULL || c->of_lanes == NULL)
		return false;
	for (size_t i = 0; i < d->lanes_n; i++) {
		c->of_lanes[i] = calloc(n + 1, sizeof(*c->of_lanes[i]));
		if (c->of_lanes[i] == NULL)
			return false;
	}
	return true;
}

/* The one in use that is the same place, which is then in use no more; else
 * ${fresh}. */
static struct endpoint *
take(struct dispatch *d, struct endpoint *fresh)
{
	for (size_t i = 0; i < d->endpoints_n; i++) {
		struct endpoint *ep = d->endpoints[i];

		if (ep == NULL || !endpoint_is(ep, fresh))
			continue;
		d->endpoints[i] = NULL;
		endpoint_adopt(ep, fresh);
		return ep;
	}
	return fresh;
}

/* What was left in the old list is used no more. */
static void
retire(struct dispatch *d, struct change *c,
    void (*on_gone)(const struct endpoint *ep, void *arg), void *arg)
{
	size_t n = 0;
	struct job *job;

	for (size_t i = 0; i < d->retired_n; i++)
		c->retired[n++] = d->retired[i];
	for (size_t i = 0; i < d->endpoints_n; i++) {
		const struct endpoint *ep = d->endpoints[i];

		if (ep == NULL)
			continue;
		on_gone(ep, arg);
		for (job = jobs_after(d->jobs, 0); job != NULL;
		     job = jobs_after(d->jobs, job->id)) {
			if (job->avoid == ep)
				job->avoid = NULL;
		}
		c->retired[n++] = d->endpoints[i];
	}
	free(d->retired);
	d->retired = c->retired;
	d->retired_n = n;
	c->retired = NULL;
}

static void
share_out(struct dispatch *d, struct change *c)
{
	for (size_t i = 0; i < d->lanes_n; i++) {
		struct lane *lane = d->lanes[i];

		free(lane->endpoints);
		lane->endpoints = c->of_lanes[i];
		lane->endpoints_n = 0;
		c->of_lanes[i] = NULL;
		for (size_t k = 0; k < c->n; k++) {
			struct endpoint *ep = c->endpoints[k];

			if (ep->model == lane->model && ep->task == lane->task)
				lane->endpoints[lane->endpoints_n++] = ep;
		}
	}
}

bool
dispatch_endpoints(struct dispatch *d, struct endpoint *const *endpoints,
    size_t n, void (*on_gone)(const struct endpoint *ep, void *arg), void *arg)
{
	struct change c = {.n = 0};

	if (!prepare(d, endpoints, n, &c)) {
		drop_change(d, &c);
		return false;
	}
	for (size_t i = 0; i < n; i++)
		c.endpoints[i] = take(d, endpoints[i]);
	retire(d, &c, on_gone, arg);
	share_out(d, &c);
	free(d->endpoints);
	d->endpoints = c.endpoints;
	d->endpoints_n = n;
	c.endpoints = NULL;
	drop_change(d, &c);
	dispatch_kick(d);
	return true;
}

static bool
has_requests(const struct dispatch *d, const struct endpoint *ep)
{
	const struct attempt *a;

	TAILQ_FOREACH(a, &d->running, running)
	{
		if (a->endpoint == ep)
			return true;
	}
	return false;
}

void
dispatch_reap(struct dispatch *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->retired_n; i++) {
		if (has_requests(d, d->retired[i]))
			d->retired[n++] = d->retired[i];
		else
			endpoint_destroy(d->retired[i]);
	}
	d->retired_n = n;
}
