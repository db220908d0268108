/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_PIPELINE_H
#define DAEMON_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "config.h"

struct pipeline;

/*
 * pipeline_open(loop, config, pipeline, why):
 * Create all stages as ${config} says, connect them and listen.  ${config} is
 * only read.  ${on_drained}(arg) is called once, after pipeline_drain().
 * Fails with the first stage's error; nothing is left open then, but ${loop}
 * must run once more to close handles.
 */
enum latentd_err pipeline_open(uv_loop_t *loop, const struct config *config,
    void (*on_drained)(void *arg), void *arg, struct pipeline **pipeline,
    struct reason *why);

/*
 * pipeline_drain(p): take no new jobs; finish those there are and give the
 * producers time to collect.  Bounded by the configuration's drain_s.
 */
void pipeline_drain(struct pipeline *p);

/* pipeline_reload(p): read the token files of endpoints again, and try those
 * that were stopped; what cannot be read is logged and stays. */
void pipeline_reload(struct pipeline *p);

/* pipeline_close(p): end now; what is not finished or collected is lost, and
 * the log says how much. */
void pipeline_close(struct pipeline *p);

#endif
