/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "attempt.h"
#include "spoolcount.h"

struct metrics;

/* metrics_create(): NULL when memory is out.  NULL is fine for destroy. */
struct metrics *metrics_create(void);
void metrics_destroy(struct metrics *m);

/* metrics_attempt(m, attempt): a request has ended; its phases. */
void metrics_attempt(struct metrics *m, const struct attempt *attempt);

/* metrics_ended(m, job): a job has ended. */
void metrics_ended(struct metrics *m, const struct job *job);

/* metrics_delivered(m, finished_ns): a producer has the result of a job that
 * ended then for good.
 * metrics_dropped(m): a result was given up. */
void metrics_delivered(struct metrics *m, uint64_t finished_ns);
void metrics_dropped(struct metrics *m);

/* metrics_answered(m, answer): how a request for a new job was answered. */
enum metrics_answer { ANSWER_ACCEPTED, ANSWER_BUSY, ANSWER_COUNT };
void metrics_answered(struct metrics *m, enum metrics_answer answer);

/* What the text needs beside what was counted here. */
struct metrics_input {
	const struct jobs *jobs;
	uint64_t jobs_max;
	uint64_t bytes_max;
	bool reloaded; /* the last new configuration was taken over */
	unsigned connections_n; /* open */
	uint64_t refused_n; /* connections, so far */
	uint64_t denied_n; /* proofs, so far */
	const struct spool_counts *spool; /* NULL: none */
	size_t endpoints_n;
	const struct endpoint *(*endpoint)(size_t i, void *arg);
	void *arg;
};

/*
 * metrics_text(m, input): everything in Prometheus' text format 0.0.4, in
 * base units, malloc'd; NULL when memory is out.  docs/operations.md says
 * what each metric means.
 */
char *metrics_text(const struct metrics *m, const struct metrics_input *input);

#endif
