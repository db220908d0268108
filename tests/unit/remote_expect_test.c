/* SPDX-License-Identifier: Apache-2.0 */
/* Which reply a request must get, and what is said of one that lies. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "image_fixture.h"
#include "remote_fixture.h"
#include "tensor.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define F16 LATENTD_F16
#define ANY_FLOAT LATENTD_DTYPE_NONE

/* ---- what must come ---- */

static const struct expect_case {
	const char *model;
	struct latentd_tensor t;
	uint32_t height_px, width_px;
	enum remote_output output;
	bool png, partial;
	enum remote_type accept;
	enum latentd_err err;
	enum remote_type type;
	bool base64;
	struct latentd_tensor want;
	const char *says;
} expects[] = {
#define SDXL "sdxl", {F16, 4, {1, 4, 12, 16}}, 0, 0
#define SDXL2 "sdxl", {F16, 4, {2, 4, 12, 16}}, 0, 0
#define PACKED2 "flux", {F16, 3, {2, 48, 64}}, 96, 128
#define VIDEO "hunyuan-video", {F16, 5, {1, 16, 3, 12, 16}}, 0, 0
#define VIDEO2 "hunyuan-video", {F16, 5, {2, 16, 3, 12, 16}}, 0, 0
    {SDXL, REMOTE_PIL, false, false, REMOTE_ANY, LATENTD_OK, REMOTE_JPEG, false,
	{0}, NULL},
    {SDXL, REMOTE_PIL, true, false, REMOTE_ANY, LATENTD_OK, REMOTE_PNG, false,
	{0}, NULL},
    /* image_format decides, not which image is accepted. */
    {SDXL, REMOTE_PIL, true, true, REMOTE_JPEG, LATENTD_OK, REMOTE_PNG, false,
	{0}, NULL},
    {SDXL, REMOTE_PIL, false, false, REMOTE_PNG, LATENTD_OK, REMOTE_JPEG, false,
	{0}, NULL},
    {SDXL2, REMOTE_PIL, false, false, REMOTE_TENSOR, LATENTD_OK, REMOTE_TENSOR,
	false, {ANY_FLOAT, 4, {2, 3, 96, 128}}, NULL},
    {VIDEO, REMOTE_PIL, false, true, REMOTE_TENSOR_BASE64, LATENTD_OK,
	REMOTE_TENSOR, true, {ANY_FLOAT, 4, {9, 3, 96, 128}}, NULL},
    {SDXL2, REMOTE_PT, false, false, REMOTE_ANY, LATENTD_OK, REMOTE_TENSOR,
	false, {ANY_FLOAT, 4, {2, 3, 96, 128}}, NULL},
    {SDXL2, REMOTE_PT, false, true, REMOTE_TENSOR, LATENTD_OK, REMOTE_TENSOR,
	false, {LATENTD_U8, 4, {2, 96, 128, 3}}, NULL},
    {SDXL, REMOTE_PT, false, true, REMOTE_TENSOR_BASE64, LATENTD_OK,
	REMOTE_TENSOR, true, {LATENTD_U8, 4, {1, 96, 128, 3}}, NULL},
    {PACKED2, REMOTE_PT, false, true, REMOTE_TENSOR, LATENTD_OK, REMOTE_TENSOR,
	false, {LATENTD_U8, 4, {2, 96, 128, 3}}, NULL},
    {VIDEO2, REMOTE_PT, false, false, REMOTE_TENSOR, LATENTD_OK, REMOTE_TENSOR,
	false, {ANY_FLOAT, 5, {2, 3, 9, 96, 128}}, NULL},
    {VIDEO, REMOTE_PT, false, true, REMOTE_TENSOR, LATENTD_OK, REMOTE_TENSOR,
	false, {LATENTD_U8, 4, {9, 96, 128, 3}}, NULL},
    {VIDEO, REMOTE_MP4, false, false, REMOTE_TEXT, LATENTD_OK, REMOTE_TEXT,
	false, {0}, NULL},
    {SDXL, REMOTE_MP4, false, false, REMOTE_TEXT, LATENTD_ERR_UNSUPPORTED, 0,
	false, {0}, "output_type=mp4 is for video models only"},
    {VIDEO, REMOTE_PIL, false, false, REMOTE_JPEG, LATENTD_ERR_UNSUPPORTED, 0,
	false, {0}, "hunyuan-video decodes to a video"},
    {VIDEO, REMOTE_PIL, false, false, REMOTE_ANY, LATENTD_ERR_UNSUPPORTED, 0,
	false, {0}, "Accept tensor/binary"},
    {SDXL2, REMOTE_PIL, false, false, REMOTE_JPEG, LATENTD_ERR_UNSUPPORTED, 0,
	false, {0},
	"Can only serialize PIL.Image.Image, got list: split batches of 2"},
    {PACKED2, REMOTE_PIL, true, false, REMOTE_PNG, LATENTD_ERR_UNSUPPORTED, 0,
	false, {0}, "split batches of 2 packed flux latents"},
    {VIDEO2, REMOTE_MP4, false, false, REMOTE_TEXT, LATENTD_ERR_UNSUPPORTED, 0,
	false, {0}, "split batches of 2"},
    {VIDEO2, REMOTE_PT, false, true, REMOTE_TENSOR, LATENTD_ERR_UNSUPPORTED, 0,
	false, {0}, "split batches of 2"},
    {VIDEO2, REMOTE_PIL, false, false, REMOTE_TENSOR, LATENTD_ERR_UNSUPPORTED,
	0, false, {0}, "split batches of 2"},
    {"sdxl", {F16, 4, {1, 5, 8, 8}}, 0, 0, REMOTE_PT, false, false,
	REMOTE_TENSOR, LATENTD_ERR_SHAPE, 0, false, {0}, "[1,5,8,8]"},
    {"sdxl", {F16, 4, {64, 4, 256, 256}}, 0, 0, REMOTE_PT, false, false,
	REMOTE_TENSOR, LATENTD_ERR_TOO_LARGE, 0, false, {0}, "1073741824"},
    {"sdxl", {F16, 4, {60, 4, 256, 256}}, 0, 0, REMOTE_PT, false, true,
	REMOTE_TENSOR_BASE64, LATENTD_OK, REMOTE_TENSOR, true,
	{LATENTD_U8, 4, {60, 2048, 2048, 3}}, NULL},
    {"sdxl", {F16, 4, {64, 4, 260, 256}}, 0, 0, REMOTE_PT, false, true,
	REMOTE_TENSOR_BASE64, LATENTD_ERR_TOO_LARGE, 0, false, {0},
	"too large for base64"},
};

