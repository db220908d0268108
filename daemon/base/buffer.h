/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing bytes: what comes from curl or from the PNG writer, whose length may
 * not be known before its end.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Readers look at ${at} and ${bytes}; only the functions below write.  ${at} is
 * valid until the next of them, and NULL while there is no room. */
struct buffer {
	uint8_t *at;
	size_t bytes; /* that it has */
	size_t room_bytes; /* for these and more */
};

/* buffer_create(room_bytes): an empty one with room for so many bytes, which
 * are not cleared.  NULL when memory is out. */
struct buffer *buffer_create(size_t room_bytes);

/* buffer_destroy(buffer): with its bytes; NULL is a no-op. */
void buffer_destroy(struct buffer *buffer);

/*
 * buffer_extend(buffer, bytes): where ${bytes} more stand from now on, which the
 * caller writes; at least 1.  The room is doubled when it is short, or becomes
 * just what is needed if that is more.
 * buffer_append(buffer, data, bytes): the same with ${data}; may be 0 bytes.
 * NULL, and false, when memory is out; ${buffer} is unchanged then.
 */
uint8_t *buffer_extend(struct buffer *buffer, size_t bytes);
bool buffer_append(struct buffer *buffer, const void *data, size_t bytes);

/* buffer_fit(buffer): no more is to come; give back the room that is left. */
void buffer_fit(struct buffer *buffer);

#endif
