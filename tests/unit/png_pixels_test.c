/* SPDX-License-Identifier: Apache-2.0 */
/* Every size, format and kind of picture through libpng's reader. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "base/png_write.h"
#include "fuzz.h"

struct sink {
	uint8_t *at;
	size_t bytes, room_bytes, read_bytes;
};

static bool
on_write(const void *data, size_t bytes, void *arg)
{
	struct sink *s = arg;

	if (s->bytes + bytes > s->room_bytes) {
		s->room_bytes = 2 * (s->bytes + bytes);
		s->at = realloc(s->at, s->room_bytes);
		cr_assert_not_null(s->at);
	}
	memcpy(s->at + s->bytes, data, bytes);
	s->bytes += bytes;
	return true;
}

static void
on_read(png_structp png, png_bytep data, png_size_t bytes)
{
	struct sink *s = png_get_io_ptr(png);

	cr_assert(bytes <= s->bytes - s->read_bytes);
	memcpy(data, s->at + s->read_bytes, bytes);
	s->read_bytes += bytes;
}

static void
on_complaint(png_structp png, png_const_charp text)
{
	(void)png;
	cr_assert_fail("libpng says: %s", text);
}

/* ---- pictures ---- */

enum kind {
	KIND_NOISE,
	KIND_GRADIENT,
	KIND_SMOOTH, /* a little noise on a gradient */
	KIND_BOXES,
	KIND_FLAT,
	KIND_TILES,
	KINDS_N
};

static uint16_t
sample_at(struct fuzz *f, enum kind kind, uint32_t x, uint32_t y, unsigned c)
{
	switch (kind) {
	case KIND_NOISE:
		return (uint16_t)fuzz_next(f);
	case KIND_GRADIENT:
		return (uint16_t)((x * 3 + y * 2) * 257 + c);
	case KIND_SMOOTH:
		return (uint16_t)((x + y * 2 + fuzz_below(f, 3)) * 257);
	case KIND_BOXES:
		return (uint16_t)((x / 7 ^ y / 5) * 9973 * (c + 1));
	case KIND_TILES:
		return (uint16_t)((x % 5 * 31 + y % 3 * 77 + c) * 2654435761u);
	case KIND_FLAT:
	case KINDS_N:
		break;
	}
	return 0;
}

/* Rows are further apart than they are long, and what is between is noise. */
static struct png_pixels
make(struct fuzz *f, uint32_t width_px, uint32_t height_px, unsigned channels_n,
    unsigned bits, enum kind kind)
{
	size_t row_bytes = (size_t)width_px * channels_n * (bits / 8);
	size_t stride_bytes = row_bytes + fuzz_below(f, 9);
	uint8_t *at = malloc(stride_bytes * height_px);

	cr_assert_not_null(at);
	for (size_t i = 0; i < stride_bytes * height_px; i++)
		at[i] = (uint8_t)fuzz_next(f);
	for (uint32_t y = 0; y < height_px; y++) {
		for (uint32_t i = 0; i < width_px * channels_n; i++) {
			uint16_t sample = sample_at(
			    f, kind, i / channels_n, y, i % channels_n);
			uint8_t *row = at + y * stride_bytes;

			if (bits == 16)
				memcpy(row + 2 * (size_t)i, &sample, 2);
			else
				row[i] = (uint8_t)(sample >> 8);
		}
	}
	return (struct png_pixels){
	    at, stride_bytes, width_px, height_px, channels_n, bits};
}

static void
check_row(const struct png_pixels *p, uint32_t y, const uint8_t *got)
{
	const uint8_t *want = (const uint8_t *)p->at + y * p->stride_bytes;
	size_t samples_n = (size_t)p->width_px * p->channels_n;
	uint16_t a, b;

	if (p->bits == 8) {
		cr_assert_arr_eq(got, want, samples_n);
		return;
	}
	for (size_t i = 0; i < samples_n; i++) {
		memcpy(&a, got + 2 * i, 2);
		memcpy(&b, want + 2 * i, 2);
		cr_assert_eq(be16toh(a), b);
	}
}

static void
check_read(const struct png_pixels *p, struct sink *s)
{
	static const int colours[] = {0, PNG_COLOR_TYPE_GRAY,
	    PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGBA};
	png_structp png = png_create_read_struct(
	    PNG_LIBPNG_VER_STRING, NULL, on_complaint, on_complaint);
	png_infop info = png_create_info_struct(png);
	uint8_t *row;

	png_set_read_fn(png, s, on_read);
	png_read_info(png, info);
	cr_assert_eq(png_get_image_width(png, info), p->width_px);
	cr_assert_eq(png_get_image_height(png, info), p->height_px);
	cr_assert_eq(png_get_bit_depth(png, info), p->bits);
	cr_assert_eq(png_get_color_type(png, info), colours[p->channels_n]);
	row = malloc(png_get_rowbytes(png, info));
	for (uint32_t y = 0; y < p->height_px; y++) {
		png_read_row(png, row, NULL);
		check_row(p, y, row);
	}
	png_read_end(png, NULL);
	cr_assert_eq(s->read_bytes, s->bytes);
	free(row);
	png_destroy_read_struct(&png, &info, NULL);
}

