/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <jansson.h>
#include <uv.h>

#include "latentd/version.h"

#define PRODUCERS_LISTED_MAX 256u

static json_t *
queue_json(const struct report_input *in)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "jobs",
	    (json_int_t)in->jobs->n, "jobs_max", (json_int_t)in->config->jobs,
	    "bytes", (json_int_t)in->jobs->input_bytes, "bytes_max",
	    (json_int_t)in->config->bytes, "result_bytes",
	    (json_int_t)in->jobs->result_bytes);
}

/* Until all that waits in ${lane} is done; 0: not known. */
static uint64_t
wait_ms(const struct lane *lane)
{
	uint64_t px = lane->active_px / 2;

	for (unsigned i = 0; i < JOB_CLASSES; i++)
		px += lane->waiting.classes[i].cost_px;
	return px > 0 ? lane_estimate_ms(lane, px, 0) : 0;
}

/* Results that wait for their producers, of failed jobs, too. */
static size_t
kept_n(const size_t state_n[JOB_STATE_COUNT], size_t buried_n)
{
	size_t n = 0;

	for (int state = JOB_DONE; state < JOB_STATE_COUNT; state++)
		n += state_n[state];
	return n - buried_n;
}

static json_t *
jobs_json(const struct report_input *in)
{
	const struct jobs *jobs = in->jobs;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
	    "queued", (json_int_t)jobs->state_n[JOB_QUEUED], "active",
	    (json_int_t)jobs->state_n[JOB_ACTIVE], "kept",
	    (json_int_t)kept_n(jobs->state_n, jobs->buried_n), "failed",
	    (json_int_t)jobs->state_n[JOB_FAILED], "buried",
	    (json_int_t)jobs->buried_n, "done_total",
	    (json_int_t)jobs->ended_n[JOB_DONE], "failed_total",
	    (json_int_t)jobs->ended_n[JOB_FAILED], "cancelled_total",
	    (json_int_t)jobs->ended_n[JOB_CANCELLED], "expired_total",
	    (json_int_t)jobs->ended_n[JOB_EXPIRED], "forgotten_total",
	    (json_int_t)in->dropped_n);
}

static json_t *
lanes_json(const struct dispatch *dispatch)
{
	const uint64_t now_ns = uv_hrtime();
	json_t *list = json_array();

	for (size_t i = 0; i < dispatch_lanes_n(dispatch); i++) {
		const struct lane *lane = dispatch_lane_at(dispatch, i);

		if (lane->endpoints_n == 0 && lane->active_n == 0 &&
		    lane->waiting.jobs_n + lane->again_n == 0)
			continue;
		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:f}", "model",
			lane->model->name, "task", task_name(lane->task),
			"waiting",
			(json_int_t)(lane->waiting.jobs_n + lane->again_n),
			"active", (json_int_t)lane->active_n, "wait_ms",
			(json_int_t)wait_ms(lane), "done_total",
			(json_int_t)lane->done_n, "done_per_s",
			rate_per_s(&lane->done, now_ns)));
	}
	return list;
}

static json_t *
endpoints_json(const struct dispatch *dispatch)
{
	json_t *list = json_array();

	for (size_t i = 0; i < dispatch_endpoints_n(dispatch); i++) {
		const struct endpoint *ep = dispatch_endpoint(dispatch, i);

		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, "
			      "s:I, s:s}",
			"name", ep->name, "model", ep->model->name, "task",
			task_name(ep->task), "url", ep->url, "state",
			fitness_name(ep->fitness.state), "parallel",
			(json_int_t)limit_now(&ep->limit), "in_flight",
			(json_int_t)ep->in_flight, "requests_total",
			(json_int_t)ep->requests_n, "done_total",
			(json_int_t)ep->outcomes_n[LATENTD_OK], "failed_total",
			(json_int_t)endpoint_bad_n(ep), "last_error",
			ep->last_error.text));
	}
	return list;
}

static json_t *
producers_json(const struct producers *producers)
{
	json_t *list = json_array();
	const struct producer *p;

	for (p = producers->table; p != NULL; p = p->hh.next) {
		json_t *uid = !producer_has_uid(&p->identity)
		    ? json_null()
		    : json_integer((json_int_t)p->identity.uid);

		json_array_append_new(list,
		    json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I}",
			"name", p->identity.name, "uid", uid, "open",
			(json_int_t)p->open_n, "queued",
			(json_int_t)p->state_n[JOB_QUEUED], "active",
			(json_int_t)p->state_n[JOB_ACTIVE], "kept",
			(json_int_t)kept_n(p->state_n, p->buried_n), "failed",
			(json_int_t)p->state_n[JOB_FAILED], "buried",
			(json_int_t)p->buried_n));
		if (json_array_size(list) == PRODUCERS_LISTED_MAX)
			break;
	}
	return list;
}

