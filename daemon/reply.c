/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

nng_msg *
reply_create(
    enum message_type type, const void *in, const void *body, size_t body_bytes)
{
	static uint8_t front[MESSAGE_FRONT_BYTES];
	const struct reason no_memory = {.err = LATENTD_ERR_MEMORY,
	    .text = "the daemon has no memory to send this"};
	size_t front_bytes;
	nng_msg *msg;
	uint8_t *at;

	/* Loop thread only, so one buffer serves all. */
	front_bytes =
	    message_encode(type, in, body_bytes, front, sizeof(front));
	assert(front_bytes > 0);
	if (nng_msg_alloc(&msg, front_bytes + body_bytes) != 0) {
		if (body_bytes > 0)
			return reply_rejected(&no_memory);
		abort();
	}
	at = nng_msg_body(msg);
	memcpy(at, front, front_bytes);
	if (body_bytes > 0)
		memcpy(at + front_bytes, body, body_bytes);
	return msg;
}

nng_msg *
reply_rejected(const struct reason *why)
{
	struct message_rejected m = {
	    .code = why->err, .message = {why->text, strlen(why->text)}};

	return reply_create(MESSAGE_REJECTED, &m, NULL, 0);
}
