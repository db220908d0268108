/* SPDX-License-Identifier: Apache-2.0 */
#include "message_fixture.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "message_known.h"

#define ALL_N (sizeof(all) / sizeof(all[0]))

static const enum message_type types[] = {MESSAGE_HELLO, MESSAGE_SUBMIT,
    MESSAGE_COLLECT, MESSAGE_CANCEL, MESSAGE_STATUS, MESSAGE_LIST, MESSAGE_WHY,
    MESSAGE_ADMIN, MESSAGE_WELCOME, MESSAGE_ACCEPTED, MESSAGE_BUSY,
    MESSAGE_REJECTED, MESSAGE_RESULT, MESSAGE_EMPTY, MESSAGE_CANCELLED,
    MESSAGE_REPORT, MESSAGE_DONE, MESSAGE_CHALLENGE, MESSAGE_EVENT};
static const char *const type_names[] = {"HELLO", "SUBMIT", "COLLECT", "CANCEL",
    "STATUS", "LIST", "WHY", "ADMIN", "WELCOME", "ACCEPTED", "BUSY", "REJECTED",
    "RESULT", "EMPTY", "CANCELLED", "REPORT", "DONE", "CHALLENGE", "EVENT"};

#define TYPES_N (sizeof(types) / sizeof(types[0]))

const enum message_type *
fixture_types(size_t *n)
{
	*n = TYPES_N;
	return types;
}

enum message_type
fixture_type(const char *name)
{
	size_t i = 0;

	while (i < TYPES_N && strcmp(type_names[i], name) != 0)
		i++;
	cr_assert(i < TYPES_N, "%s", name);
	return types[i];
}

json_t *
fixture_messages(const char *section)
{
	json_error_t error;
	json_t *root = json_load_file(
	    TEST_VECTORS "/messages.json", JSON_REJECT_DUPLICATES, &error);
	json_t *rows;

	cr_assert_not_null(root, "line %d: %s", error.line, error.text);
	rows = json_incref(json_object_get(root, section));
	cr_assert(json_array_size(rows) > 0, "%s", section);
	json_decref(root);
	return rows;
}

static uint8_t
nibble(char c)
{
	const char *digits = "0123456789abcdef", *at = strchr(digits, c);

	cr_assert(c != '\0' && at != NULL, "no hex digit: %c", c);
	return (uint8_t)(at - digits);
}

static void
from_hex(const char *hex, uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] =
		    (uint8_t)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
}

uint8_t *
fixture_hex(const json_t *row, size_t *bytes)
{
	const char *hex = json_string_value(json_object_get(row, "hex"));
	uint8_t *data;

	cr_assert_not_null(hex);
	*bytes = strlen(hex) / 2;
	data = malloc(*bytes > 0 ? *bytes : 1);
	cr_assert_not_null(data);
	from_hex(hex, data, *bytes);
	return data;
}

/* ---- filling ---- */

static char *
take_room(struct fixture_room *room, size_t bytes)
{
	char *at = room->bytes + room->used;

	cr_assert(bytes <= sizeof(room->bytes) - room->used);
	room->used += bytes;
	return at;
}

static uint64_t
number_of(const json_t *v)
{
	if (json_is_string(v))
		return strtoull(json_string_value(v), NULL, 10);
	cr_assert(json_is_integer(v) && json_integer_value(v) >= 0);
	return (uint64_t)json_integer_value(v);
}

static struct text
text_of(const json_t *v)
{
	cr_assert(json_is_string(v));
	return (struct text){json_string_value(v), json_string_length(v)};
}

static struct text
bytes_of(const json_t *v, struct fixture_room *room)
{
	size_t n = json_string_length(v) / 2;
	char *at = take_room(room, n);

	from_hex(json_string_value(v), (uint8_t *)at, n);
	return (struct text){at, n};
}

static int
index_of(const char *const *names, const char *name)
{
	int i = 0;

	while (names[i] != NULL && strcmp(names[i], name) != 0)
		i++;
	cr_assert_not_null(names[i], "%s", name);
	return i;
}

