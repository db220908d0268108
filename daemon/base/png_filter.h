/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PNG_FILTER_H
#define BASE_PNG_FILTER_H

#include <stddef.h>
#include <stdint.h>

/* PNG's filters, by their numbers in the file. */
enum png_filter {
	FILTER_NONE,
	FILTER_SUB,
	FILTER_UP,
	FILTER_AVERAGE,
	FILTER_PAETH,
};
#define PNG_FILTERS_N 5u

/*
 * png_filter_row(filter, row, above, bytes, pixel_bytes, out):
 * Write to ${out} the number of ${filter} and then what it leaves of the
 * ${bytes} at ${row} below the row ${above}: 1 + ${bytes}.  ${bytes} is a
 * multiple of ${pixel_bytes}, 1 to 8; ${above} is zeros for the first row.
 * ${out} overlaps neither.
 */
void png_filter_row(enum png_filter filter, const uint8_t *row,
    const uint8_t *above, size_t bytes, size_t pixel_bytes, uint8_t *out);

/* png_filter_sum(bytes, n): sum of the absolutes of the signed bytes, which is
 * small when they are easy to code. */
uint64_t png_filter_sum(const uint8_t *bytes, size_t n);

#endif
