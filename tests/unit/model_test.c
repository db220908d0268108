/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <criterion/criterion.h>

#include "model.h"
#include "tensor.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define F16 LATENTD_F16

static const struct model *
find(const char *name)
{
	const struct model *m = model_find(name, strlen(name));

	cr_assert_not_null(m, "%s", name);
	return m;
}

Test(model, table_holds_the_published_factors)
{
	cr_assert_eq(model_count(), 4);
	cr_assert_str_eq(model_names(), "sd-v1, sdxl, flux, hunyuan-video");
	cr_assert(find("sd-v1")->scaling_factor == 0.18215);
	cr_assert(find("sdxl")->scaling_factor == 0.13025);
	cr_assert(find("flux")->scaling_factor == 0.3611);
	cr_assert(find("flux")->shift_factor == 0.1159);
	cr_assert(find("hunyuan-video")->scaling_factor == 0.476986);
	cr_assert(find("flux")->has_shift && !find("sdxl")->has_shift);
	cr_assert(find("flux")->packs && !find("sd-v1")->packs);
	cr_assert_eq(find("flux")->dtype, LATENTD_BF16);
	cr_assert_eq(find("hunyuan-video")->temporal, 4);
	cr_assert_null(model_at(model_count()));
	cr_assert_eq(model_at(1), find("sdxl"));
}

Test(model, find_wants_the_exact_name)
{
	cr_assert_null(model_find("SDXL", 4));
	cr_assert_null(model_find("sdx", 3));
	cr_assert_null(model_find("sdxl ", 5));
	cr_assert_null(model_find("", 0));
	cr_assert_not_null(model_find("sdxlfoo", 4));
}

static const struct good {
	const char *model;
	struct latentd_tensor t;
	uint32_t height_px, width_px;
	struct geometry want;
} goods[] = {
    {"sdxl", {F16, 4, {1, 4, 40, 72}}, 0, 0,
	{false, false, 1, 40, 72, 1, 320, 576, 1}},
    /* height and width mean nothing unless packed. */
    {"sdxl", {F16, 4, {3, 4, 12, 16}}, 9999, 1,
	{false, false, 3, 12, 16, 1, 96, 128, 1}},
    {"flux", {LATENTD_BF16, 4, {2, 16, 12, 16}}, 96, 128,
	{false, false, 2, 12, 16, 1, 96, 128, 1}},
    {"flux", {LATENTD_BF16, 3, {1, 4096, 64}}, 1024, 1024,
	{true, false, 1, 128, 128, 1, 1024, 1024, 1}},
    {"flux", {LATENTD_F32, 3, {2, 48, 64}}, 96, 128,
	{true, false, 2, 12, 16, 1, 96, 128, 1}},
    /* A batch as large as C is still packed. */
    {"flux", {F16, 3, {16, 48, 64}}, 96, 128,
	{true, false, 16, 12, 16, 1, 96, 128, 1}},
    /* diffusers cuts sides down to a multiple of 16. */
    {"flux", {F16, 3, {1, 48, 64}}, 111, 143,
	{true, false, 1, 12, 16, 1, 96, 128, 1}},
    /* SD.Next before 2025-03-16. */
    {"flux", {F16, 4, {1, 1, 48, 64}}, 96, 128,
	{true, false, 1, 12, 16, 1, 96, 128, 1}},
    /* A row of 64 elements does not make a latent packed. */
    {"flux", {F16, 4, {1, 16, 48, 64}}, 96, 128,
	{false, false, 1, 48, 64, 1, 384, 512, 1}},
    /* SD.Next forgets the batch of unpacked ones. */
    {"flux", {F16, 3, {16, 12, 16}}, 96, 128,
	{false, false, 1, 12, 16, 1, 96, 128, 1}},
    {"sd-v1", {F16, 3, {1, 48, 16}}, 96, 128,
	{true, false, 1, 12, 16, 1, 96, 128, 1}},
    {"hunyuan-video", {F16, 5, {1, 16, 3, 40, 64}}, 24, 320,
	{false, true, 1, 40, 64, 3, 320, 512, 9}},
    {"hunyuan-video", {F16, 5, {2, 16, 1, 2, 3}}, 0, 0,
	{false, true, 2, 2, 3, 1, 16, 24, 1}},
    {"sdxl", {F16, 4, {64, 4, 1, 2048}}, 0, 0,
	{false, false, 64, 1, 2048, 1, 8, 16384, 1}},
    {"hunyuan-video", {F16, 5, {1, 16, 1024, 1, 1}}, 0, 0,
	{false, true, 1, 1, 1, 1024, 8, 8, 4093}},
};

