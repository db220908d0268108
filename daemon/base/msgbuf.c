/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nng grows a message to just the size asked for, which is quadratic for many
 * small appends; room is reserved by doubling here.
 */
#include "base/msgbuf.h"

#include <string.h>

nng_msg *
msgbuf_create(size_t front_bytes, size_t room_bytes)
{
	nng_msg *msg;

	if (nng_msg_alloc(&msg, 0) != 0)
		return NULL;
	if (nng_msg_reserve(msg, front_bytes + room_bytes) != 0 ||
	    nng_msg_realloc(msg, front_bytes) != 0) {
		nng_msg_free(msg);
		return NULL;
	}
	if (front_bytes > 0)
		memset(nng_msg_body(msg), 0, front_bytes);
	return msg;
}

bool
msgbuf_append(nng_msg *msg, const void *data, size_t bytes)
{
	size_t need_bytes = nng_msg_len(msg) + bytes;
	size_t room_bytes = nng_msg_capacity(msg);

	if (need_bytes > room_bytes &&
	    nng_msg_reserve(msg,
		need_bytes > 2 * room_bytes ? need_bytes : 2 * room_bytes) != 0)
		return false;
	return nng_msg_append(msg, data, bytes) == 0;
}
