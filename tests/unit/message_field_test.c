/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for every field of every message, whatever the tables say. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <msgpack.h>

#include "message_fixture.h"
#include "message_table.h"

static struct fixture_room room;
static struct message_scratch scratch;

/* A header that is put together entry by entry from an encoded one. */
struct header {
	msgpack_sbuffer bytes;
	msgpack_packer pk;
	msgpack_unpacked whole;
};

static const msgpack_object_map *
open_header(struct header *h, const uint8_t *message, size_t bytes)
{
	size_t at = 0;

	msgpack_unpacked_init(&h->whole);
	cr_assert_eq(msgpack_unpack_next(&h->whole,
			 (const char *)message + MESSAGE_PREAMBLE_BYTES,
			 bytes - MESSAGE_PREAMBLE_BYTES, &at),
	    MSGPACK_UNPACK_SUCCESS);
	msgpack_sbuffer_init(&h->bytes);
	msgpack_packer_init(&h->pk, &h->bytes, msgpack_sbuffer_write);
	return &h->whole.data.via.map;
}

static void
close_header(struct header *h)
{
	msgpack_sbuffer_destroy(&h->bytes);
	msgpack_unpacked_destroy(&h->whole);
}

static void
pack_entry(struct header *h, const msgpack_object_kv *kv)
{
	msgpack_pack_object(&h->pk, kv->key);
	msgpack_pack_object(&h->pk, kv->val);
}

static bool
is_key(const msgpack_object_kv *kv, const char *name)
{
	return kv->key.via.str.size == strlen(name) &&
	    memcmp(kv->key.via.str.ptr, name, strlen(name)) == 0;
}

static enum latentd_err
decode(enum message_type type, const struct header *h, struct reason *why)
{
	uint8_t *copy = malloc(h->bytes.size);
	struct message_frame frame = {
	    .type = type, .header = copy, .header_bytes = h->bytes.size};
	union message_any m;
	enum latentd_err err;

	memcpy(copy, h->bytes.data, h->bytes.size);
	why->text[0] = '\0';
	err = message_decode(&frame, &scratch, &m, why);
	free(copy);
	return err;
}

/* Encode a message of ${type} with every field that it can have. */
static size_t
encode_full(enum message_type type, uint8_t buf[MESSAGE_FRONT_BYTES])
{
	static uint8_t last[MESSAGE_FRONT_BYTES];
	static enum message_type last_type;
	static size_t last_bytes;

	const struct message_shape *shape = message_shape((unsigned)type);
	struct fuzz f = {.state = (uint64_t)type};
	union message_any m;
	struct header h;
	size_t bytes, n;

	if (type == last_type) {
		memcpy(buf, last, last_bytes);
		return last_bytes;
	}
	for (int tries = 0; tries < 100000; tries++) {
		fixture_random(type, &f, &room, &m);
		bytes = message_encode(type, &m, 0, buf, MESSAGE_FRONT_BYTES);
		n = open_header(&h, buf, bytes)->size;
		close_header(&h);
		if (n != shape->fields_n)
			continue;
		memcpy(last, buf, bytes);
		last_type = type;
		last_bytes = bytes;
		return bytes;
	}
	cr_assert_fail("%s was never full", shape->name);
	return 0;
}

static void
check_refused(enum message_type type, struct header *h, const char *field,
    const char *what)
{
	const struct message_shape *shape = message_shape((unsigned)type);
	struct reason why = {0};

	cr_assert_eq(decode(type, h, &why), LATENTD_ERR_INVALID, "%s %s %s: %s",
	    shape->name, field, what, why.text);
	cr_assert_not_null(
	    strstr(why.text, field), "%s %s: %s", field, what, why.text);
	cr_assert_not_null(strstr(why.text, shape->name), "%s", why.text);
}

/* The full message without the field, or with it twice. */
static void
check_count(enum message_type type, const struct field *field, bool twice)
{
	static uint8_t buf[MESSAGE_FRONT_BYTES];
	const msgpack_object_map *map;
	struct header h;
	struct reason why;

	map = open_header(&h, buf, encode_full(type, buf));
	msgpack_pack_map(&h.pk, twice ? map->size + 1 : map->size - 1);
	for (uint32_t i = 0; i < map->size; i++) {
		bool this = is_key(&map->ptr[i], field->name);

		if (!this || twice)
			pack_entry(&h, &map->ptr[i]);
		if (this && twice)
			pack_entry(&h, &map->ptr[i]);
	}
	if (twice)
		check_refused(type, &h, field->name, "twice");
	else if (field->required)
		check_refused(type, &h, field->name, "missing");
	else
		cr_assert_eq(
		    decode(type, &h, &why), LATENTD_OK, "%s", why.text);
	close_header(&h);
}

static const struct message_shape *
shape_at(size_t i)
{
	size_t n;
	const enum message_type *types = fixture_types(&n);

	return i < n ? message_shape((unsigned)types[i]) : NULL;
}

Test(message, every_field_is_refused_twice_and_missed_if_required)
{
	const struct message_shape *shape;

	for (size_t i = 0; (shape = shape_at(i)) != NULL; i++) {
		for (size_t k = 0; k < shape->fields_n; k++) {
			check_count(shape->type, &shape->fields[k], true);
			check_count(shape->type, &shape->fields[k], false);
		}
	}
}