static json_t *
drain_json(const struct report_input *in)
{
	const struct jobs *jobs = in->jobs;
	const size_t open_n =
	    jobs->state_n[JOB_QUEUED] + jobs->state_n[JOB_ACTIVE];

	if (!in->draining)
		return json_null();
	return json_pack("{s:I, s:I, s:I}", "jobs", (json_int_t)open_n,
	    "results", (json_int_t)kept_n(jobs->state_n, jobs->buried_n),
	    "left_ms", (json_int_t)in->drain_left_ms);
}

static json_t *
events_json(const struct config *config)
{
	static const char *const modes[] = {"none", "state", "image"};

	return json_pack("{s:s, s:s}", "mode", modes[config->events], "url",
	    config->events != 0 ? config->events_listen : "");
}

static json_t *
spool_json(const struct report_input *in)
{
	const struct reason *why;
	struct spool_counts c;

	if (in->spool == NULL)
		return json_null();
	c = spool_counts(in->spool);
	why = spool_failure(in->spool);
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}",
	    "path", in->config->spool_path, "durability",
	    spool_is_durable(in->spool) ? "spooled" : "none", "bytes",
	    (json_int_t)in->jobs->stored_bytes, "bytes_max",
	    (json_int_t)in->jobs->stored_max, "used_bytes",
	    (json_int_t)c.used_bytes, "size_bytes", (json_int_t)c.size_bytes,
	    "commits_total", (json_int_t)c.commits_n, "aside",
	    (json_int_t)c.aside_n, "lost_total", (json_int_t)c.lost_n,
	    "failure", why != NULL ? why->text : "");
}

char *
report_create(const struct report_input *in)
{
	uint64_t uptime_s = (uv_hrtime() - in->started_ns) / 1000000000u;
	json_t *root;
	char instance[17], *text;

	/* As text: JSON readers lose the low bits of such a number. */
	snprintf(instance, sizeof(instance), "%016llx",
	    (unsigned long long)in->instance);
	root = json_pack("{s:s, s:s, s:s, s:I, s:{s:b, s:b}, s:o, s:o}",
	    "version", LATENTD_VERSION, "instance", instance, "state",
	    in->draining ? "draining" : "running", "uptime_s",
	    (json_int_t)uptime_s, "paused", "in", in->paused_in, "out",
	    dispatch_is_paused(in->dispatch), "drain", drain_json(in), "events",
	    events_json(in->config));
	json_object_set_new(root, "config",
	    json_pack("{s:s, s:s}", "path", in->config->path, "refused",
		in->reload->err != LATENTD_OK ? in->reload->text : ""));
	json_object_set_new(root, "queue", queue_json(in));
	json_object_set_new(root, "spool", spool_json(in));
	json_object_set_new(root, "jobs", jobs_json(in));
	json_object_set_new(root, "lanes", lanes_json(in->dispatch));
	json_object_set_new(root, "endpoints", endpoints_json(in->dispatch));
	json_object_set_new(root, "producers_total",
	    json_integer((json_int_t)HASH_COUNT(in->jobs->producers.table)));
	json_object_set_new(
	    root, "producers", producers_json(&in->jobs->producers));
	text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
	json_decref(root);
	return text;
}

static bool
is_served(const struct dispatch *dispatch, const struct endpoint *wanted)
{
	for (size_t i = 0; i < dispatch_endpoints_n(dispatch); i++) {
		const struct endpoint *ep = dispatch_endpoint(dispatch, i);

		if (ep->model == wanted->model && ep->task == wanted->task &&
		    ep->health == ENDPOINT_ANSWERS)
			return true;
	}
	return false;
}

enum latentd_err
report_ready(const struct dispatch *dispatch, struct reason *why)
{
	for (size_t i = 0; i < dispatch_endpoints_n(dispatch); i++) {
		const struct endpoint *ep = dispatch_endpoint(dispatch, i);

		if (!is_served(dispatch, ep))
			return reason_set(why, LATENTD_ERR_UNREACHABLE,
			    "no endpoint answers that could %s for model %s",
			    task_name(ep->task), ep->model->name);
	}
	return LATENTD_OK;
}
