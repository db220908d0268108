/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that ask the daemon something, or tell it, and what they wait for.
 */
#include "latentd/client.h"

#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "deliver.h"
#include "session.h"
#include "submit.h"

/* Send the request of ${call} and wait for a reply that came after this. */
static enum latentd_err
ask(struct latentd_client *c, struct call *call, int timeout_ms,
    const char *what)
{
	struct timespec at = client_deadline(timeout_ms);
	uint64_t done_n = call->done_n;

	call->wanted = true;
	session_pump(c);
	while (call->done_n == done_n) {
		if (!client_wait(c, &at) && call->done_n == done_n)
			return reason_set(client_reason(), LATENTD_ERR_TIMEOUT,
			    "no answer to %s from %s within %d ms", what,
			    c->url, timeout_ms);
	}
	if (call->why.err != LATENTD_OK)
		*client_reason() = call->why;
	return call->why.err;
}

enum latentd_err
latentd_status(struct latentd_client *c, int timeout_ms, char **json)
{
	enum latentd_err err;

	*json = NULL;
	pthread_mutex_lock(&c->mutex);
	err = ask(c, &c->status, timeout_ms, "STATUS");
	if (err == LATENTD_OK) {
		*json = strdup(c->report);
		if (*json == NULL)
			err = reason_set(client_reason(), LATENTD_ERR_MEMORY,
			    "no memory for the daemon's report");
	}
	pthread_mutex_unlock(&c->mutex);
	return err;
}

enum latentd_err
latentd_cancel(struct latentd_client *c, uint64_t ticket)
{
	enum latentd_err err = LATENTD_OK;
	struct job *job;

	pthread_mutex_lock(&c->mutex);
	job = jobs_find_ticket(&c->jobs, ticket);
	if (job == NULL) {
		err = reason_set(client_reason(), LATENTD_ERR_NOT_FOUND,
		    "ticket %ju is not pending", (uintmax_t)ticket);
	} else {
		job_cancel(&c->jobs, job);
		if (job->stage == STAGE_WAITING)
			deliver_failed(c, job, LATENTD_ERR_CANCELLED,
			    "cancelled before the daemon had it");
		session_pump(c);
	}
	pthread_mutex_unlock(&c->mutex);
	return err;
}

enum latentd_err
latentd_cancel_key(struct latentd_client *c, const char *key, int timeout_ms)
{
	struct timespec at = client_deadline(timeout_ms);
	enum latentd_err err = LATENTD_OK;

	if (key == NULL || !submit_is_name(key))
		return reason_set(client_reason(), LATENTD_ERR_INVALID,
		    "\"%s\" is not a key: use 1 to %u of A-Z a-z 0-9 . _ -",
		    key != NULL ? key : "", LATENTD_MAX_NAME_BYTES);
	pthread_mutex_lock(&c->mutex);
	while (c->cancel_taken && err == LATENTD_OK) {
		if (!client_wait(c, &at))
			err = reason_set(client_reason(), LATENTD_ERR_TIMEOUT,
			    "another cancel is still waiting for its answer");
	}
	if (err == LATENTD_OK) {
		c->cancel_taken = true;
		strcpy(c->cancel_key, key);
		err = ask(c, &c->cancel, timeout_ms, "CANCEL");
		c->cancel_taken = false;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->mutex);
	return err;
}
