/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_REPORT_H
#define DAEMON_REPORT_H

#include "dispatch.h"
#include "job.h"

struct report_input {
	const struct jobs *jobs;
	const struct dispatch *dispatch;
	uint64_t instance;
	uint64_t started_ns;
	uint64_t jobs_max;
	uint64_t bytes_max;
	const char *state; /* "running", "draining" */
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
