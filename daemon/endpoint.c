/* SPDX-License-Identifier: Apache-2.0 */
#include "endpoint.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct endpoint *
endpoint_create(const struct config_endpoint *config)
{
	struct endpoint *ep = calloc(1, sizeof(*ep));

	if (ep == NULL)
		return NULL;
	memcpy(ep->name, config->name, sizeof(ep->name));
	memcpy(ep->url, config->url, sizeof(ep->url));
	ep->model = config->model;
	ep->task = config->task;
	ep->parallel = config->parallel;
	if (config->token != NULL &&
	    asprintf(&ep->authorization, "Authorization: Bearer %s",
		config->token) < 0) {
		free(ep);
		return NULL;
	}
	return ep;
}

void
endpoint_destroy(struct endpoint *ep)
{
	if (ep == NULL)
		return;
	assert(ep->in_flight == 0);
	if (ep->authorization != NULL)
		explicit_bzero(ep->authorization, strlen(ep->authorization));
	free(ep->authorization);
	free(ep);
}

unsigned
endpoint_free_slots(const struct endpoint *ep)
{
	return ep->parallel - ep->in_flight;
}

void
endpoint_begin(struct endpoint *ep)
{
	assert(ep->in_flight < ep->parallel);
	ep->in_flight++;
	ep->requests_n++;
}

void
endpoint_end(struct endpoint *ep)
{
	assert(ep->in_flight > 0);
	ep->in_flight--;
}

void
endpoint_heard(struct endpoint *ep, long http_status)
{
	const bool silent = http_status == 0 || http_status == 502 ||
	    http_status == 503 || http_status == 504;

	ep->health = silent ? ENDPOINT_SILENT : ENDPOINT_ANSWERS;
}

void
endpoint_judge(struct endpoint *ep, const struct attempt *attempt)
{
	const struct verdict *v = &attempt->verdict;

	ep->outcomes_n[v->reason.err]++;
	ep->sent_bytes += attempt->sent_bytes;
	ep->received_bytes += attempt->received_bytes;
	if (v->reason.err != LATENTD_OK)
		ep->last_error = v->reason;
	/* Our own want of memory says nothing of it. */
	if (v->http_status != 0 || v->reason.err != LATENTD_ERR_MEMORY)
		endpoint_heard(ep, v->http_status);
}

void
endpoint_aborted(struct endpoint *ep)
{
	ep->outcomes_n[LATENTD_ERR_CANCELLED]++;
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
