/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_PEER_H
#define DAEMON_PEER_H

#include "base/door.h"
#include "producer.h"

/* peer_identity(peer, name, secret, identity): who asks, by what the kernel
 * knows and what the request says. */
void peer_identity(const struct door_peer *peer, struct text name,
    struct text secret, struct producer_identity *identity);

/*
 * peer_is_admin(peer, own_uid): root and the daemon's own user, as the kernel
 * knows them on ipc, may do everything with everybody's jobs.  Over tcp there
 * are no uids and no administrators.
 */
bool peer_is_admin(const struct door_peer *peer, uint64_t own_uid);

#endif