static void
set_array(uint8_t *m, const struct known *k, const void *array, size_t n)
{
	memcpy(m + k->at, &array, sizeof(array));
	memcpy(m + k->count_at, &n, sizeof(n));
}

static void
fill_array(uint8_t *m, const struct known *k, const json_t *v,
    struct fixture_room *room)
{
	struct latentd_tensor *t = (void *)(m + k->at);
	size_t n = json_array_size(v);

	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(v, i);

		if (k->kind == SHAPE)
			t->shape[i] = number_of(item);
		else if (k->kind == NUMBERS)
			room->scratch.numbers[i] = number_of(item);
		else
			room->scratch.texts[i] = text_of(item);
	}
	if (k->kind == SHAPE)
		t->ndim = (uint32_t)n;
	else if (k->kind == NUMBERS)
		set_array(m, k, room->scratch.numbers, n);
	else
		set_array(m, k, room->scratch.texts, n);
}

static void
fill_field(uint8_t *m, const struct known *k, const json_t *v,
    struct fixture_room *room)
{
	struct text t;
	uint64_t number;
	int value;

	switch (k->kind) {
	case NAME:
	case TEXT:
	case BYTES:
		t = k->kind == BYTES ? bytes_of(v, room) : text_of(v);
		memcpy(m + k->at, &t, sizeof(t));
		return;
	case NUMBER:
		number = number_of(v);
		memcpy(m + k->at, &number, sizeof(number));
		return;
	case FLAG:
		cr_assert(json_is_boolean(v));
		*(bool *)(m + k->at) = json_is_true(v);
		return;
	case ONE:
		value = index_of(k->names, json_string_value(v));
		memcpy(m + k->at, &value, sizeof(value));
		return;
	case SHAPE:
	case NUMBERS:
	case TEXTS:
		fill_array(m, k, v, room);
		return;
	}
}

void
fixture_fill(enum message_type type, const json_t *fields,
    struct fixture_room *room, union message_any *m)
{
	size_t filled_n = 0;

	memset(m, 0, sizeof(*m));
	room->used = 0;
	for (size_t i = 0; i < ALL_N; i++) {
		const json_t *v = json_object_get(fields, all[i].name);

		if (all[i].type != type || v == NULL)
			continue;
		fill_field((uint8_t *)m, &all[i], v, room);
		filled_n++;
	}
	cr_assert_eq(filled_n, json_object_size(fields));
}

/* ---- random messages ---- */

static struct text
random_text(struct fuzz *f, const struct known *k, struct fixture_room *room)
{
	static const char name[] = "ABCXYZabcxyz0189._-";
	size_t least = k->kind == NAME || k->optional ? 1 : 0;
	size_t n = least + fuzz_below(f, (size_t)k->most + 1 - least);
	char *at = take_room(room, n);

	for (size_t i = 0; i < n; i++)
		at[i] = k->kind == NAME ? name[fuzz_below(f, sizeof(name) - 1)]
					: (char)fuzz_byte(f);
	return (struct text){at, n};
}

static uint64_t
random_number(struct fuzz *f, uint64_t most)
{
	uint64_t n = fuzz_next(f) >> fuzz_below(f, 64);

	if (fuzz_below(f, 8) == 0)
		return most;
	return n > most ? n % most : n;
}

static void
random_array(uint8_t *m, const struct known *k, struct fuzz *f,
    struct fixture_room *room)
{
	size_t n = fuzz_below(f, k->kind == SHAPE ? 7 : (size_t)k->most + 1);
	struct latentd_tensor *t = (void *)(m + k->at);
	const struct known service = {.kind = TEXT, .most = 64};

	/* What the header has room for. */
	if (k->kind == NUMBERS && n > 1024)
		n = 1024;
	for (size_t i = 0; i < n; i++) {
		if (k->kind == SHAPE)
			t->shape[i] = random_number(f, k->most);
		else if (k->kind == NUMBERS)
			room->scratch.numbers[i] = random_number(f, TOP);
		else
			room->scratch.texts[i] = random_text(f, &service, room);
	}
	if (k->kind == SHAPE)
		t->ndim = (uint32_t)n;
	else if (n > 0 && k->kind == NUMBERS)
		set_array(m, k, room->scratch.numbers, n);
	else if (n > 0)
		set_array(m, k, room->scratch.texts, n);
}

