/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-png: what writing pictures as PNG takes.
 *
 *     bench-png REPEATS FILE.png...
 *
 * Each file's pixels (8 bits a sample) are written REPEATS times by each
 * contestant, in turns, on one thread, into memory that is there; what latentd
 * wrote is read back by libpng and compared.  Prints JSON: for each contestant
 * the CPU time of each turn in milliseconds and the bytes of the file.
 */
#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "base/png_write.h"
#include "tool.h"

#define REPEATS_MAX 100

struct sink {
	uint8_t *at;
	size_t bytes, room_bytes;
};

static bool
on_bytes(const void *data, size_t bytes, void *arg)
{
	struct sink *s = arg;

	if (bytes > s->room_bytes - s->bytes)
		return false;
	memcpy(s->at + s->bytes, data, bytes);
	s->bytes += bytes;
	return true;
}

/* ---- contestants ---- */

static void
by_latentd(const struct png_pixels *p, struct sink *s)
{
	tool_check(png_write(p, NULL, 0, on_bytes, s), "latentd cannot write");
}

static void
on_libpng(png_structp png, png_bytep data, png_size_t bytes)
{
	tool_check(on_bytes(data, bytes, png_get_io_ptr(png)), "no room");
}

static void
on_flush(png_structp png)
{
	(void)png;
}

static void
by_libpng(const struct png_pixels *p, struct sink *s, bool tuned)
{
	static const int colours[] = {0, PNG_COLOR_TYPE_GRAY,
	    PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGBA};
	png_structp png =
	    png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_infop info = png_create_info_struct(png);

	tool_check(info != NULL && setjmp(png_jmpbuf(png)) == 0,
	    "libpng cannot write");
	png_set_write_fn(png, s, on_libpng, on_flush);
	png_set_IHDR(png, info, p->width_px, p->height_px, 8,
	    colours[p->channels_n], PNG_INTERLACE_NONE,
	    PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	if (tuned) {
		png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_PAETH);
		png_set_compression_strategy(png, Z_HUFFMAN_ONLY);
		png_set_compression_buffer_size(png, 65536);
	}
	png_write_info(png, info);
	for (uint32_t y = 0; y < p->height_px; y++)
		png_write_row(
		    png, (const uint8_t *)p->at + y * p->stride_bytes);
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
}

static void
by_libpng_default(const struct png_pixels *p, struct sink *s)
{
	by_libpng(p, s, false);
}

static void
by_libpng_tuned(const struct png_pixels *p, struct sink *s)
{
	by_libpng(p, s, true);
}

static const struct contestant {
	const char *name;
	void (*write)(const struct png_pixels *, struct sink *);
} contestants[] = {
    {"latentd", by_latentd},
    {"libpng_default", by_libpng_default},
    {"libpng_tuned", by_libpng_tuned},
};
#define CONTESTANTS_N (sizeof(contestants) / sizeof(contestants[0]))

/* ---- one file ---- */

static void
read_file(const char *path, struct png_pixels *p)
{
	png_image image = {.version = PNG_IMAGE_VERSION};
	uint8_t *at;

	tool_check(png_image_begin_read_from_file(&image, path), image.message);
	image.format &= PNG_FORMAT_RGBA;
	at = malloc(PNG_IMAGE_SIZE(image));
	tool_check(at != NULL, "out of memory");
	tool_check(
	    png_image_finish_read(&image, NULL, at, 0, NULL), image.message);
	*p = (struct png_pixels){.at = at,
	    .stride_bytes = PNG_IMAGE_ROW_STRIDE(image),
	    .width_px = image.width,
	    .height_px = image.height,
	    .channels_n = PNG_IMAGE_SAMPLE_CHANNELS(image.format),
	    .bits = 8};
}

static void
check_same(const struct png_pixels *p, const struct sink *s)
{
	png_image image = {.version = PNG_IMAGE_VERSION};
	uint8_t *got;

	tool_check(png_image_begin_read_from_memory(&image, s->at, s->bytes),
	    image.message);
	got = malloc(PNG_IMAGE_SIZE(image));
	tool_check(got != NULL, "out of memory");
	tool_check(
	    png_image_finish_read(&image, NULL, got, 0, NULL), image.message);
	tool_check(image.width == p->width_px && image.height == p->height_px &&
		memcmp(got, p->at, p->stride_bytes * p->height_px) == 0,
	    "libpng reads other pixels than latentd wrote");
	free(got);
}

static double
cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static struct sink
sink_for(const struct png_pixels *p)
{
	size_t bytes = p->stride_bytes * p->height_px;
	struct sink s = {.room_bytes = bytes + bytes / 8 + 65536};

	s.at = malloc(s.room_bytes);
	tool_check(s.at != NULL, "out of memory");
	memset(s.at, 1, s.room_bytes);
	return s;
}

static void
measure(const char *path, int repeats_n, bool last)
{
	double ms[CONTESTANTS_N][REPEATS_MAX];
	size_t bytes[CONTESTANTS_N];
	struct png_pixels p;
	struct sink s;

	read_file(path, &p);
	s = sink_for(&p);
	for (int i = 0; i < repeats_n; i++) {
		for (size_t c = 0; c < CONTESTANTS_N; c++) {
			double start_ms = cpu_ms();

			s.bytes = 0;
			contestants[c].write(&p, &s);
			ms[c][i] = cpu_ms() - start_ms;
			bytes[c] = s.bytes;
			if (i == 0 && c == 0)
				check_same(&p, &s);
		}
	}
	printf(" {\"pixels_bytes\": %zu", p.stride_bytes * p.height_px);
	for (size_t c = 0; c < CONTESTANTS_N; c++) {
		printf(",\n  \"%s\": {\"bytes\": %zu, \"ms\": [",
		    contestants[c].name, bytes[c]);
		for (int i = 0; i < repeats_n; i++)
			printf("%s%.3f", i > 0 ? ", " : "", ms[c][i]);
		printf("]}");
	}
	printf("}%s\n", last ? "" : ",");
	free(s.at);
	free((void *)(uintptr_t)p.at);
}

int
main(int argc, char **argv)
{
	int repeats_n = argc > 2 ? atoi(argv[1]) : 0;

	tool_check(repeats_n >= 1 && repeats_n <= REPEATS_MAX,
	    "usage: bench-png REPEATS FILE.png...");
	printf("[\n");
	for (int i = 2; i < argc; i++)
		measure(argv[i], repeats_n, i == argc - 1);
	printf("]\n");
	return EXIT_SUCCESS;
}
