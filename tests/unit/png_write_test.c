/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <png.h>

#include "base/png_write.h"
#include "fuzz.h"
#include "image.h"

struct sink {
	uint8_t *at;
	size_t bytes, room_bytes;
	size_t fail_at; /* refuse what goes beyond; 0: never */
};

static bool
on_write(const void *data, size_t bytes, void *arg)
{
	struct sink *s = arg;

	if (s->fail_at != 0 && s->bytes + bytes > s->fail_at)
		return false;
	if (s->bytes + bytes > s->room_bytes) {
		s->room_bytes = 2 * (s->bytes + bytes);
		s->at = realloc(s->at, s->room_bytes);
		cr_assert_not_null(s->at);
	}
	memcpy(s->at + s->bytes, data, bytes);
	s->bytes += bytes;
	return true;
}

static bool
write_rgb(const uint8_t *pixels, uint32_t width_px, uint32_t height_px,
    const struct png_text *texts, size_t texts_n, struct sink *s)
{
	struct png_pixels image = {.at = pixels,
	    .stride_bytes = (size_t)width_px * 3,
	    .width_px = width_px,
	    .height_px = height_px,
	    .channels_n = 3,
	    .bits = 8};

	return png_write(&image, texts, texts_n, on_write, s);
}

static uint8_t *
random_pixels(uint32_t width_px, uint32_t height_px)
{
	struct fuzz f = {.state = width_px * 7919 + height_px};
	size_t bytes = (size_t)width_px * height_px * 3;
	uint8_t *pixels = malloc(bytes);

	cr_assert_not_null(pixels);
	for (size_t i = 0; i < bytes; i++)
		pixels[i] = (uint8_t)fuzz_next(&f);
	return pixels;
}

static struct sink
written(const uint8_t *pixels, uint32_t width_px, uint32_t height_px,
    const struct png_text *texts, size_t texts_n)
{
	struct sink s = {.at = NULL};

	cr_assert(write_rgb(pixels, width_px, height_px, texts, texts_n, &s));
	return s;
}

static void
check_pixels(const struct sink *s, const uint8_t *pixels, uint32_t width_px,
    uint32_t height_px)
{
	png_image image = {.version = PNG_IMAGE_VERSION};
	size_t bytes = (size_t)width_px * height_px * 3;
	uint8_t *got = malloc(bytes);

	cr_assert(png_image_begin_read_from_memory(&image, s->at, s->bytes));
	cr_assert_eq(image.width, width_px);
	cr_assert_eq(image.height, height_px);
	cr_assert_eq(image.format, PNG_FORMAT_RGB);
	image.format = PNG_FORMAT_RGB;
	cr_assert(png_image_finish_read(&image, NULL, got, 0, NULL));
	cr_assert_arr_eq(got, pixels, bytes);
	free(got);
}

Test(png_write, pixels_of_every_size_come_back_exactly)
{
	static const uint32_t sizes[][2] = {{1, 1}, {1, 7}, {7, 1}, {3, 5},
	    {17, 1}, {255, 3}, {257, 129}, {512, 512}, {16384, 1}, {1, 16384}};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t width_px = sizes[i][0], height_px = sizes[i][1];
		uint8_t *pixels = random_pixels(width_px, height_px);
		struct sink s = written(pixels, width_px, height_px, NULL, 0);
		struct image_info info;

		check_pixels(&s, pixels, width_px, height_px);
		/* The daemon's own reader finds it whole. */
		cr_assert_eq(image_parse(s.at, s.bytes, &info, NULL), 0);
		cr_assert_eq(info.width_px, width_px);
		cr_assert_eq(info.height_px, height_px);
		free(s.at);
		free(pixels);
	}
}

/* ---- texts ---- */

static uint32_t
big_endian(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
	    (uint32_t)at[2] << 8 | at[3];
}

/* The kinds of the chunks in order, as "IHDR tEXt ... IEND"; IDAT once. */
static void
chunks_of(const struct sink *s, char *list, size_t list_bytes)
{
	size_t at = 8, used = 0;

	while (at < s->bytes) {
		const char *kind = (const char *)s->at + at + 4;

		if (strncmp(kind, "IDAT", 4) != 0 || used < 5 ||
		    strncmp(list + used - 5, "IDAT ", 5) != 0) {
			cr_assert(used + 6 < list_bytes);
			memcpy(list + used, kind, 4);
			list[used + 4] = ' ';
			used += 5;
		}
		at += 12 + big_endian(s->at + at);
	}
	cr_assert_eq(at, s->bytes);
	list[used] = '\0';
}

struct source {
	const struct sink *sink;
	size_t at;
};

static void
on_read(png_structp png, png_bytep data, png_size_t bytes)
{
	struct source *source = png_get_io_ptr(png);

	if (bytes > source->sink->bytes - source->at)
		png_error(png, "the end");
	memcpy(data, source->sink->at + source->at, bytes);
	source->at += bytes;
}

