/* SPDX-License-Identifier: Apache-2.0 */
#include "endpoint.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/log.h"

static void
forget_token(struct endpoint *ep)
{
	if (ep->authorization != NULL)
		explicit_bzero(ep->authorization, strlen(ep->authorization));
	free(ep->authorization);
	ep->authorization = NULL;
}

struct endpoint *
endpoint_create(const struct config_endpoint *config)
{
	struct endpoint *ep = calloc(1, sizeof(*ep));

	if (ep == NULL)
		return NULL;
	memcpy(ep->name, config->name, sizeof(ep->name));
	memcpy(ep->url, config->url, sizeof(ep->url));
	memcpy(ep->health_path, config->health, sizeof(ep->health_path));
	ep->model = config->model;
	ep->task = config->task;
	ep->weight = config->weight;
	ep->backup = config->backup;
	ep->times = config->times;
	limit_init(&ep->limit, config->parallel);
	fitness_init(&ep->fitness, uv_hrtime());
	if (config->token != NULL &&
	    asprintf(&ep->authorization, "Authorization: Bearer %s",
		config->token) < 0) {
		free(ep);
		return NULL;
	}
	return ep;
}

bool
endpoint_is(const struct endpoint *ep, const struct endpoint *other)
{
	return strcmp(ep->name, other->name) == 0 &&
	    ep->model == other->model && ep->task == other->task &&
	    strcmp(ep->url, other->url) == 0;
}

void
endpoint_adopt(struct endpoint *ep, struct endpoint *fresh)
{
	forget_token(ep);
	ep->authorization = fresh->authorization;
	fresh->authorization = NULL;
	ep->weight = fresh->weight;
	ep->backup = fresh->backup;
	ep->times = fresh->times;
	memcpy(ep->health_path, fresh->health_path, sizeof(ep->health_path));
	if (ep->limit.fixed != fresh->limit.fixed)
		ep->limit = fresh->limit;
	fitness_resume(&ep->fitness, uv_hrtime());
	endpoint_destroy(fresh);
}

void
endpoint_destroy(struct endpoint *ep)
{
	if (ep == NULL)
		return;
	assert(ep->in_flight == 0);
	forget_token(ep);
	free(ep);
}

unsigned
endpoint_free_slots(const struct endpoint *ep, uint64_t now_ns)
{
	unsigned limit = limit_now(&ep->limit);

	if (!fitness_may_send(&ep->fitness, now_ns))
		return 0;
	/* Those from before it was taken out may still be there. */
	if (fitness_is_trial(&ep->fitness))
		return limit > ep->in_flight;
	return limit > ep->in_flight ? limit - ep->in_flight : 0;
}

double
endpoint_load(const struct endpoint *ep)
{
	return (double)ep->in_flight_px /
	    ((double)limit_now(&ep->limit) * ep->weight);
}

void
endpoint_begin(struct endpoint *ep, struct attempt *a)
{
	ep->in_flight++;
	ep->in_flight_px += a->cost_px;
	ep->requests_n++;
	a->in_flight = ep->in_flight;
	a->trial = fitness_is_trial(&ep->fitness);
	a->warming = ep->fitness.state == FITNESS_WARMING;
	fitness_sent(&ep->fitness, a->trial);
}

void
endpoint_end(struct endpoint *ep, const struct attempt *a)
{
	assert(ep->in_flight > 0 && ep->in_flight_px >= a->cost_px);
	ep->in_flight--;
	ep->in_flight_px -= a->cost_px;
}

void
endpoint_heard(struct endpoint *ep, long http_status)
{
	const bool silent = http_status == 0 || http_status == 502 ||
	    http_status == 503 || http_status == 504;

	ep->health = silent ? ENDPOINT_SILENT : ENDPOINT_ANSWERS;
}

/* What the limit learns from it. */
static void
teach_limit(struct endpoint *ep, const struct attempt *a)
{
	struct limit_sample sample = {
	    .px = a->cost_px, .in_flight = a->in_flight};

	if (a->verdict.fate == FATE_LOAD || a->verdict.fate == FATE_LATE ||
	    (a->verdict.fate == FATE_COLD &&
		ep->fitness.state == FITNESS_FIT)) {
		/* A proxy also says 503 when its queue is full. */
		limit_overload(&ep->limit);
	} else if (a->verdict.fate == FATE_DONE && a->answered_ns != 0) {
		sample.ns = a->answered_ns -
		    (a->connected_ns != 0 ? a->connected_ns : a->started_ns);
		limit_good(&ep->limit, &sample);
	}
}

void
endpoint_checked(struct endpoint *ep, long http_status)
{
	endpoint_heard(ep, http_status);
	if (http_status >= 200 && http_status < 300) {
		ep->checks_bad_n = 0;
		return;
	}
	if (++ep->checks_bad_n < ENDPOINT_CHECKS_BAD)
		return;
	ep->checks_bad_n = 0;
	if (!fitness_absent(&ep->fitness, uv_hrtime()))
		return;
	if (http_status == 0)
		reason_set(&ep->last_error, LATENTD_ERR_UNREACHABLE,
		    "endpoint %s: %s gave no reply, %u times in a row",
		    ep->name, ep->health_path, ENDPOINT_CHECKS_BAD);
	else
		reason_set(&ep->last_error, LATENTD_ERR_ENDPOINT,
		    "endpoint %s: %s answered HTTP %ld, the last of %u "
		    "failures in a row",
		    ep->name, ep->health_path, http_status,
		    ENDPOINT_CHECKS_BAD);
	log_warn("endpoint=%s is %s now: %s", ep->name,
	    fitness_name(ep->fitness.state), ep->last_error.text);
}

void
endpoint_dropped(struct endpoint *ep, const struct attempt *a)
{
	ep->outcomes_n[LATENTD_ERR_CANCELLED]++;
	fitness_dropped(&ep->fitness, a->trial);
}

void
endpoint_judge(struct endpoint *ep, const struct attempt *attempt, bool may_out)
{
	const struct verdict *v = &attempt->verdict;
	enum fitness_state before = ep->fitness.state;

	ep->outcomes_n[v->reason.err]++;
	ep->sent_bytes += attempt->sent_bytes;
	ep->received_bytes += attempt->received_bytes;
	if (v->reason.err != LATENTD_OK)
		ep->last_error = v->reason;
	/* Our own want of memory says nothing of it. */
	if (v->http_status != 0 || v->reason.err != LATENTD_ERR_MEMORY)
		endpoint_heard(ep, v->http_status);
	teach_limit(ep, attempt);
	if (fitness_ended(&ep->fitness, attempt->trial, v->fate,
		v->retry_after_ms, may_out, uv_hrtime()))
		limit_restart(&ep->limit);
	if (ep->fitness.state != before)
		log_warn("endpoint=%s is %s now, was %s%s%s", ep->name,
		    fitness_name(ep->fitness.state), fitness_name(before),
		    v->reason.err != LATENTD_OK ? ": " : "",
		    v->reason.err != LATENTD_OK ? v->reason.text : "");
}

uint64_t
endpoint_bad_n(const struct endpoint *ep)
{
	uint64_t n = 0;

	for (int e = LATENTD_OK + 1; e < LATENTD_ERR_COUNT; e++) {
		if (e != LATENTD_ERR_CANCELLED)
			n += ep->outcomes_n[e];
	}
	return n;
}
