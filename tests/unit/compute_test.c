/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the endpoint reads and writes, and whole requests. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "compute.h"
#include "image.h"
#include "photo.h"
#include "tensor.h"
#include "video.h"

static struct reason why;

TestSuite(video, .init = video_quiet);
TestSuite(compute, .init = video_quiet);

Test(picture, png_gives_the_same_pixels_back)
{
	struct picture p = photo_make(37, 21), back;
	struct blob file;

	cr_assert_eq(picture_write_png(&p, &file, &why), LATENTD_OK);
	cr_assert_eq(
	    picture_read(file.data, file.bytes, &back, &why), LATENTD_OK);
	cr_assert_eq(back.width, 37);
	cr_assert_eq(back.height, 21);
	cr_assert_eq(memcmp(p.rgb, back.rgb, (size_t)37 * 21 * 3), 0);
	blob_free(&file);
	free(p.rgb);
	free(back.rgb);
}

Test(picture, jpeg_gives_nearly_the_same_pixels_back)
{
	struct picture p = photo_make(64, 48), back;
	struct blob file;

	cr_assert_eq(picture_write_jpeg(&p, &file, &why), LATENTD_OK);
	cr_assert_eq(
	    picture_read(file.data, file.bytes, &back, &why), LATENTD_OK);
	cr_assert_gt(photo_psnr(&p, &back), 40);
	blob_free(&file);
	free(p.rgb);
	free(back.rgb);
}

/* Cut anywhere, a file is refused or (JPEG) read as far as it goes. */
static void
cut_everywhere(const struct blob *file)
{
	struct picture back;
	enum latentd_err err;
	size_t n;

	for (n = 1; n < file->bytes; n++) {
		/* A copy of its own, so that reading past it is seen. */
		void *cut = malloc(n);

		memcpy(cut, file->data, n);
		err = picture_read(cut, n, &back, &why);
		if (err == LATENTD_OK)
			free(back.rgb);
		else
			cr_assert_gt(strlen(why.text), 0);
		free(cut);
	}
}

Test(picture, truncated_files_are_harmless)
{
	struct picture p = photo_make(24, 16), back;
	struct blob png, jpeg;

	cr_assert_eq(picture_write_png(&p, &png, &why), LATENTD_OK);
	cr_assert_eq(picture_write_jpeg(&p, &jpeg, &why), LATENTD_OK);
	cut_everywhere(&png);
	cut_everywhere(&jpeg);
	cr_assert_eq(picture_read(png.data, png.bytes / 2, &back, &why),
	    LATENTD_ERR_IMAGE);
	cr_assert_eq(
	    picture_read("GIF89a..", 8, &back, &why), LATENTD_ERR_IMAGE);
	blob_free(&png);
	blob_free(&jpeg);
	free(p.rgb);
}

