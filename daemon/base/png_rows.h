/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PNG_ROWS_H
#define BASE_PNG_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/png_filter.h"

/* A picture in memory. */
struct png_pixels {
	const void *at; /* [height][width][channels], uint8_t or uint16_t as
			   the machine has them */
	size_t stride_bytes; /* from row to row; even for uint16_t */
	uint32_t width_px, height_px; /* 1 to LATENTD_MAX_SIDE_PX */
	unsigned channels_n; /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA */
	unsigned bits; /* 8 or 16 */
};

/* Filtered rows of a picture; one thread at a time. */
struct png_rows {
	const struct png_pixels *pixels;
	size_t pixel_bytes;
	size_t row_bytes; /* without the filter's number */
	uint8_t *zeros; /* what is above the first row */
	uint8_t *swapped[2]; /* of 16 bits: even and odd rows, big-endian */
	uint32_t swapped_y[2];
	uint8_t *tried; /* a row by each filter */
};

/*
 * png_rows_init(rows, pixels): Prepare for ${pixels}, which must outlive
 * ${rows}; png_rows_fini frees what it allocated, also when this has failed
 * because memory is out.
 */
bool png_rows_init(struct png_rows *rows, const struct png_pixels *pixels);
void png_rows_fini(struct png_rows *rows);

/* png_rows_filter(rows, y, filter, out): Write row ${y} by ${filter} to
 * ${out}: 1 + row_bytes. */
void png_rows_filter(
    struct png_rows *rows, uint32_t y, enum png_filter filter, uint8_t *out);

/*
 * png_rows_try(rows, y, best):
 * Row ${y} by all filters: PNG_FILTERS_N times 1 + row_bytes, valid until the
 * next call.  *${best} is the one of the least sum (png_filter_sum), the first
 * of equals, as libpng chooses.
 */
const uint8_t *png_rows_try(
    struct png_rows *rows, uint32_t y, enum png_filter *best);

#endif