Test(remote_expect, expect_follows_the_reply_table)
{
	const struct expect_case *c;
	struct remote_request req;
	struct remote_expect got;
	struct reason why;
	size_t i;

	for (i = 0; i < N(expects); i++) {
		c = &expects[i];
		req = fixture_request(c->model, F16, 0, 0, 0, 0, 0, 0);
		req.tensor = c->t;
		req.height_px = c->height_px;
		req.width_px = c->width_px;
		req.output = c->output;
		req.png = c->png;
		req.partial_postprocess = c->partial;
		req.accept = c->accept;
		memset(&got, 0, sizeof(got));
		got.type = REMOTE_OTHER;
		why.text[0] = '\0';
		cr_expect_eq(remote_expect(&req, NULL, &got, &why), c->err,
		    "case %zu: %s", i, why.text);
		if (c->says != NULL) {
			cr_expect_not_null(strstr(why.text, c->says),
			    "case %zu: %s", i, why.text);
			cr_expect_eq(got.type, REMOTE_OTHER);
			continue;
		}
		cr_expect_eq(got.type, c->type, "case %zu", i);
		cr_expect_eq(got.base64, c->base64, "case %zu", i);
		cr_expect(tensor_equal(&got.tensor, &c->want), "case %zu", i);
		cr_expect(got.max_bytes > 0 &&
		    got.max_bytes <= LATENTD_MAX_BODY_BYTES);
	}
}

