/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a SUBMIT to the requests that an endpoint gets; the query is the proof
 * that can be seen.
 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "intake.h"
#include "tensor.h"

#define TEXT(s) ((struct text){s, strlen(s)})

struct asked {
	enum latentd_task task;
	const char *model;
	enum latentd_output output;
	enum latentd_space space;
	struct latentd_tensor tensor;
	uint32_t height_px, width_px;
};

#define F16(n, ...)                 \
	{                           \
		LATENTD_F16, n,     \
		{                   \
			__VA_ARGS__ \
		}                   \
	}
#define BF16(n, ...)                \
	{                           \
		LATENTD_BF16, n,    \
		{                   \
			__VA_ARGS__ \
		}                   \
	}
#define F32(n, ...)                 \
	{                           \
		LATENTD_F32, n,     \
		{                   \
			__VA_ARGS__ \
		}                   \
	}
#define U8(n, ...)                  \
	{                           \
		LATENTD_U8, n,      \
		{                   \
			__VA_ARGS__ \
		}                   \
	}

static struct message_submit
submit(const struct asked *a)
{
	return (struct message_submit){.producer = TEXT("p"),
	    .key = TEXT("k"),
	    .task = a->task,
	    .model = TEXT(a->model),
	    .space = a->space,
	    .output = a->output,
	    .tensor = a->tensor,
	    .height_px = a->height_px,
	    .width_px = a->width_px};
}

/* intake_read() of ${a} with a body of just the right size; the body is gone
 * when this returns. */
static enum latentd_err
take(const struct asked *a, struct intake *in, struct reason *why)
{
	struct message_submit s = submit(a);
	uint64_t bytes = 0;
	uint8_t *body;
	enum latentd_err err;

	tensor_bytes(&s.tensor, &bytes, NULL);
	body = calloc(1, (size_t)bytes + 1);
	cr_assert_not_null(body);
	err = intake_read(&s, body, (size_t)bytes, in, why);
	free(body);
	return err;
}

