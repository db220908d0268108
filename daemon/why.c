/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says where jobs are and what they wait for.  Only looks; the one sentence is
 * made here, so that every face of the daemon tells the same.
 */
#include "why.h"

#include <inttypes.h>

#include <jansson.h>

#include "base/clock.h"

static json_int_t
ms_since(uint64_t then_ns, uint64_t now_ns)
{
	return (json_int_t)(now_ns > then_ns ? (now_ns - then_ns) / MS_NS : 0);
}

static json_int_t
ms_until(uint64_t then_ns, uint64_t now_ns)
{
	return ms_since(now_ns, then_ns);
}

static void
put(json_t *object, const char *key, json_int_t value)
{
	json_object_set_new(object, key, json_integer(value));
}

/* ---- what every job has ---- */

static json_t *
head_json(const struct job *job, uint64_t now_ns)
{
	static const char *const classes[JOB_CLASSES] = {
	    "urgent", "high", "normal", "low"};
	const struct producer_identity *who = &job->producer->identity;
	json_t *root = json_pack(
	    "{s:I, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}",
	    "id", (json_int_t)job->id, "key", job->key, "producer", who->name,
	    "uid",
	    !producer_has_uid(who) ? json_null()
				   : json_integer((json_int_t)who->uid),
	    "model", job->remote.model->name, "task",
	    task_name(job->remote.task), "output", output_name(job->output),
	    "state", job_state_name(job->state), "age_ms",
	    ms_since(job->submitted_ns, now_ns), "since_ms",
	    ms_since(job->since_ns, now_ns), "requests",
	    (json_int_t)job->attempts_n, "kicks", (json_int_t)job->kicks_n);

	json_object_set_new(root, "buried", json_boolean(job->buried));
	if (job->state == JOB_QUEUED && job->retry_at_ns != 0)
		put(root, "retry_in_ms", ms_until(job->retry_at_ns, now_ns));
	if (job->state <= JOB_ACTIVE)
		json_object_set_new(
		    root, "class", json_string(classes[job->class]));
	if (job->deadline_ns != 0 && job->state <= JOB_ACTIVE)
		put(root, "deadline_in_ms", ms_until(job->deadline_ns, now_ns));
	if (job->endpoint[0] != '\0')
		json_object_set_new(
		    root, "endpoint", json_string(job->endpoint));
	if (job->reason.err != LATENTD_OK) {
		json_object_set_new(root, "code",
		    json_string(latentd_err_name(job->reason.err)));
		json_object_set_new(
		    root, "reason", json_string(job->reason.text));
	}
	return root;
}

static char *
dump(json_t *root)
{
	char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;

	json_decref(root);
	return text;
}

char *
why_list(const struct why_input *in, struct job *const *jobs, size_t n,
    uint64_t next)
{
	const uint64_t now_ns = uv_hrtime();
	json_t *list = json_array();

	(void)in;
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, head_json(jobs[i], now_ns));
	return dump(json_pack("{s:o, s:o}", "jobs", list, "next",
	    next != 0 ? json_integer((json_int_t)next) : json_null()));
}

/* ---- what it has been through ---- */

static json_t *
attempts_json(const struct history *history, uint64_t now_ns)
{
	json_t *list = json_array();

	for (size_t i = 0; i < history_n(history); i++) {
		const struct history_entry *e = history_at(history, i);

		json_array_append_new(list,
		    json_pack("{s:s, s:I, s:s, s:I, s:I}", "endpoint",
			e->endpoint, "http_status", (json_int_t)e->http_status,
			"code", latentd_err_name(e->err), "took_ms",
			(json_int_t)e->took_ms, "ago_ms",
			ms_since(e->ended_ns, now_ns)));
	}
	return list;
}

/* ---- what it waits for ---- */

