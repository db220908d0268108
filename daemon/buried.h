/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_BURIED_H
#define DAEMON_BURIED_H

#include <uv.h>

#include "job.h"

struct buried;

struct buried_options {
	uint64_t bury_ms; /* how long a failed job is kept */
	/* on_dropped(job, arg): nobody kicked it in time; the job is destroyed
	 * next. */
	void (*on_dropped)(const struct job *job, void *arg);
	/* on_room(producer, arg): a job's latent was given back. */
	void (*on_room)(struct producer *producer, void *arg);
	void *arg;
};

/* buried_open(loop, jobs, options): NULL when memory is out.
 * buried_close(b): forgets all jobs.  NULL is a no-op. */
struct buried *buried_open(
    uv_loop_t *loop, struct jobs *jobs, const struct buried_options *options);
void buried_close(struct buried *b);

/* buried_change(b, bury_ms): for jobs that are there already too. */
void buried_change(struct buried *b, uint64_t bury_ms);

/* buried_put(b, job): take a FAILED job whose failure was delivered. */
void buried_put(struct buried *b, struct job *job);

/* buried_remove(b, job): give back a job that is buried here. */
void buried_remove(struct buried *b, struct job *job);

/* buried_dropped_n(b): how many were given up since the start. */
uint64_t buried_dropped_n(const struct buried *b);

#endif
