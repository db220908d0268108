/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpng with the one filter and strategy that serve decoded pictures: Paeth
 * residuals do not repeat, so Huffman coding alone gives the size of libpng's
 * default at a tenth of its time.
 */
#include "base/png_write.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <zlib.h>

struct sink {
	bool (*write)(const void *data, size_t bytes, void *arg);
	void *arg;
};

static void
on_write(png_structp png, png_bytep data, png_size_t bytes)
{
	struct sink *sink = png_get_io_ptr(png);

	if (!sink->write(data, bytes, sink->arg))
		png_error(png, "the sink is full");
}

static void
on_flush(png_structp png)
{
	(void)png;
}

static void
on_warning(png_structp png, png_const_charp text)
{
	(void)png;
	(void)text;
}

static void
on_error(png_structp png, png_const_charp text)
{
	(void)text;
	longjmp(png_jmpbuf(png), 1);
}

bool
png_text_key_valid(const char *key, size_t bytes)
{
	if (bytes == 0 || bytes > 79 || key[0] == ' ' || key[bytes - 1] == ' ')
		return false;
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)key[i];

		if (c < 0x20 || (c >= 0x7f && c < 0xa1))
			return false;
		if (c == ' ' && key[i + 1] == ' ')
			return false;
	}
	return true;
}

/* Length of the UTF-8 character at ${s} (RFC 3629), or 0. */
static size_t
utf8_bytes(const unsigned char *s, size_t left_bytes)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	if (n > left_bytes || (s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

bool
png_text_value_valid(const char *value, size_t bytes)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t n;

	for (size_t i = 0; i < bytes; i += n) {
		n = utf8_bytes(s + i, bytes - i);
		if (n == 0 || s[i] == '\0')
			return false;
	}
	return true;
}

static bool
is_plain(const char *value)
{
	for (; *value != '\0'; value++) {
		unsigned char c = (unsigned char)*value;

		if ((c < 0x20 && c != '\n') || c >= 0x7f)
			return false;
	}
	return true;
}

/* libpng wants NUL-ended strings; ${copy} holds key and value. */
static void
set_text(
    png_structp png, png_infop info, const struct png_text *text, char *copy)
{
	png_text chunk;
	char *value = copy + text->key_bytes + 1;

	memcpy(copy, text->key, text->key_bytes);
	copy[text->key_bytes] = '\0';
	memcpy(value, text->value, text->value_bytes);
	value[text->value_bytes] = '\0';
	memset(&chunk, 0, sizeof(chunk));
	chunk.key = copy;
	chunk.text = value;
	chunk.compression = is_plain(value) ? PNG_TEXT_COMPRESSION_NONE
					    : PNG_ITXT_COMPRESSION_NONE;
	png_set_text(png, info, &chunk, 1);
}

static char *
text_room(const struct png_text *texts, size_t texts_n)
{
	size_t most_bytes = 0;

	for (size_t i = 0; i < texts_n; i++) {
		size_t bytes = texts[i].key_bytes + texts[i].value_bytes + 2;

		if (bytes > most_bytes)
			most_bytes = bytes;
	}
	return malloc(most_bytes + 1);
}

bool
png_write(const uint8_t *pixels, uint32_t width_px, uint32_t height_px,
    const struct png_text *texts, size_t texts_n,
    bool (*write)(const void *data, size_t bytes, void *arg), void *arg)
{
	struct sink sink = {write, arg};
	png_structp png;
	png_infop info = NULL;
	char *volatile copy = text_room(texts, texts_n);

	png = png_create_write_struct(
	    PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
	if (png != NULL)
		info = png_create_info_struct(png);
	if (copy == NULL || info == NULL || setjmp(png_jmpbuf(png)) != 0) {
		png_destroy_write_struct(&png, &info);
		free(copy);
		return false;
	}
	png_set_write_fn(png, &sink, on_write, on_flush);
	png_set_IHDR(png, info, width_px, height_px, 8, PNG_COLOR_TYPE_RGB,
	    PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
	    PNG_FILTER_TYPE_DEFAULT);
	png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_PAETH);
	png_set_compression_strategy(png, Z_HUFFMAN_ONLY);
	png_set_compression_buffer_size(png, 65536);
	for (size_t i = 0; i < texts_n; i++)
		set_text(png, info, &texts[i], copy);
	png_write_info(png, info);
	for (uint32_t y = 0; y < height_px; y++)
		png_write_row(png, pixels + (size_t)y * width_px * 3);
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
	free(copy);
	return true;
}