static json_t *
endpoints_json(const struct lane *lane, bool *any_free, uint64_t now_ns)
{
	json_t *list = json_array();

	*any_free = false;
	for (size_t i = 0; i < lane->endpoints_n; i++) {
		const struct endpoint *ep = lane->endpoints[i];
		bool is_free = endpoint_free_slots(ep, now_ns) > 0;

		*any_free = *any_free || is_free;
		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:I, s:I, s:b, s:I, s:s}", "name",
			ep->name, "state", fitness_name(ep->fitness.state),
			"in_flight", (json_int_t)ep->in_flight, "parallel",
			(json_int_t)limit_now(&ep->limit), "full", !is_free,
			"pause_ms",
			ms_until(fitness_at_ns(&ep->fitness), now_ns),
			"last_error", ep->last_error.text));
	}
	return list;
}

/* Of the fit endpoints of ${lane}, which all asked for patience, the first that
 * may be used again; NULL: not all of them did. */
static const struct endpoint *
first_patient(const struct lane *lane, uint64_t now_ns)
{
	const struct endpoint *first = NULL;

	for (size_t i = 0; i < lane->endpoints_n; i++) {
		const struct endpoint *ep = lane->endpoints[i];

		if (ep->fitness.state != FITNESS_FIT)
			continue;
		if (ep->fitness.until_ns <= now_ns)
			return NULL;
		if (first == NULL ||
		    ep->fitness.until_ns < first->fitness.until_ns)
			first = ep;
	}
	return first;
}

/* No endpoint is fit; the one that may be first again stands for all. */
static void
tell_unfit(const struct lane *lane, struct reason *why, uint64_t now_ns)
{
	const struct endpoint *first;

	if (lane->endpoints_n == 0) {
		reason_set(why, LATENTD_OK,
		    "waits until an endpoint is configured that can %s %s; "
		    "there is none any more",
		    task_name(lane->task), lane->model->name);
		return;
	}
	first = lane->endpoints[0];
	for (size_t i = 1; i < lane->endpoints_n; i++) {
		const struct endpoint *ep = lane->endpoints[i];

		if (first->fitness.state == FITNESS_STOPPED ||
		    (ep->fitness.state != FITNESS_STOPPED &&
			ep->fitness.until_ns < first->fitness.until_ns))
			first = ep;
	}
	if (first->fitness.state == FITNESS_STOPPED)
		reason_set(why, LATENTD_OK,
		    "waits until somebody mends endpoint %s and says latentctl "
		    "reload: %.300s",
		    first->name, first->last_error.text);
	else
		reason_set(why, LATENTD_OK,
		    "waits for an endpoint that is fit; %s is %s and tried "
		    "again in %" PRIu64 " ms: %.300s",
		    first->name, fitness_name(first->fitness.state),
		    (uint64_t)ms_until(fitness_at_ns(&first->fitness), now_ns),
		    first->last_error.text);
}

static void
tell_queued(const struct why_input *in, const struct job *job, json_t *root,
    struct reason *why, uint64_t now_ns)
{
	const char *model = job->remote.model->name;
	size_t position = queue_position(job);
	uint64_t estimate_ms = queue_estimate_ms(job);
	const struct endpoint *patient = first_patient(job->lane, now_ns);
	bool any_free;

	put(root, "position", (json_int_t)position);
	if (estimate_ms > 0)
		put(root, "estimate_ms", (json_int_t)estimate_ms);
	json_object_set_new(
	    root, "endpoints", endpoints_json(job->lane, &any_free, now_ns));
	if (job->retry_at_ns != 0)
		reason_set(why, LATENTD_OK,
		    "waits %" PRIu64 " ms more before request %u, because the "
		    "last one failed: %.300s",
		    (uint64_t)ms_until(job->retry_at_ns, now_ns),
		    job->attempts_n + 1, job->reason.text);
	else if (dispatch_is_paused(in->dispatch))
		reason_set(why, LATENTD_OK,
		    "waits because requests to endpoints are paused (latentctl "
		    "resume out), behind %zu jobs",
		    position);
	else if (!LIST_EMPTY(&job->producer->parked))
		reason_set(why, LATENTD_OK,
		    "waits until its producer collects results: those that are "
		    "there fill its bound");
	else if (!lane_has_fit(job->lane, NULL, true))
		tell_unfit(job->lane, why, now_ns);
	else if (patient != NULL)
		reason_set(why, LATENTD_OK,
		    "waits %" PRIu64 " ms more, because endpoint %s asked for "
		    "patience: %.300s",
		    (uint64_t)ms_until(patient->fitness.until_ns, now_ns),
		    patient->name, patient->last_error.text);
	else if (!any_free)
		reason_set(why, LATENTD_OK,
		    "waits for a free slot: every endpoint for %s is full, and "
		    "%zu jobs go before it",
		    model, position);
	else if (!dispatch_has_room(in->dispatch))
		reason_set(why, LATENTD_OK,
		    "waits until producers have collected results: there is no "
		    "room for more");
	else
		reason_set(why, LATENTD_OK,
		    "waits for its turn, behind %zu jobs", position);
}

