/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the jobs that have ended.  Each is either ready, in its producer's
 * list, or leased, in ${leased}, in order of leasing; all are in ${kept}, in
 * order of ending.  Both waits are the same for every job, so the head of a
 * list is always the next to run out, and one timer serves both.
 */
#include "outbox.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"

struct outbox {
	struct jobs *jobs;
	struct outbox_options options;
	uv_timer_t timer;
	struct job_list leased;
	struct job_list kept;
	size_t kept_n;
	struct job *by_tag; /* the leased ones; uthash */
	uint64_t last_tag;
};

struct outbox *
outbox_open(
    uv_loop_t *loop, struct jobs *jobs, const struct outbox_options *options)
{
	struct outbox *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->jobs = jobs;
	o->options = *options;
	TAILQ_INIT(&o->leased);
	TAILQ_INIT(&o->kept);
	o->last_tag = options->first_tag;
	uv_timer_init(loop, &o->timer);
	o->timer.data = o;
	return o;
}

static void on_timer(uv_timer_t *timer);

static void
arm(struct outbox *o)
{
	const struct job *lease = TAILQ_FIRST(&o->leased);
	const struct job *old = TAILQ_FIRST(&o->kept);
	uint64_t now_ns = uv_hrtime(), at_ns = UINT64_MAX;

	if (lease != NULL)
		at_ns = lease->lease_until_ns;
	if (old != NULL &&
	    old->kept_since_ns + o->options.keep_ms * MS_NS < at_ns)
		at_ns = old->kept_since_ns + o->options.keep_ms * MS_NS;
	if (at_ns == UINT64_MAX)
		uv_timer_stop(&o->timer);
	else
		uv_timer_start(&o->timer, on_timer,
		    at_ns > now_ns ? (at_ns - now_ns) / MS_NS + 1 : 0, 0);
}

/* Take it out of ready or leased, whichever it is in. */
static void
unlink_delivery(struct outbox *o, struct job *job)
{
	if (job->lease_pipe != 0) {
		TAILQ_REMOVE(&o->leased, job, link);
		HASH_DELETE(by_tag, o->by_tag, job);
	} else {
		TAILQ_REMOVE(&job->producer->ready, job, link);
	}
	job->lease_pipe = 0;
}

static void
unlink_job(struct outbox *o, struct job *job)
{
	unlink_delivery(o, job);
	TAILQ_REMOVE(&o->kept, job, kept_link);
	o->kept_n--;
}

static bool
is_failed_latent(const struct job *job)
{
	return job->state == JOB_FAILED && job_has_input(job);
}

/* It has been delivered, or nobody wanted it. */
static void
let_go(struct outbox *o, struct job *job, bool acked)
{
	unlink_job(o, job);
	if (is_failed_latent(job)) {
		o->options.on_failed(job, o->options.arg);
		return;
	}
	if (o->options.on_forget != NULL)
		o->options.on_forget(job, acked, o->options.arg);
	job_destroy(o->jobs, job);
}

static void
make_ready(struct outbox *o, struct job *job)
{
	struct job_list *ready = &job->producer->ready;
	struct job *behind;

	unlink_delivery(o, job);
	/* Delivered before, so it goes before those that never were, and among
	 * its like in the order in which they ended. */
	TAILQ_FOREACH(behind, ready, link)
	{
		if (behind->tag == 0 || behind->finished_ns > job->finished_ns)
			break;
	}
	if (behind != NULL)
		TAILQ_INSERT_BEFORE(behind, job, link);
	else
		TAILQ_INSERT_TAIL(ready, job, link);
}