enum form { NIL, YES, NEGATIVE, REAL, MAP, STR, BIN, POSITIVE, ARRAY, FORMS };

static void
pack_form(msgpack_packer *pk, enum form form)
{
	switch (form) {
	case NIL:
		msgpack_pack_nil(pk);
		return;
	case YES:
		msgpack_pack_true(pk);
		return;
	case NEGATIVE:
		msgpack_pack_int(pk, -5);
		return;
	case REAL:
		msgpack_pack_double(pk, 1.0);
		return;
	case MAP:
		msgpack_pack_map(pk, 0);
		return;
	case STR:
		msgpack_pack_str(pk, 1);
		msgpack_pack_str_body(pk, "x", 1);
		return;
	case BIN:
		msgpack_pack_bin(pk, 1);
		msgpack_pack_bin_body(pk, "x", 1);
		return;
	case POSITIVE:
		msgpack_pack_int(pk, 1);
		return;
	case ARRAY:
		msgpack_pack_array(pk, 1);
		msgpack_pack_array(pk, 0);
		return;
	case FORMS:
		return;
	}
}

static bool
is_right(enum field_kind kind, enum form form)
{
	switch (kind) {
	case FIELD_U64:
		return form == POSITIVE;
	case FIELD_BOOL:
		return form == YES;
	case FIELD_NAME:
	case FIELD_TEXT:
		return form == STR;
	case FIELD_BIN:
		return form == BIN;
	case FIELD_ENUM:
	case FIELD_SHAPE:
	case FIELD_U64S:
	case FIELD_TEXTS:
		return false; /* "x" is no name, [[]] no numbers */
	}
	return false;
}

static void
check_form(enum message_type type, const struct field *field, enum form form)
{
	static uint8_t buf[MESSAGE_FRONT_BYTES];
	const msgpack_object_map *map;
	struct header h;
	struct reason why;
	char what[32];

	map = open_header(&h, buf, encode_full(type, buf));
	msgpack_pack_map(&h.pk, map->size);
	for (uint32_t i = 0; i < map->size; i++) {
		if (!is_key(&map->ptr[i], field->name)) {
			pack_entry(&h, &map->ptr[i]);
			continue;
		}
		msgpack_pack_object(&h.pk, map->ptr[i].key);
		pack_form(&h.pk, form);
	}
	snprintf(what, sizeof(what), "of form %d", (int)form);
	if (is_right(field->kind, form))
		cr_assert_eq(
		    decode(type, &h, &why), LATENTD_OK, "%s", why.text);
	else
		check_refused(type, &h, field->name, what);
	close_header(&h);
}

Test(message, every_field_refuses_values_of_other_types)
{
	const struct message_shape *shape;

	for (size_t i = 0; (shape = shape_at(i)) != NULL; i++) {
		for (size_t k = 0; k < shape->fields_n; k++) {
			for (enum form f = NIL; f < FORMS; f++)
				check_form(shape->type, &shape->fields[k], f);
		}
	}
}

Test(message, unknown_fields_are_refused_in_requests_and_skipped_in_replies)
{
	static uint8_t buf[MESSAGE_FRONT_BYTES];
	const struct message_shape *shape;

	for (size_t i = 0; (shape = shape_at(i)) != NULL; i++) {
		const msgpack_object_map *map;
		struct header h;
		struct reason why;

		map = open_header(&h, buf, encode_full(shape->type, buf));
		msgpack_pack_map(&h.pk, map->size + 1);
		for (uint32_t k = 0; k < map->size; k++)
			pack_entry(&h, &map->ptr[k]);
		msgpack_pack_str(&h.pk, 6);
		msgpack_pack_str_body(&h.pk, "colour", 6);
		pack_form(&h.pk, ARRAY);
		if (shape->type < MESSAGE_WELCOME)
			check_refused(shape->type, &h, "colour", "unknown");
		else
			cr_assert_eq(decode(shape->type, &h, &why), LATENTD_OK,
			    "%s", why.text);
		close_header(&h);
	}
}

Test(message, every_message_cut_off_anywhere_is_refused_as_no_msgpack)
{
	static uint8_t buf[MESSAGE_FRONT_BYTES];
	const struct message_shape *shape;

	for (size_t i = 0; (shape = shape_at(i)) != NULL; i++) {
		size_t bytes = encode_full(shape->type, buf);
		size_t header_bytes = bytes - MESSAGE_PREAMBLE_BYTES;

		for (size_t n = 0; n < header_bytes; n++) {
			uint8_t *copy = malloc(n > 0 ? n : 1);
			struct message_frame frame = {.type = shape->type,
			    .header = copy,
			    .header_bytes = n};
			union message_any m;
			struct reason why;

			memcpy(copy, buf + MESSAGE_PREAMBLE_BYTES, n);
			cr_assert_eq(message_decode(&frame, &scratch, &m, &why),
			    LATENTD_ERR_PROTOCOL, "%s cut to %zu of %zu: %s",
			    shape->name, n, header_bytes, why.text);
			free(copy);
		}
	}
}
