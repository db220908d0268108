/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that ask the daemon something, or tell it, and what they wait for.
 * They share one channel and go one after another.
 */
#include "latentd/client.h"

#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "deliver.h"
#include "identity.h"
#include "session.h"
#include "submit.h"

/* What came back; either may be NULL for a caller that does not mind. */
struct answer {
	char **json;
	struct message_done *done;
};

static void
take_answer(struct question *q, const struct answer *answer)
{
	if (answer->json != NULL) {
		*answer->json = q->report;
		q->report = NULL;
	}
	if (answer->done != NULL)
		*answer->done = q->done;
}

/* Send the message ${in} and wait for its reply. */
static enum latentd_err
ask(struct latentd_client *c, enum message_type type, const void *in,
    int timeout_ms, const struct answer *answer)
{
	struct timespec at = client_deadline(timeout_ms);
	struct question *q = &c->question;
	enum latentd_err err;

	pthread_mutex_lock(&c->mutex);
	while (q->taken && client_wait(c, &at))
		;
	if (q->taken) {
		pthread_mutex_unlock(&c->mutex);
		return reason_set(client_reason(), LATENTD_ERR_TIMEOUT,
		    "another question still waits for its answer");
	}
	q->taken = q->wanted = true;
	q->answered = false;
	q->number++;
	q->type = type;
	q->in = in;
	session_pump(c);
	while (!q->answered && client_wait(c, &at))
		;
	if (!q->answered)
		err = reason_set(client_reason(), LATENTD_ERR_TIMEOUT,
		    "no answer to %s from %s within %d ms",
		    message_type_name(type), c->url, timeout_ms);
	else if ((err = q->why.err) != LATENTD_OK)
		*client_reason() = q->why;
	else
		take_answer(q, answer);
	q->taken = q->wanted = false;
	/* A reply that comes now is nobody's. */
	q->number++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mutex);
	return err;
}

static struct text
as_text(const char *s)
{
	return s != NULL ? (struct text){s, strlen(s)} : (struct text){NULL, 0};
}

/* NULL is no name, and fine. */
static enum latentd_err
check_name(const char *what, const char *name)
{
	if (name == NULL || submit_is_name(name))
		return LATENTD_OK;
	return reason_set(client_reason(), LATENTD_ERR_INVALID,
	    "%s \"%s\" is not a name: use 1 to %u of A-Z a-z 0-9 . _ -", what,
	    name, LATENTD_MAX_NAME_BYTES);
}

/* ---- what it does ---- */

enum latentd_err
latentd_status(struct latentd_client *c, int timeout_ms, char **json)
{
	const struct message_status in = {false};
	const struct answer answer = {.json = json};

	*json = NULL;
	return ask(c, MESSAGE_STATUS, &in, timeout_ms, &answer);
}

enum latentd_err
latentd_jobs(struct latentd_client *c, const struct latentd_jobs_query *query,
    int timeout_ms, char **json)
{
	static const struct latentd_jobs_query everything;
	const struct answer answer = {.json = json};
	struct message_list in = {
	    .producer = as_text(c->producer), .secret = identity_token(c)};

	*json = NULL;
	if (query == NULL)
		query = &everything;
	if (check_name("producer", query->producer) != LATENTD_OK)
		return LATENTD_ERR_INVALID;
	if (query->state != NULL &&
	    (in.state = job_state_find(query->state)) == JOB_NEW)
		return reason_set(client_reason(), LATENTD_ERR_INVALID,
		    "\"%s\" is not a state of jobs; queued, active, done, "
		    "failed, cancelled and expired are",
		    query->state);
	if (query->limit > LATENTD_MAX_LIST)
		return reason_set(client_reason(), LATENTD_ERR_INVALID,
		    "limit is %u; at most %u are allowed", query->limit,
		    LATENTD_MAX_LIST);
	in.of = as_text(query->producer);
	in.after = query->after;
	in.limit = query->limit;
	return ask(c, MESSAGE_LIST, &in, timeout_ms, &answer);
}

static enum latentd_err
check_job(uint64_t id, const char *key)
{
	if ((id != 0) == (key != NULL))
		return reason_set(client_reason(), LATENTD_ERR_INVALID,
		    "a job is named by its id or by its key, one of them");
	return check_name("key", key);
}

enum latentd_err
latentd_why(struct latentd_client *c, uint64_t id, const char *key,
    int timeout_ms, char **json)
{
	const struct answer answer = {.json = json};
	const struct message_why in = {.producer = as_text(c->producer),
	    .secret = identity_token(c),
	    .key = as_text(key),
	    .id = id};

	*json = NULL;
	if (check_job(id, key) != LATENTD_OK)
		return LATENTD_ERR_INVALID;
	return ask(c, MESSAGE_WHY, &in, timeout_ms, &answer);
}

