/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_PUBLISH_H
#define DAEMON_PUBLISH_H

#include <uv.h>

#include "base/door.h"
#include "base/tls.h"
#include "job.h"

struct publish;

enum publish_events { EVENTS_NONE = 0, EVENTS_STATE, EVENTS_IMAGE };

struct publish_sinks {
	/* Lease the producer's oldest result to a connection, or NULL. */
	const struct job *(*take)(
	    struct producer *producer, uint32_t pipe, void *arg);
	/* The result that was taken is copied into its message; may be NULL. */
	void (*copied)(const struct job *job, void *arg);
	void *arg;
};

/* publish_open(loop, jobs, instance, sinks): NULL when memory is out.
 * publish_close(p): no COLLECT may wait (publish_flush). */
struct publish *publish_open(uv_loop_t *loop, struct jobs *jobs,
    uint64_t instance, const struct publish_sinks *sinks);
void publish_close(struct publish *p);

/*
 * publish_events(p, url, tls, mode, why): send events about jobs to subscribers of
 * ${url}, by ${tls} where it is tls+tcp://, with the first finished file of a job
 * for EVENTS_IMAGE.  A hint that may get lost; never the only way to a result.
 * INVALID or IO.
 */
enum latentd_err publish_events(struct publish *p, const char *url,
    const struct tls_pem *tls, enum publish_events mode, struct reason *why);

/* publish_event(p, job): send the event of ${job}'s new state, if wanted. */
void publish_event(struct publish *p, const struct job *job);

/*
 * publish_collect(p, request, producer, wait_ms, unknown_acks): answer a COLLECT
 * with a result, at once or within ${wait_ms}, else with EMPTY; either says how
 * many of its acknowledgements hit nothing.
 */
void publish_collect(struct publish *p, struct door_request *request,
    struct producer *producer, uint64_t wait_ms, uint64_t unknown_acks);

/* publish_available(p, producer): results came; serve who waits. */
void publish_available(struct publish *p, struct producer *producer);

/* publish_gone(p, pipe): forget COLLECTs that wait on that connection. */
void publish_gone(struct publish *p, uint32_t pipe);

/* publish_flush(p): answer every waiting COLLECT with EMPTY. */
void publish_flush(struct publish *p);

#endif
