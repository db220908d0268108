/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon answered, and what follows from it.  With the mutex held. */
#ifndef CLIENT_REPLY_H
#define CLIENT_REPLY_H

#include "core.h"

/* reply_take(client, ch, msg): handle the reply ${msg}, which is taken, to the
 * request of ${ch}. */
void reply_take(
    struct latentd_client *client, struct channel *ch, nng_msg *msg);

/* reply_lost(client, ch, rv): there will be no reply; ${rv} is nng's reason. */
void reply_lost(struct latentd_client *client, struct channel *ch, int rv);

#endif
