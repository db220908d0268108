/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_GATEWAY_H
#define DAEMON_GATEWAY_H

#include <uv.h>

#include "reason.h"

struct gateway;

struct gateway_sinks {
	/* The report, malloc'd JSON. */
	char *(*report)(void *arg);
	void *arg;
};

/*
 * gateway_open(loop, listen, sinks, gateway, why):
 * Serve HTTP on ${listen}: GET /healthz (200 while the process lives) and
 * GET /status (the report).  INVALID or IO.
 */
enum latentd_err gateway_open(uv_loop_t *loop, const char *listen,
    const struct gateway_sinks *sinks, struct gateway **gateway,
    struct reason *why);

/* gateway_port(g): the port it listens on. */
unsigned gateway_port(const struct gateway *g);

/* gateway_close(g): NULL is a no-op. */
void gateway_close(struct gateway *g);

#endif
