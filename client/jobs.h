/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jobs of one client between latentd_submit() and their result.  Not
 * locked: everything here is called with the client's mutex held.
 */
#ifndef CLIENT_JOBS_H
#define CLIENT_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <bsd/sys/tree.h>
#include <nng/nng.h>
#include <uthash.h>

#include "latentd/types.h"

struct latentd_result;

enum job_stage {
	STAGE_WAITING = 0, /* kept here; the daemon does not have it */
	STAGE_SENDING, /* its SUBMIT is out and not yet answered */
	STAGE_ACCEPTED, /* the daemon has it */
	STAGE_COUNT
};

/* Which jobs the daemon is asked to take first; as it orders them itself. */
#define JOB_CLASSES 4u

/* What a job was submitted with, beside its message.  Times are on due_now_ms()'s
 * clock; 0: never. */
struct job_options {
	unsigned class; /* 0: first, to JOB_CLASSES - 1 */
	uint64_t deadline_at_ms;
	uint64_t give_up_at_ms; /* a busy daemon may refuse it until then */
	bool refuse_late;
};

/* Where latentd_run() waits for the result of its own job. */
struct job_waiter {
	struct latentd_result *result;
};

struct job {
	uint64_t ticket;
	char key[LATENTD_MAX_NAME_BYTES + 1];
	enum job_stage stage; /* job_move() writes it */
	/* The whole SUBMIT, kept so that it can be sent again. */
	nng_msg *msg;
	uint64_t bytes;
	uint64_t instance; /* of the daemon that accepted it */
	uint64_t id;
	uint64_t accepted_at; /* serial of the acceptance */
	bool cancel_wanted;
	bool cancel_sent;
	bool abandoned; /* nobody wants the result any more */
	bool finished; /* has its result, waits for its SUBMIT's reply */
	struct job_options options;
	enum latentd_durability durability; /* as the daemon said */
	uint64_t position; /* as the daemon said last */
	uint64_t estimated_wait_ms; /* the same; 0: not known */
	uint64_t estimated_at_ms; /* when it said so */
	struct job_waiter *waiter;
	TAILQ_ENTRY(job) entry;
	RB_ENTRY(job) by_deadline; /* while the daemon does not have it */
	RB_ENTRY(job) by_patience; /* while WAITING */
	UT_hash_handle by_key;
	UT_hash_handle by_ticket;
};

TAILQ_HEAD(job_list, job);
RB_HEAD(deadline_tree, job);
RB_HEAD(patience_tree, job);

struct jobs {
	struct job_list waiting[JOB_CLASSES]; /* each in order of tickets */
	struct job_list sent; /* SENDING and ACCEPTED */
	struct deadline_tree deadlines; /* of those that have one */
	struct patience_tree patience; /* of those that have an end of it */
	struct job *keys;
	struct job *tickets;
	size_t stage_n[STAGE_COUNT];
	size_t n; /* without finished ones */
	size_t hidden_n; /* of these: abandoned, or with a waiter */
	size_t cancels_n; /* cancel_wanted and not cancel_sent */
	uint64_t bytes; /* of the messages held */
};

void jobs_init(struct jobs *jobs);

/* jobs_fini(jobs): free every job, also those of replies still to come. */
void jobs_fini(struct jobs *jobs);

/*
 * jobs_add(jobs, ticket, key, msg, bytes, options):
 * Add a WAITING job that takes ${msg}.  ${ticket} is higher than any before,
 * ${key} is not in ${jobs}.  NULL when memory is out; ${msg} is then the
 * caller's.
 */
struct job *jobs_add(struct jobs *jobs, uint64_t ticket, const char *key,
    nng_msg *msg, uint64_t bytes, const struct job_options *options);

struct job *jobs_find_key(struct jobs *jobs, const char *key);
struct job *jobs_find_ticket(struct jobs *jobs, uint64_t ticket);

/*
 * jobs_first(jobs): the WAITING job whose turn it is, or NULL.
 * jobs_first_deadline(jobs): the job that the daemon does not have and whose
 * deadline is the next, or NULL.
 * jobs_first_patience(jobs): the WAITING job that gives up first, or NULL.
 * jobs_first_unwanted(jobs): a WAITING job that was cancelled, or NULL.
 */
struct job *jobs_first(struct jobs *jobs);
struct job *jobs_first_deadline(struct jobs *jobs);
struct job *jobs_first_patience(struct jobs *jobs);
struct job *jobs_first_unwanted(struct jobs *jobs);

/* job_move(jobs, job, stage): the only place that writes a stage. */
void job_move(struct jobs *jobs, struct job *job, enum job_stage stage);

/* job_hide(jobs, job, waiter): its result goes to ${waiter}, or with NULL to
 * nobody. */
void job_hide(struct jobs *jobs, struct job *job, struct job_waiter *waiter);

/* job_show(jobs, job): its result goes to latentd_collect() again. */
void job_show(struct jobs *jobs, struct job *job);

/* job_cancel(jobs, job) / job_cancel_sent(jobs, job): a CANCEL is wanted; is
 * on its way. */
void job_cancel(struct jobs *jobs, struct job *job);
void job_cancel_sent(struct jobs *jobs, struct job *job);

/* job_cancel_again(jobs, job): the CANCEL that was sent was not heard. */
void job_cancel_again(struct jobs *jobs, struct job *job);

/* jobs_first_cancel(jobs): an ACCEPTED job whose CANCEL is to be sent. */
struct job *jobs_first_cancel(struct jobs *jobs);

/*
 * job_finish(jobs, job):
 * ${job} has its result: it is found no more and its message is freed.  While
 * its SUBMIT is out, the memory stays until job_answered().
 */
void job_finish(struct jobs *jobs, struct job *job);

/* job_answered(jobs, job): its SUBMIT is answered; true when it was finished
 * before, and then it is freed. */
bool job_answered(struct jobs *jobs, struct job *job);

/* job_requeue(jobs, job): put an ACCEPTED job back to WAITING, in its old
 * place.  jobs_requeue(jobs, instance): all that another instance accepted. */
void job_requeue(struct jobs *jobs, struct job *job);
void jobs_requeue(struct jobs *jobs, uint64_t instance);

#endif
