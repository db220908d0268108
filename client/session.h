/* SPDX-License-Identifier: Apache-2.0 */
/* The socket, its contexts, and what is sent when. */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include "core.h"

/*
 * session_open(client, tls, why):
 * Dial ${client}->url in the background, with ${tls} (NULL: all defaults).  Fails
 * with INVALID (the URL, or a file) or MEMORY; session_close() is due in either
 * case.
 */
enum latentd_err session_open(struct latentd_client *client,
    const struct latentd_tls *tls, struct reason *why);

/*
 * session_close(client):
 * Close the socket and wait for the callbacks that still run.  Without the
 * mutex, after ${client}->closed is set and nothing pumps any more.
 */
void session_close(struct latentd_client *client);

/*
 * session_pump(client):
 * Send whatever is due.  With the mutex held, which is dropped around calls
 * of nng: everything may have changed afterwards.
 */
void session_pump(struct latentd_client *client);

#endif
