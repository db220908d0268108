/* SPDX-License-Identifier: Apache-2.0 */
/* Dialling a daemon on any transport. */
#ifndef CLIENT_TLS_H
#define CLIENT_TLS_H

#include <nng/nng.h>

#include "latentd/client.h"
#include "reason.h"

/*
 * tls_dial(socket, url, tls, flags, why):
 * Dial ${url}, with ${tls} (NULL: all defaults) where it is tls+tcp://.  Returns
 * an error of nng's or 0; ${why->err} is OK where that error says all.
 */
int tls_dial(nng_socket socket, const char *url, const struct latentd_tls *tls,
    int flags, struct reason *why);

#endif
