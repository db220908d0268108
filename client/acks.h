/* SPDX-License-Identifier: Apache-2.0 */
/* Acknowledgements, until the daemon has them.  With the client's mutex held. */
#ifndef CLIENT_ACKS_H
#define CLIENT_ACKS_H

#include "core.h"

/* acks_add(client, tag, instance): acknowledge, unless it is another
 * daemon's. */
void acks_add(struct latentd_client *client, uint64_t tag, uint64_t instance);

/* acks_load(client, channel, tags): the first LATENTD_MAX_ACKS that travel
 * nowhere go by ${channel}; their tags are written and their number
 * returned. */
size_t acks_load(struct latentd_client *client, const struct channel *channel,
    uint64_t tags[LATENTD_MAX_ACKS]);

/* What went by ${channel} has arrived, or may not have; acks_forget(client):
 * they are of a daemon that is gone. */
void acks_arrived(struct latentd_client *client, const struct channel *channel);
void acks_lost(struct latentd_client *client, const struct channel *channel);
void acks_forget(struct latentd_client *client);

#endif
