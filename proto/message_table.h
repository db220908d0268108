/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that message_decode.c and message_encode.c walk; for these files
 * and message.c only.
 */
#ifndef PROTO_MESSAGE_TABLE_H
#define PROTO_MESSAGE_TABLE_H

#include "message.h"

enum field_kind {
	FIELD_U64,
	FIELD_BOOL, /* absent means false */
	FIELD_NAME, /* text of [A-Za-z0-9._-], 1..max bytes */
	FIELD_TEXT, /* any text up to max bytes */
	FIELD_BIN, /* bytes, up to max */
	FIELD_ENUM, /* an int-sized enum through a table of names */
	FIELD_SHAPE, /* struct latentd_tensor: ndim and shape */
	FIELD_U64S, /* pointer at ${offset}, count at ${count} */
	FIELD_TEXTS,
};

struct field {
	const char *name;
	enum field_kind kind;
	bool required;
	size_t offset;
	size_t count;
	uint64_t max;
	const char *const *names;
	size_t names_n;
};

struct message_shape {
	enum message_type type;
	const char *name;
	bool request;
	const struct field *fields;
	size_t fields_n;
};

/* message_shape(type): the table of a type, or NULL if there is none. */
const struct message_shape *message_shape(unsigned type);

#endif