/* Its time is over: the result goes, a notice stays for as long again. */
static void
give_up(struct outbox *o, struct job *job, uint64_t now_ns)
{
	struct producer *producer = job->producer;
	size_t bytes = job->result_bytes;

	producers_hold(producer);
	if (!is_failed_latent(job))
		o->options.on_dropped(
		    job, "nobody collected it in time", o->options.arg);
	if (!job_has_result(job)) {
		let_go(o, job, false);
	} else {
		job_drop_result(o->jobs, job);
		reason_set(&job->reason, LATENTD_ERR_DROPPED,
		    "the result of %zu bytes was dropped, since nobody "
		    "collected it within %llu s",
		    bytes, (unsigned long long)o->options.keep_ms / 1000);
		TAILQ_REMOVE(&o->kept, job, kept_link);
		TAILQ_INSERT_TAIL(&o->kept, job, kept_link);
		job->kept_since_ns = now_ns;
		if (o->options.on_noticed != NULL)
			o->options.on_noticed(job, o->options.arg);
	}
	o->options.on_room(producer, o->options.arg);
	producers_release(&o->jobs->producers, producer);
}

static void
on_timer(uv_timer_t *timer)
{
	struct outbox *o = timer->data;
	uint64_t now_ns = uv_hrtime();
	struct job *job;

	while ((job = TAILQ_FIRST(&o->kept)) != NULL &&
	    job->kept_since_ns + o->options.keep_ms * MS_NS <= now_ns)
		give_up(o, job, now_ns);
	while ((job = TAILQ_FIRST(&o->leased)) != NULL &&
	    job->lease_until_ns <= now_ns) {
		make_ready(o, job);
		o->options.on_available(job->producer, o->options.arg);
	}
	arm(o);
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
outbox_close(struct outbox *o)
{
	struct job *job;

	if (o == NULL)
		return;
	while ((job = TAILQ_FIRST(&o->kept)) != NULL) {
		unlink_job(o, job);
		job_destroy(o->jobs, job);
	}
	uv_close((uv_handle_t *)&o->timer, on_closed);
}

void
outbox_change(struct outbox *o, uint64_t keep_ms)
{
	o->options.keep_ms = keep_ms;
	arm(o);
}

void
outbox_put(struct outbox *o, struct job *job)
{
	assert(job->lease_pipe == 0);
	if (job->kept_since_ns == 0)
		job->kept_since_ns = uv_hrtime();
	TAILQ_INSERT_TAIL(&job->producer->ready, job, link);
	TAILQ_INSERT_TAIL(&o->kept, job, kept_link);
	o->kept_n++;
	arm(o);
	o->options.on_available(job->producer, o->options.arg);
}

const struct job *
outbox_take(struct outbox *o, struct producer *producer, uint32_t pipe)
{
	struct job *job = TAILQ_FIRST(&producer->ready);

	assert(pipe != 0);
	if (job == NULL)
		return NULL;
	TAILQ_REMOVE(&producer->ready, job, link);
	job->tag = ++o->last_tag;
	job->lease_pipe = pipe;
	job->lease_until_ns = uv_hrtime() + OUTBOX_LEASE_MS * MS_NS;
	TAILQ_INSERT_TAIL(&o->leased, job, link);
	HASH_ADD(by_tag, o->by_tag, tag, sizeof(job->tag), job);
	arm(o);
	return job;
}

bool
outbox_ack(struct outbox *o, struct producer *producer, uint64_t tag)
{
	struct job *job;

	HASH_FIND(by_tag, o->by_tag, &tag, sizeof(tag), job);
	if (job == NULL || job->producer != producer)
		return false;
	o->options.on_acked(job, o->options.arg);
	let_go(o, job, true);
	arm(o);
	o->options.on_room(producer, o->options.arg);
	return true;
}

void
outbox_release(struct outbox *o, uint32_t pipe)
{
	const struct job *last = TAILQ_LAST(&o->leased, job_list);
	struct job *job, *next;

	/* Not beyond ${last}: there is what on_available() leads to. */
	for (job = TAILQ_FIRST(&o->leased); job != NULL; job = next) {
		next = job != last ? TAILQ_NEXT(job, link) : NULL;
		if (job->lease_pipe != pipe)
			continue;
		make_ready(o, job);
		o->options.on_available(job->producer, o->options.arg);
	}
	arm(o);
}

void
outbox_remove(struct outbox *o, struct job *job)
{
	unlink_job(o, job);
	arm(o);
}

size_t
outbox_kept_n(const struct outbox *o)
{
	return o->kept_n;
}
