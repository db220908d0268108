/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_HISTORY_H
#define DAEMON_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "reason.h"

#define HISTORY_MAX 8u

/* How one attempt ended. */
struct history_entry {
	char endpoint[LATENTD_MAX_NAME_BYTES + 1];
	long http_status; /* 0: no reply */
	enum latentd_err err;
	uint64_t took_ms;
	uint64_t ended_ns;
};

/* The latest attempts of a job, so that it can say why it is where it is. */
struct history {
	size_t n; /* of all times; the last HISTORY_MAX are kept */
	struct history_entry entries[HISTORY_MAX];
};

/*
 * history_note(history, entry): remember one more, ${*history} being made by
 * the first that failed: a job that just works needs none.  When memory is out
 * nothing is remembered.  The owner frees ${*history}.
 */
void history_note(struct history **history, const struct history_entry *entry);

/* history_n(h) / history_at(h, i): how many are kept, and the ${i}th of these,
 * the oldest first.  ${h} may be NULL. */
size_t history_n(const struct history *h);
const struct history_entry *history_at(const struct history *h, size_t i);

#endif
