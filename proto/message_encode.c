/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a header by its type's table, with msgpack-c, into the caller's
 * buffer.
 */
#include <assert.h>
#include <string.h>

#include <msgpack.h>

#include "latentd/version.h"
#include "message_table.h"

static void
put_little_endian(uint8_t *at, size_t bytes, uint64_t v)
{
	for (size_t i = 0; i < bytes; i++, v >>= 8)
		at[i] = (uint8_t)(v & 0xff);
}

struct out {
	uint8_t *at;
	size_t left_bytes;
	bool full;
};

static int
on_write(void *data, const char *bytes, size_t n)
{
	struct out *o = data;

	if (o->full || n > o->left_bytes) {
		o->full = true;
		return -1;
	}
	if (n > 0)
		memcpy(o->at, bytes, n);
	o->at += n;
	o->left_bytes -= n;
	return 0;
}

static void
pack_text(msgpack_packer *pk, struct text t)
{
	msgpack_pack_str(pk, t.bytes);
	msgpack_pack_str_body(pk, t.at, t.bytes);
}

static void
pack_name(msgpack_packer *pk, const char *name)
{
	pack_text(pk, (struct text){name, strlen(name)});
}

static bool
is_absent(const struct field *f, const uint8_t *in)
{
	struct text t;
	uint64_t number;
	size_t count;
	int value;

	if (f->required)
		return false;
	switch (f->kind) {
	case FIELD_U64:
		memcpy(&number, in + f->offset, sizeof(number));
		return number == 0;
	case FIELD_BOOL:
		return !*(const bool *)(in + f->offset);
	case FIELD_NAME:
	case FIELD_TEXT:
	case FIELD_BIN:
		memcpy(&t, in + f->offset, sizeof(t));
		return t.bytes == 0;
	case FIELD_ENUM:
		memcpy(&value, in + f->offset, sizeof(value));
		return value == 0;
	case FIELD_SHAPE:
		return ((const struct latentd_tensor *)(const void *)(in +
			    f->offset))
			   ->ndim == 0;
	case FIELD_U64S:
	case FIELD_TEXTS:
		memcpy(&count, in + f->count, sizeof(count));
		return count == 0;
	}
	return false;
}

static void
pack_array(msgpack_packer *pk, const struct field *f, const uint8_t *in)
{
	const void *array;
	size_t count;

	memcpy(&array, in + f->offset, sizeof(array));
	memcpy(&count, in + f->count, sizeof(count));
	msgpack_pack_array(pk, count);
	for (size_t i = 0; i < count; i++) {
		if (f->kind == FIELD_U64S)
			msgpack_pack_uint64(pk, ((const uint64_t *)array)[i]);
		else
			pack_text(pk, ((const struct text *)array)[i]);
	}
}

static void
pack_field(msgpack_packer *pk, const struct field *f, const uint8_t *in)
{
	const struct latentd_tensor *tensor;
	struct text t;
	uint64_t number;
	int value;

	switch (f->kind) {
	case FIELD_U64:
		memcpy(&number, in + f->offset, sizeof(number));
		msgpack_pack_uint64(pk, number);
		return;
	case FIELD_BOOL:
		msgpack_pack_true(pk);
		return;
	case FIELD_NAME:
	case FIELD_TEXT:
		memcpy(&t, in + f->offset, sizeof(t));
		pack_text(pk, t);
		return;
	case FIELD_BIN:
		memcpy(&t, in + f->offset, sizeof(t));
		msgpack_pack_bin(pk, t.bytes);
		msgpack_pack_bin_body(pk, t.at, t.bytes);
		return;
	case FIELD_ENUM:
		memcpy(&value, in + f->offset, sizeof(value));
		assert(value >= 0 && (size_t)value < f->names_n &&
		    f->names[value] != NULL);
		pack_name(pk, f->names[value]);
		return;
	case FIELD_SHAPE:
		tensor = (const void *)(in + f->offset);
		msgpack_pack_array(pk, tensor->ndim);
		for (uint32_t i = 0; i < tensor->ndim; i++)
			msgpack_pack_uint64(pk, tensor->shape[i]);
		return;
	case FIELD_U64S:
	case FIELD_TEXTS:
		pack_array(pk, f, in);
		return;
	}
}

size_t
message_encode_fields(const struct message_shape *shape, const void *in,
    void *buf, size_t buf_bytes)
{
	struct out o = {buf, buf_bytes, false};
	msgpack_packer pk;
	size_t present_n = 0;

	msgpack_packer_init(&pk, &o, on_write);
	for (size_t i = 0; i < shape->fields_n; i++)
		present_n += !is_absent(&shape->fields[i], in);
	msgpack_pack_map(&pk, present_n);
	for (size_t i = 0; i < shape->fields_n; i++) {
		if (is_absent(&shape->fields[i], in))
			continue;
		pack_name(&pk, shape->fields[i].name);
		pack_field(&pk, &shape->fields[i], in);
	}
	return o.full ? 0 : (size_t)(o.at - (uint8_t *)buf);
}

size_t
message_encode(enum message_type type, const void *in, uint64_t body_bytes,
    void *buf, size_t buf_bytes)
{
	const struct message_shape *shape = message_shape((unsigned)type);
	uint8_t *preamble = buf;
	size_t header_bytes;

	assert(shape != NULL);
	if (buf_bytes < MESSAGE_PREAMBLE_BYTES)
		return 0;
	buf_bytes -= MESSAGE_PREAMBLE_BYTES;
	if (buf_bytes > LATENTD_MAX_HEADER_BYTES)
		buf_bytes = LATENTD_MAX_HEADER_BYTES;
	header_bytes = message_encode_fields(
	    shape, in, preamble + MESSAGE_PREAMBLE_BYTES, buf_bytes);
	if (header_bytes == 0)
		return 0;
	memcpy(preamble, "LD", 2);
	preamble[2] = LATENTD_PROTOCOL_VERSION;
	preamble[3] = (uint8_t)type;
	put_little_endian(preamble + 4, 4, header_bytes);
	put_little_endian(preamble + 8, 8, body_bytes);
	return MESSAGE_PREAMBLE_BYTES + header_bytes;
}
