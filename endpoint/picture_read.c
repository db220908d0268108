/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files from outside to pixels.  Sizes are checked before anything is
 * allocated for them: the most that a file can cost is one picture of
 * LATENTD_MAX_SIDE_PX each way.  Worker threads; no state.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <turbojpeg.h>

#include "image.h"
#include "picture.h"

static enum latentd_err
check_sides(uint64_t width, uint64_t height, struct reason *why)
{
	if (width >= 1 && width <= LATENTD_MAX_SIDE_PX && height >= 1 &&
	    height <= LATENTD_MAX_SIDE_PX)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_TOO_LARGE,
	    "the picture has %" PRIu64 "x%" PRIu64
	    " pixels, each side must be 1 to %u",
	    width, height, LATENTD_MAX_SIDE_PX);
}

static enum latentd_err
pixels_alloc(struct picture *picture, struct reason *why)
{
	picture->rgb = malloc((size_t)picture->width * picture->height * 3);
	if (picture->rgb == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "not enough memory for a picture of %" PRIu32 "x%" PRIu32
		    " pixels; try again later",
		    picture->width, picture->height);
	return LATENTD_OK;
}

/* ---- JPEG ---- */

static enum latentd_err
jpeg_header(tjhandle tj, const void *data, size_t bytes,
    struct picture *picture, struct reason *why)
{
	int width, height, subsampling, space;

	if (tjDecompressHeader3(
		tj, data, bytes, &width, &height, &subsampling, &space) != 0)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "the JPEG file cannot be read: %s", tjGetErrorStr2(tj));
	if (space == TJCS_CMYK || space == TJCS_YCCK)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "the JPEG file is CMYK, must be RGB, YCbCr or grey");
	if (width < 1 || height < 1)
		width = height = 0;
	picture->width = (uint32_t)width;
	picture->height = (uint32_t)height;
	return check_sides(picture->width, picture->height, why);
}

static enum latentd_err
read_jpeg(
    const void *data, size_t bytes, struct picture *picture, struct reason *why)
{
	struct picture p = {0, 0, NULL};
	tjhandle tj = tjInitDecompress();
	enum latentd_err err;

	if (tj == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "not enough memory for the JPEG reader");
	err = jpeg_header(tj, data, bytes, &p, why);
	if (err == LATENTD_OK)
		err = pixels_alloc(&p, why);
	/* A warning (extra bytes, a damaged spot) still gives a picture. */
	if (err == LATENTD_OK &&
	    tjDecompress2(tj, data, bytes, p.rgb, (int)p.width, 0,
		(int)p.height, TJPF_RGB, TJFLAG_LIMITSCANS) != 0 &&
	    tjGetErrorCode(tj) != TJERR_WARNING)
		err = reason_set(why, LATENTD_ERR_IMAGE,
		    "the JPEG file is damaged: %s", tjGetErrorStr2(tj));
	tjDestroy(tj);
	if (err != LATENTD_OK) {
		free(p.rgb);
		return err;
	}
	*picture = p;
	return LATENTD_OK;
}

/* ---- PNG ---- */

struct png_input {
	const uint8_t *data;
	size_t left;
	struct reason *why;
	struct picture picture;
	png_bytep *rows;
	enum latentd_err err;
};

static void
on_png_read(png_structp png, png_bytep data, size_t bytes)
{
	struct png_input *in = png_get_io_ptr(png);

	if (bytes > in->left)
		png_error(png, "it ends too early");
	memcpy(data, in->data, bytes);
	in->data += bytes;
	in->left -= bytes;
}

static void
on_png_error(png_structp png, png_const_charp text)
{
	struct png_input *in = png_get_error_ptr(png);

	in->err = reason_set(
	    in->why, LATENTD_ERR_IMAGE, "the PNG file is damaged: %s", text);
	png_longjmp(png, 1);
}

static void
on_png_warning(png_structp png, png_const_charp text)
{
	(void)png;
	(void)text;
}

/* Ask for 8-bit RGB whatever the file holds. */
static void
png_want_rgb(png_structp png, png_infop info)
{
	png_set_expand(png);
	png_set_strip_16(png);
	png_set_gray_to_rgb(png);
	png_set_strip_alpha(png);
	png_set_interlace_handling(png);
	png_read_update_info(png, info);
}

static enum latentd_err
png_rows_alloc(struct png_input *in)
{
	struct picture *p = &in->picture;
	enum latentd_err err = pixels_alloc(p, in->why);
	uint32_t y;

	if (err != LATENTD_OK)
		return err;
	in->rows = malloc(p->height * sizeof(in->rows[0]));
	if (in->rows == NULL)
		return reason_set(in->why, LATENTD_ERR_MEMORY,
		    "not enough memory for a picture");
	for (y = 0; y < p->height; y++)
		in->rows[y] = p->rgb + (size_t)y * p->width * 3;
	return LATENTD_OK;
}

/* All that may jump; in->err says how it ended. */
static void
png_read_all(png_structp png, png_infop info, struct png_input *in)
{
	if (setjmp(png_jmpbuf(png)) != 0)
		return;
	png_set_user_limits(png, LATENTD_MAX_SIDE_PX, LATENTD_MAX_SIDE_PX);
	png_set_read_fn(png, in, on_png_read);
	/* Profiles, texts and times are nothing to us. */
	png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
	png_read_info(png, info);
	in->picture.width = png_get_image_width(png, info);
	in->picture.height = png_get_image_height(png, info);
	in->err = check_sides(in->picture.width, in->picture.height, in->why);
	if (in->err != LATENTD_OK)
		return;
	png_want_rgb(png, info);
	if (png_get_rowbytes(png, info) != (size_t)in->picture.width * 3)
		png_error(png, "its pixels do not become RGB");
	in->err = png_rows_alloc(in);
	if (in->err != LATENTD_OK)
		return;
	png_read_image(png, in->rows);
	png_read_end(png, NULL);
}

static enum latentd_err
read_png(
    const void *data, size_t bytes, struct picture *picture, struct reason *why)
{
	struct png_input in = {.data = data, .left = bytes, .why = why};
	png_structp png = png_create_read_struct(
	    PNG_LIBPNG_VER_STRING, &in, on_png_error, on_png_warning);
	png_infop info = png != NULL ? png_create_info_struct(png) : NULL;

	if (info == NULL)
		in.err = reason_set(why, LATENTD_ERR_MEMORY,
		    "not enough memory for the PNG reader");
	else
		png_read_all(png, info, &in);
	png_destroy_read_struct(&png, &info, NULL);
	free(in.rows);
	if (in.err != LATENTD_OK) {
		free(in.picture.rgb);
		return in.err;
	}
	*picture = in.picture;
	return LATENTD_OK;
}

enum latentd_err
picture_read(
    const void *data, size_t bytes, struct picture *picture, struct reason *why)
{
	switch (image_sniff(data, bytes)) {
	case IMAGE_PNG:
		return read_png(data, bytes, picture, why);
	case IMAGE_JPEG:
		return read_jpeg(data, bytes, picture, why);
	case IMAGE_UNKNOWN:
	case IMAGE_MP4:
		break;
	}
	return reason_set(why, LATENTD_ERR_IMAGE,
	    "the body is neither a PNG nor a JPEG file");
}
