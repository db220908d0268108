/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_WHY_H
#define DAEMON_WHY_H

#include "dispatch.h"
#include "queue.h"

/* What else must be known to say what a job waits for. */
struct why_input {
	const struct dispatch *dispatch;
	uint64_t keep_ms; /* of results */
	uint64_t bury_ms; /* of failed jobs */
};

/*
 * why_job(in, job):
 * Everything that is known of ${job}, and in "why" the sentence that says what
 * it waits for: JSON (protocol.md §7), malloc'd; NULL when memory is out.
 */
char *why_job(const struct why_input *in, const struct job *job);

/* why_list(in, jobs, n, next): a few words about each; ${next} is where the
 * next request goes on, or 0.  As above. */
char *why_list(const struct why_input *in, struct job *const *jobs, size_t n,
    uint64_t next);

#endif
