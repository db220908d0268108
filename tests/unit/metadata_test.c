/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fuzz.h"
#include "message.h"

#define TEXT(literal) ((struct text){literal, sizeof(literal) - 1})

static bool
is_text(struct text t, const char *want)
{
	return t.bytes == strlen(want) && memcmp(t.at, want, t.bytes) == 0;
}

/* Walk a copy of ${data} to its end; returns how the walk ended. */
static enum latentd_err
walk(const void *data, size_t bytes, size_t *entries_n, struct reason *why)
{
	uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
	const uint8_t *at = copy;
	struct text key = {0}, value = {0};
	enum latentd_err err;

	cr_assert_not_null(copy);
	if (bytes > 0)
		memcpy(copy, data, bytes);
	*entries_n = 0;
	while ((err = metadata_next(&at, copy + bytes, &key, &value, why)) ==
		LATENTD_OK &&
	    key.at != NULL) {
		cr_assert(key.bytes >= 1 && key.bytes <= 79);
		cr_assert((const uint8_t *)value.at + value.bytes == at);
		++*entries_n;
	}
	if (err == LATENTD_OK)
		cr_assert_eq(at, copy + bytes);
	free(copy);
	return err;
}

Test(metadata, what_is_put_is_read_back_in_order)
{
	uint8_t buf[256];
	const uint8_t *at = buf;
	struct text key, value;
	size_t n = 0;

	n += metadata_put(buf + n, TEXT("parameters"), TEXT("a cat, \xc3\xa9"));
	cr_assert_eq(
	    n, metadata_put_bytes(TEXT("parameters"), TEXT("a cat, \xc3\xa9")));
	n += metadata_put(buf + n, TEXT("k"), TEXT(""));
	cr_assert_eq(metadata_next(&at, buf + n, &key, &value, NULL), 0);
	cr_assert(is_text(key, "parameters"));
	cr_assert(is_text(value, "a cat, \xc3\xa9"));
	cr_assert_eq(metadata_next(&at, buf + n, &key, &value, NULL), 0);
	cr_assert(is_text(key, "k") && is_text(value, ""));
	cr_assert_eq(metadata_next(&at, buf + n, &key, &value, NULL), 0);
	cr_assert_null(key.at);
	cr_assert_eq(at, buf + n);
}

Test(metadata, an_empty_value_needs_no_bytes_to_point_at)
{
	uint8_t buf[8];
	struct text none = {NULL, 0};

	cr_assert_eq(metadata_put(buf, TEXT("abc"), none), 8);
	cr_assert_arr_eq(buf,
	    "\x03"
	    "abc\0\0\0\0",
	    8);
}

Test(metadata, bytes_are_those_of_the_protocol)
{
	uint8_t buf[512];
	char value[258];

	memset(value, 'v', sizeof(value));
	cr_assert_eq(
	    metadata_put(buf, TEXT("ab"), (struct text){value, sizeof(value)}),
	    1 + 2 + 4 + 258);
	cr_assert_arr_eq(buf,
	    "\x02"
	    "ab\x02\x01\x00\x00vv",
	    9);
}

Test(metadata, nothing_is_no_entry)
{
	size_t n;

	cr_assert_eq(walk(NULL, 0, &n, NULL), LATENTD_OK);
	cr_assert_eq(n, 0);
}

Test(metadata, keys_of_79_bytes_are_read_and_of_0_and_80_refused)
{
	static const size_t sizes[] = {0, 1, 79, 80, 255};
	uint8_t buf[300] = {0};
	struct reason why;
	size_t n;

	for (size_t i = 0; i < 5; i++) {
		bool good = sizes[i] >= 1 && sizes[i] <= 79;

		memset(buf + 1, 'k', sizes[i]);
		memset(buf + 1 + sizes[i], 0, 4);
		buf[0] = (uint8_t)sizes[i];
		cr_assert_eq(walk(buf, sizes[i] + 5, &n, &why),
		    good ? LATENTD_OK : LATENTD_ERR_INVALID, "%zu", sizes[i]);
		if (!good)
			cr_assert(strstr(why.text, "metadata") != NULL);
	}
}

Test(metadata, entries_cut_off_anywhere_are_refused)
{
	uint8_t buf[64];
	struct reason why;
	size_t one, bytes, n;

	one = metadata_put(buf, TEXT("one"), TEXT("1"));
	bytes = one + metadata_put(buf + one, TEXT("second"), TEXT("value"));
	for (size_t cut = 1; cut < bytes; cut++) {
		enum latentd_err err = walk(buf, cut, &n, &why);

		if (cut == one) {
			cr_assert_eq(err, LATENTD_OK);
			cr_assert_eq(n, 1);
			continue;
		}
		cr_assert_eq(err, LATENTD_ERR_INVALID, "cut at %zu", cut);
		cr_assert_eq(n, cut > one);
	}
}

Test(metadata, a_length_beyond_the_end_is_refused)
{
	struct reason why;
	size_t n;

	cr_assert_eq(
	    walk("\x01k\xff\xff\xff\xffv", 7, &n, &why), LATENTD_ERR_INVALID);
	cr_assert(strstr(why.text, "4294967295") != NULL, "%s", why.text);
	cr_assert_eq(
	    walk("\x01k\x02\x00\x00\x00v", 7, &n, &why), LATENTD_ERR_INVALID);
}

Test(metadata, random_bytes_are_walked_within_their_bounds)
{
	struct fuzz f = {.state = 7};
	size_t good_n = 0, n;

	for (int i = 0; i < 100000; i++) {
		uint8_t buf[128];
		size_t bytes = metadata_put(buf, TEXT("key"), TEXT("value"));

		bytes += metadata_put(buf + bytes, TEXT("x"), TEXT(""));
		for (size_t k = fuzz_below(&f, 4); k > 0; k--)
			bytes = fuzz_mutate(&f, buf, bytes, sizeof(buf));
		good_n += walk(buf, bytes, &n, NULL) == LATENTD_OK;
	}
	cr_assert(good_n > 10000 && good_n < 90000, "%zu", good_n);
}
