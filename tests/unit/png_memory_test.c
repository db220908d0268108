/* SPDX-License-Identifier: Apache-2.0 */
/* png_write while memory is out; linked with malloc and calloc wrapped. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/png_write.h"

/* What is left until one fails; negative: none does. */
static int left = -1;

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);

static bool
fails(void)
{
	return left >= 0 && left-- == 0;
}

void *
__wrap_malloc(size_t bytes)
{
	return fails() ? NULL : __real_malloc(bytes);
}

void *
__wrap_calloc(size_t n, size_t bytes)
{
	return fails() ? NULL : __real_calloc(n, bytes);
}

static bool
on_write(const void *data, size_t bytes, void *arg)
{
	(void)data;
	*(size_t *)arg += bytes;
	return true;
}

/* How many allocations fail before it comes through. */
static int
failures(const void *at, unsigned bits)
{
	static const struct png_text text = {"k", 1, "value", 5};
	struct png_pixels p = {at, 64 * 8, 64, 64, 4, bits};

	for (int n = 0; n < 100; n++) {
		size_t bytes = 0;
		bool written;

		left = n;
		written = png_write(&p, &text, 1, on_write, &bytes);
		if (left >= 0) {
			left = -1;
			cr_assert(written);
			return n;
		}
		cr_assert_not(written);
	}
	return 100;
}

/* That nothing is lost is AddressSanitizer's to say. */
Test(png_memory, every_allocation_that_fails_is_said_and_leaves_nothing)
{
	static uint8_t pixels[64 * 64 * 8];

	/* Flat, which goes to libdeflate, then noise, which does not. */
	cr_assert_geq(failures(pixels, 8), 7);
	for (size_t i = 0; i < sizeof(pixels); i++)
		pixels[i] = (uint8_t)(i * i >> 7 ^ i * 77);
	cr_assert_geq(failures(pixels, 8), 7);
	cr_assert_geq(failures(pixels, 16), 9);
}
