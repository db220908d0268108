/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists (waiting, by class and in the order of tickets; sent) and two tables
 * (by key, by ticket).  A job is in one list and both tables from jobs_add() to
 * job_finish(); counts change only where the lists do, and so do the trees of
 * what waits for the daemon, by deadline and by patience.
 */
#include "jobs.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int
compare(uint64_t a, uint64_t b, const struct job *x, const struct job *y)
{
	if (a != b)
		return a > b ? 1 : -1;
	return (x->ticket > y->ticket) - (x->ticket < y->ticket);
}

static int
compare_deadline(const struct job *a, const struct job *b)
{
	return compare(
	    a->options.deadline_at_ms, b->options.deadline_at_ms, a, b);
}

static int
compare_patience(const struct job *a, const struct job *b)
{
	return compare(
	    a->options.give_up_at_ms, b->options.give_up_at_ms, a, b);
}

/* RB_GENERATE_STATIC needs BSD's __unused. */
RB_GENERATE_INTERNAL(deadline_tree, job, by_deadline, compare_deadline,
    __attribute__((unused)) static)
RB_GENERATE_INTERNAL(patience_tree, job, by_patience, compare_patience,
    __attribute__((unused)) static)

void
jobs_init(struct jobs *jobs)
{
	memset(jobs, 0, sizeof(*jobs));
	for (unsigned i = 0; i < JOB_CLASSES; i++)
		TAILQ_INIT(&jobs->waiting[i]);
	TAILQ_INIT(&jobs->sent);
	RB_INIT(&jobs->deadlines);
	RB_INIT(&jobs->patience);
}

static void
job_destroy(struct job *job)
{
	nng_msg_free(job->msg);
	free(job);
}

static void
destroy_all(struct job_list *list)
{
	struct job *job;

	while ((job = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, job, entry);
		job_destroy(job);
	}
}

void
jobs_fini(struct jobs *jobs)
{
	HASH_CLEAR(by_key, jobs->keys);
	HASH_CLEAR(by_ticket, jobs->tickets);
	for (unsigned i = 0; i < JOB_CLASSES; i++)
		destroy_all(&jobs->waiting[i]);
	destroy_all(&jobs->sent);
}

/* In the trees that belong to its stage, and out of them. */
static void
watch(struct jobs *jobs, struct job *job)
{
	if (job->options.deadline_at_ms != 0 && job->stage != STAGE_ACCEPTED)
		RB_INSERT(deadline_tree, &jobs->deadlines, job);
	if (job->options.give_up_at_ms != 0 && job->stage == STAGE_WAITING)
		RB_INSERT(patience_tree, &jobs->patience, job);
}

static void
unwatch(struct jobs *jobs, struct job *job)
{
	if (job->options.deadline_at_ms != 0 && job->stage != STAGE_ACCEPTED)
		RB_REMOVE(deadline_tree, &jobs->deadlines, job);
	if (job->options.give_up_at_ms != 0 && job->stage == STAGE_WAITING)
		RB_REMOVE(patience_tree, &jobs->patience, job);
}

struct job *
jobs_add(struct jobs *jobs, uint64_t ticket, const char *key, nng_msg *msg,
    uint64_t bytes, const struct job_options *options)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	assert(strlen(key) < sizeof(job->key));
	strcpy(job->key, key);
	job->ticket = ticket;
	job->msg = msg;
	job->bytes = bytes;
	job->options = *options;
	assert(options->class < JOB_CLASSES);
	HASH_ADD(by_key, jobs->keys, key[0], (unsigned)strlen(job->key), job);
	HASH_ADD(by_ticket, jobs->tickets, ticket, sizeof(job->ticket), job);
	TAILQ_INSERT_TAIL(&jobs->waiting[options->class], job, entry);
	watch(jobs, job);
	jobs->stage_n[STAGE_WAITING]++;
	jobs->n++;
	jobs->bytes += bytes;
	return job;
}

struct job *
jobs_find_key(struct jobs *jobs, const char *key)
{
	struct job *job;

	HASH_FIND(by_key, jobs->keys, key, (unsigned)strlen(key), job);
	return job;
}

struct job *
jobs_find_ticket(struct jobs *jobs, uint64_t ticket)
{
	struct job *job;

	HASH_FIND(by_ticket, jobs->tickets, &ticket, sizeof(ticket), job);
	return job;
}

struct job *
jobs_first(struct jobs *jobs)
{
	struct job *job = NULL;

	for (unsigned i = 0; i < JOB_CLASSES && job == NULL; i++)
		job = TAILQ_FIRST(&jobs->waiting[i]);
	return job;
}

struct job *
jobs_first_deadline(struct jobs *jobs)
{
	return RB_MIN(deadline_tree, &jobs->deadlines);
}

struct job *
jobs_first_patience(struct jobs *jobs)
{
	return RB_MIN(patience_tree, &jobs->patience);
}

