/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_REPORT_H
#define DAEMON_REPORT_H

#include "config.h"
#include "dispatch.h"
#include "job.h"
#include "spool.h"

struct report_input {
	const struct jobs *jobs;
	const struct dispatch *dispatch;
	const struct config *config;
	const struct reason *reload; /* how the last one went */
	uint64_t instance;
	uint64_t started_ns;
	bool paused_in;
	bool draining;
	uint64_t drain_left_ms; /* meant when draining */
	const struct spool *spool; /* NULL: none */
	uint64_t dropped_n; /* failed jobs forgotten since the start */
};

/*
 * report_create(input):
 * The state of the daemon as a JSON document (protocol.md §7), malloc'd; NULL
 * when memory is out.  Holds no secrets: no keys, tokens or producers'
 * secrets.
 */
char *report_create(const struct report_input *input);

/*
 * report_ready(dispatch, why): OK if of every model and task that is
 * configured at least one endpoint answers; else UNREACHABLE and the first
 * that has none.
 */
enum latentd_err report_ready(
    const struct dispatch *dispatch, struct reason *why);

#endif