Test(video, mp4_holds_every_frame_in_its_size)
{
	struct picture p = photo_make(48, 32);
	struct image_info info;
	struct video *video;
	struct blob file;
	int i;

	cr_assert_eq(
	    video_open(48, 32, 15, &video, &why), LATENTD_OK, "%s", why.text);
	for (i = 0; i < 17; i++)
		cr_assert_eq(video_add(video, p.rgb, &why), LATENTD_OK);
	cr_assert_eq(video_finish(video, &file, &why), LATENTD_OK);
	video_close(video);
	cr_assert_eq(image_parse(file.data, file.bytes, &info, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(info.kind, IMAGE_MP4);
	cr_assert_eq(info.width_px, 48);
	cr_assert_eq(info.height_px, 32);
	cr_assert_eq(info.frames, 17);
	blob_free(&file);
	free(p.rgb);
}

Test(video, unfinished_one_can_be_closed)
{
	struct video *video;

	cr_assert_eq(video_open(16, 16, 15, &video, &why), LATENTD_OK);
	video_close(video);
	video_close(NULL);
}

/* ---- whole requests ---- */

struct outcome {
	const char *query[2 * 12]; /* key, value, ... */
	enum remote_type accept;
	const char *type;
	const char *shape; /* "": not a tensor */
};

static void
apply_query(struct compute *c, const char *const *query)
{
	enum latentd_err err;

	for (; *query != NULL; query += 2) {
		err = remote_request_param(&c->req, query[0], query[1], &why);
		cr_assert_eq(err, LATENTD_OK, "%s", why.text);
	}
}

static void
check_reply(const struct compute *c, const struct outcome *o)
{
	char shape[TENSOR_SHAPE_TEXT_BYTES] = "";
	uint64_t bytes = c->reply.bytes;

	cr_assert_eq(c->why.err, LATENTD_OK, "%s", c->why.text);
	cr_assert_str_eq(c->type, o->type);
	if (c->tensor.ndim > 0) {
		tensor_shape_format(&c->tensor, shape);
		tensor_bytes(&c->tensor, &bytes, &why);
	}
	cr_assert_str_eq(shape, o->shape);
	cr_assert_eq(c->reply.bytes, bytes);
	cr_assert_gt(bytes, 0);
}

static void
expect_reply(const char *model, const struct outcome *o)
{
	struct compute c;
	uint64_t bytes = 0;
	void *body;

	memset(&c, 0, sizeof(c));
	c.req = photo_request(LATENTD_DECODE, model);
	c.req.accept = o->accept;
	c.fps = 15;
	apply_query(&c, o->query);
	tensor_bytes(&c.req.tensor, &bytes, &why);
	body = calloc(1, (size_t)bytes);
	c.body = body;
	c.body_bytes = (size_t)bytes;
	compute_run(&c);
	check_reply(&c, o);
	blob_free(&c.reply);
	free(body);
}

#define SHAPE4 "shape", "2", "shape", "4", "shape", "3", "shape", "5"
#define ONE4 "shape", "1", "shape", "4", "shape", "3", "shape", "5"
#define VIDEO \
	"shape", "1", "shape", "16", "shape", "3", "shape", "2", "shape", "4"
#define DTYPE "dtype", "float16"

Test(compute, reply_has_the_shape_that_the_contract_says)
{
	static const struct outcome image[] = {
	    {{ONE4, DTYPE, NULL}, REMOTE_JPEG, "image/jpeg", ""},
	    {{ONE4, DTYPE, "image_format", "png", NULL}, REMOTE_PNG,
		"image/png", ""},
	    {{SHAPE4, DTYPE, "output_type", "pil", NULL}, REMOTE_TENSOR,
		"tensor/binary", "[2,3,24,40]"},
	    {{SHAPE4, DTYPE, "output_type", "pt", NULL}, REMOTE_TENSOR,
		"tensor/binary", "[2,3,24,40]"},
	    {{SHAPE4, DTYPE, "output_type", "pt", "partial_postprocess", "True",
		 NULL},
		REMOTE_TENSOR, "tensor/binary", "[2,24,40,3]"},
	    {{SHAPE4, DTYPE, "output_type", "pt", NULL}, REMOTE_TENSOR_BASE64,
		"tensor/base64", ""},
	};
	static const struct outcome video[] = {
	    {{VIDEO, DTYPE, "output_type", "pt", NULL}, REMOTE_TENSOR,
		"tensor/binary", "[1,3,9,16,32]"},
	    {{VIDEO, DTYPE, "output_type", "pil", NULL}, REMOTE_TENSOR,
		"tensor/binary", "[9,3,16,32]"},
	    {{VIDEO, DTYPE, "output_type", "pt", "partial_postprocess", "True",
		 NULL},
		REMOTE_TENSOR, "tensor/binary", "[9,16,32,3]"},
	    {{VIDEO, DTYPE, "output_type", "mp4", NULL}, REMOTE_TEXT,
		"text/plain; charset=utf-8", ""},
	};
	size_t i;

	for (i = 0; i < sizeof(image) / sizeof(image[0]); i++)
		expect_reply("sdxl", &image[i]);
	for (i = 0; i < sizeof(video) / sizeof(video[0]); i++)
		expect_reply("hunyuan-video", &video[i]);
}

Test(compute, wrong_request_leaves_a_sentence_and_no_reply)
{
	struct compute c = {.body = "abc", .body_bytes = 3};

	c.req = photo_request(LATENTD_ENCODE, "sdxl");
	compute_run(&c);
	cr_assert_eq(c.why.err, LATENTD_ERR_IMAGE);
	cr_assert_null(c.reply.data);
	cr_assert_not_null(strstr(c.why.text, "PNG"), "%s", c.why.text);
}