static const struct taken {
	struct asked asked;
	size_t parts_n;
	enum remote_type accept, replied;
	const char *query;
} decodes[] = {
    /* An image model: what is left open is PNG, made from uint8 pixels. */
    {{0, "sdxl", 0, 0, F16(4, 1, 4, 64, 96), 0, 0}, 1, REMOTE_TENSOR,
	REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=True&shape=1"
	"&shape=4&shape=64&shape=96&dtype=float16&scaling_factor=0.13025"},
    {{0, "sdxl", LATENTD_OUT_PNG, LATENTD_SPACE_VAE, F32(4, 3, 4, 8, 8), 0, 0},
	1, REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=True&shape=3"
	"&shape=4&shape=8&shape=8&dtype=float32"},
    {{0, "sd-v1", LATENTD_OUT_JPG, 0, F16(4, 1, 4, 64, 64), 0, 0}, 1,
	REMOTE_JPEG, REMOTE_JPEG,
	"?image_format=jpg&output_type=pil&partial_postprocess=False&shape=1"
	"&shape=4&shape=64&shape=64&dtype=float16&scaling_factor=0.18215"},
    {{0, "sd-v1", LATENTD_OUT_JPG, 0, F16(4, 5, 4, 64, 64), 0, 0}, 5,
	REMOTE_JPEG, REMOTE_JPEG,
	"?image_format=jpg&output_type=pil&partial_postprocess=False&shape=1"
	"&shape=4&shape=64&shape=64&dtype=float16&scaling_factor=0.18215"},
    {{0, "sd-v1", LATENTD_OUT_PIXELS, 0, BF16(4, 5, 4, 8, 8), 0, 0}, 1,
	REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=True&shape=5"
	"&shape=4&shape=8&shape=8&dtype=bfloat16&scaling_factor=0.18215"},
    {{0, "sd-v1", LATENTD_OUT_FLOAT, LATENTD_SPACE_VAE, F16(4, 2, 4, 8, 8), 0,
	 0},
	1, REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=False&shape=2"
	"&shape=4&shape=8&shape=8&dtype=float16"},
    /* Flux: packed needs its size, unpacked must not send it. */
    {{0, "flux", LATENTD_OUT_PNG, 0, BF16(3, 1, 1024, 64), 512, 512}, 1,
	REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=True&shape=1"
	"&shape=1024&shape=64&dtype=bfloat16&scaling_factor=0.3611"
	"&shift_factor=0.1159&height=512&width=512"},
    {{0, "flux", LATENTD_OUT_JPG, LATENTD_SPACE_VAE, BF16(3, 4, 512, 64), 512,
	 256},
	4, REMOTE_JPEG, REMOTE_JPEG,
	"?image_format=jpg&output_type=pil&partial_postprocess=False&shape=1"
	"&shape=512&shape=64&dtype=bfloat16&height=512&width=256"},
    {{0, "flux", LATENTD_OUT_PIXELS, 0, F16(4, 1, 16, 64, 64), 512, 512}, 1,
	REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=True&shape=1"
	"&shape=16&shape=64&shape=64&dtype=float16&scaling_factor=0.3611"
	"&shift_factor=0.1159"},
    /* The old forms of SD.Next, in the forms that all endpoints know. */
    {{0, "flux", LATENTD_OUT_PIXELS, 0, F16(3, 16, 64, 32), 512, 256}, 1,
	REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=True&shape=1"
	"&shape=16&shape=64&shape=32&dtype=float16&scaling_factor=0.3611"
	"&shift_factor=0.1159"},
    {{0, "flux", LATENTD_OUT_JPG, 0, F16(4, 1, 2, 1024, 64), 512, 512}, 2,
	REMOTE_JPEG, REMOTE_JPEG,
	"?image_format=jpg&output_type=pil&partial_postprocess=False&shape=1"
	"&shape=1024&shape=64&dtype=float16&scaling_factor=0.3611"
	"&shift_factor=0.1159&height=512&width=512"},
    /* A video model: mp4 where left open. */
    {{0, "hunyuan-video", 0, 0, F16(5, 1, 16, 3, 8, 12), 0, 0}, 1, REMOTE_TEXT,
	REMOTE_TEXT,
	"?image_format=jpg&output_type=mp4&partial_postprocess=False&shape=1"
	"&shape=16&shape=3&shape=8&shape=12&dtype=float16"
	"&scaling_factor=0.476986"},
    {{0, "hunyuan-video", LATENTD_OUT_MP4, LATENTD_SPACE_VAE,
	 F16(5, 2, 16, 3, 8, 12), 64, 96},
	2, REMOTE_TEXT, REMOTE_TEXT,
	"?image_format=jpg&output_type=mp4&partial_postprocess=False&shape=1"
	"&shape=16&shape=3&shape=8&shape=12&dtype=float16"},
    {{0, "hunyuan-video", LATENTD_OUT_PNG, 0, F16(5, 1, 16, 3, 8, 12), 0, 0}, 1,
	REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=True&shape=1"
	"&shape=16&shape=3&shape=8&shape=12&dtype=float16"
	"&scaling_factor=0.476986"},
    {{0, "hunyuan-video", LATENTD_OUT_PIXELS, 0, F16(5, 3, 16, 1, 8, 8), 0, 0},
	3, REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=True&shape=1"
	"&shape=16&shape=1&shape=8&shape=8&dtype=float16"
	"&scaling_factor=0.476986"},
    {{0, "hunyuan-video", LATENTD_OUT_FLOAT, 0, F16(5, 3, 16, 1, 8, 8), 0, 0},
	3, REMOTE_TENSOR, REMOTE_TENSOR,
	"?image_format=jpg&output_type=pt&partial_postprocess=False&shape=1"
	"&shape=16&shape=1&shape=8&shape=8&dtype=float16"
	"&scaling_factor=0.476986"},
};

#define N(array) (sizeof(array) / sizeof((array)[0]))

Test(intake, every_kind_of_decode_becomes_the_request_that_yields_it)
{
	for (size_t i = 0; i < N(decodes); i++) {
		char query[REMOTE_QUERY_BYTES];
		struct intake in;
		struct reason why = {0};

		cr_assert_eq(take(&decodes[i].asked, &in, &why), LATENTD_OK,
		    "%zu: %s", i, why.text);
		cr_assert_str_eq(remote_query_format(&in.remote, query),
		    decodes[i].query, "%zu: %s", i, query);
		cr_assert_eq(in.parts_n, decodes[i].parts_n, "%zu", i);
		cr_assert_eq(in.remote.accept, decodes[i].accept, "%zu", i);
		cr_assert_eq(in.expect.type, decodes[i].replied, "%zu", i);
		cr_assert_eq(in.remote.body, REMOTE_TENSOR, "%zu", i);
		cr_assert_eq(in.task, LATENTD_DECODE);
		cr_assert_not(in.expect.base64);
	}
}

