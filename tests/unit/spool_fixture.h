/* SPDX-License-Identifier: Apache-2.0 */
/* A spool in a directory of its own, and jobs that it writes. */
#ifndef TESTS_SPOOL_FIXTURE_H
#define TESTS_SPOOL_FIXTURE_H

#include "jobs_fixture.h"
#include "lane.h"
#include "spool.h"
#include "store_fixture.h"

#define LATENT_BYTES ((size_t)4 * 8 * 8 * 2)
#define MIB (UINT64_C(1) << 20)

struct fixture_spool {
	struct fixture_jobs f;
	struct store_dir dir;
	struct spool *s;
	struct lane lane;
	struct producer *p;
	/* What the spool said. */
	size_t put_n[3]; /* by result */
	size_t ended_n, stored_n;
	const struct reason *body_why;
	enum latentd_err body_err;
	size_t bodies_n, results_n;
	enum latentd_err result_err;
	bool rested;
	/* What it restored. */
	struct job *jobs[64];
	size_t jobs_n;
	uint64_t known_id;
};

/* The one there is. */
extern struct fixture_spool fixture_spool;

/* fixture_spool_open() / fixture_spool_close(): around a test.
 * fixture_spool_stop(): end it as a crash would, as far as the spool can tell;
 * fixture_spool_start(): again, with what it has. */
void fixture_spool_open(void);
void fixture_spool_close(void);
void fixture_spool_stop(void);
void fixture_spool_start(void);

/* fixture_spool_put_bytes(key, tensor, bytes), fixture_spool_put(key): put a job.
 * fixture_spool_put_now(key): and wait until it is on disk, or is not. */
struct job *fixture_spool_put_bytes(
    const char *key, struct latentd_tensor tensor, size_t bytes);
struct job *fixture_spool_put(const char *key);
struct job *fixture_spool_put_now(const char *key);

/* fixture_spool_end_now(job, n): let it end with a result of ${n} bytes.
 * fixture_spool_forget(job, known): it was acknowledged. */
void fixture_spool_end_now(struct job *job, size_t n);
void fixture_spool_forget(struct job *job, bool known);

#endif