static void
check(struct fuzz *f, uint32_t width_px, uint32_t height_px,
    unsigned channels_n, unsigned bits, enum kind kind)
{
	struct png_pixels p =
	    make(f, width_px, height_px, channels_n, bits, kind);
	struct sink s = {.at = NULL};

	cr_assert(png_write(&p, NULL, 0, on_write, &s));
	check_read(&p, &s);
	free(s.at);
	free((void *)(uintptr_t)p.at);
}

/* ---- claims ---- */

struct format {
	unsigned number, channels_n, bits;
};

ParameterizedTestParameters(
    png_pixels, sizes_up_to_65_squares_come_back_in_8_and_16_bits)
{
	static struct format formats[] = {{0, 1, 8}, {1, 2, 8}, {2, 3, 8},
	    {3, 4, 8}, {0, 1, 16}, {1, 2, 16}, {2, 3, 16}, {3, 4, 16}};

	return cr_make_param_array(struct format, formats, 8);
}

ParameterizedTest(struct format *format, png_pixels,
    sizes_up_to_65_squares_come_back_in_8_and_16_bits)
{
	struct fuzz f = {.state = 100 + format->channels_n + format->bits};

	for (uint32_t height_px = 1; height_px <= 65; height_px++) {
		for (uint32_t width_px = 1; width_px <= 65; width_px++) {
			/* All channels have their turn at each width and at
			 * each height; all at once would take a minute. */
			if ((width_px + height_px) % 4 != format->number)
				continue;
			check(&f, width_px, height_px, format->channels_n,
			    format->bits, (enum kind)fuzz_below(&f, KINDS_N));
		}
	}
}

/* Several stripes, a sample that is not the whole, every way to write. */
Test(png_pixels, larger_pictures_of_every_kind_come_back)
{
	struct fuzz f = {.state = 5};

	for (unsigned i = 0; i < 8 * KINDS_N; i++)
		check(&f, 200 + (uint32_t)fuzz_below(&f, 150),
		    150 + (uint32_t)fuzz_below(&f, 200), 1 + i % 4,
		    i / 4 % 2 == 0 ? 8 : 16, (enum kind)(i / 8));
}

Test(png_pixels, the_widest_and_the_highest_come_back)
{
	struct fuzz f = {.state = 6};

	for (enum kind kind = 0; kind < KINDS_N; kind++) {
		check(&f, 16384, 9, 4, 16, kind);
		check(&f, 16384, 1, 3, 8, kind);
		check(&f, 1, 16384, 3, 8, kind);
		check(&f, 2, 16384, 4, 16, kind);
	}
}

/* ---- threads ---- */

struct thread {
	pthread_t id;
	const struct png_pixels *pixels;
	struct sink sink;
	bool written;
};

static void *
on_thread(void *arg)
{
	struct thread *t = arg;

	t->written = png_write(t->pixels, NULL, 0, on_write, &t->sink);
	return NULL;
}

Test(png_pixels, several_threads_write_at_once)
{
	struct fuzz f = {.state = 8};
	struct png_pixels pixels[KINDS_N];
	struct thread threads[2 * KINDS_N];

	for (unsigned i = 0; i < KINDS_N; i++)
		pixels[i] = make(&f, 300, 250, 3, 8, (enum kind)i);
	memset(threads, 0, sizeof(threads));
	for (unsigned i = 0; i < 2 * KINDS_N; i++) {
		threads[i].pixels = &pixels[i % KINDS_N];
		cr_assert_eq(pthread_create(
				 &threads[i].id, NULL, on_thread, &threads[i]),
		    0);
	}
	for (unsigned i = 0; i < 2 * KINDS_N; i++) {
		pthread_join(threads[i].id, NULL);
		cr_assert(threads[i].written);
		check_read(threads[i].pixels, &threads[i].sink);
		free(threads[i].sink.at);
	}
	for (unsigned i = 0; i < KINDS_N; i++)
		free((void *)(uintptr_t)pixels[i].at);
}

/* ---- sizes ---- */

static size_t
written_bytes(uint32_t side_px, enum kind kind)
{
	struct fuzz f = {.state = 12};
	struct png_pixels p = make(&f, side_px, side_px, 3, 8, kind);
	struct sink s = {.at = NULL};

	cr_assert(png_write(&p, NULL, 0, on_write, &s));
	free(s.at);
	free((void *)(uintptr_t)p.at);
	return s.bytes;
}

/* What coding alone would make ten times as large. */
Test(png_pixels, what_repeats_itself_is_searched_for_repetitions)
{
	cr_assert(written_bytes(512, KIND_BOXES) < 512 * 512 * 3 / 40);
	cr_assert(written_bytes(512, KIND_TILES) < 512 * 512 * 3 / 200);
	cr_assert(written_bytes(512, KIND_FLAT) < 512 * 512 * 3 / 500);
}

Test(png_pixels, noise_is_hardly_larger_than_its_pixels)
{
	cr_assert(written_bytes(512, KIND_NOISE) < 512 * 512 * 3 / 100 * 101);
}
