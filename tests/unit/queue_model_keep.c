/* SPDX-License-Identifier: Apache-2.0 */
/* The reference model's other half: keys, delivery, timers. */
#include "queue_model.h"

#include <string.h>

#include <criterion/criterion.h>

/* ---- remembered keys ---- */

static void
remembered_drop(struct queue_model *m, size_t i)
{
	m->remembered_n--;
	memmove(&m->remembered[i], &m->remembered[i + 1],
	    (m->remembered_n - i) * sizeof(m->remembered[0]));
}

uint64_t
model_remembered(
    struct queue_model *m, size_t producer, size_t key, uint64_t now_ns)
{
	while (m->remembered_n > 0 &&
	    now_ns - m->remembered[0].since_ns >= m->rules.remember_ns)
		remembered_drop(m, 0);
	for (size_t i = 0; i < m->remembered_n; i++) {
		if (m->remembered[i].producer == producer &&
		    m->remembered[i].key == key)
			return m->remembered[i].id;
	}
	return 0;
}

static void
remember(struct queue_model *m, const struct model_job *job, uint64_t now_ns)
{
	cr_assert_eq(model_remembered(m, job->producer, job->key, now_ns), 0,
	    "a key was taken although it is remembered");
	if (m->remembered_n == m->rules.keys_max)
		remembered_drop(m, 0);
	m->remembered[m->remembered_n++] =
	    (struct model_key){job->producer, job->key, job->id, now_ns};
}

/* ---- delivery ---- */

static void
give_back(struct queue_model *m, struct model_job *job)
{
	job->leased = false;
	m->redelivered_n++;
}

void
model_gone(struct queue_model *m, uint32_t pipe, uint64_t now_ns)
{
	FOREACH_JOB(m, job)
	{
		if (job->leased && job->lease_pipe == pipe)
			give_back(m, job);
	}
	for (;;) {
		struct model_job *first = NULL;

		FOREACH_JOB(m, job)
		{
			if (job->owner_pipe == pipe &&
			    (first == NULL || job->owned_nr < first->owned_nr))
				first = job;
		}
		if (first == NULL)
			return;
		model_end(m, first, LATENTD_ERR_CANCELLED, 0, now_ns);
	}
}

struct model_job *
model_take(
    struct queue_model *m, size_t producer, uint32_t pipe, uint64_t now_ns)
{
	struct model_job *best = NULL;

	/* What was delivered before comes first, then in order of ending. */
	FOREACH_JOB(m, job)
	{
		if (model_is_open(job) || job->leased ||
		    job->producer != producer)
			continue;
		if (best == NULL || (job->tag != 0) > (best->tag != 0) ||
		    ((job->tag != 0) == (best->tag != 0) &&
			job->ended_nr < best->ended_nr))
			best = job;
	}
	if (best == NULL)
		return NULL;
	best->tag = ++m->last_tag;
	best->leased = true;
	best->lease_pipe = pipe;
	best->lease_ns = now_ns;
	return best;
}

static void
forget(struct queue_model *m, struct model_job *job)
{
	size_t producer = job->producer;

	memset(job, 0, sizeof(*job));
	model_unpark(m, producer);
}

bool
model_ack(struct queue_model *m, size_t producer, uint64_t tag, uint64_t now_ns)
{
	FOREACH_JOB(m, job)
	{
		if (!job->leased || job->tag != tag ||
		    job->producer != producer)
			continue;
		if (job->err == LATENTD_OK)
			remember(m, job, now_ns);
		forget(m, job);
		return true;
	}
	return false;
}

/* ---- timers ---- */

static void
check_due(uint64_t due_ns, uint64_t now_ns, const char *what)
{
	cr_assert_leq(due_ns, now_ns, "%s: too early", what);
	cr_assert_lt(now_ns, due_ns + MODEL_SLACK_NS, "%s: too late", what);
}

void
model_on_expired(struct queue_model *m, uint64_t id, uint64_t now_ns)
{
	struct model_job *job = model_by_id(m, id);

	cr_assert(job != NULL && model_is_open(job) && job->deadline_ns != 0);
	check_due(job->deadline_ns, now_ns, "deadline");
	m->expired_n++;
	model_end(m, job, LATENTD_ERR_EXPIRED, 0, now_ns);
}

void
model_on_awake(struct queue_model *m, uint64_t now_ns)
{
	for (;;) {
		struct model_job *first = NULL;

		FOREACH_JOB(m, job)
		{
			if (job->asleep && job->retry_ns <= now_ns &&
			    (first == NULL || job->retry_ns < first->retry_ns ||
				(job->retry_ns == first->retry_ns &&
				    job->since_nr < first->since_nr)))
				first = job;
		}
		if (first == NULL)
			return;
		check_due(first->retry_ns, now_ns, "retry");
		model_enter_again(m, first);
	}
}

void
model_on_dropped(struct queue_model *m, uint64_t id, uint64_t now_ns)
{
	struct model_job *job = model_by_id(m, id);

	cr_assert(job != NULL && !model_is_open(job));
	check_due(job->kept_ns + m->rules.keep_ns, now_ns, "retention");
	m->dropped_n++;
	if (job->result_bytes == 0) {
		forget(m, job);
		return;
	}
	job->notice = true;
	job->err = LATENTD_ERR_DROPPED;
	job->result_bytes = 0;
	job->kept_ns = now_ns;
	model_unpark(m, job->producer);
}

void
model_on_returned(struct queue_model *m, size_t producer, uint64_t now_ns)
{
	struct model_job *first = NULL;

	FOREACH_JOB(m, job)
	{
		if (job->leased && job->producer == producer &&
		    (first == NULL || job->lease_ns < first->lease_ns ||
			(job->lease_ns == first->lease_ns &&
			    job->tag < first->tag)))
			first = job;
	}
	cr_assert_not_null(first, "no lease of that producer");
	check_due(first->lease_ns + m->rules.lease_ns, now_ns, "lease");
	give_back(m, first);
}

void
model_check_time(const struct queue_model *m, uint64_t now_ns)
{
	FOREACH_CONST_JOB(m, job)
	{
		if (model_is_open(job))
			cr_assert(job->deadline_ns == 0 ||
			    now_ns < job->deadline_ns + MODEL_SLACK_NS);
		else
			cr_assert_lt(now_ns,
			    job->kept_ns + m->rules.keep_ns + MODEL_SLACK_NS);
		if (job->asleep)
			cr_assert_lt(now_ns, job->retry_ns + MODEL_SLACK_NS);
		if (job->leased)
			cr_assert_lt(now_ns,
			    job->lease_ns + m->rules.lease_ns + MODEL_SLACK_NS);
	}
}
