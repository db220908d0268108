/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the list of ready results and the descriptor that tells of it.
 */
#include "deliver.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acks.h"
#include "result.h"
#include "session.h"

const struct reason *
deliver_refusal(const struct latentd_client *c)
{
	/* Once open, only who has to prove who it is is without a welcome. */
	return !c->welcome && c->hello_why.err != LATENTD_OK ? &c->hello_why
							     : &c->collect_why;
}

void
deliver_signal(struct latentd_client *c)
{
	bool refused =
	    deliver_refusal(c)->err != LATENTD_OK && !c->collect_told;
	bool wanted = c->ready_n > 0 || refused;
	uint64_t value = 1;
	ssize_t n;

	/* Nobody who has not asked for it looks at it. */
	if (wanted == c->signalled || !c->watched)
		return;
	c->signalled = wanted;
	if (wanted)
		n = write(c->fd, &value, sizeof(value));
	else
		n = read(c->fd, &value, sizeof(value));
	assert(n == (ssize_t)sizeof(value));
}

static void
ready_insert(struct latentd_client *c, struct latentd_result *r)
{
	TAILQ_INSERT_TAIL(&c->ready, r, entry);
	c->ready_bytes += r->body_bytes;
	c->ready_own_n += r->ticket != 0;
	c->hungry = false;
	c->ready_n++;
	deliver_signal(c);
}

static void
ready_remove(struct latentd_client *c, struct latentd_result *r)
{
	TAILQ_REMOVE(&c->ready, r, entry);
	c->ready_bytes -= r->body_bytes;
	c->ready_own_n -= r->ticket != 0;
	c->ready_n--;
	deliver_signal(c);
}

/* The application owns ${r} from here on. */
static struct latentd_result *
give(struct latentd_client *c, struct latentd_result *r)
{
	r->client = c;
	c->refs++;
	TAILQ_INSERT_TAIL(&c->held, r, entry);
	seen_put(&c->seen, r->key, r->kicks, SEEN_HELD);
	return r;
}

static void
give_back(struct latentd_client *c, struct latentd_result *r)
{
	if (r->tagged)
		acks_add(c, r->tag, r->instance);
	seen_put(&c->seen, r->key, r->kicks, SEEN_FREED);
	result_destroy(r);
}

void
deliver(struct latentd_client *c, struct job *job, struct latentd_result *r)
{
	struct job_waiter *waiter = job != NULL ? job->waiter : NULL;
	bool unwanted = job != NULL && job->abandoned;

	if (job != NULL) {
		r->ticket = job->ticket;
		job_finish(&c->jobs, job);
	}
	if (unwanted) {
		give_back(c, r);
	} else if (waiter != NULL) {
		waiter->result = give(c, r);
	} else {
		seen_put(&c->seen, r->key, r->kicks, SEEN_READY);
		ready_insert(c, r);
	}
	pthread_cond_broadcast(&c->changed);
}

void
deliver_failed(struct latentd_client *c, struct job *job, enum latentd_err err,
    const char *fmt, ...)
{
	char text[LATENTD_MAX_TEXT_BYTES];
	struct latentd_result *r;
	struct reason why;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reason_set(&why, err, "%s", text);
	r = result_create_failed(job->key, &why);
	assert(r != NULL);
	deliver(c, job, r);
}

void
deliver_cancelled(struct latentd_client *c)
{
	struct job *job;

	while ((job = jobs_first_unwanted(&c->jobs)) != NULL)
		deliver_failed(c, job, LATENTD_ERR_CANCELLED, "cancelled");
}

struct latentd_result *
deliver_take(struct latentd_client *c, struct latentd_result *r)
{
	if (r == NULL)
		r = TAILQ_FIRST(&c->ready);
	if (r == NULL)
		return NULL;
	ready_remove(c, r);
	pthread_cond_broadcast(&c->changed);
	return give(c, r);
}

struct latentd_result *
deliver_ready(struct latentd_client *c, const char *key, uint64_t ticket)
{
	struct latentd_result *r;

	TAILQ_FOREACH(r, &c->ready, entry)
	{
		if (key != NULL ? strcmp(r->key, key) == 0
				: r->ticket == ticket)
			return r;
	}
	return NULL;
}

static struct latentd_result *
find(struct result_list *list, const char *key, uint64_t kicks)
{
	struct latentd_result *r;

	TAILQ_FOREACH(r, list, entry)
	{
		if (strcmp(r->key, key) == 0 && r->kicks == kicks)
			break;
	}
	return r;
}

struct latentd_result *
deliver_find(struct latentd_client *c, const char *key, uint64_t kicks)
{
	struct latentd_result *r = find(&c->ready, key, kicks);

	return r != NULL ? r : find(&c->held, key, kicks);
}

void
deliver_drop(struct latentd_client *c, struct latentd_result *r)
{
	ready_remove(c, r);
	give_back(c, r);
}

void
latentd_result_free(struct latentd_result *r)
{
	struct latentd_client *c;

	if (r == NULL)
		return;
	c = r->client;
	pthread_mutex_lock(&c->mutex);
	TAILQ_REMOVE(&c->held, r, entry);
	if (c->closing || r->acked) {
		result_destroy(r);
	} else {
		give_back(c, r);
		session_pump(c);
	}
	pthread_mutex_unlock(&c->mutex);
	client_unref(c);
}

void
latentd_result_ack(struct latentd_result *r)
{
	struct latentd_client *c = r->client;

	pthread_mutex_lock(&c->mutex);
	if (!c->closing && !r->acked) {
		r->acked = true;
		if (r->tagged)
			acks_add(c, r->tag, r->instance);
		seen_put(&c->seen, r->key, r->kicks, SEEN_FREED);
		session_pump(c);
	}
	pthread_mutex_unlock(&c->mutex);
}