Test(intake, a_part_holds_its_share_of_the_payload)
{
	for (size_t i = 0; i < N(decodes); i++) {
		uint64_t part_bytes = 0;
		struct intake in;

		take(&decodes[i].asked, &in, NULL);
		cr_assert_eq(tensor_bytes(&in.remote.tensor, &part_bytes, NULL),
		    LATENTD_OK, "%zu", i);
		cr_assert_eq(in.payload_bytes, part_bytes * in.parts_n,
		    "%zu: %zu parts of %zu do not make %zu", i, in.parts_n,
		    (size_t)part_bytes, in.payload_bytes);
	}
}

Test(intake, geometry_is_that_of_the_whole_job_and_expectation_of_one_part)
{
	const struct asked jpgs = {
	    0, "sd-v1", LATENTD_OUT_JPG, 0, F16(4, 5, 4, 64, 32), 0, 0};
	const struct asked video = {0, "hunyuan-video", LATENTD_OUT_PIXELS, 0,
	    F16(5, 2, 16, 3, 8, 12), 0, 0};
	struct intake in;

	cr_assert_eq(take(&jpgs, &in, NULL), LATENTD_OK);
	cr_assert_eq(in.geo.batch, 5);
	cr_assert_eq(in.geo.height_px, 512);
	cr_assert_eq(in.geo.width_px, 256);
	cr_assert_eq(in.expect.geo.batch, 1);
	cr_assert_eq(take(&video, &in, NULL), LATENTD_OK);
	cr_assert_eq(in.geo.batch, 2);
	cr_assert_eq(in.geo.frames, 9);
	cr_assert_eq(in.expect.tensor.ndim, 4);
	cr_assert_eq(in.expect.tensor.shape[0], 9);
	cr_assert_eq(in.expect.max_bytes, 9 * 64 * 96 * 3);
}

/* ---- what is refused ---- */

static const struct refused {
	struct asked asked;
	enum latentd_err err;
	const char *names;
} refusals[] = {
    {{0, "sdxxl", 0, 0, F16(4, 1, 4, 8, 8), 0, 0}, LATENTD_ERR_MODEL, "sdxxl"},
    {{0, "wan", 0, 0, F16(4, 1, 4, 8, 8), 0, 0}, LATENTD_ERR_MODEL,
	"sd-v1, sdxl, flux, hunyuan-video"},
    {{0, "sdxl", LATENTD_OUT_MP4, 0, F16(4, 1, 4, 8, 8), 0, 0},
	LATENTD_ERR_UNSUPPORTED, "mp4"},
    {{0, "hunyuan-video", LATENTD_OUT_JPG, 0, F16(5, 1, 16, 1, 8, 8), 0, 0},
	LATENTD_ERR_UNSUPPORTED, "jpg"},
    {{0, "sdxl", LATENTD_OUT_LATENT, 0, F16(4, 1, 4, 8, 8), 0, 0},
	LATENTD_ERR_UNSUPPORTED, "latent"},
    {{LATENTD_ENCODE, "sdxl", LATENTD_OUT_PNG, 0, F32(4, 1, 3, 8, 8), 0, 0},
	LATENTD_ERR_UNSUPPORTED, "png"},
    {{0, "sdxl", 0, 0, {0}, 0, 0}, LATENTD_ERR_SHAPE, "dtype"},
    {{0, "sdxl", 0, 0, {LATENTD_F16, 0, {0}}, 0, 0}, LATENTD_ERR_SHAPE,
	"shape"},
    {{0, "sdxl", 0, 0, {0, 4, {1, 4, 8, 8}}, 0, 0}, LATENTD_ERR_SHAPE, "dtype"},
    {{0, "sdxl", 0, 0, F16(4, 1, 0, 8, 8), 0, 0}, LATENTD_ERR_SHAPE, "0"},
    {{0, "sdxl", 0, 0, F16(4, 1, 16, 8, 8), 0, 0}, LATENTD_ERR_SHAPE,
	"[N,4,h,w]"},
    {{0, "sdxl", 0, 0, U8(4, 1, 4, 8, 8), 0, 0}, LATENTD_ERR_INVALID, "uint8"},
    {{0, "sdxl", 0, 0, F16(4, 65, 4, 1, 1), 0, 0}, LATENTD_ERR_TOO_LARGE, "65"},
    {{0, "sdxl", 0, 0, F16(4, 1, 4, 2049, 1), 0, 0}, LATENTD_ERR_TOO_LARGE,
	"16392"},
    {{0, "flux", 0, 0, F16(3, 1, 1024, 64), 0, 0}, LATENTD_ERR_SHAPE, "height"},
    {{0, "flux", 0, 0, F16(3, 1, 1024, 64), 512, 0}, LATENTD_ERR_SHAPE,
	"width"},
    {{0, "flux", 0, 0, F16(3, 1, 1024, 64), 512, 256}, LATENTD_ERR_SHAPE,
	"256"},
    {{0, "hunyuan-video", 0, 0, F16(4, 1, 16, 8, 8), 0, 0}, LATENTD_ERR_SHAPE,
	"[N,16,T,h,w]"},
    {{0, "hunyuan-video", 0, 0, F16(5, 1, 16, 1025, 1, 1), 0, 0},
	LATENTD_ERR_TOO_LARGE, "4097"},
    {{0, "hunyuan-video", LATENTD_OUT_PNG, 0, F16(5, 1, 16, 513, 1, 1), 0, 0},
	LATENTD_ERR_TOO_LARGE, "2049"},
    {{0, "hunyuan-video", LATENTD_OUT_PNG, 0, F16(5, 64, 16, 9, 1, 1), 0, 0},
	LATENTD_ERR_TOO_LARGE, "2112"},
    {{LATENTD_ENCODE, "sdxl", 0, 0, F32(4, 1, 4, 8, 8), 0, 0},
	LATENTD_ERR_SHAPE, "[N,3,H,W]"},
    {{LATENTD_ENCODE, "sdxl", 0, 0, F32(4, 1, 3, 7, 8), 0, 0},
	LATENTD_ERR_SHAPE, "7"},
    {{LATENTD_ENCODE, "sdxl", 0, 0, {LATENTD_F32, 0, {0}}, 0, 0},
	LATENTD_ERR_SHAPE, "shape"},
};

