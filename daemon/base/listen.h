/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LISTEN_H
#define BASE_LISTEN_H

#include "latentd/errors.h"
#include "reason.h"

/*
 * listen_tcp(address, fd, port, why):
 * Listen on ${address}: "127.0.0.1:8377", "[::1]:0" or "localhost:8377" (which
 * is 127.0.0.1); names are not looked up.  On success ${*fd} is a non-blocking,
 * close-on-exec socket of the caller and ${*port} the port in use, for ":0".
 * Fails with INVALID (address) or IO (in use, not ours) and both unchanged.
 */
enum latentd_err listen_tcp(
    const char *address, int *fd, unsigned *port, struct reason *why);

#endif