/* Compare the texts that libpng finds before the pixels. */
static void
check_texts(const struct sink *s, const struct png_text *want, size_t want_n)
{
	png_structp png =
	    png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_infop info = png_create_info_struct(png);
	struct source source = {s, 0};
	png_textp got = NULL;
	int got_n = 0;

	png_set_user_limits(png, 1000000, 1000000);
	png_set_chunk_malloc_max(png, 0);
	png_set_read_fn(png, &source, on_read);
	png_read_info(png, info);
	png_get_text(png, info, &got, &got_n);
	cr_assert_eq(got_n, (int)want_n);
	for (size_t i = 0; i < want_n; i++) {
		size_t bytes = got[i].compression >= PNG_ITXT_COMPRESSION_NONE
		    ? got[i].itxt_length
		    : got[i].text_length;

		cr_assert_eq(strlen(got[i].key), want[i].key_bytes);
		cr_assert_arr_eq(got[i].key, want[i].key, want[i].key_bytes);
		cr_assert_eq(bytes, want[i].value_bytes, "text %zu", i);
		cr_assert_arr_eq(
		    got[i].text, want[i].value, want[i].value_bytes);
	}
	png_destroy_read_struct(&png, &info, NULL);
}

#define PNG_TEXT(key, value)                                   \
	{                                                      \
		key, sizeof(key) - 1, value, sizeof(value) - 1 \
	}

static void
check_written(
    const struct png_text *texts, size_t texts_n, const char *want_chunks)
{
	static const uint8_t pixel[3] = {1, 2, 3};
	struct sink s = written(pixel, 1, 1, texts, texts_n);
	char chunks[1024];

	chunks_of(&s, chunks, sizeof(chunks));
	cr_assert_str_eq(chunks, want_chunks, "%s", chunks);
	check_texts(&s, texts, texts_n);
	free(s.at);
}

Test(png_write, plain_values_become_text_and_others_international_text)
{
	static const struct png_text texts[] = {
	    PNG_TEXT("parameters", "a cat\nSteps: 20, Sampler: Euler"),
	    PNG_TEXT("prompt", "{\"1\": \"caf\xc3\xa9\"}"),
	    PNG_TEXT("workflow", "\xe7\x8c\xab"),
	    PNG_TEXT("tab", "a\tb"),
	    PNG_TEXT("return", "a\r\nb"),
	    PNG_TEXT("delete", "\x7f"),
	    PNG_TEXT("empty", ""),
	    PNG_TEXT("k", " leading and trailing "),
	};

	check_written(texts, sizeof(texts) / sizeof(texts[0]),
	    "IHDR tEXt iTXt iTXt iTXt iTXt iTXt tEXt tEXt IDAT IEND ");
}

Test(png_write, the_same_key_twice_is_written_twice)
{
	static const struct png_text texts[] = {
	    PNG_TEXT("prompt", "one"), PNG_TEXT("prompt", "two")};

	check_written(texts, 2, "IHDR tEXt tEXt IDAT IEND ");
}

Test(png_write, keys_of_79_bytes_and_of_latin_1_are_kept)
{
	static const char key[] =
	    "0123456789012345678901234567890123456789012345678901234567890123"
	    "456789012345678";
	static const struct png_text texts[] = {
	    {key, 79, "v", 1}, PNG_TEXT("caf\xe9", "v")};

	check_written(texts, 2, "IHDR tEXt tEXt IDAT IEND ");
}

Test(png_write, neither_key_nor_value_need_to_end_with_nul)
{
	static const struct png_text texts[] = {{"keyXX", 3, "valueXX", 5}};
	static const uint8_t pixel[3] = {0};
	struct sink s = written(pixel, 1, 1, texts, 1);

	check_texts(&s, texts, 1);
	free(s.at);
}

Test(png_write, values_of_a_megabyte_and_many_of_them_are_written)
{
	size_t bytes = 1048576;
	char *ascii = malloc(bytes), *utf8 = malloc(bytes);
	struct png_text texts[64];
	static const uint8_t pixel[3] = {0};
	struct sink s;

	memset(ascii, 'a', bytes);
	for (size_t i = 0; i < bytes; i += 2)
		memcpy(utf8 + i, "\xc3\xa9", 2);
	for (size_t i = 0; i < 64; i++)
		texts[i] = (struct png_text){"k", 1, ascii, 100};
	texts[7] = (struct png_text){"ascii", 5, ascii, bytes};
	texts[8] = (struct png_text){"utf8", 4, utf8, bytes};
	s = written(pixel, 1, 1, texts, 64);
	cr_assert(s.bytes > 2 * bytes);
	check_texts(&s, texts, 64);
	free(s.at);
	free(ascii);
	free(utf8);
}

