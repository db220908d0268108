/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a header by its type's table, with reader.c (which says why not with
 * msgpack-c).  Nothing is allocated and every count is checked against the
 * bytes that are left before it is used.
 */
#include <assert.h>
#include <string.h>

#include "message_table.h"
#include "reader.h"

struct decoding {
	const struct message_shape *shape;
	struct message_scratch *scratch;
	struct reader r;
	uint8_t *out;
	struct reason *why;
};

static enum latentd_err
wrong_type(const struct decoding *d, const struct field *f, const char *right)
{
	struct reader r = d->r;

	if (!reader_skip(&r))
		return reason_set(d->why, LATENTD_ERR_PROTOCOL,
		    "%s: the header is not msgpack at field \"%s\"",
		    d->shape->name, f->name);
	return reason_set(d->why, LATENTD_ERR_INVALID,
	    "%s: field \"%s\" must be %s", d->shape->name, f->name, right);
}

static enum latentd_err
decode_text(struct decoding *d, const struct field *f)
{
	struct text t;
	bool found = f->kind == FIELD_BIN ? reader_bin(&d->r, &t.at, &t.bytes)
					  : reader_str(&d->r, &t.at, &t.bytes);

	if (!found)
		return wrong_type(
		    d, f, f->kind == FIELD_BIN ? "a byte string" : "a string");
	if (t.bytes > f->max)
		return reason_set(d->why, LATENTD_ERR_INVALID,
		    "%s: field \"%s\" has %zu bytes, at most %llu are allowed",
		    d->shape->name, f->name, t.bytes,
		    (unsigned long long)f->max);
	if (f->kind == FIELD_NAME && !message_is_name(t.at, t.bytes))
		return reason_set(d->why, LATENTD_ERR_INVALID,
		    "%s: field \"%s\" is \"%.*s\", but must be 1 to %llu of "
		    "A-Z a-z 0-9 . _ -",
		    d->shape->name, f->name, (int)t.bytes, t.at,
		    (unsigned long long)f->max);
	memcpy(d->out + f->offset, &t, sizeof(t));
	return LATENTD_OK;
}

static enum latentd_err
decode_enum(struct decoding *d, const struct field *f)
{
	const char *at;
	size_t bytes;

	if (!reader_str(&d->r, &at, &bytes))
		return wrong_type(d, f, "a string");
	for (size_t i = 0; i < f->names_n; i++) {
		int value = (int)i;

		if (f->names[i] == NULL || strlen(f->names[i]) != bytes ||
		    memcmp(f->names[i], at, bytes) != 0)
			continue;
		memcpy(d->out + f->offset, &value, sizeof(value));
		return LATENTD_OK;
	}
	char list[256] = "";

	for (size_t i = 0; i < f->names_n; i++) {
		size_t used = strlen(list);

		if (f->names[i] == NULL ||
		    used + strlen(f->names[i]) + 3 > sizeof(list))
			continue;
		if (used > 0)
			strcat(list, ", ");
		strcat(list, f->names[i]);
	}
	return reason_set(d->why, LATENTD_ERR_INVALID,
	    "%s: field \"%s\" is \"%.*s\", but must be one of %s",
	    d->shape->name, f->name, (int)(bytes > 64 ? 64 : bytes), at, list);
}

static enum latentd_err
decode_number(struct decoding *d, const struct field *f, uint64_t *value)
{
	if (!reader_uint(&d->r, value))
		return wrong_type(d, f,
		    f->kind == FIELD_U64 ? "a non-negative integer"
					 : "an array of non-negative integers");
	if (*value > f->max && f->kind != FIELD_U64S)
		return reason_set(d->why, LATENTD_ERR_INVALID,
		    "%s: field \"%s\" is %llu, at most %llu is allowed",
		    d->shape->name, f->name, (unsigned long long)*value,
		    (unsigned long long)f->max);
	return LATENTD_OK;
}

/* Take an array's count, at most ${most}. */
static enum latentd_err
decode_count(
    struct decoding *d, const struct field *f, uint64_t most, uint32_t *n)
{
	if (!reader_array(&d->r, n))
		return wrong_type(d, f, "an array");
	if (*n > most)
		return reason_set(d->why, LATENTD_ERR_INVALID,
		    "%s: field \"%s\" has %u elements, at most %llu are "
		    "allowed",
		    d->shape->name, f->name, *n, (unsigned long long)most);
	return LATENTD_OK;
}

static enum latentd_err
decode_shape(struct decoding *d, const struct field *f)
{
	struct latentd_tensor t;
	enum latentd_err err;

	memcpy(&t, d->out + f->offset, sizeof(t));
	err = decode_count(d, f, LATENTD_MAX_NDIM, &t.ndim);
	for (uint32_t i = 0; err == LATENTD_OK && i < t.ndim; i++)
		err = decode_number(d, f, &t.shape[i]);
	memcpy(d->out + f->offset, &t, sizeof(t));
	return err;
}

