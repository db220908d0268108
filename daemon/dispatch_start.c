/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is started next, and where.  For each lane with an endpoint that may be
 * sent to: jobs with parts left, then jobs that were tried before, then new
 * ones.  What was tried before is held to a fifth of what is in flight, so that
 * failing requests never crowd out those that may do well.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "dispatch_private.h"

#define AGAIN_PART 5u
#define AGAIN_LEAST 3u
/* Jobs tried before that are looked at, for one that has a place to go. */
#define AGAIN_LOOK 16u

static bool
may_again(const struct dispatch *d)
{
	size_t most = d->running_n / AGAIN_PART;

	return d->again_n < (most > AGAIN_LEAST ? most : AGAIN_LEAST);
}

/* ---- where ---- */

/* What an endpoint must be. */
struct search {
	const struct lane *lane;
	const struct endpoint *avoid; /* any but this one; NULL: any */
	bool fit; /* not one that is to be tried out */
	uint64_t now_ns;
};

static bool
is_candidate(const struct search *s, const struct endpoint *ep)
{
	return ep != s->avoid && endpoint_free_slots(ep, s->now_ns) > 0 &&
	    (!s->fit || ep->fitness.state == FITNESS_FIT) &&
	    (!ep->backup || !lane_has_fit(s->lane, ep, false));
}

/* One of the candidates other than ${but}, more likely one with a larger
 * weight. */
static struct endpoint *
draw(const struct search *s, const struct endpoint *but)
{
	const struct lane *lane = s->lane;
	struct endpoint *drawn = NULL;
	unsigned weights = 0;

	for (size_t i = 0; i < lane->endpoints_n; i++) {
		struct endpoint *ep = lane->endpoints[i];

		if (ep == but || !is_candidate(s, ep))
			continue;
		weights += ep->weight;
		if ((unsigned)random() % weights < ep->weight)
			drawn = ep;
	}
	return drawn;
}

/* Of two drawn at random, the one that has less to do for what it can. */
static struct endpoint *
choose(const struct lane *lane, const struct endpoint *avoid, bool fit)
{
	const struct search s = {lane, avoid, fit, uv_hrtime()};
	struct endpoint *a = draw(&s, NULL);
	struct endpoint *b = a != NULL ? draw(&s, a) : NULL;

	return b != NULL && endpoint_load(b) < endpoint_load(a) ? b : a;
}

/* The same for a job that was tried before: elsewhere, if there is a place
 * that is fit, though it may be busy now. */
static struct endpoint *
choose_again(const struct lane *lane, const struct job *job)
{
	if (job->avoid != NULL && lane_has_other(lane, job->avoid))
		return choose(lane, job->avoid, false);
	return choose(lane, NULL, false);
}

/* ---- what ---- */

static size_t
next_part(const struct job *job)
{
	size_t i = 0;

	while (job->parts[i].state != PART_TODO)
		i++;
	return i;
}

static void
activate(struct dispatch *d, struct lane *lane, struct job *job)
{
	job_move(d->jobs, job, JOB_ACTIVE);
	lane->active_n++;
	lane->active_px += job->cost_px;
	TAILQ_INSERT_TAIL(&lane->begun, job, link);
}

static void
end_late(struct dispatch *d, struct job *job)
{
	struct reason why;

	job_late_reason(job, &why);
	dispatch_cancel(d, job, &why);
}

static struct job *
next_begun(struct dispatch *d, struct lane *lane, struct endpoint **ep)
{
	struct job *job = TAILQ_FIRST(&lane->begun);

	while (job != NULL) {
		if (job_is_late(job)) {
			end_late(d, job);
			job = TAILQ_FIRST(&lane->begun);
			continue;
		}
		*ep = NULL;
		if (!job->parts[next_part(job)].tried)
			*ep = choose(lane, NULL, false);
		else if (may_again(d))
			*ep = choose_again(lane, job);
		if (*ep != NULL)
			return job;
		job = TAILQ_NEXT(job, link);
	}
	return NULL;
}

static struct job *
next_again(struct dispatch *d, struct lane *lane, struct endpoint **ep)
{
	unsigned n = 0;
	struct job *job;

	if (!may_again(d) || choose(lane, NULL, false) == NULL)
		return NULL;
	TAILQ_FOREACH(job, &lane->again, link)
	{
		if (job_is_late(job))
			continue;
		if ((*ep = choose_again(lane, job)) == NULL) {
			if (++n >= AGAIN_LOOK)
				return NULL;
			continue;
		}
		if (!d->sinks.take(job, d->sinks.arg))
			continue;
		activate(d, lane, job);
		return job;
	}
	return NULL;
}

static struct job *
next_new(struct dispatch *d, struct lane *lane, struct endpoint **ep)
{
	struct job *job;

	if ((*ep = choose(lane, NULL, false)) == NULL)
		return NULL;
	job = d->sinks.pop(lane, d->sinks.arg);
	if (job != NULL)
		activate(d, lane, job);
	return job;
}

