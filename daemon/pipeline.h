/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_PIPELINE_H
#define DAEMON_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "config.h"

struct pipeline;

struct pipeline_sinks {
	/* Once, after pipeline_drain(): nothing is left to wait for. */
	void (*on_drained)(void *arg);
	/* A configuration is in force now: the first one, or a new one. */
	void (*on_config)(const struct config *config, void *arg);
	void *arg;
};

/*
 * pipeline_open(loop, config, sinks, pipeline, why):
 * Create all stages as ${config} says, which is taken, also on failure; connect
 * them and listen.  Fails with the first stage's error; nothing is left open
 * then, but ${loop} must run once more to close handles.
 */
enum latentd_err pipeline_open(uv_loop_t *loop, struct config *config,
    const struct pipeline_sinks *sinks, struct pipeline **pipeline,
    struct reason *why);

/* pipeline_config(p): what is in force. */
const struct config *pipeline_config(const struct pipeline *p);

/* pipeline_ready(p): the loop is about to run and signals are heard: tell the
 * service manager. */
void pipeline_ready(struct pipeline *p);

/*
 * pipeline_drain(p): take no new jobs; finish those there are and give the
 * producers time to collect.  Bounded by the configuration's drain_s.
 */
void pipeline_drain(struct pipeline *p);

/*
 * pipeline_reload(p): read the configuration and the files that it names again,
 * on a worker, and take it over if it is right as a whole and differs in nothing
 * that cannot change while the daemon runs; else all stays as it is, and the log
 * says why.  Endpoints that were stopped are tried again.
 */
void pipeline_reload(struct pipeline *p);

/* pipeline_close(p): end now; what is not finished or collected is lost, and
 * the log says how much. */
void pipeline_close(struct pipeline *p);

#endif
