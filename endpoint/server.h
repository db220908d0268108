/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_SERVER_H
#define ENDPOINT_SERVER_H

#include <uv.h>

#include "latentd/errors.h"
#include "options.h"
#include "reason.h"

/* The endpoint as HTTP clients see it.  Loop thread. */
struct server;

/* server_open(loop, options, server, why): listen and serve; ${options} must
 * outlive it.  Fails with INVALID (address), IO or MEMORY. */
enum latentd_err server_open(uv_loop_t *loop, const struct options *options,
    struct server **server, struct reason *why);

unsigned server_port(const struct server *server);

/*
 * server_stop(server, stopped, arg): accept no more connections, answer what
 * is under way, for at most SERVER_DRAIN_MS, then close and free; ${stopped} is
 * called last.  Called again, it does not wait for waiting requests any more,
 * only for workers.
 */
#define SERVER_DRAIN_MS 30000
void server_stop(struct server *server, void (*stopped)(void *), void *arg);

#endif
