/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SPOOL_H
#define DAEMON_SPOOL_H

#include <uv.h>

#include "attempt.h"
#include "intake.h"
#include "spoolcount.h"
#include "store.h"

struct spool;

struct spool_options {
	const char *path;
	uint64_t size_bytes;
	bool
	    durable; /* new jobs are spooled; else only what is there is served */
	uint64_t remember_ms; /* keys of acknowledged jobs: so long, so many */
	uint64_t remember_n;
	/* on_put(job, result, arg): a job that was put is on disk, or is not. */
	void (*on_put)(struct job *job, enum store_result result, void *arg);
	/* on_end(job, arg): how a job ended is on disk (job->result_stored), or
	 * could not be: then only memory has it, and after a crash the job is
	 * done again. */
	void (*on_end)(struct job *job, void *arg);
	/* on_body(attempt, why, arg): the latent of ${attempt}'s job is in memory;
	 * ${why} not NULL: it is lost, and why; with BUSY or MEMORY only not now. */
	void (*on_body)(
	    struct attempt *attempt, const struct reason *why, void *arg);
	/* on_result(job, why, arg): the same for its result. */
	void (*on_result)(struct job *job, const struct reason *why, void *arg);
	/* on_rested(arg): nothing is under way any more. */
	void (*on_rested)(void *arg);
	void *arg;
};

/*
 * spool_open(loop, jobs, options, spool, why): open or make the store; nothing
 * is written until spool_start().  Fails as store_open() does, MEMORY.
 * spool_instance(s): the number that its jobs were accepted under.
 */
enum latentd_err spool_open(uv_loop_t *loop, struct jobs *jobs,
    const struct spool_options *options, struct spool **spool,
    struct reason *why);
uint64_t spool_instance(const struct spool *s);
bool spool_is_durable(const struct spool *s);

/*
 * spool_restore(s, visitor, why): make the jobs that are there again, by age, and
 * tell of the keys that were acknowledged.  Before spool_start() and on the
 * loop thread, before anything else runs.
 */
struct spool_visitor {
	/* The lane of a model and task, with endpoints or without; NULL when
	 * memory is out. */
	struct lane *(*lane)(
	    const struct model *model, enum latentd_task task, void *arg);
	uint64_t age_ms; /* after so long a job moves up a class; 0: never */
	/* A job: still NEW, or ended.  In no stage. */
	void (*job)(struct job *job, void *arg);
	/* A key, and when it was acknowledged on uv_hrtime()'s clock. */
	void (*known)(
	    const struct record_known *known, uint64_t acked_ns, void *arg);
	void *arg;
};
enum latentd_err spool_restore(
    struct spool *s, const struct spool_visitor *visitor, struct reason *why);

/* spool_start(s, why): begin to write, from now on with a thread of its own.
 * MEMORY. */
enum latentd_err spool_start(struct spool *s, struct reason *why);

/* spool_change(s, remember_ms, remember_n): as in the options, from now on. */
void spool_change(struct spool *s, uint64_t remember_ms, uint64_t remember_n);

/* spool_busy(s): whether anything is under way; spool_close() is then not
 * allowed.  on_rested tells when it is over. */
bool spool_busy(const struct spool *s);
void spool_close(struct spool *s);

/*
 * spool_put(s, job, submit, intake): write a NEW job that holds its message.
 * The job is storing, and nobody else's, until on_put.
 */
void spool_put(struct spool *s, struct job *job,
    const struct message_submit *submit, const struct intake *intake);

/* spool_end(s, job): write how a job ended.  It is storing until on_end; its
 * latent goes unless it FAILED. */
void spool_end(struct spool *s, struct job *job);

/* spool_note(s, job): write how far a job is (tried, kicked, buried, dropped),
 * some time. */
void spool_note(struct spool *s, const struct job *job);

/* spool_forget(s, job, known): delete a job that is about to be destroyed; with
 * ${known} its key is remembered. */
void spool_forget(struct spool *s, const struct job *job, bool known);

/* spool_load_body(s, attempt): read the latent of ${attempt}'s job back, for
 * on_body; several attempts of a job wait for the same.
 * spool_load_result(s, job): the result, for on_result; once at a time. */
void spool_load_body(struct spool *s, struct attempt *attempt);
void spool_load_result(struct spool *s, struct job *job);

/* spool_failure(s): why nothing is written any more, or NULL.
 * spool_resume(s): an operator says that the disk is well again: open the store
 * anew and try; the log tells what came of it. */
const struct reason *spool_failure(const struct spool *s);
void spool_resume(struct spool *s);

/* spool_counts(s): as of now. */
struct spool_counts spool_counts(const struct spool *s);

#endif