/* ---- cancelling ---- */

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

static enum latentd_err
cancel(struct latentd_client *c, uint64_t id, const char *key, int timeout_ms)
{
	const struct answer answer = {NULL, NULL};
	const struct message_cancel in = {.producer = as_text(c->producer),
	    .secret = identity_token(c),
	    .key = as_text(key),
	    .id = id};

	if (check_job(id, key) != LATENTD_OK)
		return LATENTD_ERR_INVALID;
	return ask(c, MESSAGE_CANCEL, &in, timeout_ms, &answer);
}

enum latentd_err
latentd_cancel_key(struct latentd_client *c, const char *key, int timeout_ms)
{
	return cancel(c, 0, key, timeout_ms);
}

enum latentd_err
latentd_cancel_id(struct latentd_client *c, uint64_t id, int timeout_ms)
{
	return cancel(c, id, NULL, timeout_ms);
}

/* ---- administration ---- */

static enum latentd_err
administer(struct latentd_client *c, struct message_admin *in, int timeout_ms,
    struct message_done *done)
{
	const struct answer answer = {.done = done};

	in->producer = as_text(c->producer);
	in->secret = identity_token(c);
	return ask(c, MESSAGE_ADMIN, in, timeout_ms, &answer);
}

static enum latentd_err
change_one(
    struct latentd_client *c, enum admin_op op, uint64_t id, int timeout_ms)
{
	struct message_admin in = {.op = op, .id = id};

	if (id == 0)
		return reason_set(client_reason(), LATENTD_ERR_INVALID,
		    "0 is not the id of a job");
	return administer(c, &in, timeout_ms, NULL);
}

/* The daemon looks at so many at a time and says where it stopped. */
static enum latentd_err
change_all(struct latentd_client *c, enum admin_op op, const char *producer,
    int timeout_ms, uint64_t *jobs_n)
{
	struct message_admin in = {.op = op, .all = 1, .of = as_text(producer)};
	struct message_done done = {.next = 0};
	uint64_t n = 0;
	enum latentd_err err = check_name("producer", producer);

	while (err == LATENTD_OK) {
		err = administer(c, &in, timeout_ms, &done);
		if (err != LATENTD_OK)
			break;
		n += done.jobs;
		if (done.next <= in.after)
			break;
		in.after = done.next;
	}
	if (jobs_n != NULL)
		*jobs_n = n;
	return err;
}

enum latentd_err
latentd_kick(struct latentd_client *c, uint64_t id, int timeout_ms)
{
	return change_one(c, ADMIN_KICK, id, timeout_ms);
}

enum latentd_err
latentd_kick_all(struct latentd_client *c, const char *producer, int timeout_ms,
    uint64_t *jobs_n)
{
	return change_all(c, ADMIN_KICK, producer, timeout_ms, jobs_n);
}

enum latentd_err
latentd_purge(struct latentd_client *c, uint64_t id, int timeout_ms)
{
	return change_one(c, ADMIN_PURGE, id, timeout_ms);
}

enum latentd_err
latentd_purge_all(struct latentd_client *c, const char *producer,
    int timeout_ms, uint64_t *jobs_n)
{
	return change_all(c, ADMIN_PURGE, producer, timeout_ms, jobs_n);
}

static enum latentd_err
set_paused(struct latentd_client *c, enum admin_op op, enum latentd_side side,
    int timeout_ms)
{
	static const enum admin_side sides[] = {
	    [LATENTD_SIDE_BOTH] = ADMIN_BOTH,
	    [LATENTD_SIDE_IN] = ADMIN_IN,
	    [LATENTD_SIDE_OUT] = ADMIN_OUT};
	struct message_admin in = {.op = op};

	if ((unsigned)side > LATENTD_SIDE_OUT)
		return reason_set(client_reason(), LATENTD_ERR_INVALID,
		    "side is %d; BOTH, IN and OUT exist", (int)side);
	in.side = sides[side];
	return administer(c, &in, timeout_ms, NULL);
}

enum latentd_err
latentd_pause(struct latentd_client *c, enum latentd_side side, int timeout_ms)
{
	return set_paused(c, ADMIN_PAUSE, side, timeout_ms);
}

enum latentd_err
latentd_resume(struct latentd_client *c, enum latentd_side side, int timeout_ms)
{
	return set_paused(c, ADMIN_RESUME, side, timeout_ms);
}

enum latentd_err
latentd_drain(struct latentd_client *c, int timeout_ms)
{
	struct message_admin in = {.op = ADMIN_DRAIN};

	return administer(c, &in, timeout_ms, NULL);
}

enum latentd_err
latentd_reload(struct latentd_client *c, int timeout_ms)
{
	struct message_admin in = {.op = ADMIN_RELOAD};

	return administer(c, &in, timeout_ms, NULL);
}
