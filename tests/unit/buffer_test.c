/* SPDX-License-Identifier: Apache-2.0 */
/* Linked with realloc and calloc wrapped. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buffer.h"

/* What is left until one fails; negative: none does. */
static int left = -1;
static unsigned reallocs_n;

void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);
void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);

static bool
fails(void)
{
	return left >= 0 && left-- == 0;
}

void *
__wrap_realloc(void *at, size_t bytes)
{
	reallocs_n++;
	return fails() ? NULL : __real_realloc(at, bytes);
}

void *
__wrap_calloc(size_t n, size_t bytes)
{
	return fails() ? NULL : __real_calloc(n, bytes);
}

Test(buffer, what_fits_a_known_length_takes_one_allocation)
{
	struct buffer *b = buffer_create(1000);

	for (int i = 0; i < 100; i++)
		cr_assert(buffer_append(b, "0123456789", 10));
	cr_assert_eq(reallocs_n, 1);
	cr_assert_eq(b->bytes, 1000);
	cr_assert_eq(b->room_bytes, 1000);
	cr_assert_arr_eq(b->at + 990, "0123456789", 10);
	buffer_destroy(b);
}

Test(buffer, many_small_appends_allocate_a_few_times_and_keep_the_bytes)
{
	struct buffer *b = buffer_create(0);
	uint8_t byte;

	for (unsigned i = 0; i < 100000; i++) {
		byte = (uint8_t)(i % 251);
		cr_assert(buffer_append(b, &byte, 1));
	}
	cr_assert_leq(reallocs_n, 18);
	cr_assert_eq(b->bytes, 100000);
	for (unsigned i = 0; i < 100000; i++)
		cr_assert_eq(b->at[i], i % 251);
	buffer_destroy(b);
}

Test(buffer, more_than_twice_the_room_gets_just_what_it_needs)
{
	static const uint8_t data[500];
	struct buffer *b = buffer_create(100);

	cr_assert(buffer_append(b, data, 500));
	cr_assert_eq(b->room_bytes, 500);
	cr_assert(buffer_append(b, data, 1));
	cr_assert_eq(b->room_bytes, 1000);
	buffer_destroy(b);
}

Test(buffer, what_is_appended_at_once_is_whole_whatever_its_length)
{
	static const size_t lengths[] = {1, 4095, 4096, 4097, 8192, 100001};
	static uint8_t data[100001];
	struct buffer *b = buffer_create(0);
	size_t start;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		start = b->bytes;
		cr_assert(buffer_append(b, data, lengths[i]));
		cr_assert_eq(b->bytes, start + lengths[i]);
		cr_assert_eq(memcmp(b->at + start, data, lengths[i]), 0);
	}
	buffer_destroy(b);
}

Test(buffer, nothing_may_be_appended_to_nothing)
{
	struct buffer *b = buffer_create(0);

	cr_assert(buffer_append(b, "", 0));
	cr_assert_eq(b->bytes, 0);
	buffer_fit(b);
	cr_assert_eq(reallocs_n, 0);
	buffer_destroy(b);
	buffer_destroy(NULL);
}

Test(buffer, fitting_gives_back_what_is_left_and_keeps_the_bytes)
{
	struct buffer *b = buffer_create(1 << 20);

	cr_assert(buffer_append(b, "kept", 4));
	buffer_fit(b);
	cr_assert_eq(b->room_bytes, 4);
	cr_assert_arr_eq(b->at, "kept", 4);
	buffer_fit(b);
	cr_assert_eq(reallocs_n, 2);
	cr_assert(buffer_append(b, "+", 1));
	cr_assert_arr_eq(b->at, "kept+", 5);
	buffer_destroy(b);
}

Test(buffer, a_length_that_cannot_be_is_refused)
{
	struct buffer *b = buffer_create(4);

	cr_assert(buffer_append(b, "kept", 4));
	cr_assert_null(buffer_extend(b, SIZE_MAX));
	cr_assert_null(buffer_extend(b, SIZE_MAX - 3));
	cr_assert_null(buffer_extend(b, SIZE_MAX / 2));
	cr_assert_eq(b->bytes, 4);
	cr_assert_arr_eq(b->at, "kept", 4);
	buffer_destroy(b);
}

Test(buffer, it_is_unchanged_while_memory_is_out)
{
	struct buffer *b = buffer_create(4);

	cr_assert(buffer_append(b, "kept", 4));
	left = 0;
	cr_assert_not(buffer_append(b, "more", 4));
	cr_assert_eq(b->bytes, 4);
	cr_assert_eq(b->room_bytes, 4);
	cr_assert_arr_eq(b->at, "kept", 4);
	cr_assert(buffer_append(b, "more", 4));
	cr_assert_arr_eq(b->at, "keptmore", 8);
	cr_assert(buffer_append(b, "+", 1));
	left = 0;
	buffer_fit(b);
	cr_assert_eq(b->room_bytes, 16);
	cr_assert_arr_eq(b->at, "keptmore+", 9);
	buffer_destroy(b);
}

Test(buffer, each_allocation_that_fails_makes_none)
{
	for (int n = 0; n < 2; n++) {
		left = n;
		cr_assert_null(buffer_create(10));
		cr_assert_eq(left, -1);
	}
}
