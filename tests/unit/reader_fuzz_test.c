/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.c against msgpack-c: both must agree on what is a value of at most
 * READER_MAX_DEPTH levels and where it ends.
 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <msgpack.h>

#include "fuzz.h"
#include "reader.h"

#define INPUTS_N 250000
#define INPUT_BYTES 96

static size_t
put(uint8_t *at, size_t used, uint64_t v, size_t width)
{
	for (size_t i = 0; i < width && used < INPUT_BYTES; i++)
		at[used++] = (uint8_t)(v >> 8 * (width - 1 - i) & 0xff);
	return used;
}

/* A length form of type ${first} and the ones behind it, random padding. */
static size_t
put_run(struct fuzz *f, uint8_t *at, size_t used, uint8_t first, size_t extra)
{
	size_t form = fuzz_below(f, 3), n = fuzz_below(f, 9);

	used = put(at, used, first + form, 1);
	used = put(at, used, n, (size_t)1 << form);
	for (size_t i = 0; i < n + extra; i++)
		used = put(at, used, fuzz_byte(f), 1);
	return used;
}

static size_t put_value(struct fuzz *f, uint8_t *at, size_t used, int depth);

static size_t
put_container(struct fuzz *f, uint8_t *at, size_t used, int depth)
{
	bool map = fuzz_below(f, 2) == 0;
	size_t n = fuzz_below(f, 4), form = fuzz_below(f, 3);

	if (form == 0)
		used = put(at, used, (map ? 0x80 : 0x90) + n, 1);
	else
		used = put(at, used, (map ? 0xdd : 0xdb) + form, 1);
	if (form > 0)
		used = put(at, used, n, 2 * form);
	for (size_t i = 0; i < n * (map ? 2 : 1); i++)
		used = put_value(f, at, used, depth + 1);
	return used;
}

static size_t
put_value(struct fuzz *f, uint8_t *at, size_t used, int depth)
{
	static const size_t fixed[] = {
	    4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17};
	size_t which = fuzz_below(f, depth > 6 ? 5 : 8);

	switch (which) {
	case 0:
		return put(at, used, fuzz_byte(f), 1);
	case 1:
		return put_run(f, at, used, 0xd9, 0);
	case 2:
		return put_run(f, at, used, 0xc4, 0);
	case 3:
		return put_run(f, at, used, 0xc7, 1);
	case 4:
		which = fuzz_below(f, sizeof(fixed) / sizeof(fixed[0]));
		used = put(at, used, 0xca + which, 1);
		for (size_t i = 0; i < fixed[which]; i++)
			used = put(at, used, fuzz_byte(f), 1);
		return used;
	default:
		return put_container(f, at, used, depth);
	}
}

/* msgpack-c reserves memory for what a head claims: give it modest ones. */
static bool
claims_too_much(const uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		size_t width = at[i] == 0xdc || at[i] == 0xde ? 2
		    : at[i] == 0xdd || at[i] == 0xdf          ? 4
							      : 0;
		uint64_t n = 0;

		if (width == 0 || width > bytes - i - 1)
			continue;
		for (size_t k = 0; k < width; k++)
			n = n << 8 | at[i + 1 + k];
		if (n > 256)
			return true;
	}
	return false;
}

static int
depth_of(const msgpack_object *o)
{
	int most = 0, d;

	if (o->type == MSGPACK_OBJECT_ARRAY) {
		for (uint32_t i = 0; i < o->via.array.size; i++) {
			d = depth_of(&o->via.array.ptr[i]);
			most = d > most ? d : most;
		}
		return 1 + most;
	}
	if (o->type != MSGPACK_OBJECT_MAP)
		return 0;
	for (uint32_t i = 0; i < o->via.map.size; i++) {
		d = depth_of(&o->via.map.ptr[i].key);
		most = d > most ? d : most;
		d = depth_of(&o->via.map.ptr[i].val);
		most = d > most ? d : most;
	}
	return 1 + most;
}

/* What msgpack-c says: the value's length, 0 if it is none or too deep. */
static size_t
oracle(const uint8_t *at, size_t bytes)
{
	msgpack_unpacked value;
	size_t end = 0;
	bool good;

	msgpack_unpacked_init(&value);
	good = msgpack_unpack_next(&value, (const char *)at, bytes, &end) ==
		MSGPACK_UNPACK_SUCCESS &&
	    depth_of(&value.data) <= READER_MAX_DEPTH;
	msgpack_unpacked_destroy(&value);
	return good ? end : 0;
}

static size_t
make_input(struct fuzz *f, uint8_t at[INPUT_BYTES])
{
	size_t n = 0;

	if (fuzz_below(f, 4) == 0) {
		for (n = 0; n < fuzz_below(f, INPUT_BYTES); n++)
			at[n] = fuzz_byte(f);
		return n;
	}
	n = put_value(f, at, 0, 0);
	for (size_t i = fuzz_below(f, 3); i > 0; i--)
		n = fuzz_mutate(f, at, n, INPUT_BYTES);
	return n;
}

/* The single readers take no more than skip does. */
static void
check_single(const uint8_t *at, size_t bytes, size_t end)
{
	struct reader r;
	const char *text;
	size_t text_bytes;
	uint64_t number;
	bool yes;

	r = (struct reader){at, at + bytes};
	if (reader_uint(&r, &number))
		cr_assert_eq((size_t)(r.at - at), end);
	r = (struct reader){at, at + bytes};
	if (reader_bool(&r, &yes))
		cr_assert_eq((size_t)(r.at - at), end);
	r = (struct reader){at, at + bytes};
	if (reader_str(&r, &text, &text_bytes) ||
	    reader_bin(&r, &text, &text_bytes))
		cr_assert_eq((size_t)(r.at - at), end);
}

Test(reader, agrees_with_msgpack_c_on_what_a_value_is_and_where_it_ends)
{
	struct fuzz f = {.state = 20261122};
	size_t good_n = 0, bad_n = 0;
	uint8_t input[INPUT_BYTES];

	for (int i = 0; i < INPUTS_N; i++) {
		size_t bytes = make_input(&f, input), want = 0;
		uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
		bool judged = !claims_too_much(input, bytes);
		struct reader r;

		cr_assert_not_null(copy);
		memcpy(copy, input, bytes);
		r = (struct reader){copy, copy + bytes};
		if (judged)
			want = oracle(copy, bytes);
		if (reader_skip(&r)) {
			size_t end = (size_t)(r.at - copy);

			cr_assert(!judged || end == want,
			    "input %d: %zu, msgpack-c says %zu", i, end, want);
			check_single(copy, bytes, end);
			good_n++;
		} else {
			cr_assert_eq(
			    want, 0, "input %d: msgpack-c says %zu", i, want);
			cr_assert_eq(r.at, copy);
			bad_n++;
		}
		free(copy);
	}
	/* Neither kind may have got lost from the inputs. */
	cr_assert(good_n > INPUTS_N / 5 && bad_n > INPUTS_N / 10,
	    "%zu values, %zu others", good_n, bad_n);
}
