/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that the daemon does not have any more.  With the client's mutex held. */
#ifndef CLIENT_MISSING_H
#define CLIENT_MISSING_H

#include "core.h"

/* missing_look(client, serial): the daemon works on nothing of this producer,
 * asked at ${serial}. */
void missing_look(struct latentd_client *client, uint64_t serial);

/* missing_end(client): submit again what has not come meanwhile; for
 * session_pump(). */
void missing_end(struct latentd_client *client);

#endif