static void
random_field(uint8_t *m, const struct known *k, struct fuzz *f,
    struct fixture_room *room)
{
	struct text t;
	uint64_t number;
	int value = 0;

	switch (k->kind) {
	case NAME:
	case TEXT:
	case BYTES:
		t = random_text(f, k, room);
		memcpy(m + k->at, &t, sizeof(t));
		return;
	case NUMBER:
		number = random_number(f, k->most);
		memcpy(m + k->at, &number, sizeof(number));
		return;
	case FLAG:
		*(bool *)(m + k->at) = true;
		return;
	case ONE:
		while (k->names[value] != NULL)
			value++;
		value = (int)fuzz_below(f, (size_t)value);
		if (k->names[value][0] == '\0' && !k->optional)
			value = 1;
		memcpy(m + k->at, &value, sizeof(value));
		return;
	case SHAPE:
	case NUMBERS:
	case TEXTS:
		random_array(m, k, f, room);
		return;
	}
}

void
fixture_random(enum message_type type, struct fuzz *f,
    struct fixture_room *room, union message_any *m)
{
	memset(m, 0, sizeof(*m));
	room->used = 0;
	for (size_t i = 0; i < ALL_N; i++) {
		if (all[i].type != type ||
		    (all[i].optional && fuzz_below(f, 3) == 0))
			continue;
		random_field((uint8_t *)m, &all[i], f, room);
	}
}

/* ---- comparing ---- */

static bool
same_text(struct text a, struct text b)
{
	return a.bytes == b.bytes &&
	    (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

static bool
same_array(const uint8_t *a, const uint8_t *b, const struct known *k)
{
	const void *x, *y;
	size_t x_n, y_n;

	memcpy(&x, a + k->at, sizeof(x));
	memcpy(&y, b + k->at, sizeof(y));
	memcpy(&x_n, a + k->count_at, sizeof(x_n));
	memcpy(&y_n, b + k->count_at, sizeof(y_n));
	if (x_n != y_n)
		return false;
	if (k->kind == NUMBERS)
		return x_n == 0 || memcmp(x, y, x_n * sizeof(uint64_t)) == 0;
	for (size_t i = 0; i < x_n; i++) {
		if (!same_text(((const struct text *)x)[i],
			((const struct text *)y)[i]))
			return false;
	}
	return true;
}

static bool
same_field(const uint8_t *a, const uint8_t *b, const struct known *k)
{
	struct latentd_tensor v, w;
	struct text s, t;

	switch (k->kind) {
	case NAME:
	case TEXT:
	case BYTES:
		memcpy(&s, a + k->at, sizeof(s));
		memcpy(&t, b + k->at, sizeof(t));
		return same_text(s, t);
	case NUMBER:
		return memcmp(a + k->at, b + k->at, sizeof(uint64_t)) == 0;
	case FLAG:
		return *(const bool *)(a + k->at) == *(const bool *)(b + k->at);
	case ONE:
		return memcmp(a + k->at, b + k->at, sizeof(int)) == 0;
	case SHAPE:
		memcpy(&v, a + k->at, sizeof(v));
		memcpy(&w, b + k->at, sizeof(w));
		return v.ndim == w.ndim &&
		    memcmp(v.shape, w.shape, v.ndim * sizeof(v.shape[0])) == 0;
	case NUMBERS:
	case TEXTS:
		return same_array(a, b, k);
	}
	return false;
}

const char *
fixture_difference(enum message_type type, const union message_any *a,
    const union message_any *b)
{
	for (size_t i = 0; i < ALL_N; i++) {
		if (all[i].type == type &&
		    !same_field(
			(const uint8_t *)a, (const uint8_t *)b, &all[i]))
			return all[i].name;
	}
	return NULL;
}
