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
endpoint_judge(struct endpoint *ep, const struct verdict *verdict)
{
	if (verdict->reason.err == LATENTD_OK) {
		ep->good_n++;
		return;
	}
	ep->bad_n++;
	ep->last_error = verdict->reason;
}
