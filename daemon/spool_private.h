/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What spool.c (the loop's side), spool_writer.c (the thread), spool_load.c
 * (reading back) and spool_job.c (jobs and records) share, and nobody else
 * includes.
 */
#ifndef DAEMON_SPOOL_PRIVATE_H
#define DAEMON_SPOOL_PRIVATE_H

#include "spool.h"

enum op_kind { OP_PUT, OP_END, OP_STATE, OP_FORGET, OP_RESUME };

/* One change to be written. */
struct op {
	TAILQ_ENTRY(op) link;
	enum op_kind kind;
	uint64_t id;
	uint64_t bytes; /* about what it writes */
	struct job *job; /* PUT, END: it is storing */
	bool done; /* ${result} stands */
	enum store_result result;
	struct record_job record; /* PUT; its texts are the job's */
	struct record_state state; /* END: its texts are the job's; STATE */
	struct store_slice slice; /* PUT: the body; END: the result */
	bool known; /* FORGET: remember the key */
	uint64_t at_ms;
	uint64_t remember_ms;
	uint64_t remember_n;
	/* Copies, where the job may be gone. */
	struct producer_identity identity; /* FORGET */
	char key[LATENTD_MAX_NAME_BYTES + 1];
	char endpoint[LATENTD_MAX_NAME_BYTES + 1]; /* STATE */
	char text[LATENTD_MAX_TEXT_BYTES];
};

TAILQ_HEAD(op_list, op);

struct spool {
	uv_loop_t *loop;
	struct jobs *jobs;
	struct spool_options options;
	struct store *store;
	uint64_t instance;
	uv_async_t async;
	uv_thread_t thread;
	bool started;
	/* The loop's. */
	size_t ops_n; /* not completed */
	size_t loads_n;
	uint64_t lost_n;
	bool failed;
	struct reason why; /* when failed */

	/* Readers while the writer reopens the store. */
	uv_rwlock_t store_lock;

	uv_mutex_t mutex; /* what follows */
	uv_cond_t cond;
	struct op_list waiting; /* for the writer */
	struct op_list written; /* for the loop */
	bool stop;
	bool broken; /* the writer's view of failed */
	struct reason broken_why;
	bool told; /* of broken, to the loop */
	struct spool_counts counts;

	/* The writer's: what could not be deleted while broken. */
	struct op_list held;
	uint64_t highest_id;
};

/* spool_write(s): the writer's thread. */
void spool_write(void *spool);

/* spool_job.c: between jobs and records.  The texts of a record are the job's. */
void spool_job_record(const struct job *job,
    const struct message_submit *submit, const struct intake *intake,
    struct record_job *record);
void spool_state_record(const struct job *job, struct record_state *record);
uint64_t spool_now_ms(void);

/* spool_set_aside(s, why): move what is damaged out of the way, before anything
 * runs; changes the instance then. */
enum latentd_err spool_set_aside(struct spool *s, struct reason *why);

/* spool_rest(s): one thing less is under way. */
void spool_rest(struct spool *s);

#endif
