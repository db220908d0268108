/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "reader.h"

/* A reader over a copy of its own, so that ASan sees every byte too far. */
struct sample {
	uint8_t *copy;
	struct reader r;
};

static struct sample
sample(const void *data, size_t bytes)
{
	struct sample s = {.copy = malloc(bytes > 0 ? bytes : 1)};

	cr_assert_not_null(s.copy);
	if (bytes > 0)
		memcpy(s.copy, data, bytes);
	s.r = (struct reader){s.copy, s.copy + bytes};
	return s;
}

#define SAMPLE(text) sample(text, sizeof(text) - 1)

static bool
at_end(const struct sample *s)
{
	return s->r.at == s->r.end;
}

static const struct number {
	const char *bytes;
	size_t bytes_n;
	bool fits;
	uint64_t value;
} numbers[] = {
#define NUMBER(text, value)                         \
	{                                           \
		text, sizeof(text) - 1, true, value \
	}
#define NO_NUMBER(text)                          \
	{                                        \
		text, sizeof(text) - 1, false, 0 \
	}
    NUMBER("\x00", 0),
    NUMBER("\x7f", 127),
    NUMBER("\xcc\x00", 0),
    NUMBER("\xcc\xff", 255),
    NUMBER("\xcd\x00\x00", 0),
    NUMBER("\xcd\xff\xfe", 65534),
    NUMBER("\xce\x00\x01\x00\x00", 65536),
    NUMBER("\xce\xff\xff\xff\xff", UINT32_MAX),
    NUMBER("\xcf\x00\x00\x00\x01\x00\x00\x00\x00", UINT64_C(1) << 32),
    NUMBER("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", UINT64_MAX),
    NUMBER("\xd0\x7f", 127),
    NUMBER("\xd1\x7f\xff", 32767),
    NUMBER("\xd2\x7f\xff\xff\xff", INT32_MAX),
    NUMBER("\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", INT64_MAX),
    NO_NUMBER("\xd0\x80"),
    NO_NUMBER("\xd0\xff"),
    NO_NUMBER("\xd1\x80\x00"),
    NO_NUMBER("\xd2\xff\xff\xff\xff"),
    NO_NUMBER("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
    NO_NUMBER("\xe0"),
    NO_NUMBER("\xff"),
    NO_NUMBER("\xc0"),
    NO_NUMBER("\xc3"),
    NO_NUMBER("\xca\x3f\x80\x00\x00"),
    NO_NUMBER("\xa1\x31"),
    NO_NUMBER("\x90"),
    NO_NUMBER("\x80"),
};

#define N(array) (sizeof(array) / sizeof((array)[0]))

Test(reader, numbers_of_every_width_are_read_and_negative_ones_are_not)
{
	for (size_t i = 0; i < N(numbers); i++) {
		struct sample s = sample(numbers[i].bytes, numbers[i].bytes_n);
		uint64_t value = 42;

		cr_assert_eq(reader_uint(&s.r, &value), numbers[i].fits,
		    "number %zu", i);
		if (numbers[i].fits) {
			cr_assert_eq(value, numbers[i].value, "number %zu", i);
			cr_assert(at_end(&s));
		} else {
			cr_assert_eq(s.r.at, s.copy);
			cr_assert_eq(value, 42);
		}
		free(s.copy);
	}
}

Test(reader, only_true_and_false_are_booleans)
{
	for (unsigned type = 0; type < 256; type++) {
		uint8_t byte = (uint8_t)type;
		struct sample s = sample(&byte, 1);
		bool value = type != 0xc3;

		cr_assert_eq(reader_bool(&s.r, &value),
		    type == 0xc2 || type == 0xc3, "type %02x", type);
		if (type == 0xc2 || type == 0xc3) {
			cr_assert_eq(value, type == 0xc3);
			cr_assert(at_end(&s));
		} else {
			cr_assert_eq(s.r.at, s.copy);
		}
		free(s.copy);
	}
}

/* Write a head of ${width} length bytes, 0: ${n} is part of ${type}. */
static size_t
put_head(uint8_t *at, unsigned type, size_t width, uint64_t n)
{
	at[0] = (uint8_t)(width == 0 ? type + n : type);
	for (size_t i = 0; i < width; i++)
		at[1 + i] = (uint8_t)(n >> 8 * (width - 1 - i) & 0xff);
	return 1 + width;
}

static const struct run {
	unsigned type;
	size_t width;
	uint64_t least, most;
	bool binary;
} runs[] = {
    {0xa0, 0, 0, 31, false},
    {0xd9, 1, 0, 255, false},
    {0xda, 2, 0, 65535, false},
    {0xdb, 4, 0, 65536, false},
    {0xc4, 1, 0, 255, true},
    {0xc5, 2, 0, 65535, true},
    {0xc6, 4, 0, 65536, true},
};

static void
check_run(const struct run *run, uint64_t n)
{
	uint8_t *bytes = calloc(1, (size_t)n + 6);
	size_t head_n = put_head(bytes, run->type, run->width, n), got_n = 7;
	struct sample s = sample(bytes, head_n + (size_t)n);
	const char *at = NULL;

	cr_assert_not(run->binary ? reader_str(&s.r, &at, &got_n)
				  : reader_bin(&s.r, &at, &got_n));
	cr_assert(run->binary ? reader_bin(&s.r, &at, &got_n)
			      : reader_str(&s.r, &at, &got_n));
	cr_assert_eq(got_n, n);
	cr_assert_eq((const uint8_t *)at, s.copy + head_n);
	cr_assert(at_end(&s));
	free(s.copy);
	if (n > 0) {
		s = sample(bytes, head_n + (size_t)n - 1);
		cr_assert_not(reader_str(&s.r, &at, &got_n));
		cr_assert_not(reader_bin(&s.r, &at, &got_n));
		cr_assert_not(reader_skip(&s.r));
		cr_assert_eq(s.r.at, s.copy);
		free(s.copy);
	}
	free(bytes);
}

Test(reader, strings_and_bytes_of_every_length_form_are_told_apart)
{
	for (size_t i = 0; i < N(runs); i++) {
		check_run(&runs[i], runs[i].least);
		check_run(&runs[i], 1);
		check_run(&runs[i], runs[i].most);
	}
}

static void
check_counted(unsigned type, size_t width, uint32_t n, bool is_map)
{
	size_t bytes_n = (size_t)n * (is_map ? 2 : 1);
	uint8_t *bytes = calloc(1, bytes_n + 5);
	size_t head_n = put_head(bytes, type, width, n);
	struct sample s = sample(bytes, head_n + bytes_n);
	uint32_t got_n = n + 1;

	cr_assert_not(
	    is_map ? reader_array(&s.r, &got_n) : reader_map(&s.r, &got_n));
	cr_assert(
	    is_map ? reader_map(&s.r, &got_n) : reader_array(&s.r, &got_n));
	cr_assert_eq(got_n, n);
	cr_assert_eq(s.r.at, s.copy + head_n);
	free(s.copy);
	if (n > 0) {
		s = sample(bytes, head_n + bytes_n - 1);
		cr_assert_not(reader_map(&s.r, &got_n));
		cr_assert_not(reader_array(&s.r, &got_n));
		cr_assert_not(reader_skip(&s.r));
		cr_assert_eq(s.r.at, s.copy);
		free(s.copy);
	}
	free(bytes);
}

Test(reader, arrays_and_maps_need_a_byte_for_each_element_they_claim)
{
	static const struct {
		unsigned array, map;
		size_t width;
		uint32_t most;
	} forms[] = {
	    {0x90, 0x80, 0, 15},
	    {0xdc, 0xde, 2, 65535},
	    {0xdd, 0xdf, 4, 70000},
	};

	for (size_t i = 0; i < N(forms); i++) {
		for (uint32_t n = 0; n < 4; n++) {
			check_counted(forms[i].array, forms[i].width, n, false);
			check_counted(forms[i].map, forms[i].width, n, true);
		}
		check_counted(
		    forms[i].array, forms[i].width, forms[i].most, false);
		check_counted(
		    forms[i].map, forms[i].width, forms[i].most, true);
	}
}

Test(reader, hostile_counts_are_refused)
{
	static const char *const heads[] = {
	    "\xdd\xff\xff\xff\xff\x00\x00\x00", /* array of 2^32-1 */
	    "\xdf\xff\xff\xff\xff\x00\x00\x00", /* map */
	    "\xdf\x80\x00\x00\x00\x00\x00\x00", /* map: 2n passes 32 bits */
	    "\xdb\xff\xff\xff\xff\x00\x00\x00", /* str */
	    "\xc6\xff\xff\xff\xff\x00\x00\x00", /* bin */
	    "\xc9\xff\xff\xff\xff\x00\x00\x00", /* ext: n + 1 passes 32 bits */
	    "\xc9\xff\xff\xff\xfe\x00\x00\x00",
	};

	for (size_t i = 0; i < N(heads); i++) {
		struct sample s = sample(heads[i], 8);
		const char *at;
		size_t bytes;
		uint32_t n;

		cr_assert_not(reader_array(&s.r, &n));
		cr_assert_not(reader_map(&s.r, &n));
		cr_assert_not(reader_str(&s.r, &at, &bytes));
		cr_assert_not(reader_bin(&s.r, &at, &bytes));
		cr_assert_not(reader_skip(&s.r), "head %zu", i);
		cr_assert_eq(s.r.at, s.copy);
		free(s.copy);
	}
}

/* One value of every format, lengths and counts as small as they get. */
static const struct {
	const char *bytes;
	size_t bytes_n;
} values[] = {
#define VALUE(text)                    \
	{                              \
		text, sizeof(text) - 1 \
	}
    VALUE("\x00"),
    VALUE("\x7f"),
    VALUE("\x80"),
    VALUE("\x82\xa1x\x01\xa1y\x02"),
    VALUE("\x90"),
    VALUE("\x92\xc0\xc3"),
    VALUE("\xa0"),
    VALUE("\xa3zzz"),
    VALUE("\xc0"),
    VALUE("\xc2"),
    VALUE("\xc3"),
    VALUE("\xc4\x02zz"),
    VALUE("\xc5\x00\x02zz"),
    VALUE("\xc6\x00\x00\x00\x02zz"),
    VALUE("\xc7\x03\x05zzz"),
    VALUE("\xc7\x00\x05"),
    VALUE("\xc8\x00\x02\x05zz"),
    VALUE("\xc9\x00\x00\x00\x02\x05zz"),
    VALUE("\xca\x3f\x80\x00\x00"),
    VALUE("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
    VALUE("\xcc\xff"),
    VALUE("\xcd\xff\xff"),
    VALUE("\xce\xff\xff\xff\xff"),
    VALUE("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
    VALUE("\xd0\xff"),
    VALUE("\xd1\xff\xff"),
    VALUE("\xd2\xff\xff\xff\xff"),
    VALUE("\xd3\xff\xff\xff\xff\xff\xff\xff\xff"),
    VALUE("\xd4\x01z"),
    VALUE("\xd5\x01zz"),
    VALUE("\xd6\x01zzzz"),
    VALUE("\xd7\x01zzzzzzzz"),
    VALUE("\xd8\x01zzzzzzzzzzzzzzzz"),
    VALUE("\xd9\x02zz"),
    VALUE("\xda\x00\x02zz"),
    VALUE("\xdb\x00\x00\x00\x02zz"),
    VALUE("\xdc\x00\x02\x01\x02"),
    VALUE("\xdd\x00\x00\x00\x02\x01\x02"),
    VALUE("\xde\x00\x01\xa1x\x01"),
    VALUE("\xdf\x00\x00\x00\x01\xa1x\x01"),
    VALUE("\xe0"),
    VALUE("\xff"),
};

Test(reader, a_value_of_every_format_is_skipped_to_its_last_byte)
{
	for (size_t i = 0; i < N(values); i++) {
		uint8_t behind[64];
		struct sample s;

		memcpy(behind, values[i].bytes, values[i].bytes_n);
		behind[values[i].bytes_n] = 0xc1;
		s = sample(behind, values[i].bytes_n + 1);
		cr_assert(reader_skip(&s.r), "value %zu", i);
		cr_assert_eq(s.r.at, s.copy + values[i].bytes_n,
		    "value %zu ends at %td", i, s.r.at - s.copy);
		free(s.copy);
	}
}

Test(reader, a_value_cut_off_anywhere_is_refused_and_nothing_is_taken)
{
	for (size_t i = 0; i < N(values); i++) {
		for (size_t n = 0; n < values[i].bytes_n; n++) {
			struct sample s = sample(values[i].bytes, n);
			const char *at;
			size_t bytes;
			uint64_t number;
			bool yes;

			cr_assert_not(reader_uint(&s.r, &number));
			cr_assert_not(reader_bool(&s.r, &yes));
			cr_assert_not(reader_str(&s.r, &at, &bytes));
			cr_assert_not(reader_bin(&s.r, &at, &bytes));
			cr_assert_not(
			    reader_skip(&s.r), "value %zu cut to %zu", i, n);
			cr_assert_eq(s.r.at, s.copy);
			free(s.copy);
		}
	}
}

Test(reader, the_byte_that_msgpack_never_uses_is_refused)
{
	struct sample s = SAMPLE("\xc1\x01\x01\x01");
	struct sample inner = SAMPLE("\x92\x01\xc1");

	cr_assert_not(reader_skip(&s.r));
	cr_assert_not(reader_skip(&inner.r));
	cr_assert_eq(inner.r.at, inner.copy);
	free(s.copy);
	free(inner.copy);
}

Test(reader, values_are_skipped_as_deep_as_allowed_and_no_deeper)
{
	for (size_t depth = 1; depth <= READER_MAX_DEPTH + 3; depth++) {
		uint8_t bytes[16];
		struct sample s;

		memset(bytes, 0x91, depth);
		bytes[depth] = 0x05;
		s = sample(bytes, depth + 1);
		cr_assert_eq(reader_skip(&s.r), depth <= READER_MAX_DEPTH,
		    "depth %zu", depth);
		free(s.copy);
		/* An empty container counts as a level too. */
		bytes[depth - 1] = 0x80;
		s = sample(bytes, depth);
		cr_assert_eq(reader_skip(&s.r), depth <= READER_MAX_DEPTH,
		    "depth %zu", depth);
		free(s.copy);
	}
}

Test(reader, many_values_beside_each_other_are_not_depth)
{
	uint8_t bytes[3 + 3000];
	struct sample s;

	put_head(bytes, 0xdc, 2, 1500);
	for (size_t i = 0; i < 1500; i++)
		memcpy(bytes + 3 + 2 * i, "\x91\x80", 2);
	s = sample(bytes, sizeof(bytes));
	cr_assert(reader_skip(&s.r));
	cr_assert(at_end(&s));
	free(s.copy);
}

Test(reader, nothing_can_be_read_from_nothing)
{
	struct sample s = sample(NULL, 0);
	struct reader null = {NULL, NULL};
	uint64_t value;
	uint32_t n;

	cr_assert_not(reader_skip(&s.r));
	cr_assert_not(reader_uint(&s.r, &value));
	cr_assert_not(reader_map(&null, &n));
	cr_assert_not(reader_skip(&null));
	free(s.copy);
}