static const struct encode_case {
	const char *model;
	struct latentd_tensor t;
	struct image_info image;
	enum latentd_err err;
	struct latentd_tensor want;
} encodes[] = {
    {"sdxl", {0}, {IMAGE_PNG, 583, 327, 3, 8, 1}, LATENTD_OK,
	{ANY_FLOAT, 4, {1, 4, 40, 72}}},
    {"flux", {0}, {IMAGE_JPEG, 128, 64, 1, 8, 1}, LATENTD_OK,
	{ANY_FLOAT, 4, {1, 16, 8, 16}}},
    {"hunyuan-video", {0}, {IMAGE_JPEG, 128, 64, 3, 8, 1}, LATENTD_OK,
	{ANY_FLOAT, 5, {1, 16, 1, 8, 16}}},
    {"sdxl", {LATENTD_F32, 4, {2, 3, 64, 128}}, {0}, LATENTD_OK,
	{ANY_FLOAT, 4, {2, 4, 8, 16}}},
    {"sdxl", {LATENTD_U8, 3, {3, 64, 128}}, {0}, LATENTD_OK,
	{ANY_FLOAT, 4, {1, 4, 8, 16}}},
    {"hunyuan-video", {F16, 5, {1, 3, 9, 64, 128}}, {0}, LATENTD_OK,
	{ANY_FLOAT, 5, {1, 16, 3, 8, 16}}},
    {"hunyuan-video", {F16, 4, {1, 3, 64, 128}}, {0}, LATENTD_ERR_SHAPE, {0}},
    {"sdxl", {F16, 4, {1, 64, 128, 3}}, {0}, LATENTD_ERR_SHAPE, {0}},
    {"sdxl", {F16, 5, {1, 3, 1, 64, 128}}, {0}, LATENTD_ERR_SHAPE, {0}},
    {"sdxl", {F16, 2, {64, 3}}, {0}, LATENTD_ERR_SHAPE, {0}},
    {"sdxl", {F16, 1, {3}}, {0}, LATENTD_ERR_SHAPE, {0}},
    {"sdxl", {LATENTD_U8, 4, {1, 3, 16392, 8}}, {0}, LATENTD_ERR_TOO_LARGE,
	{0}},
    {"sdxl", {0}, {IMAGE_PNG, 7, 327, 3, 8, 1}, LATENTD_ERR_SHAPE, {0}},
    {"sdxl", {0}, {IMAGE_PNG, 20000, 64, 3, 8, 1}, LATENTD_ERR_TOO_LARGE, {0}},
    {"sdxl", {0}, {IMAGE_MP4, 64, 64, 0, 0, 5}, LATENTD_ERR_UNSUPPORTED, {0}},
};

Test(remote_expect, expect_of_an_encode_is_the_latent)
{
	const struct encode_case *c;
	struct remote_request req;
	struct remote_expect got;
	struct reason why;
	size_t i;

	for (i = 0; i < N(encodes); i++) {
		c = &encodes[i];
		remote_request_init(&req, LATENTD_ENCODE,
		    model_find(c->model, strlen(c->model)));
		req.tensor = c->t;
		memset(&got, 0, sizeof(got));
		why.text[0] = '\0';
		cr_expect_eq(
		    remote_expect(&req,
			c->image.kind != IMAGE_UNKNOWN ? &c->image : NULL, &got,
			&why),
		    c->err, "case %zu: %s", i, why.text);
		cr_expect_eq(why.text[0] != '\0', c->err != LATENTD_OK);
		cr_expect(tensor_equal(&got.tensor, &c->want), "case %zu", i);
		cr_expect_eq(got.type,
		    c->err == LATENTD_OK ? REMOTE_TENSOR : REMOTE_ANY);
	}
}

/* ---- what came ---- */

static struct remote_expect
expected(const char *model, enum remote_output output, bool partial,
    enum remote_type accept)
{
	bool video = strcmp(model, "hunyuan-video") == 0;
	struct remote_request req = fixture_request(model, F16, video ? 5 : 4,
	    1, video ? 16 : 4, video ? 3 : 12, video ? 12 : 16, 16);
	struct remote_expect expect;

	req.output = output;
	req.partial_postprocess = partial;
	req.accept = accept;
	cr_assert_eq(remote_expect(&req, NULL, &expect, NULL), LATENTD_OK);
	return expect;
}

