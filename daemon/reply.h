/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_REPLY_H
#define DAEMON_REPLY_H

#include <nng/nng.h>

#include "message.h"

/*
 * reply_create(type, in, body, body_bytes):
 * The message of ${type} with fields ${in} and a copy of ${body} (NULL with 0
 * bytes).  Never fails: where memory for the body is out, it becomes REJECTED
 * with code memory; for less than that the program ends.
 */
nng_msg *reply_create(enum message_type type, const void *in, const void *body,
    size_t body_bytes);

/* reply_rejected(why): REJECTED with its code and sentence. */
nng_msg *reply_rejected(const struct reason *why);

#endif