Test(png_write, a_sink_that_refuses_ends_it_wherever_that_is)
{
	static const struct png_text texts[] = {
	    PNG_TEXT("parameters", "a cat"), PNG_TEXT("prompt", "\xc3\xa9")};
	uint8_t *pixels = random_pixels(64, 64);
	struct sink whole = written(pixels, 64, 64, texts, 2);

	for (size_t n = 1; n < whole.bytes; n += 1 + n / 50) {
		struct sink s = {.fail_at = n};

		cr_assert_not(write_rgb(pixels, 64, 64, texts, 2, &s));
		cr_assert(s.bytes <= n);
		free(s.at);
	}
	struct sink s = {.fail_at = whole.bytes};

	cr_assert(write_rgb(pixels, 64, 64, texts, 2, &s));
	free(s.at);
	free(whole.at);
	free(pixels);
}

/* ---- what may be a text ---- */

static bool
key_valid(const char *key, size_t bytes)
{
	char *copy = malloc(bytes > 0 ? bytes : 1);
	bool valid;

	memcpy(copy, key, bytes);
	valid = png_text_key_valid(copy, bytes);
	free(copy);
	return valid;
}

#define KEY_VALID(literal) key_valid(literal, sizeof(literal) - 1)

Test(png_write, keywords_are_what_png_allows)
{
	char key[80];

	memset(key, 'k', sizeof(key));
	cr_assert(key_valid(key, 1));
	cr_assert(key_valid(key, 79));
	cr_assert_not(key_valid(key, 80));
	cr_assert_not(key_valid(key, 0));
	cr_assert(KEY_VALID("two words"));
	cr_assert(KEY_VALID("caf\xe9"));
	cr_assert(KEY_VALID("\xa1\xff"));
	cr_assert_not(KEY_VALID(" leading"));
	cr_assert_not(KEY_VALID("trailing "));
	cr_assert_not(KEY_VALID(" "));
	cr_assert_not(KEY_VALID("double  blank"));
	cr_assert_not(KEY_VALID("no\xa0"
				"break"));
	cr_assert_not(KEY_VALID("nul\0"));
	cr_assert_not(KEY_VALID("line\nend"));
	cr_assert_not(KEY_VALID("del\x7f"));
	cr_assert_not(KEY_VALID("c1\x85"));
}

/* Every keyword that is said to be valid is one that libpng takes. */
Test(png_write, libpng_takes_every_valid_keyword)
{
	static const char bytes[] = "ab \xa0\xa1\x7f\x1f~!";
	struct fuzz f = {.state = 8};
	size_t valid_n = 0;

	for (int i = 0; i < 3000; i++) {
		static const uint8_t pixel[3] = {0};
		char key[8];
		size_t n = 1 + fuzz_below(&f, sizeof(key));
		struct sink s;

		for (size_t k = 0; k < n; k++)
			key[k] = bytes[fuzz_below(&f, sizeof(bytes) - 1)];
		if (!key_valid(key, n))
			continue;
		valid_n++;
		const struct png_text text = {key, n, "v", 1};

		s = written(pixel, 1, 1, &text, 1);
		check_texts(&s, &text, 1);
		free(s.at);
	}
	cr_assert(valid_n > 50, "%zu", valid_n);
}

#define VALUE_VALID(literal) png_text_value_valid(literal, sizeof(literal) - 1)

Test(png_write, values_are_utf8_without_nul)
{
	cr_assert(VALUE_VALID(""));
	cr_assert(VALUE_VALID("plain\n\t\x7f"));
	cr_assert(VALUE_VALID("\xc2\x80\xdf\xbf"));
	cr_assert(
	    VALUE_VALID("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"));
	cr_assert(VALUE_VALID("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
	cr_assert_not(VALUE_VALID("a\0b"));
	cr_assert_not(VALUE_VALID("\x80"));
	cr_assert_not(VALUE_VALID("\xc0\xaf"));
	cr_assert_not(VALUE_VALID("\xc1\xbf"));
	cr_assert_not(VALUE_VALID("\xe0\x9f\xbf"));
	cr_assert_not(VALUE_VALID("\xed\xa0\x80"));
	cr_assert_not(VALUE_VALID("\xf0\x8f\xbf\xbf"));
	cr_assert_not(VALUE_VALID("\xf4\x90\x80\x80"));
	cr_assert_not(VALUE_VALID("\xf5\x80\x80\x80"));
	cr_assert_not(VALUE_VALID("\xff"));
	cr_assert_not(VALUE_VALID("caf\xe9 au lait"));
	/* Cut off: what stands behind must not be looked at. */
	cr_assert_not(png_text_value_valid("\xc3\xa9", 1));
	cr_assert_not(png_text_value_valid("\xe7\x8c\xab", 2));
	cr_assert_not(png_text_value_valid("\xf0\x90\x80\x80", 3));
}
