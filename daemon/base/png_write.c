/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A picture like a photograph is filtered, coded and written a stripe at a
 * time, each an IDAT chunk, so that a stripe stays in the cache and no more
 * memory is needed for a large picture.  What repeats itself (graphics, text)
 * is filtered whole and left to libdeflate.
 */
#include "base/png_write.h"

#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>

#include "base/png_deflate.h"
#include "base/png_plan.h"

/* Of filtered rows; codes are made anew for each. */
#define STRIPE_BYTES ((size_t)128 * 1024)
/* Readers may want an IDAT chunk in memory. */
#define CHUNK_BYTES ((size_t)1 << 20)

/* zlib's header (RFC 1950): deflate, 32 KiB window, no preset dictionary. */
static const uint8_t zlib_head[2] = {0x78, 0x01};

struct writer {
	struct png_rows rows;
	struct png_plan plan;
	bool (*write)(const void *data, size_t bytes, void *arg);
	void *arg;
};

/* ---- chunks ---- */

static void
put32(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 24);
	at[1] = (uint8_t)(value >> 16);
	at[2] = (uint8_t)(value >> 8);
	at[3] = (uint8_t)value;
}

static bool
write_chunk(
    const struct writer *w, const char *type, const uint8_t *data, size_t bytes)
{
	uint8_t head[8], tail[4];
	uint32_t crc;

	put32(head, (uint32_t)bytes);
	memcpy(head + 4, type, 4);
	crc = libdeflate_crc32(0, head + 4, 4);
	/* Not of nothing: libdeflate takes NULL for a new beginning. */
	if (bytes > 0)
		crc = libdeflate_crc32(crc, data, bytes);
	put32(tail, crc);
	return w->write(head, sizeof(head), w->arg) &&
	    (bytes == 0 || w->write(data, bytes, w->arg)) &&
	    w->write(tail, sizeof(tail), w->arg);
}

