/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_ATTEMPT_H
#define DAEMON_ATTEMPT_H

#include "fate.h"
#include "job.h"

/*
 * What an attempt came to.  dispatch alone draws the conclusion; whoever
 * finds the fault says whether another attempt may help.
 */
struct verdict {
	struct reason reason; /* err OK: the part is done */
	enum fate fate; /* what follows; DONE iff err is OK */
	uint32_t retry_after_ms; /* the endpoint's wish; 0: none */
	long http_status; /* 0: no reply */
};

/*
 * One HTTP request for one part of a job at one endpoint.  It goes dispatch →
 * transfer → finish and its verdict comes back to dispatch; the stage that
 * has it may touch everything but ${job}'s changing fields.
 */
struct attempt {
	struct job *job;
	size_t part;
	struct endpoint *endpoint;
	bool aborted; /* the verdict does not matter */
	bool again; /* not the first for its part */
	bool hedge; /* beside another one */
	uint64_t cost_px;
	uint64_t hedge_at_ns; /* when another one may begin; 0: never */
	TAILQ_ENTRY(attempt) running; /* dispatch.c's */

	/* From endpoint, when it began. */
	unsigned in_flight; /* there, with this one */
	bool trial; /* of an endpoint that is not fit */
	bool warming; /* which is starting */

	bool loading; /* the latent is read back; then it begins */
	TAILQ_ENTRY(attempt) waiting; /* the same; spool_load.c's */
	void *stage; /* the stage's own struct for it */

	/* From transfer. */
	struct buffer *reply; /* the body; owned */
	struct latentd_tensor tensor; /* ndim 0: a file */
	uint64_t sent_bytes; /* of bodies, whatever became of them */
	uint64_t received_bytes;
	uint64_t started_ns;
	uint64_t connected_ns; /* 0, as in the next two: not got so far */
	uint64_t uploaded_ns; /* the body's last byte was sent */
	uint64_t answered_ns; /* the reply's first line was there */
	uint64_t ended_ns;

	/* From finish: sizes of the files in ${reply}; owned. */
	uint64_t *file_bytes;
	size_t files_n;

	struct verdict verdict;
};

TAILQ_HEAD(waiting_attempts, attempt);

/* attempt_create(job, part): NULL when memory is out. */
struct attempt *attempt_create(struct job *job, size_t part);

/* attempt_destroy(attempt): with what it still owns; NULL is a no-op. */
void attempt_destroy(struct attempt *attempt);

#endif
