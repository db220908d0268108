/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

void
peer_identity(const struct door_peer *peer, struct text name,
    struct text secret, struct producer_identity *identity)
{
	producer_identity(peer->has_uid ? peer->uid : PRODUCER_NO_UID, name,
	    secret, identity);
}

bool
peer_is_admin(const struct door_peer *peer, uint64_t own_uid)
{
	return peer->has_uid && (peer->uid == 0 || peer->uid == own_uid);
}