static struct job *
next_job(struct dispatch *d, struct lane *lane, struct endpoint **ep)
{
	struct job *job = next_begun(d, lane, ep);

	if (job == NULL && dispatch_has_room(d) &&
	    (job = next_again(d, lane, ep)) == NULL)
		job = next_new(d, lane, ep);
	return job;
}

/* ---- starting ---- */

static void
send_attempt(struct dispatch *d, struct attempt *a, struct endpoint *ep)
{
	struct job *job = a->job;

	a->endpoint = ep;
	a->again = job->parts[a->part].tried;
	job->parts[a->part].tried = true;
	job->in_flight_n++;
	job->attempts_n++;
	if (job->started_ns == 0)
		job->started_ns = uv_hrtime();
	snprintf(job->endpoint, sizeof(job->endpoint), "%s", ep->name);
	TAILQ_INSERT_TAIL(&d->running, a, running);
	d->running_n++;
	d->again_n += a->again;
	endpoint_begin(ep, a);
	if (!d->sinks.start(a, d->sinks.arg)) {
		endpoint_end(ep, a);
		dispatch_verdict(d, a);
	}
}

static struct attempt *
new_attempt(struct job *job, size_t part)
{
	struct attempt *a = attempt_create(job, part);

	/* Of this size, memory that is out ends the program. */
	if (a == NULL)
		abort();
	return a;
}

static void
start_part(struct dispatch *d, struct job *job, struct endpoint *ep)
{
	size_t i = next_part(job);
	struct attempt *a = new_attempt(job, i);
	uint64_t late_ns = hedge_late_ns(&d->hedge, a->cost_px);

	dispatch_leave_begun(job);
	job->parts[i].state = PART_RUNNING;
	job->parts[i].attempt = a;
	job->running_n++;
	dispatch_join_begun(job);
	hedge_sent(&d->hedge);
	if (late_ns > 0)
		a->hedge_at_ns = uv_hrtime() + late_ns;
	send_attempt(d, a, ep);
}

/* A second request beside one that is late, elsewhere; only while nothing
 * waits for the slot. */
static void
start_hedges(struct dispatch *d, uint64_t now_ns)
{
	struct attempt *a, *beside;
	struct endpoint *ep;

	TAILQ_FOREACH(a, &d->running, running)
	{
		struct lane *lane = a->job->lane;
		struct part *part = &a->job->parts[a->part];

		if (a->hedge_at_ns == 0 || a->hedge_at_ns > now_ns ||
		    a->ended_ns != 0 || a->aborted ||
		    lane->waiting.jobs_n + lane->again_n > 0 ||
		    !TAILQ_EMPTY(&lane->begun))
			continue;
		if ((ep = choose(lane, a->endpoint, true)) == NULL ||
		    !hedge_take(&d->hedge))
			continue;
		/* Once is enough, whatever comes of it. */
		a->hedge_at_ns = 0;
		beside = new_attempt(a->job, a->part);
		beside->hedge = true;
		assert(part->beside == NULL);
		part->beside = beside;
		send_attempt(d, beside, ep);
		/* The list may have changed under us; the rest is next. */
		dispatch_kick(d);
		return;
	}
}

/* ---- when ---- */

static bool
has_work(const struct lane *lane)
{
	return lane->waiting.jobs_n + lane->again_n > 0 ||
	    !TAILQ_EMPTY(&lane->begun);
}

static void
on_timer(uv_timer_t *timer)
{
	dispatch_kick(timer->data);
}

/* Come again when time alone makes something possible. */
static void
arm(struct dispatch *d, uint64_t now_ns)
{
	const struct attempt *a;
	uint64_t at_ns = UINT64_MAX;

	for (size_t i = 0; i < d->lanes_n; i++) {
		const struct lane *lane = d->lanes[i];

		for (size_t k = 0; has_work(lane) && k < lane->endpoints_n;
		     k++) {
			uint64_t ns =
			    fitness_at_ns(&lane->endpoints[k]->fitness);

			if (ns > now_ns && ns < at_ns)
				at_ns = ns;
		}
	}
	TAILQ_FOREACH(a, &d->running, running)
	{
		if (d->hedge.percent > 0 && a->hedge_at_ns > now_ns &&
		    a->hedge_at_ns < at_ns)
			at_ns = a->hedge_at_ns;
	}
	if (at_ns == UINT64_MAX)
		uv_timer_stop(&d->timer);
	else
		uv_timer_start(
		    &d->timer, on_timer, (at_ns - now_ns) / MS_NS + 1, 0);
}

void
dispatch_look(struct dispatch *d)
{
	uint64_t now_ns = uv_hrtime();
	struct endpoint *ep = NULL;
	struct job *job;

	dispatch_reap(d);
	if (d->paused)
		return;
	for (size_t i = 0; i < d->lanes_n; i++) {
		while ((job = next_job(d, d->lanes[i], &ep)) != NULL)
			start_part(d, job, ep);
	}
	if (d->hedge.percent > 0)
		start_hedges(d, now_ns);
	arm(d, now_ns);
}
