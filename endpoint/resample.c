/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enlarging uses the piecewise parabolic method of Colella and Woodward (1984)
 * along each axis: in every cell the parabola whose mean is the cell's value
 * and whose ends are the fourth-order estimates at the cell's two borders.  It
 * is as sharp as a bicubic, continuous across borders, and keeps means, which
 * the usual interpolations do not; an output pixel is the parabola's mean over
 * its eighth of the cell.  All that is linear, so it is one table of five taps
 * for each of the eight phases.
 *
 * Outside the picture its border is repeated.  Pure functions; any thread.
 */
#include "resample.h"

#define TAPS 5u
#define PHASES RESAMPLE_FACTOR

/*
 * taps[j][p] weighs element x + j - 2 for output pixel 8x + p.  With
 * m = (p + 1/2) / 8, q = (p^2 + p + 1/3) / 64 (the means of t and t^2 over the
 * eighth), and the borders L = (-1, 7, 7, -1, 0) / 12 and
 * R = (0, -1, 7, 7, -1) / 12:
 * taps = L + m (R - L) + 6 (m - q) (centre - (L + R) / 2).
 */
static const float taps[TAPS][PHASES] = {
    {-0.0638020833f, -0.0299479167f, -0.00390625f, 0.0143229167f, 0.0247395833f,
	0.02734375f, 0.0221354167f, 0.00911458333f},
    {0.455729167f, 0.231770833f, 0.0546875f, -0.0755208333f, -0.158854167f,
	-0.1953125f, -0.184895833f, -0.127604167f},
    {0.7265625f, 0.9609375f, 1.1171875f, 1.1953125f, 1.1953125f, 1.1171875f,
	0.9609375f, 0.7265625f},
    {-0.127604167f, -0.184895833f, -0.1953125f, -0.158854167f, -0.0755208333f,
	0.0546875f, 0.231770833f, 0.455729167f},
    {0.00911458333f, 0.0221354167f, 0.02734375f, 0.0247395833f, 0.0143229167f,
	-0.00390625f, -0.0299479167f, -0.0638020833f},
};

/* Weigh five rows into ${out}, which has two elements of margin each side. */
static void
blend_rows(
    const float *plane, uint32_t width, uint32_t height, uint32_t y, float *out)
{
	const uint32_t phase = y % PHASES, centre = y / PHASES;
	const float *rows[TAPS];
	uint32_t j, x;

	for (j = 0; j < TAPS; j++) {
		uint32_t at = centre + j < 2 ? 0 : centre + j - 2;

		if (at >= height)
			at = height - 1;
		rows[j] = plane + (size_t)at * width;
	}
	for (x = 0; x < width; x++)
		out[x + 2] = taps[0][phase] * rows[0][x] +
		    taps[1][phase] * rows[1][x] + taps[2][phase] * rows[2][x] +
		    taps[3][phase] * rows[3][x] + taps[4][phase] * rows[4][x];
	out[0] = out[1] = out[2];
	out[width + 2] = out[width + 3] = out[width + 1];
}

void
resample_up_row(const float *plane, uint32_t width, uint32_t height, uint32_t y,
    float *row, float *scratch)
{
	uint32_t x, p;

	blend_rows(plane, width, height, y, scratch);
	for (x = 0; x < width; x++) {
		const float *s = scratch + x;
		float *out = row + (size_t)x * PHASES;

		for (p = 0; p < PHASES; p++)
			out[p] = taps[0][p] * s[0] + taps[1][p] * s[1] +
			    taps[2][p] * s[2] + taps[3][p] * s[3] +
			    taps[4][p] * s[4];
	}
}

/* The comparisons are written so that NaN gives 0. */
static uint8_t
pixel(float value)
{
	float scaled = value * 127.5f + 128.0f;

	scaled = scaled > 0.0f ? scaled : 0.0f;
	scaled = scaled < 255.0f ? scaled : 255.0f;
	return (uint8_t)(int)scaled;
}

void
resample_pixels(
    uint8_t *dst, const float *r, const float *g, const float *b, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		dst[3 * i] = pixel(r[i]);
		dst[3 * i + 1] = pixel(g[i]);
		dst[3 * i + 2] = pixel(b[i]);
	}
}

void
resample_clamp(float *row, size_t n, float low, float gain)
{
	size_t i;

	for (i = 0; i < n; i++) {
		float value = row[i] > -1.0f ? row[i] : -1.0f;

		value = value < 1.0f ? value : 1.0f;
		row[i] = low + (value + 1.0f) * gain;
	}
}

/* The part of [at, at+1) that lies within [from, to). */
static double
share(uint32_t at, double from, double to)
{
	const double low = from > at ? from : at;
	const double high = to < at + 1.0 ? to : at + 1.0;

	return high > low ? high - low : 0.0;
}

/* Add ${weight} times the shrunken ${row} to ${out}. */
static void
shrink_row(const float *row, uint32_t row_width, uint32_t width, double weight,
    float *out)
{
	const double step = (double)row_width / width;
	uint32_t x, at;

	for (x = 0; x < width; x++) {
		const double from = x * step, to = (x + 1) * step;
		double sum = 0.0;

		for (at = (uint32_t)from; at < to && at < row_width; at++)
			sum += share(at, from, to) * (double)row[at];
		out[x] += (float)(weight * sum / step);
	}
}

void
resample_down(const struct resample_source *source, uint32_t width,
    uint32_t height, float *planes, float *row)
{
	const double step = (double)source->height / height;
	uint32_t c, x, y, at;

	for (c = 0; c < 3; c++) {
		for (y = 0; y < height; y++) {
			const double from = y * step, to = (y + 1) * step;
			float *out = planes + ((size_t)c * height + y) * width;

			for (x = 0; x < width; x++)
				out[x] = 0.0f;
			for (at = (uint32_t)from;
			     at < to && at < source->height; at++) {
				source->load(source->arg, c, at, row);
				shrink_row(row, source->width, width,
				    share(at, from, to) / step, out);
			}
		}
	}
}