static void
tell_active(const struct job *job, json_t *root, struct reason *why,
    bool paused, uint64_t now_ns)
{
	json_t *list = json_array();
	size_t checked_n = 0;

	for (size_t i = 0; i < job->parts_n; i++) {
		const struct attempt *a = job->parts[i].attempt;

		if (a == NULL)
			continue;
		checked_n += a->ended_ns != 0;
		json_array_append_new(list,
		    json_pack("{s:I, s:s, s:s, s:I}", "part", (json_int_t)i,
			"endpoint", a->endpoint->name, "phase",
			a->ended_ns != 0 ? "checking" : "requesting", "ms",
			ms_since(a->ended_ns != 0 ? a->ended_ns : a->started_ns,
			    now_ns)));
	}
	json_object_set_new(root, "running", list);
	if (job->running_n == 0)
		reason_set(why, LATENTD_OK,
		    paused ? "waits with %zu of %zu parts done, because "
			     "requests to endpoints are paused"
			   : "waits for a free slot, with %zu of %zu parts "
			     "done",
		    job->done_n, job->parts_n);
	else if (checked_n == job->running_n)
		reason_set(why, LATENTD_OK,
		    "its reply from endpoint %s is being checked",
		    job->endpoint);
	else
		reason_set(why, LATENTD_OK,
		    "waits for the reply to request %u, at endpoint %s, since "
		    "%" PRIu64 " ms",
		    job->attempts_n, job->endpoint,
		    (uint64_t)ms_since(job->since_ns, now_ns));
}

static void
tell_ended(const struct why_input *in, const struct job *job, json_t *root,
    struct reason *why, uint64_t now_ns)
{
	const char *state = job_state_name(job->state);
	uint64_t until_ns = job->buried
	    ? job->buried_ns + in->bury_ms * MS_NS
	    : job->finished_ns + in->keep_ms * MS_NS;

	json_object_set_new(root, "delivery",
	    json_string(job->buried        ? "buried"
		    : job->lease_pipe != 0 ? "delivered"
					   : "waiting"));
	put(root, "kept_ms", ms_until(until_ns, now_ns));
	if (job->buried)
		reason_set(why, LATENTD_OK,
		    "failed, and its producer knows; its latent is kept: "
		    "latentctl kick %" PRIu64 " tries it again.  It failed "
		    "with: %.300s",
		    job->id, job->reason.text);
	else if (job->lease_pipe != 0)
		reason_set(why, LATENTD_OK,
		    "%s; its producer has the result and has not acknowledged "
		    "it yet",
		    state);
	else
		reason_set(why, LATENTD_OK,
		    "%s; waits until its producer collects the result", state);
}

char *
why_job(const struct why_input *in, const struct job *job)
{
	const uint64_t now_ns = uv_hrtime();
	json_t *root = head_json(job, now_ns);
	struct reason why;

	put(root, "parts", (json_int_t)job->parts_n);
	put(root, "parts_done", (json_int_t)job->done_n);
	put(root, "latent_bytes",
	    job_has_input(job) ? (json_int_t)job->payload_bytes : 0);
	put(root, "result_bytes", (json_int_t)job->result_bytes);
	json_object_set_new(
	    root, "attempts", attempts_json(job->history, now_ns));
	if (job->state == JOB_QUEUED)
		tell_queued(in, job, root, &why, now_ns);
	else if (job->state == JOB_ACTIVE)
		tell_active(
		    job, root, &why, dispatch_is_paused(in->dispatch), now_ns);
	else
		tell_ended(in, job, root, &why, now_ns);
	json_object_set_new(root, "why", json_string(why.text));
	return dump(root);
}