Test(model, geometry_of_every_form_that_clients_send)
{
	const struct good *g;
	struct geometry geo;
	struct reason why;
	size_t i;

	for (i = 0; i < N(goods); i++) {
		g = &goods[i];
		memset(&geo, 0xee, sizeof(geo));
		cr_expect_eq(model_geometry(find(g->model), &g->t, g->height_px,
				 g->width_px, &geo, &why),
		    LATENTD_OK, "case %zu: %s", i, why.text);
		cr_expect(geo.packed == g->want.packed &&
			geo.video == g->want.video &&
			geo.batch == g->want.batch &&
			geo.latent_height == g->want.latent_height &&
			geo.latent_width == g->want.latent_width &&
			geo.latent_frames == g->want.latent_frames &&
			geo.height_px == g->want.height_px &&
			geo.width_px == g->want.width_px &&
			geo.frames == g->want.frames,
		    "case %zu: %ux%u of %u frames", i, geo.height_px,
		    geo.width_px, geo.frames);
	}
}

static const struct bad {
	const char *model;
	struct latentd_tensor t;
	uint32_t height_px, width_px;
	enum latentd_err err;
	const char *says;
} bads[] = {
    {"sd-v1", {F16, 4, {1, 5, 16, 16}}, 0, 0, LATENTD_ERR_SHAPE,
	"shape [1,5,16,16] does not fit sd-v1: must be [N,4,h,w]"},
    {"sd-v1", {F16, 2, {16, 16}}, 0, 0, LATENTD_ERR_SHAPE, "[16,16]"},
    {"flux", {F16, 3, {1, 4096, 64}}, 0, 0, LATENTD_ERR_SHAPE,
	"shape [1,4096,64] is a packed flux latent and needs height and "
	"width"},
    {"flux", {F16, 3, {1, 4096, 64}}, 1024, 0, LATENTD_ERR_SHAPE,
	"needs height and width"},
    {"flux", {F16, 3, {1, 4096, 64}}, 1024, 512, LATENTD_ERR_SHAPE,
	"a packed latent of that size is [N,2048,64]"},
    {"flux", {F16, 3, {1, 4096, 64}}, 1048576, 1048576, LATENTD_ERR_SHAPE,
	"[N,4294967296,64]"},
    {"flux", {F16, 3, {1, 48, 16}}, 96, 128, LATENTD_ERR_SHAPE,
	"or packed [N,P,64] with height and width"},
    {"flux", {F16, 3, {16, 12, 16}}, 0, 0, LATENTD_ERR_SHAPE, "[16,12,16]"},
    {"flux", {F16, 4, {2, 1, 48, 64}}, 96, 128, LATENTD_ERR_SHAPE,
	"[2,1,48,64]"},
    {"flux", {F16, 5, {1, 16, 1, 12, 16}}, 0, 0, LATENTD_ERR_SHAPE,
	"[1,16,1,12,16]"},
    {"hunyuan-video", {F16, 4, {1, 16, 40, 64}}, 0, 0, LATENTD_ERR_SHAPE,
	"must be [N,16,T,h,w]"},
    {"hunyuan-video", {F16, 5, {1, 4, 3, 40, 64}}, 0, 0, LATENTD_ERR_SHAPE,
	"must be [N,16,T,h,w]"},
    {"sdxl", {LATENTD_U8, 4, {1, 4, 8, 8}}, 0, 0, LATENTD_ERR_SHAPE,
	"dtype uint8"},
    {"sdxl", {LATENTD_DTYPE_NONE, 4, {1, 4, 8, 8}}, 0, 0, LATENTD_ERR_SHAPE,
	"dtype is missing"},
    {"sdxl", {F16, 4, {1, 4, 2049, 8}}, 0, 0, LATENTD_ERR_TOO_LARGE,
	"height of a sdxl picture is 16392"},
    {"sdxl", {F16, 4, {1, 4, 8, 2049}}, 0, 0, LATENTD_ERR_TOO_LARGE, "width"},
    {"sdxl", {F16, 4, {65, 4, 8, 8}}, 0, 0, LATENTD_ERR_TOO_LARGE,
	"batch is 65"},
    {"hunyuan-video", {F16, 5, {1, 16, 1025, 1, 1}}, 0, 0,
	LATENTD_ERR_TOO_LARGE, "4097 frames"},
    {"sdxl", {F16, 4, {1, 4, 0, 8}}, 0, 0, LATENTD_ERR_SHAPE, "dimension 2"},
};

