/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sample is a few bands of rows from all over the picture, small enough that
 * every way can be tried on it within a tenth of what writing takes; a small
 * picture is its own sample.
 */
#include "base/png_plan.h"

#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>

#include "base/png_deflate.h"

#define BANDS_N 6u
#define BAND_BYTES ((size_t)8 * 1024)

/* Where codes need less for a byte than this, the picture is graphics: to be
 * searched, which is quick there. */
#define FLAT_BITS 0.8
/* Where they need this, searching thoroughly (6) finds hardly more than
 * searching quickly (1), which takes a fifth of the time. */
#define DENSE_BITS 3.0
#define THOROUGH 6
#define QUICK 1
/* What graphics are written with: libdeflate's 6 is sometimes a twentieth
 * larger than zlib's, 7 is not, and of a small picture only 9 is never.  What
 * is not flat takes twice as long at 7 as at 6 and gains nothing. */
#define LEVEL_FLAT 7
#define LEVEL_SMALL 9
/* How much larger codes may be than what searching gives, about libpng's usual
 * size: that is what the time costs, ten times as much and more. */
#define WORTH_THOROUGH 1.03
#define WORTH_QUICK 1.05
/* What searching quickly may lose. */
#define QUICK_LOSS 1.08
/* How much smaller a picture must be without filters: in a sample more of what
 * repeats is missed than in the picture, so only a clear case counts. */
#define PLAIN_GAIN 0.95

struct sample {
	struct png_rows *rows;
	struct png_deflate_work *work;
	uint8_t *filtered[PNG_FILTERS_N]; /* all rows by each filter */
	uint8_t *best; /* each row by its best one */
	uint8_t *out; /* as long as the sample; what fills it is no gain */
	size_t bytes;
	uint32_t rows_n, band_rows_n;
};

static bool
sample_init(struct sample *s, struct png_rows *rows)
{
	size_t row_bytes = rows->row_bytes + 1;
	uint32_t height_px = rows->pixels->height_px;

	memset(s, 0, sizeof(*s));
	s->rows = rows;
	s->band_rows_n = (uint32_t)((BAND_BYTES + row_bytes - 1) / row_bytes);
	if (s->band_rows_n * BANDS_N >= height_px)
		s->band_rows_n = (height_px + BANDS_N - 1) / BANDS_N;
	s->rows_n = s->band_rows_n * BANDS_N;
	if (s->rows_n > height_px)
		s->rows_n = height_px;
	s->bytes = s->rows_n * row_bytes;
	s->work = png_deflate_create(s->bytes);
	s->best = malloc((PNG_FILTERS_N + 2) * s->bytes);
	if (s->work == NULL || s->best == NULL)
		return false;
	s->out = s->best + s->bytes;
	for (unsigned i = 0; i < PNG_FILTERS_N; i++)
		s->filtered[i] = s->best + (2 + i) * s->bytes;
	return true;
}

static void
sample_fini(struct sample *s)
{
	png_deflate_destroy(s->work);
	free(s->best);
}

/* The row of the picture that is row ${i} of the sample: bands at equal
 * distances, which are the whole picture when it is no larger. */
static uint32_t
place(const struct sample *s, uint32_t i)
{
	uint32_t height_px = s->rows->pixels->height_px;
	uint32_t band = i / s->band_rows_n;

	/* 0, 2, 4, 1, 3, 5, so that half of the sample is from all over. */
	band = band * 2 < BANDS_N ? band * 2 : band * 2 - BANDS_N + 1;
	if (s->rows_n == height_px)
		return i;
	/* Not the first row, which has nothing above it. */
	return 1 + (height_px - 1 - s->band_rows_n) * band / (BANDS_N - 1) +
	    i % s->band_rows_n;
}

static void
sample_take(struct sample *s)
{
	size_t row_bytes = s->rows->row_bytes + 1;
	enum png_filter best;

	for (uint32_t i = 0; i < s->rows_n; i++) {
		const uint8_t *tried =
		    png_rows_try(s->rows, place(s, i), &best);

		for (unsigned f = 0; f < PNG_FILTERS_N; f++)
			memcpy(s->filtered[f] + i * row_bytes,
			    tried + f * row_bytes, row_bytes);
		memcpy(s->best + i * row_bytes, tried + best * row_bytes,
		    row_bytes);
	}
}

/* The filter that png_deflate makes least of, and how many bits. */
static uint64_t
by_codes(struct sample *s, enum png_filter *filter)
{
	uint64_t least = UINT64_MAX;

	for (unsigned f = 0; f < PNG_FILTERS_N; f++) {
		uint64_t bits =
		    png_deflate_cost(s->work, s->filtered[f], s->bytes);

		if (bits < least) {
			least = bits;
			*filter = (enum png_filter)f;
		}
	}
	return least;
}

/* How many bits libdeflate makes of ${bytes}; 0 when memory is out. */
static uint64_t
by_search(struct sample *s, const uint8_t *bytes, size_t n, int level)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(level);
	size_t out_bytes;

	if (c == NULL)
		return 0;
	out_bytes = libdeflate_deflate_compress(c, bytes, n, s->out, s->bytes);
	libdeflate_free_compressor(c);
	return 8 * (uint64_t)(out_bytes == 0 ? n : out_bytes);
}

/* Searching it is: which way. */
static bool
choose_search(struct sample *s, struct png_plan *plan)
{
	uint64_t plain =
	    by_search(s, s->filtered[FILTER_NONE], s->bytes, THOROUGH);
	uint64_t thorough = by_search(s, s->best, s->bytes, THOROUGH);
	uint64_t quick = by_search(s, s->best, s->bytes, QUICK);

	if (plain == 0 || thorough == 0 || quick == 0)
		return false;
	plan->filter = FILTER_NONE;
	plan->each_row = (double)plain > (double)thorough * PLAIN_GAIN;
	plan->level = THOROUGH;
	if (s->rows_n == s->rows->pixels->height_px)
		plan->level = LEVEL_SMALL;
	else if ((double)thorough < FLAT_BITS * (double)s->bytes)
		plan->level = LEVEL_FLAT;
	if (plan->each_row && (double)quick <= (double)thorough * QUICK_LOSS &&
	    (double)quick > DENSE_BITS * (double)s->bytes)
		plan->level = QUICK;
	return true;
}

static bool
choose(struct sample *s, struct png_plan *plan)
{
	double bits = (double)by_codes(s, &plan->filter) / (double)s->bytes;
	bool dense = bits >= DENSE_BITS;
	/* Searching takes the most of all this; half must do. */
	size_t n = bits < FLAT_BITS ? 0 : (s->bytes + 1) / 2;
	uint64_t codes, search;

	plan->each_row = false;
	plan->level = 0;
	if (n == 0)
		return choose_search(s, plan);
	codes = png_deflate_cost(s->work, s->filtered[plan->filter], n);
	search = by_search(s, s->best, n, dense ? QUICK : THOROUGH);
	if (search == 0)
		return false;
	if ((double)codes <=
	    (double)search * (dense ? WORTH_QUICK : WORTH_THOROUGH))
		return true;
	return choose_search(s, plan);
}

bool
png_plan(struct png_rows *rows, struct png_plan *plan)
{
	struct sample sample;
	bool chosen = false;

	if (sample_init(&sample, rows)) {
		sample_take(&sample);
		chosen = choose(&sample, plan);
	}
	sample_fini(&sample);
	return chosen;
}
