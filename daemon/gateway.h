/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's HTTP face: the remote contract for clients that know nothing of
 * latentd, and what an operator's tools ask.  docs/gateway.md has the paths,
 * statuses and headers.  Loop thread; JSON, base64 and large files are read and
 * written on uv's workers.
 */
#ifndef DAEMON_GATEWAY_H
#define DAEMON_GATEWAY_H

#include <uv.h>

#include "intake.h"

struct gateway;

struct gateway_options {
	const char *listen; /* "127.0.0.1:8377" */
	const char *token; /* producers and scrapers must show it; or NULL */
	uint64_t max_body_bytes;
	uint64_t deadline_ms; /* of requests that name none; 0: none */
};

struct gateway_sinks {
	/* The lane of a model and task, or NULL. */
	struct lane *(*lane)(
	    const struct model *model, enum latentd_task task, void *arg);
	/* Whether a job with so many bytes may come, or so many bytes more of
	 * a body that is being received. */
	struct job_busy (*busy)(
	    const struct producer *producer, uint64_t bytes, void *arg);
	/* Take a NEW job, which gateway_ended() gives back; false when memory
	 * is out. */
	bool (*accept)(struct job *job, void *arg);
	/* End an open job with a reason. */
	void (*cancel)(struct job *job, const struct reason *why, void *arg);
	/* Documents, malloc'd: JSON, and Prometheus' text. */
	char *(*report)(void *arg);
	char *(*metrics)(void *arg);
	/*
	 * Whether the daemon is ready: it would take a job now, and of every
	 * model and task that is configured at least one endpoint answers, as
	 * endpoint.h defines it.  BUSY or UNREACHABLE, and which, if not.
	 */
	enum latentd_err (*ready)(struct reason *why, void *arg);
	/* The reply of a job that ended at ${finished_ns} has left (whole) or
	 * was given up; the result's memory is free. */
	void (*sent)(struct producer *producer, uint64_t finished_ns,
	    bool whole, void *arg);
	/* The last worker has ended: gateway_working() is false again. */
	void (*rested)(void *arg);
	void *arg;
};

/*
 * gateway_open(loop, jobs, options, sinks, gateway, why):
 * Serve.  Bytes of bodies that are received and of replies that leave are
 * counted in ${jobs}.  INVALID (address), IO (in use) or MEMORY.
 */
enum latentd_err gateway_open(uv_loop_t *loop, struct jobs *jobs,
    const struct gateway_options *options, const struct gateway_sinks *sinks,
    struct gateway **gateway, struct reason *why);

/* gateway_change(g, token, deadline_ms): for requests that come from now on. */
void gateway_change(struct gateway *g, const char *token, uint64_t deadline_ms);

/* gateway_port(g): the port it listens on. */
unsigned gateway_port(const struct gateway *g);

/*
 * gateway_ended(g, job): a job that came from here, job->call, has ended:
 * answer its request and destroy the job, now or from a worker's end.
 */
void gateway_ended(struct gateway *g, struct job *job);

/* gateway_working(g): whether a worker holds one of its requests, so that it
 * must not be closed yet.
 * gateway_sending_n(g): results that are on their way out.
 * NULL: none. */
bool gateway_working(const struct gateway *g);
size_t gateway_sending_n(const struct gateway *g);

/* gateway_close(g): no job of its may be open and no worker at work.  NULL is
 * a no-op. */
void gateway_close(struct gateway *g);

#endif
