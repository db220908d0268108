/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the application may learn of a job between latentd_submit() and its
 * result.
 */
#include "latentd/client.h"

#include "core.h"
#include "deliver.h"
#include "due.h"
#include "result.h"

/* A refused job has a failed result, which stays collectable. */
static enum latentd_err
check_refused(struct latentd_client *c, uint64_t ticket, struct reason *why)
{
	struct latentd_result *r = deliver_ready(c, NULL, ticket);

	if (r == NULL)
		TAILQ_FOREACH(r, &c->held, entry)
		{
			if (r->ticket == ticket)
				break;
		}
	if (r == NULL && (ticket == 0 || ticket > c->tickets))
		return reason_set(why, LATENTD_ERR_NOT_FOUND,
		    "ticket %ju was never given", (uintmax_t)ticket);
	if (r == NULL || r->tagged)
		return LATENTD_OK;
	*why = r->why;
	return r->why.err;
}

enum latentd_err
latentd_wait_accepted(struct latentd_client *c, uint64_t ticket, int timeout_ms)
{
	struct timespec at = client_deadline(timeout_ms);
	struct reason *why = client_reason();
	enum latentd_err err = LATENTD_OK;
	struct job *job;

	pthread_mutex_lock(&c->mutex);
	c->accept_waiters++;
	for (;;) {
		job = jobs_find_ticket(&c->jobs, ticket);
		if (job == NULL) {
			err = check_refused(c, ticket, why);
			break;
		}
		if (job->stage == STAGE_ACCEPTED)
			break;
		if (!client_wait(c, &at)) {
			err = reason_set(why, LATENTD_ERR_TIMEOUT,
			    "the daemon at %s has not accepted the job within "
			    "%d ms",
			    c->url, timeout_ms);
			break;
		}
	}
	c->accept_waiters--;
	pthread_mutex_unlock(&c->mutex);
	return err;
}

enum latentd_err
latentd_job_id(struct latentd_client *c, uint64_t ticket, uint64_t *id)
{
	enum latentd_err err = LATENTD_OK;
	const struct job *job;

	pthread_mutex_lock(&c->mutex);
	job = jobs_find_ticket(&c->jobs, ticket);
	if (job == NULL)
		err = reason_set(client_reason(), LATENTD_ERR_NOT_FOUND,
		    "ticket %ju is not pending", (uintmax_t)ticket);
	else
		*id = job->id;
	pthread_mutex_unlock(&c->mutex);
	return err;
}

enum latentd_err
latentd_job_durability(struct latentd_client *c, uint64_t ticket,
    enum latentd_durability *durability)
{
	enum latentd_err err = LATENTD_OK;
	const struct job *job;

	pthread_mutex_lock(&c->mutex);
	job = jobs_find_ticket(&c->jobs, ticket);
	if (job == NULL || job->stage != STAGE_ACCEPTED)
		err = reason_set(client_reason(), LATENTD_ERR_NOT_FOUND,
		    "ticket %ju is not with the daemon", (uintmax_t)ticket);
	else
		*durability = job->durability;
	pthread_mutex_unlock(&c->mutex);
	return err;
}

enum latentd_err
latentd_job_estimate(struct latentd_client *c, uint64_t ticket,
    uint64_t *position, uint64_t *estimated_wait_ms)
{
	enum latentd_err err = LATENTD_OK;
	const struct job *job;

	pthread_mutex_lock(&c->mutex);
	job = jobs_find_ticket(&c->jobs, ticket);
	if (job == NULL) {
		err = reason_set(client_reason(), LATENTD_ERR_NOT_FOUND,
		    "ticket %ju is not pending", (uintmax_t)ticket);
	} else {
		*position = job->position;
		*estimated_wait_ms = due_estimate_ms(job);
	}
	pthread_mutex_unlock(&c->mutex);
	return err;
}
