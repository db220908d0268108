/* SPDX-License-Identifier: Apache-2.0 */
/* The client's secret, and how it is shown to the daemon: protocol.md §12.
 * With the mutex held where the client is open. */
#ifndef CLIENT_IDENTITY_H
#define CLIENT_IDENTITY_H

#include "core.h"

/* identity_set(client, options, why): take the secret of ${options}; the
 * producer's name is set.  INVALID, MEMORY. */
enum latentd_err identity_set(struct latentd_client *client,
    const struct latentd_client_options *options, struct reason *why);

/* identity_wipe(client): forget it. */
void identity_wipe(struct latentd_client *client);

/* identity_token(client): what goes into "secret" of every request. */
struct text identity_token(const struct latentd_client *client);

/*
 * identity_challenged(client, in, why): the daemon wants a proof; the next HELLO
 * shall have it.  Fails with DENIED where there is no secret, PROTOCOL.
 * identity_hello(client, hello): put the proof that is wanted into ${hello},
 * which points into ${client}; false when memory is out.
 * identity_welcomed(client, in, why): whether it is the daemon that welcomes;
 * DENIED.
 * identity_renew(client): there is another connection, where all this is to be
 * done again.
 */
enum latentd_err identity_challenged(struct latentd_client *client,
    const struct message_challenge *in, struct reason *why);
bool identity_hello(struct latentd_client *client, struct message_hello *hello);
enum latentd_err identity_welcomed(struct latentd_client *client,
    const struct message_welcome *in, struct reason *why);
void identity_renew(struct latentd_client *client);

#endif
