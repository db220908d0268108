/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The golden vectors of the messages, and what each message holds, written
 * down a second time: nothing here looks at the codec's own tables.
 */
#ifndef UNIT_MESSAGE_FIXTURE_H
#define UNIT_MESSAGE_FIXTURE_H

#include <jansson.h>

#include "fuzz.h"
#include "message.h"

/* Texts and arrays that a filled message points to. */
struct fixture_room {
	struct message_scratch scratch;
	char bytes[65536];
	size_t used;
};

/* fixture_messages(section): the array of that name in messages.json; the
 * caller drops it. */
json_t *fixture_messages(const char *section);

/* fixture_hex(row, bytes): "hex" of ${row}, malloc'd to its exact size. */
uint8_t *fixture_hex(const json_t *row, size_t *bytes);

enum message_type fixture_type(const char *name);

/* fixture_fill(type, fields, room, m): the message that ${fields} say. */
void fixture_fill(enum message_type type, const json_t *fields,
    struct fixture_room *room, union message_any *m);

/* fixture_random(type, f, room, m): any message of ${type}, its values within
 * their bounds. */
void fixture_random(enum message_type type, struct fuzz *f,
    struct fixture_room *room, union message_any *m);

/* fixture_difference(type, a, b): the first field in which two messages
 * differ, NULL if they are the same. */
const char *fixture_difference(enum message_type type,
    const union message_any *a, const union message_any *b);

/* fixture_types(n): all types that there are. */
const enum message_type *fixture_types(size_t *n);

#endif
