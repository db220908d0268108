/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch.c between scripted stages: a queue that is a list, transfers and
 * finishes that end when the test says so, in virtual time. */
#ifndef UNIT_DISPATCH_FIXTURE_H
#define UNIT_DISPATCH_FIXTURE_H

#include "dispatch.h"
#include "jobs_fixture.h"

#define FIXTURE_ATTEMPTS_MAX 256
#define FIXTURE_ENDPOINTS_MAX 16
/* A job's attempts that count. */
#define FIXTURE_FAILURES_MAX 5u

struct fixture_dispatch {
	struct fixture_jobs f;
	struct dispatch *d;
	struct producer *p;
	/* In order of starting. */
	struct attempt *transfers[FIXTURE_ATTEMPTS_MAX];
	size_t transfers_n;
	struct attempt *finishes[FIXTURE_ATTEMPTS_MAX];
	size_t finishes_n;
	/* Jobs that wait for their time, in order of coming. */
	struct job *retries[FIXTURE_ATTEMPTS_MAX];
	size_t retries_n;
	/* Ended jobs; their state says how. */
	struct job *ended[FIXTURE_ATTEMPTS_MAX];
	size_t ended_n;
	size_t started_n, aborted_n, verdicts_n;
	/* What start says instead of starting; err OK: it starts. */
	struct verdict refusal;
	unsigned next_key;
	struct config_endpoint endpoints[FIXTURE_ENDPOINTS_MAX];
	size_t endpoints_n;
};

void fixture_dispatch_open(struct fixture_dispatch *x, uint64_t results_max);

/* The same with hedging. */
void fixture_hedging_open(struct fixture_dispatch *x, unsigned percent);

/* Destroys the ended jobs first; all others must be gone. */
void fixture_dispatch_close(struct fixture_dispatch *x);

/* fixture_endpoint(): one more.  fixture_configure(x): use x->endpoints, and no
 * others; returns how many are used no more. */
size_t fixture_configure(struct fixture_dispatch *x);
struct endpoint *fixture_endpoint(struct fixture_dispatch *x, const char *name,
    const char *model, enum latentd_task task, unsigned parallel);

/* fixture_submit(x, model, parts_n): a job in its lane, dispatch told of it.
 * It expects 10 bytes for each part. */
struct job *fixture_submit(
    struct fixture_dispatch *x, const char *model, size_t parts_n);

/* fixture_turn(x): let dispatch start what it can. */
void fixture_turn(struct fixture_dispatch *x);

/* fixture_transferred(x, i): the ${i}th transfer brought a reply; it is the
 * last of the finishes now. */
void fixture_transferred(struct fixture_dispatch *x, size_t i);

/* fixture_finished(x, i, byte): the ${i}th finish made one file of 3 ${byte}s. */
void fixture_finished(struct fixture_dispatch *x, size_t i, uint8_t byte);

/* fixture_done(x, i, byte): both for the ${i}th transfer. */
void fixture_done(struct fixture_dispatch *x, size_t i, uint8_t byte);

/* fixture_failed(x, i, fate): the ${i}th transfer ended badly. */
void fixture_failed(struct fixture_dispatch *x, size_t i, enum fate fate);

/* fixture_spoilt(x, i): the ${i}th finish found a reply that is none. */
void fixture_spoilt(struct fixture_dispatch *x, size_t i);

/* fixture_requeue(x): all jobs that wait for their time may be tried now. */
void fixture_requeue(struct fixture_dispatch *x);

/* fixture_pass(x, ms): so much time passes, and dispatch starts what it can. */
void fixture_pass(struct fixture_dispatch *x, uint64_t ms);

/* fixture_finish_all(x): let time pass and everything succeed, until all jobs
 * have ended. */
void fixture_finish_all(struct fixture_dispatch *x);

/* fixture_cancel(x, job): as a producer's CANCEL of an active job. */
void fixture_cancel(struct fixture_dispatch *x, struct job *job);

#endif
