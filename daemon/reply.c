/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/msgbuf.h"

nng_msg *
reply_create(
    enum message_type type, const void *in, const void *body, size_t body_bytes)
{
	static uint8_t front[MESSAGE_FRONT_BYTES];
	const struct reason no_memory = {.err = LATENTD_ERR_MEMORY,
	    .text = "the daemon has no memory to send this"};
	size_t front_bytes;
	nng_msg *msg;

	/* Loop thread only, so one buffer serves all. */
	front_bytes =
	    message_encode(type, in, body_bytes, front, sizeof(front));
	assert(front_bytes > 0);
	msg = msgbuf_create(0, front_bytes + body_bytes);
	if (msg == NULL && body_bytes > 0)
		return reply_rejected(&no_memory);
	if (msg == NULL || nng_msg_append(msg, front, front_bytes) != 0 ||
	    (body_bytes > 0 && nng_msg_append(msg, body, body_bytes) != 0))
		abort();
	return msg;
}

nng_msg *
reply_rejected(const struct reason *why)
{
	struct message_rejected m = {
	    .code = why->err, .message = {why->text, strlen(why->text)}};

	return reply_create(MESSAGE_REJECTED, &m, NULL, 0);
}