struct job *
jobs_first_unwanted(struct jobs *jobs)
{
	struct job *job;

	if (jobs->cancels_n == 0)
		return NULL;
	for (unsigned i = 0; i < JOB_CLASSES; i++) {
		TAILQ_FOREACH(job, &jobs->waiting[i], entry)
		{
			if (job->cancel_wanted)
				return job;
		}
	}
	return NULL;
}

/* Jobs that come back are older than most that wait: look from the head. */
static void
insert_waiting(struct jobs *jobs, struct job *job)
{
	struct job_list *waiting = &jobs->waiting[job->options.class];
	struct job *later;

	TAILQ_FOREACH(later, waiting, entry)
	{
		if (later->ticket > job->ticket) {
			TAILQ_INSERT_BEFORE(later, job, entry);
			return;
		}
	}
	TAILQ_INSERT_TAIL(waiting, job, entry);
}

void
job_move(struct jobs *jobs, struct job *job, enum job_stage stage)
{
	if (job->stage == STAGE_WAITING)
		TAILQ_REMOVE(&jobs->waiting[job->options.class], job, entry);
	else
		TAILQ_REMOVE(&jobs->sent, job, entry);
	unwatch(jobs, job);
	jobs->stage_n[job->stage]--;
	job->stage = stage;
	jobs->stage_n[stage]++;
	if (stage == STAGE_WAITING)
		insert_waiting(jobs, job);
	else
		TAILQ_INSERT_TAIL(&jobs->sent, job, entry);
	watch(jobs, job);
}

static bool
is_hidden(const struct job *job)
{
	return job->abandoned || job->waiter != NULL;
}

void
job_hide(struct jobs *jobs, struct job *job, struct job_waiter *waiter)
{
	jobs->hidden_n += is_hidden(job) ? 0 : 1;
	job->waiter = waiter;
	job->abandoned = waiter == NULL;
}

void
job_show(struct jobs *jobs, struct job *job)
{
	jobs->hidden_n -= is_hidden(job) ? 1 : 0;
	job->waiter = NULL;
	job->abandoned = false;
}

static bool
is_cancel_due(const struct job *job)
{
	return job->cancel_wanted && !job->cancel_sent;
}

void
job_cancel(struct jobs *jobs, struct job *job)
{
	jobs->cancels_n += job->cancel_wanted ? 0 : 1;
	job->cancel_wanted = true;
}

void
job_cancel_sent(struct jobs *jobs, struct job *job)
{
	jobs->cancels_n -= is_cancel_due(job) ? 1 : 0;
	job->cancel_sent = true;
}

void
job_cancel_again(struct jobs *jobs, struct job *job)
{
	jobs->cancels_n += job->cancel_wanted && job->cancel_sent;
	job->cancel_sent = false;
}

struct job *
jobs_first_cancel(struct jobs *jobs)
{
	struct job *job;

	if (jobs->cancels_n == 0)
		return NULL;
	TAILQ_FOREACH(job, &jobs->sent, entry)
	{
		if (job->stage == STAGE_ACCEPTED && is_cancel_due(job))
			return job;
	}
	return NULL;
}

static void
remove_sent(struct jobs *jobs, struct job *job)
{
	TAILQ_REMOVE(&jobs->sent, job, entry);
	jobs->stage_n[job->stage]--;
	job_destroy(job);
}

void
job_finish(struct jobs *jobs, struct job *job)
{
	assert(!job->finished);
	HASH_DELETE(by_key, jobs->keys, job);
	HASH_DELETE(by_ticket, jobs->tickets, job);
	jobs->n--;
	jobs->bytes -= job->bytes;
	jobs->hidden_n -= is_hidden(job) ? 1 : 0;
	jobs->cancels_n -= is_cancel_due(job) ? 1 : 0;
	job->finished = true;
	job->waiter = NULL;
	if (job->stage == STAGE_SENDING) {
		nng_msg_free(job->msg);
		job->msg = NULL;
		/* Its answer may come long after its deadline. */
		unwatch(jobs, job);
		job->options.deadline_at_ms = 0;
		return;
	}
	if (job->stage == STAGE_WAITING)
		job_move(jobs, job, STAGE_ACCEPTED);
	remove_sent(jobs, job);
}

bool
job_answered(struct jobs *jobs, struct job *job)
{
	assert(job->stage == STAGE_SENDING);
	if (!job->finished)
		return false;
	remove_sent(jobs, job);
	return true;
}

void
job_requeue(struct jobs *jobs, struct job *job)
{
	jobs->cancels_n += job->cancel_wanted && job->cancel_sent;
	job->cancel_sent = false;
	job_move(jobs, job, STAGE_WAITING);
}

void
jobs_requeue(struct jobs *jobs, uint64_t instance)
{
	struct job *job, *before;

	for (job = TAILQ_LAST(&jobs->sent, job_list); job != NULL;
	     job = before) {
		before = TAILQ_PREV(job, job_list, entry);
		if (job->stage == STAGE_ACCEPTED && job->instance != instance)
			job_requeue(jobs, job);
	}
}