Test(intake, what_cannot_be_is_refused_with_its_code_and_what_is_wrong)
{
	for (size_t i = 0; i < N(refusals); i++) {
		struct intake in;
		struct reason why = {0};

		cr_assert_eq(take(&refusals[i].asked, &in, &why),
		    refusals[i].err, "%zu: %s: %s", i,
		    latentd_err_name(why.err), why.text);
		cr_assert_not_null(strstr(why.text, refusals[i].names),
		    "%zu: %s", i, why.text);
	}
}

Test(intake, a_body_that_is_not_as_long_as_the_shape_says_is_refused)
{
	const struct asked a = {0, "sdxl", 0, 0, F16(4, 1, 4, 8, 8), 0, 0};
	struct message_submit s = submit(&a);
	static uint8_t body[1024];

	for (size_t bytes = 0; bytes < sizeof(body); bytes += 73) {
		struct intake in;
		struct reason why;

		if (bytes == 512)
			continue;
		cr_assert_eq(
		    intake_read(&s, body, bytes, &in, &why), LATENTD_ERR_SHAPE);
		cr_assert_not_null(strstr(why.text, "512"), "%s", why.text);
		s.task = LATENTD_ENCODE;
		s.tensor = (struct latentd_tensor)U8(4, 1, 3, 8, 8);
		cr_assert_eq(
		    intake_read(&s, body, bytes, &in, &why), LATENTD_ERR_SHAPE);
		s = submit(&a);
	}
}

Test(intake, the_largest_allowed_number_of_files_is_accepted)
{
	const struct asked frames = {0, "hunyuan-video", LATENTD_OUT_PNG, 0,
	    F16(5, 1, 16, 512, 1, 1), 0, 0};
	const struct asked images = {
	    0, "sdxl", LATENTD_OUT_JPG, 0, F16(4, 64, 4, 1, 1), 0, 0};
	struct intake in;

	cr_assert_eq(take(&frames, &in, NULL), LATENTD_OK);
	cr_assert_eq(in.geo.frames, 2045);
	cr_assert_eq(take(&images, &in, NULL), LATENTD_OK);
	cr_assert_eq(in.parts_n, 64);
}
