/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that message_decode.c and message_encode.c walk; for these files,
 * message.c and the records of the spool (spool/record.c).
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

/*
 * message_encode_fields(shape, in, buf, buf_bytes): the msgpack map alone; its
 * length, or 0 when it does not fit ${buf_bytes}.
 * message_decode_fields(shape, map, map_bytes, scratch, out, out_bytes, why):
 * the inverse, as message_decode() does it.
 */
size_t message_encode_fields(const struct message_shape *shape, const void *in,
    void *buf, size_t buf_bytes);
enum latentd_err message_decode_fields(const struct message_shape *shape,
    const void *map, size_t map_bytes, struct message_scratch *scratch,
    void *out, size_t out_bytes, struct reason *why);

/* Names on the wire, by the value of their enums; NULL where no message
 * carries it. */
extern const char *const message_task_names[2];
extern const char *const message_space_names[2];
extern const char *const message_dtype_names[5];
extern const char *const message_output_names[7];
extern const char *const message_state_names[JOB_STATE_COUNT];
extern const char *const message_priority_names[4];
extern const char *const message_err_names[LATENTD_ERR_COUNT];

/* Rows of a table: U64(struct, field, required, most), ... */
#define U64(s, f, req, top)                                                \
	{                                                                  \
#f, FIELD_U64, req, offsetof(struct s, f), 0, top, NULL, 0 \
	}
#define BOOL(s, f)                                                          \
	{                                                                   \
#f, FIELD_BOOL, false, offsetof(struct s, f), 0, 0, NULL, 0 \
	}
#define NAME(s, f, req)                                        \
	{                                                      \
#f, FIELD_NAME, req, offsetof(struct s, f), 0, \
		    LATENTD_MAX_NAME_BYTES, NULL, 0            \
	}
#define TEXT(s, f, req, top)                                                \
	{                                                                   \
#f, FIELD_TEXT, req, offsetof(struct s, f), 0, top, NULL, 0 \
	}
#define BIN(s, f, req, top)                                                \
	{                                                                  \
#f, FIELD_BIN, req, offsetof(struct s, f), 0, top, NULL, 0 \
	}
#define ENUM(s, f, req, table)                                           \
	{                                                                \
#f, FIELD_ENUM, req, offsetof(struct s, f), 0, 0, table, \
		    sizeof(table) / sizeof((table)[0])                   \
	}
#define TENSOR(s)                                                            \
	{"dtype", FIELD_ENUM, false, offsetof(struct s, tensor.dtype), 0, 0, \
	    message_dtype_names,                                             \
	    sizeof(message_dtype_names) / sizeof(message_dtype_names[0])},   \
	{                                                                    \
		"shape", FIELD_SHAPE, false, offsetof(struct s, tensor), 0,  \
		    LATENTD_MAX_DIM, NULL, 0                                 \
	}
#define SECRET(s) BIN(s, secret, false, LATENTD_MAX_SECRET_BYTES)
#define ANY UINT64_MAX

#endif
