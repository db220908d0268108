/* SPDX-License-Identifier: Apache-2.0 */
/* Books, a loop, and jobs that need no producer's message to exist. */
#ifndef UNIT_JOBS_FIXTURE_H
#define UNIT_JOBS_FIXTURE_H

#include "job.h"
#include "loop_fixture.h"

struct fixture_jobs {
	struct fixture_loop loop;
	struct jobs jobs;
	size_t moves_n;
};

void fixture_jobs_open(struct fixture_jobs *f);

/* fixture_jobs_close(f): run the loop until its handles are closed, and see
 * that the books are empty: no job, no byte, no producer. */
void fixture_jobs_close(struct fixture_jobs *f);

struct producer *fixture_producer(struct fixture_jobs *f, const char *name);

/* fixture_job(f, producer, key, parts_n, message_bytes): a NEW job that holds a
 * message of that size, all of it payload; no message for 0. */
struct job *fixture_job(struct fixture_jobs *f, struct producer *producer,
    const char *key, size_t parts_n, size_t message_bytes);

/* fixture_reply(files_n, byte, file_bytes): a part's reply of ${files_n} files of 1, 2,
 * ... bytes, all ${byte}, with their sizes in ${*file_bytes}. */
struct buffer *fixture_reply(
    size_t files_n, uint8_t byte, uint64_t **file_bytes);

#endif
