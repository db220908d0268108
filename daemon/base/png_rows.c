/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows are read where they are; those of 16 bits are first copied in PNG's
 * byte order, each once when they are asked for in order.
 */
#include "base/png_rows.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "latentd/limits.h"

/* No row has this number. */
#define NO_ROW UINT32_MAX

bool
png_rows_init(struct png_rows *r, const struct png_pixels *p)
{
	assert(p->width_px >= 1 && p->width_px <= LATENTD_MAX_SIDE_PX);
	assert(p->height_px >= 1 && p->height_px <= LATENTD_MAX_SIDE_PX);
	assert(p->channels_n >= 1 && p->channels_n <= 4);
	assert(p->bits == 8 || p->bits == 16);
	memset(r, 0, sizeof(*r));
	r->pixels = p;
	r->pixel_bytes = (size_t)p->channels_n * (p->bits / 8);
	r->row_bytes = r->pixel_bytes * p->width_px;
	r->zeros = calloc(1, r->row_bytes);
	r->tried = malloc(PNG_FILTERS_N * (r->row_bytes + 1));
	if (r->zeros == NULL || r->tried == NULL)
		return false;
	for (unsigned i = 0; i < 2 && p->bits == 16; i++) {
		r->swapped_y[i] = NO_ROW;
		r->swapped[i] = malloc(r->row_bytes);
		if (r->swapped[i] == NULL)
			return false;
	}
	return true;
}

void
png_rows_fini(struct png_rows *r)
{
	free(r->zeros);
	free(r->tried);
	free(r->swapped[0]);
	free(r->swapped[1]);
}

static const uint8_t *
row(struct png_rows *r, uint32_t y)
{
	const uint8_t *at =
	    (const uint8_t *)r->pixels->at + y * r->pixels->stride_bytes;
	uint8_t *swapped = r->swapped[y & 1];
	uint16_t sample;

	if (r->pixels->bits == 8 || r->swapped_y[y & 1] == y)
		return r->pixels->bits == 8 ? at : swapped;
	for (size_t i = 0; i < r->row_bytes; i += sizeof(sample)) {
		memcpy(&sample, at + i, sizeof(sample));
		sample = htobe16(sample);
		memcpy(swapped + i, &sample, sizeof(sample));
	}
	r->swapped_y[y & 1] = y;
	return swapped;
}

void
png_rows_filter(
    struct png_rows *r, uint32_t y, enum png_filter filter, uint8_t *out)
{
	const uint8_t *above = y == 0 ? r->zeros : row(r, y - 1);

	png_filter_row(
	    filter, row(r, y), above, r->row_bytes, r->pixel_bytes, out);
}

const uint8_t *
png_rows_try(struct png_rows *r, uint32_t y, enum png_filter *best)
{
	uint64_t sum, least = UINT64_MAX;

	for (unsigned i = 0; i < PNG_FILTERS_N; i++) {
		uint8_t *out = r->tried + i * (r->row_bytes + 1);

		png_rows_filter(r, y, (enum png_filter)i, out);
		sum = png_filter_sum(out + 1, r->row_bytes);
		if (sum < least) {
			least = sum;
			*best = (enum png_filter)i;
		}
	}
	return r->tried;
}
