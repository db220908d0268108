/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentd_collect() and latentd_run(): wait for results that nng's threads
 * deliver.
 */
#include "latentd/client.h"

#include "core.h"
#include "deliver.h"
#include "result.h"
#include "session.h"
#include "submit.h"

/* The application shows interest: results may be fetched from now on. */
static void
show_interest(struct latentd_client *c)
{
	c->collecting = true;
	if (c->collect_timer.armed)
		return;
	c->collect_why.err = LATENTD_OK;
	deliver_signal(c);
}

static enum latentd_err
wait_ready(struct latentd_client *c, int timeout_ms, struct reason *why)
{
	struct timespec at = client_deadline(timeout_ms);
	bool in_time = true;

	for (;;) {
		if (c->ready_n > 0)
			return LATENTD_OK;
		if (deliver_refusal(c)->err != LATENTD_OK) {
			*why = *deliver_refusal(c);
			c->collect_told = true;
			deliver_signal(c);
			return why->err;
		}
		if (c->anonymous && c->jobs.n == c->jobs.hidden_n)
			return reason_set(
			    why, LATENTD_ERR_NOT_FOUND, "no job is pending");
		if (!in_time)
			return reason_set(why, LATENTD_ERR_TIMEOUT,
			    "no result within %d ms; %zu jobs are pending",
			    timeout_ms, c->jobs.n - c->jobs.hidden_n);
		in_time = client_wait(c, &at);
	}
}

enum latentd_err
latentd_collect(
    struct latentd_client *c, int timeout_ms, struct latentd_result **result)
{
	enum latentd_err err;

	*result = NULL;
	pthread_mutex_lock(&c->mutex);
	show_interest(c);
	c->collectors++;
	session_pump(c);
	err = wait_ready(c, timeout_ms, client_reason());
	c->collectors--;
	c->hungry = err == LATENTD_ERR_TIMEOUT;
	if (err == LATENTD_OK)
		*result = deliver_take(c, NULL);
	session_pump(c);
	pthread_mutex_unlock(&c->mutex);
	return err;
}

static enum latentd_err
wait_own(struct latentd_client *c, const struct job_waiter *waiter,
    const struct timespec *at, int timeout_ms, struct reason *why)
{
	bool in_time = true;

	for (;;) {
		if (waiter->result != NULL)
			return LATENTD_OK;
		if (deliver_refusal(c)->err != LATENTD_OK) {
			*why = *deliver_refusal(c);
			return why->err;
		}
		if (!in_time)
			return reason_set(why, LATENTD_ERR_TIMEOUT,
			    "no result within %d ms; the job is cancelled",
			    timeout_ms);
		in_time = client_wait(c, at);
	}
}

/* The result of ${ticket} is not wanted any more. */
static void
give_up(struct latentd_client *c, uint64_t ticket)
{
	struct job *job = jobs_find_ticket(&c->jobs, ticket);

	if (job == NULL)
		return;
	job_hide(&c->jobs, job, NULL);
	job_cancel(&c->jobs, job);
	if (job->stage == STAGE_WAITING)
		job_finish(&c->jobs, job);
}

enum latentd_err
latentd_run(struct latentd_client *c, const struct latentd_request *request,
    int timeout_ms, struct latentd_result **result)
{
	struct timespec at = client_deadline(timeout_ms);
	struct job_waiter waiter = {NULL};
	enum latentd_err err;
	uint64_t ticket;

	*result = NULL;
	pthread_mutex_lock(&c->mutex);
	show_interest(c);
	c->runners++;
	err = submit_add(c, request, &at, &waiter, &ticket);
	if (err == LATENTD_OK) {
		session_pump(c);
		err = wait_own(c, &waiter, &at, timeout_ms, client_reason());
		if (err != LATENTD_OK)
			give_up(c, ticket);
	}
	c->runners--;
	*result = waiter.result;
	session_pump(c);
	pthread_mutex_unlock(&c->mutex);
	return err;
}
