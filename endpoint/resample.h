/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_RESAMPLE_H
#define ENDPOINT_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

/* Pixels per latent element, each way, of every model that is served. */
#define RESAMPLE_FACTOR 8u

/* Floats of scratch memory that resample_up_row() needs. */
#define RESAMPLE_SCRATCH(width) ((size_t)(width) + 4)

/*
 * resample_up_row(plane, width, height, y, row, scratch):
 * Set ${row} (8 * ${width} floats) to row ${y} (0 .. 8 * ${height} - 1) of
 * ${plane} (${height} rows of ${width} floats) enlarged 8 times each way.  The
 * result is smooth, and the mean of every 8 x 8 block is the value it was made
 * from, so resample_down() is the exact inverse.  ${scratch} holds
 * RESAMPLE_SCRATCH(width) floats.
 */
void resample_up_row(const float *plane, uint32_t width, uint32_t height,
    uint32_t y, float *row, float *scratch);

/*
 * resample_pixels(dst, r, g, b, n):
 * Write ${n} pixels of three bytes from three rows in [-1,1]: clamped, rounded
 * to nearest, NaN as 0.
 */
void resample_pixels(
    uint8_t *dst, const float *r, const float *g, const float *b, size_t n);

/* resample_clamp(row, n, low, gain): clamp to [-1,1], NaN as -1, then map -1 to
 * ${low} and 1 to ${low} + 2 * ${gain}. */
void resample_clamp(float *row, size_t n, float low, float gain);

/* A picture that is read by rows: set ${row} to row ${y} of channel ${c}. */
struct resample_source {
	void (*load)(const void *arg, uint32_t c, uint32_t y, float *row);
	const void *arg;
	uint32_t width;
	uint32_t height;
};

/*
 * resample_down(source, width, height, planes, row):
 * Set ${planes} (3 planes of ${height} rows of ${width} floats) to the means of
 * the areas of ${source} that each pixel covers.  Sides need not divide: pixels
 * on a border count by their share.  ${row} holds ${source}'s width in floats.
 */
void resample_down(const struct resample_source *source, uint32_t width,
    uint32_t height, float *planes, float *row);

#endif
