/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing nng messages: what comes from curl or libpng is written straight
 * into the message that goes out.
 */
#ifndef BASE_MSGBUF_H
#define BASE_MSGBUF_H

#include <stdbool.h>
#include <stddef.h>

#include <nng/nng.h>

/*
 * msgbuf_create(front_bytes, room_bytes):
 * A message whose body begins with ${front_bytes} zero bytes, to be filled or
 * trimmed by whoever sends it, with room for ${room_bytes} more.  NULL when
 * memory is out.
 */
nng_msg *msgbuf_create(size_t front_bytes, size_t room_bytes);

/* msgbuf_append(msg, data, bytes): append, doubling the room when it is
 * short.  False when memory is out; ${msg} is unchanged then. */
bool msgbuf_append(nng_msg *msg, const void *data, size_t bytes);

#endif
