/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops without branches on bytes alone, which gcc and clang turn into vector
 * instructions at -O3 (CMakeLists.txt sets it for this file).  Any thread; no
 * state.
 */
#include "base/png_filter.h"

#include <string.h>

/* Twice as wide where the processor has it.  Not with sanitizers, which cannot
 * run as early as the choice is made. */
#if defined(PNG_FILTER_WIDE) && defined(__x86_64__) && defined(__gnu_linux__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

/* Vector units have these two, but no comparison of unsigned bytes. */
static uint8_t
lesser(uint8_t a, uint8_t b)
{
	return a < b ? a : b;
}

static uint8_t
greater(uint8_t a, uint8_t b)
{
	return a > b ? a : b;
}

static uint8_t
difference(uint8_t a, uint8_t b)
{
	return (uint8_t)(greater(a, b) - lesser(a, b));
}

/*
 * The neighbour nearest to left + up - corner.  Its distances from left and up
 * are |up - corner| and |left - corner|; that from the corner is their sum
 * when both differences have one sign, so never the least, and else their
 * difference: all without leaving 8 bits.
 */
static uint8_t
paeth(uint8_t left, uint8_t up, uint8_t corner)
{
	uint8_t from_left = difference(up, corner);
	uint8_t from_up = difference(left, corner);
	uint8_t up_above = up >= corner ? UINT8_MAX : 0;
	uint8_t left_above = left >= corner ? UINT8_MAX : 0;
	uint8_t one_sign = (uint8_t) ~(up_above ^ left_above);
	uint8_t from_corner = difference(from_left, from_up) | one_sign;
	uint8_t least = lesser(from_left, lesser(from_up, from_corner));
	uint8_t other = least == from_up ? up : corner;

	return least == from_left ? left : other;
}

WIDE static void
sub(const uint8_t *restrict row, size_t n, size_t pixel_bytes,
    uint8_t *restrict out)
{
	for (size_t i = pixel_bytes; i < n; i++)
		out[i] = (uint8_t)(row[i] - row[i - pixel_bytes]);
}

WIDE static void
average(const uint8_t *restrict row, const uint8_t *restrict above, size_t n,
    size_t pixel_bytes, uint8_t *restrict out)
{
	for (size_t i = pixel_bytes; i < n; i++) {
		uint8_t left = row[i - pixel_bytes];

		/* (left + above) / 2 without the carry. */
		out[i] = (uint8_t)(row[i] -
		    ((left & above[i]) + ((left ^ above[i]) >> 1)));
	}
}

WIDE static void
paeth_row(const uint8_t *restrict row, const uint8_t *restrict above, size_t n,
    size_t pixel_bytes, uint8_t *restrict out)
{
	for (size_t i = pixel_bytes; i < n; i++)
		out[i] = (uint8_t)(row[i] -
		    paeth(row[i - pixel_bytes], above[i],
			above[i - pixel_bytes]));
}

WIDE static void
up_row(const uint8_t *restrict row, const uint8_t *restrict above, size_t n,
    uint8_t *restrict out)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(row[i] - above[i]);
}

/* What stands left of the first pixel counts as zeros. */
void
png_filter_row(enum png_filter filter, const uint8_t *row, const uint8_t *above,
    size_t bytes, size_t pixel_bytes, uint8_t *out)
{
	*out++ = (uint8_t)filter;
	switch (filter) {
	case FILTER_NONE:
		memcpy(out, row, bytes);
		break;
	case FILTER_SUB:
		memcpy(out, row, pixel_bytes);
		sub(row, bytes, pixel_bytes, out);
		break;
	case FILTER_UP:
		up_row(row, above, bytes, out);
		break;
	case FILTER_AVERAGE:
		for (size_t i = 0; i < pixel_bytes; i++)
			out[i] = (uint8_t)(row[i] - (above[i] >> 1));
		average(row, above, bytes, pixel_bytes, out);
		break;
	case FILTER_PAETH:
		up_row(row, above, pixel_bytes, out);
		paeth_row(row, above, bytes, pixel_bytes, out);
		break;
	}
}

WIDE static uint64_t
sum_of(const uint8_t *bytes, size_t n)
{
	uint64_t sum = 0;

	/* In pieces whose sum fits 32 bits, which makes the vectors wider. */
	while (n > 0) {
		size_t piece_n = n < 65536 ? n : 65536;
		uint32_t piece = 0;

		for (size_t i = 0; i < piece_n; i++)
			piece += (uint8_t)(bytes[i] < 128 ? bytes[i]
							  : 256 - bytes[i]);
		sum += piece;
		bytes += piece_n;
		n -= piece_n;
	}
	return sum;
}

/* Not WIDE itself: what clang 14 makes of such a function has another name for
 * other files. */
uint64_t
png_filter_sum(const uint8_t *bytes, size_t n)
{
	return sum_of(bytes, n);
}
