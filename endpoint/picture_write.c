/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pictures to files in memory.  Compression is chosen for speed: level 3 with
 * the Sub and Up filters gets smooth pictures to within a few percent of the
 * best level.  Worker threads; no state.
 */
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <turbojpeg.h>

#include "picture.h"

#define JPEG_QUALITY 95
#define PNG_LEVEL 3
#define PNG_FIRST_BYTES ((size_t)256 * 1024)

static void
jpeg_release(void *data)
{
	tjFree(data);
}

enum latentd_err
picture_write_jpeg(
    const struct picture *picture, struct blob *file, struct reason *why)
{
	tjhandle tj = tjInitCompress();
	unsigned char *data = NULL;
	unsigned long bytes = 0;

	if (tj == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "not enough memory for the JPEG compressor");
	if (tjCompress2(tj, picture->rgb, (int)picture->width, 0,
		(int)picture->height, TJPF_RGB, &data, &bytes, TJSAMP_420,
		JPEG_QUALITY, 0) != 0) {
		reason_set(why, LATENTD_ERR_MEMORY, "cannot write JPEG: %s",
		    tjGetErrorStr2(tj));
		tjFree(data);
		tjDestroy(tj);
		return LATENTD_ERR_MEMORY;
	}
	tjDestroy(tj);
	*file = (struct blob){data, bytes, jpeg_release};
	return LATENTD_OK;
}

/* A file that grows while libpng writes it. */
struct png_output {
	uint8_t *data;
	size_t bytes;
	size_t size;
	struct reason *why;
};

static void
on_png_write(png_structp png, png_bytep data, size_t bytes)
{
	struct png_output *out = png_get_io_ptr(png);
	size_t size = out->size;
	uint8_t *grown;

	if (bytes > size - out->bytes) {
		while (bytes > size - out->bytes)
			size *= 2;
		grown = realloc(out->data, size);
		if (grown == NULL)
			png_error(png, "not enough memory");
		out->data = grown;
		out->size = size;
	}
	memcpy(out->data + out->bytes, data, bytes);
	out->bytes += bytes;
}

static void
on_png_flush(png_structp png)
{
	(void)png;
}

static void
on_png_error(png_structp png, png_const_charp text)
{
	struct png_output *out = png_get_error_ptr(png);

	reason_set(out->why, LATENTD_ERR_MEMORY, "cannot write PNG: %s", text);
	png_longjmp(png, 1);
}

static void
on_png_warning(png_structp png, png_const_charp text)
{
	(void)png;
	(void)text;
}

/* All that may jump: false when it did. */
static bool
png_write_all(png_structp png, png_infop info, const struct picture *picture)
{
	const size_t stride = (size_t)picture->width * 3;
	uint32_t y;

	if (setjmp(png_jmpbuf(png)) != 0)
		return false;
	png_set_compression_level(png, PNG_LEVEL);
	png_set_filter(png, 0, PNG_FILTER_SUB | PNG_FILTER_UP);
	png_set_user_limits(png, LATENTD_MAX_SIDE_PX, LATENTD_MAX_SIDE_PX);
	png_set_IHDR(png, info, picture->width, picture->height, 8,
	    PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
	    PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	for (y = 0; y < picture->height; y++)
		png_write_row(png, picture->rgb + y * stride);
	png_write_end(png, info);
	return true;
}

enum latentd_err
picture_write_png(
    const struct picture *picture, struct blob *file, struct reason *why)
{
	struct png_output out = {
	    malloc(PNG_FIRST_BYTES), 0, PNG_FIRST_BYTES, why};
	png_structp png = NULL;
	png_infop info = NULL;
	bool written = false;

	if (out.data != NULL)
		png = png_create_write_struct(
		    PNG_LIBPNG_VER_STRING, &out, on_png_error, on_png_warning);
	if (png != NULL)
		info = png_create_info_struct(png);
	if (info == NULL) {
		reason_set(why, LATENTD_ERR_MEMORY,
		    "not enough memory for the PNG writer");
	} else {
		png_set_write_fn(png, &out, on_png_write, on_png_flush);
		written = png_write_all(png, info, picture);
	}
	png_destroy_write_struct(&png, &info);
	if (!written) {
		free(out.data);
		return LATENTD_ERR_MEMORY;
	}
	*file = (struct blob){out.data, out.bytes, free};
	return LATENTD_OK;
}
