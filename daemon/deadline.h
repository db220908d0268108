/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_DEADLINE_H
#define DAEMON_DEADLINE_H

#include <uv.h>

#include "job.h"

struct deadlines;

/*
 * deadlines_open(loop, on_expired, arg): NULL when memory is out.
 * ${on_expired}(job, arg): the deadline of an open job is over; the job is no
 * longer watched, and may be destroyed.
 * deadlines_close(d): no job may be watched.  NULL is a no-op.
 */
struct deadlines *deadlines_open(
    uv_loop_t *loop, void (*on_expired)(struct job *job, void *arg), void *arg);
void deadlines_close(struct deadlines *d);

/* deadlines_watch(d, job): a new job; one without a deadline is left alone.
 * deadlines_forget(d, job): it has ended; also when it was never watched. */
void deadlines_watch(struct deadlines *d, struct job *job);
void deadlines_forget(struct deadlines *d, struct job *job);

#endif