Test(model, geometry_refuses_the_rest_and_says_what_would_fit)
{
	struct geometry geo = {.batch = 77};
	const struct bad *b;
	struct reason why;
	size_t i;

	for (i = 0; i < N(bads); i++) {
		b = &bads[i];
		why.text[0] = '\0';
		cr_expect_eq(model_geometry(find(b->model), &b->t, b->height_px,
				 b->width_px, &geo, &why),
		    b->err, "case %zu", i);
		cr_expect(strstr(why.text, b->says) != NULL, "case %zu: %s", i,
		    why.text);
		cr_expect_eq(geo.batch, 77, "case %zu", i);
	}
}

Test(model, encoded_cuts_sides_down_to_the_factor)
{
	struct latentd_tensor t;
	struct reason why;

	cr_assert_eq(
	    model_encoded(find("sdxl"), 583, 327, 1, 2, &t, &why), LATENTD_OK);
	cr_assert(
	    tensor_equal(&t, &(struct latentd_tensor){F16, 4, {2, 4, 40, 72}}));
	cr_assert_eq(
	    model_encoded(find("flux"), 8, 8, 1, 1, &t, &why), LATENTD_OK);
	cr_assert(tensor_equal(
	    &t, &(struct latentd_tensor){LATENTD_BF16, 4, {1, 16, 1, 1}}));
	cr_assert_eq(
	    model_encoded(find("hunyuan-video"), 128, 96, 9, 1, &t, &why),
	    LATENTD_OK);
	cr_assert(tensor_equal(
	    &t, &(struct latentd_tensor){F16, 5, {1, 16, 3, 12, 16}}));
}

Test(model, encoded_refuses_what_gives_no_latent)
{
	static const struct {
		const char *model;
		uint32_t width, height, frames, batch;
		enum latentd_err err;
	} cases[] = {
	    {"sdxl", 7, 64, 1, 1, LATENTD_ERR_SHAPE},
	    {"sdxl", 64, 0, 1, 1, LATENTD_ERR_SHAPE},
	    {"sdxl", 64, 64, 2, 1, LATENTD_ERR_SHAPE},
	    {"sdxl", 64, 64, 0, 1, LATENTD_ERR_SHAPE},
	    {"sdxl", 64, 64, 1, 0, LATENTD_ERR_SHAPE},
	    {"hunyuan-video", 64, 64, 0, 1, LATENTD_ERR_SHAPE},
	    {"sdxl", 16385, 64, 1, 1, LATENTD_ERR_TOO_LARGE},
	    {"sdxl", 64, UINT32_MAX, 1, 1, LATENTD_ERR_TOO_LARGE},
	    {"sdxl", 64, 64, 1, 65, LATENTD_ERR_TOO_LARGE},
	    {"hunyuan-video", 64, 64, 4097, 1, LATENTD_ERR_TOO_LARGE},
	};
	struct latentd_tensor t = {.ndim = 77};
	struct reason why;
	size_t i;

	for (i = 0; i < N(cases); i++) {
		why.text[0] = '\0';
		cr_expect_eq(model_encoded(find(cases[i].model), cases[i].width,
				 cases[i].height, cases[i].frames,
				 cases[i].batch, &t, &why),
		    cases[i].err, "case %zu", i);
		cr_expect(why.text[0] != '\0');
		cr_expect_eq(t.ndim, 77);
	}
}

Test(model, an_encoded_latent_decodes_to_the_same_size)
{
	struct latentd_tensor t;
	struct geometry geo;
	size_t i;

	for (i = 0; i < model_count(); i++) {
		uint32_t frames = model_at(i)->temporal * 2 + 1;

		cr_assert_eq(
		    model_encoded(model_at(i), 192, 128, frames, 1, &t, NULL),
		    LATENTD_OK);
		cr_assert_eq(model_geometry(model_at(i), &t, 0, 0, &geo, NULL),
		    LATENTD_OK);
		cr_assert_eq(geo.width_px, 192);
		cr_assert_eq(geo.height_px, 128);
		cr_assert_eq(geo.frames, frames);
	}
}
