/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SERVICE_H
#define DAEMON_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

struct service;

struct service_counts {
	size_t queued_n;
	size_t active_n;
	size_t kept_n; /* results that wait for their producers */
	bool draining;
	/* Meant when draining. */
	uint64_t drain_left_ms;
	size_t stay_n; /* jobs and results that the next start goes on with */
};

struct service_options {
	/* Path of the producers' ipc socket, which is copied; NULL: none. */
	const char *socket;
	void (*count)(struct service_counts *counts, void *arg);
	void *arg;
};

/*
 * service_open(loop, options): tell the service manager (base/notify.h) how the
 * daemon is, and feed its watchdog: a loop that turns finds from time to time
 * that the producers' socket takes connections.  Without a manager, and without
 * a watchdog, nothing of it happens.  NULL when memory is out.
 * service_close(s): NULL is a no-op, here and below.
 */
struct service *service_open(
    uv_loop_t *loop, const struct service_options *options);
void service_close(struct service *s);

/*
 * service_ready(s): the daemon serves, from the start or again after a reload,
 * whatever came of it.
 * service_reloading(s): it reads its configuration; service_ready() follows in
 * any case.
 * service_stopping(s): it will end, and needs time still.  Again and again, at
 * most SERVICE_EXTEND_MS apart, or the manager ends it.
 */
#define SERVICE_EXTEND_MS 30000u
void service_ready(struct service *s);
void service_reloading(struct service *s);
void service_stopping(struct service *s);

/* service_look(s): counts may have changed; STATUS follows within a second. */
void service_look(struct service *s);

#endif