static bool
write_head(const struct writer *w)
{
	static const uint8_t magic[8] = {
	    0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
	/* By channels: grey, grey and alpha, RGB, RGBA. */
	static const uint8_t colour_types[] = {0, 0, 4, 2, 6};
	const struct png_pixels *p = w->rows.pixels;
	/* The last three: deflate, filtering, not interlaced. */
	uint8_t head[13] = {0};

	put32(head, p->width_px);
	put32(head + 4, p->height_px);
	head[8] = (uint8_t)p->bits;
	head[9] = colour_types[p->channels_n];
	return w->write(magic, sizeof(magic), w->arg) &&
	    write_chunk(w, "IHDR", head, sizeof(head));
}

static bool
write_texts(const struct writer *w, const struct png_text *texts, size_t n)
{
	size_t most_bytes = 0, bytes;
	bool written = true;
	uint8_t *chunk;
	char type[4];

	for (size_t i = 0; i < n; i++) {
		bytes = texts[i].key_bytes + texts[i].value_bytes;
		if (bytes > most_bytes)
			most_bytes = bytes;
	}
	chunk = malloc(most_bytes + PNG_TEXT_MORE_BYTES);
	if (chunk == NULL)
		return false;
	for (size_t i = 0; i < n && written; i++) {
		bytes = png_text_chunk(&texts[i], type, chunk);
		written = write_chunk(w, type, chunk, bytes);
	}
	free(chunk);
	return written;
}

/* ---- pixels by png_deflate ---- */

/* ${out} has a stripe's room and zlib's head and sum. */
static bool
write_stripes(struct writer *w, struct png_deflate_work *work,
    size_t stripe_rows_n, uint8_t *filtered, uint8_t *out)
{
	const uint32_t height_px = w->rows.pixels->height_px;
	const size_t row_bytes = w->rows.row_bytes + 1;
	struct png_deflate stream = {0, 0};
	uint32_t sum = 1, y = 0;
	size_t rows_n, out_bytes;

	memcpy(out, zlib_head, sizeof(zlib_head));
	out_bytes = sizeof(zlib_head);
	while (y < height_px) {
		rows_n = height_px - y;
		if (rows_n > stripe_rows_n)
			rows_n = stripe_rows_n;
		for (size_t i = 0; i < rows_n; i++)
			png_rows_filter(&w->rows, y++, w->plan.filter,
			    filtered + i * row_bytes);
		sum = libdeflate_adler32(sum, filtered, rows_n * row_bytes);
		out_bytes += png_deflate_piece(&stream, work, filtered,
		    rows_n * row_bytes, y == height_px, out + out_bytes);
		if (y == height_px) {
			put32(out + out_bytes, sum);
			out_bytes += 4;
		}
		if (!write_chunk(w, "IDAT", out, out_bytes))
			return false;
		out_bytes = 0;
	}
	return true;
}

/* Of rows that are whole, and no more than there are. */
static size_t
stripe_rows(const struct writer *w)
{
	size_t rows_n = STRIPE_BYTES / (w->rows.row_bytes + 1);

	if (rows_n > w->rows.pixels->height_px)
		rows_n = w->rows.pixels->height_px;
	return rows_n > 0 ? rows_n : 1;
}

static bool
write_coded(struct writer *w)
{
	size_t row_bytes = w->rows.row_bytes + 1;
	size_t rows_n = stripe_rows(w);
	size_t bytes = rows_n * row_bytes;
	struct png_deflate_work *work = png_deflate_create(bytes);
	uint8_t *filtered = malloc(bytes);
	uint8_t *out = malloc(PNG_DEFLATE_ROOM(bytes) + 6);
	bool written = work != NULL && filtered != NULL && out != NULL &&
	    write_stripes(w, work, rows_n, filtered, out);

	png_deflate_destroy(work);
	free(filtered);
	free(out);
	return written;
}

/* ---- pixels by libdeflate ---- */

static void
filter_all(struct writer *w, uint8_t *filtered)
{
	size_t row_bytes = w->rows.row_bytes + 1;

	for (uint32_t y = 0; y < w->rows.pixels->height_px; y++) {
		if (w->plan.each_row) {
			enum png_filter best;
			const uint8_t *tried = png_rows_try(&w->rows, y, &best);

			memcpy(filtered, tried + best * row_bytes, row_bytes);
		} else {
			png_rows_filter(&w->rows, y, w->plan.filter, filtered);
		}
		filtered += row_bytes;
	}
}

static bool
write_pieces(const struct writer *w, const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		size_t piece = bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;

		if (!write_chunk(w, "IDAT", data, piece))
			return false;
		data += piece;
		bytes -= piece;
	}
	return true;
}

static bool
write_searched(struct writer *w)
{
	struct libdeflate_compressor *c =
	    libdeflate_alloc_compressor(w->plan.level);
	size_t bytes = (w->rows.row_bytes + 1) * w->rows.pixels->height_px;
	size_t room = libdeflate_zlib_compress_bound(c, bytes);
	uint8_t *filtered = malloc(bytes);
	uint8_t *out = malloc(room);
	bool written = false;

	if (c != NULL && filtered != NULL && out != NULL) {
		filter_all(w, filtered);
		bytes = libdeflate_zlib_compress(c, filtered, bytes, out, room);
		written = bytes > 0 && write_pieces(w, out, bytes);
	}
	libdeflate_free_compressor(c);
	free(filtered);
	free(out);
	return written;
}

bool
png_write(const struct png_pixels *pixels, const struct png_text *texts,
    size_t texts_n, bool (*write)(const void *data, size_t bytes, void *arg),
    void *arg)
{
	struct writer w = {.write = write, .arg = arg};
	bool written = false;

	if (png_rows_init(&w.rows, pixels))
		written = png_plan(&w.rows, &w.plan) && write_head(&w) &&
		    write_texts(&w, texts, texts_n) &&
		    (w.plan.level == 0 ? write_coded(&w)
				       : write_searched(&w)) &&
		    write_chunk(&w, "IEND", NULL, 0);
	png_rows_fini(&w.rows);
	return written;
}
