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
	    (json_int_t)in->jobs->n, "jobs_max", (json_int_t)in->jobs_max,
	    "bytes", (json_int_t)in->jobs->input_bytes, "bytes_max",
	    (json_int_t)in->bytes_max, "result_bytes",
	    (json_int_t)in->jobs->result_bytes);
}

static json_t *
jobs_json(const struct jobs *jobs)
{
	size_t kept_n = jobs->state_n[JOB_DONE] + jobs->state_n[JOB_FAILED] +
	    jobs->state_n[JOB_CANCELLED] + jobs->state_n[JOB_EXPIRED];

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "queued",
	    (json_int_t)jobs->state_n[JOB_QUEUED], "active",
	    (json_int_t)jobs->state_n[JOB_ACTIVE], "kept", (json_int_t)kept_n,
	    "done_total", (json_int_t)jobs->ended_n[JOB_DONE], "failed_total",
	    (json_int_t)jobs->ended_n[JOB_FAILED], "cancelled_total",
	    (json_int_t)jobs->ended_n[JOB_CANCELLED], "expired_total",
	    (json_int_t)jobs->ended_n[JOB_EXPIRED]);
}

static json_t *
endpoints_json(const struct dispatch *dispatch)
{
	json_t *list = json_array();

	for (size_t i = 0; i < dispatch_endpoints_n(dispatch); i++) {
		const struct endpoint *ep = dispatch_endpoint(dispatch, i);

		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, "
			      "s:s}",
			"name", ep->name, "model", ep->model->name, "task",
			task_name(ep->task), "url", ep->url, "parallel",
			(json_int_t)ep->parallel, "in_flight",
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
		json_t *uid = p->identity.uid >= PRODUCER_HTTP_UID
		    ? json_null()
		    : json_integer((json_int_t)p->identity.uid);

		json_array_append_new(list,
		    json_pack("{s:s, s:o, s:I, s:I}", "name", p->identity.name,
			"uid", uid, "open", (json_int_t)p->open_n, "kept",
			(json_int_t)(p->jobs_n - p->open_n)));
		if (json_array_size(list) == PRODUCERS_LISTED_MAX)
			break;
	}
	return list;
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
	root = json_pack("{s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:I, s:o}",
	    "version", LATENTD_VERSION, "instance", instance, "state",
	    in->state, "uptime_s", (json_int_t)uptime_s, "queue",
	    queue_json(in), "jobs", jobs_json(in->jobs), "endpoints",
	    endpoints_json(in->dispatch), "producers_total",
	    (json_int_t)HASH_COUNT(in->jobs->producers.table), "producers",
	    producers_json(&in->jobs->producers));
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