Test(remote_expect, check_head_takes_what_was_asked_for)
{
	struct remote_expect e;
	struct latentd_tensor t;
	struct reason why;

	e = expected("sdxl", REMOTE_PT, true, REMOTE_TENSOR);
	cr_assert_eq(e.max_bytes, 36864);
	cr_assert_eq(remote_check_head(&e, "tensor/binary", "[1, 96, 128, 3]",
			 "uint8", 36864, &t, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert(tensor_equal(
	    &t, &(struct latentd_tensor){LATENTD_U8, 4, {1, 96, 128, 3}}));
	e = expected("sdxl", REMOTE_PT, false, REMOTE_TENSOR);
	cr_assert_eq(remote_check_head(&e, "tensor/binary", "[1,3,96,128]",
			 "float32", 147456, &t, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(t.dtype, LATENTD_F32);
	cr_assert_eq(remote_check_head(&e, "tensor/binary", "[1,3,96,128]",
			 "bfloat16", 73728, &t, &why),
	    LATENTD_OK, "%s", why.text);
	e = expected("sdxl", REMOTE_PIL, false, REMOTE_JPEG);
	cr_assert_eq(
	    remote_check_head(&e, "image/jpeg", NULL, NULL, 5000, &t, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(t.ndim, 0);
	e = expected("hunyuan-video", REMOTE_MP4, false, REMOTE_TEXT);
	cr_assert_eq(remote_check_head(&e, "text/plain; charset=utf-8", NULL,
			 NULL, 5000, &t, &why),
	    LATENTD_OK, "%s", why.text);
	e = expected("sdxl", REMOTE_PT, true, REMOTE_TENSOR_BASE64);
	cr_assert_eq(
	    remote_check_head(&e, "tensor/base64", NULL, NULL, 49242, &t, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(t.ndim, 0);
}

Test(remote_expect, check_head_refuses_replies_that_lie)
{
	static const struct {
		bool partial;
		const char *type, *shape, *dtype;
		uint64_t bytes;
		const char *says;
	} cases[] = {
	    {true, NULL, "[1,96,128,3]", "uint8", 36864, "Content-Type \"\""},
	    {true, "text/html", "[1,96,128,3]", "uint8", 36864,
		"expected tensor/binary"},
	    {true, "tensor/binary", NULL, "uint8", 36864, "no shape header"},
	    {true, "tensor/binary", "[1,96,128,3]", NULL, 36864,
		"no dtype header"},
	    {true, "tensor/binary", "[1,3,96,128]", "uint8", 36864,
		"shape [1,3,96,128], expected [1,96,128,3]"},
	    {true, "tensor/binary", "[1,96,128]", "uint8", 36864, "[1,96,128]"},
	    {true, "tensor/binary", "nonsense", "uint8", 36864, "nonsense"},
	    {true, "tensor/binary", "[1,96,128,3]", "float16", 36864,
		"expected uint8"},
	    {true, "tensor/binary", "[1,96,128,3]", "torch.uint8", 36864,
		"torch.uint8"},
	    {true, "tensor/binary", "[1,96,128,3]", "uint8", 36863,
		"takes 36864"},
	    {true, "tensor/binary", "[1,96,128,3]", "uint8", 0, "0 bytes"},
	    {true, "tensor/binary", "[1,96,128,3]", "uint8", 36865,
		"at most 36864"},
	    {false, "tensor/binary", "[1,3,96,128]", "uint8", 36864,
		"expected a float type"},
	    {false, "tensor/binary", "[1,3,96,128]", "none", 36864,
		"expected a float type"},
	    {false, "tensor/binary", "[1,3,96,128]", "float16", 73730,
		"takes 73728"},
	    {false, "tensor/binary", "[1,3,96,128]", "float32", 73728,
		"takes 147456"},
	};
	struct latentd_tensor t = {.ndim = 77};
	struct remote_expect e;
	struct reason why;
	size_t i;

	for (i = 0; i < N(cases); i++) {
		e = expected(
		    "sdxl", REMOTE_PT, cases[i].partial, REMOTE_TENSOR);
		why.text[0] = '\0';
		cr_expect_eq(
		    remote_check_head(&e, cases[i].type, cases[i].shape,
			cases[i].dtype, cases[i].bytes, &t, &why),
		    LATENTD_ERR_ENDPOINT, "case %zu", i);
		cr_expect_not_null(strstr(why.text, cases[i].says),
		    "case %zu: %s", i, why.text);
		cr_expect_eq(t.ndim, 77);
	}
}

Test(remote_expect, check_body_wants_the_whole_picture_in_its_size)
{
	struct remote_expect e =
	    expected("sdxl", REMOTE_PIL, false, REMOTE_JPEG);
	struct file good = fixture_jpeg(128, 96, false, false);
	struct file small = fixture_jpeg(64, 96, false, false);
	struct file png = fixture_png(FIXTURE_RGB, 128, 96);
	struct reason why;

	cr_assert_eq(remote_check_body(&e, good.at, good.bytes, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(remote_check_body(&e, good.at, good.bytes - 1, &why),
	    LATENTD_ERR_ENDPOINT);
	cr_assert_not_null(strstr(why.text, "damaged: JPEG: breaks off"));
	cr_assert_eq(remote_check_body(&e, small.at, small.bytes, &why),
	    LATENTD_ERR_ENDPOINT);
	cr_assert_not_null(strstr(why.text,
	    "JPEG has 64x96 pixels and 1 frames, expected 128x96 and 1"));
	cr_assert_eq(remote_check_body(&e, png.at, png.bytes, &why),
	    LATENTD_ERR_ENDPOINT);
	cr_assert_str_eq(
	    why.text, "the endpoint's file is of kind PNG, expected JPEG");
	cr_assert_eq(
	    remote_check_body(&e, "<html>", 6, &why), LATENTD_ERR_ENDPOINT);
	cr_assert(good.bytes <= e.max_bytes);
	free(good.at);
	free(small.at);
	free(png.at);
}

Test(remote_expect, check_body_counts_the_frames_of_an_mp4)
{
	struct remote_expect e =
	    expected("hunyuan-video", REMOTE_MP4, false, REMOTE_TEXT);
	struct fixture_mp4 o = {
	    .width_px = 128, .height_px = 96, .samples_n = 9};
	struct file good = fixture_mp4(&o), bad;
	struct reason why;

	cr_assert_eq(remote_check_body(&e, good.at, good.bytes, &why),
	    LATENTD_OK, "%s", why.text);
	o.samples_n = 8;
	bad = fixture_mp4(&o);
	cr_assert_eq(remote_check_body(&e, bad.at, bad.bytes, &why),
	    LATENTD_ERR_ENDPOINT);
	cr_assert_not_null(strstr(why.text, "8 frames"));
	free(good.at);
	free(bad.at);
}

Test(remote_expect, any_picture_the_library_writes_fits_the_bound)
{
	struct remote_request req =
	    fixture_request("sdxl", F16, 4, 1, 4, 1, 1, 0);
	struct remote_expect e;
	struct file f;
	uint64_t side;

	for (side = 1; side < 40; side += 6) {
		req.tensor.shape[2] = req.tensor.shape[3] = side;
		req.png = true;
		cr_assert_eq(remote_expect(&req, NULL, &e, NULL), LATENTD_OK);
		f = fixture_png(
		    FIXTURE_RGB16, (unsigned)side * 8, (unsigned)side * 8);
		cr_assert(f.bytes <= e.max_bytes);
		free(f.at);
		req.png = false;
		cr_assert_eq(remote_expect(&req, NULL, &e, NULL), LATENTD_OK);
		f = fixture_jpeg(
		    (unsigned)side * 8, (unsigned)side * 8, false, false);
		cr_assert(f.bytes <= e.max_bytes);
		free(f.at);
	}
}

Test(remote_expect, error_text_is_taken_out_of_what_endpoints_send)
{
	static const struct {
		const char *body, *want;
	} cases[] = {
	    {"{\"error\": \"503 Service Unavailable\"}",
		"503 Service Unavailable"},
	    {"{\"message\": \"no\\nway\"}", "no?way"},
	    {"{\"error\": {\"message\": \"deep\"}}", "deep"},
	    {"{\"error\": 5}", "{\"error\": 5}"},
	    {"[1]", "[1]"},
	    {"\r\n <html>\n504</html>", "<html>?504</html>"},
	    {"", "no reason given"},
	    {" \n", "no reason given"},
	};
	struct reason why = {.err = LATENTD_ERR_REFUSED};
	char *big = malloc(100000);
	size_t i;

	for (i = 0; i < N(cases); i++) {
		remote_error_text(cases[i].body, strlen(cases[i].body), &why);
		cr_expect_str_eq(why.text, cases[i].want);
		cr_expect_eq(why.err, LATENTD_ERR_REFUSED);
	}
	remote_error_text(NULL, 0, &why);
	cr_expect_str_eq(why.text, "no reason given");
	memset(big, '[', 100000);
	remote_error_text(big, 16000, &why);
	cr_expect_eq(strlen(why.text), 200);
	remote_error_text(big, 100000, &why);
	cr_expect_eq(strlen(why.text), 200);
	free(big);
}