static enum latentd_err
decode_array(struct decoding *d, const struct field *f)
{
	const void *array = f->kind == FIELD_U64S
	    ? (const void *)d->scratch->numbers
	    : (const void *)d->scratch->texts;
	enum latentd_err err;
	uint32_t n;
	size_t count;

	err = decode_count(d, f, f->max, &n);
	for (uint32_t i = 0; err == LATENTD_OK && i < n; i++) {
		struct text *t = &d->scratch->texts[i];

		if (f->kind == FIELD_U64S)
			err = decode_number(d, f, &d->scratch->numbers[i]);
		else if (!reader_str(&d->r, &t->at, &t->bytes))
			err = wrong_type(d, f, "an array of strings");
	}
	if (err != LATENTD_OK)
		return err;
	count = n;
	memcpy(d->out + f->offset, &array, sizeof(array));
	memcpy(d->out + f->count, &count, sizeof(count));
	return LATENTD_OK;
}

static enum latentd_err
decode_field(struct decoding *d, const struct field *f)
{
	uint64_t value = 0;
	enum latentd_err err;

	switch (f->kind) {
	case FIELD_NAME:
	case FIELD_TEXT:
	case FIELD_BIN:
		return decode_text(d, f);
	case FIELD_ENUM:
		return decode_enum(d, f);
	case FIELD_SHAPE:
		return decode_shape(d, f);
	case FIELD_U64S:
	case FIELD_TEXTS:
		return decode_array(d, f);
	case FIELD_BOOL:
		if (!reader_bool(&d->r, (bool *)(d->out + f->offset)))
			return wrong_type(d, f, "true or false");
		return LATENTD_OK;
	case FIELD_U64:
		break;
	}
	err = decode_number(d, f, &value);
	if (err == LATENTD_OK)
		memcpy(d->out + f->offset, &value, sizeof(value));
	return err;
}

static size_t
field_index(
    const struct message_shape *shape, const char *key, size_t key_bytes)
{
	size_t i;

	for (i = 0; i < shape->fields_n; i++) {
		if (strlen(shape->fields[i].name) == key_bytes &&
		    memcmp(shape->fields[i].name, key, key_bytes) == 0)
			break;
	}
	return i;
}

static enum latentd_err
decode_entry(struct decoding *d, uint32_t *seen)
{
	const char *key;
	size_t key_bytes, i;

	if (!reader_str(&d->r, &key, &key_bytes))
		return reason_set(d->why, LATENTD_ERR_PROTOCOL,
		    "%s: the header's keys must be strings", d->shape->name);
	i = field_index(d->shape, key, key_bytes);
	if (i == d->shape->fields_n) {
		if (d->shape->request)
			return reason_set(d->why, LATENTD_ERR_INVALID,
			    "%s: there is no field \"%.*s\"", d->shape->name,
			    (int)(key_bytes > 64 ? 64 : key_bytes), key);
		if (!reader_skip(&d->r))
			return reason_set(d->why, LATENTD_ERR_PROTOCOL,
			    "%s: the header is not msgpack", d->shape->name);
		return LATENTD_OK;
	}
	if ((*seen & 1u << i) != 0)
		return reason_set(d->why, LATENTD_ERR_INVALID,
		    "%s: field \"%s\" appears twice", d->shape->name,
		    d->shape->fields[i].name);
	*seen |= 1u << i;
	return decode_field(d, &d->shape->fields[i]);
}

enum latentd_err
message_decode_fields(const struct message_shape *shape, const void *map,
    size_t map_bytes, struct message_scratch *scratch, void *out,
    size_t out_bytes, struct reason *why)
{
	const uint8_t *at = map;
	struct decoding d = {.shape = shape,
	    .scratch = scratch,
	    .r = {at, at + map_bytes},
	    .out = out,
	    .why = why};
	uint32_t entries_n, seen = 0;
	enum latentd_err err;

	assert(d.shape != NULL && d.shape->fields_n <= 32);
	memset(out, 0, out_bytes);
	if (!reader_map(&d.r, &entries_n))
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "%s: the header must be a msgpack map", d.shape->name);
	for (uint32_t i = 0; i < entries_n; i++) {
		err = decode_entry(&d, &seen);
		if (err != LATENTD_OK)
			return err;
	}
	if (d.r.at != d.r.end)
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "%s: %zu bytes behind the header's map", d.shape->name,
		    (size_t)(d.r.end - d.r.at));
	for (size_t i = 0; i < d.shape->fields_n; i++) {
		if (d.shape->fields[i].required && (seen & 1u << i) == 0)
			return reason_set(why, LATENTD_ERR_INVALID,
			    "%s: field \"%s\" is missing", d.shape->name,
			    d.shape->fields[i].name);
	}
	return LATENTD_OK;
}

enum latentd_err
message_decode(const struct message_frame *frame,
    struct message_scratch *scratch, union message_any *out, struct reason *why)
{
	return message_decode_fields(message_shape((unsigned)frame->type),
	    frame->header, frame->header_bytes, scratch, out, sizeof(*out),
	    why);
}
