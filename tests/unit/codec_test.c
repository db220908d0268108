/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoint's own maps between latents and pictures: what is encoded and
 * decoded again is the same picture at 1/8 scale.
 */
#include <stdlib.h>

#include <criterion/criterion.h>

#include "codec.h"
#include "factors.h"
#include "frame.h"
#include "photo.h"
#include "tensor.h"

static struct reason why;

static struct blob
encode(const struct remote_request *req, const struct picture *p,
    const struct latentd_tensor *t)
{
	struct preview small;
	struct blob latent;

	cr_assert_eq(frame_shrink_picture(p, t, &small, &why), LATENTD_OK);
	cr_assert_eq(codec_embed(req, &small, t, &latent, &why), LATENTD_OK);
	preview_free(&small);
	return latent;
}

static struct picture
decode(struct remote_request *req, const struct latentd_tensor *t,
    const void *latent, uint32_t width, uint32_t height)
{
	struct geometry geo;
	struct preview small;
	struct picture out = {
	    width, height, malloc((size_t)width * height * 3)};

	req->tensor = *t;
	cr_assert_eq(model_geometry(req->model, t, height, width, &geo, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(geo.width_px, width);
	cr_assert_eq(geo.height_px, height);
	cr_assert_eq(codec_project(req, &geo, latent, &small, &why), LATENTD_OK,
	    "%s", why.text);
	cr_assert_eq(frame_pixels(&small, 0, 0, 1, out.rgb, &why), LATENTD_OK);
	preview_free(&small);
	return out;
}

static double
round_trip(const char *model, enum latentd_dtype dtype, enum remote_scaling in,
    enum remote_scaling out)
{
	struct remote_request req = photo_request(LATENTD_ENCODE, model);
	struct picture before = photo_make(256, 192), after;
	struct latentd_tensor t = photo_latent(&req, &before, dtype);
	struct blob latent;
	double psnr;

	req.scaling_factor = req.model->scaling_factor;
	req.shift_factor = req.model->shift_factor;
	req.has_shift = req.model->has_shift;
	req.scaling = in;
	latent = encode(&req, &before, &t);
	req.scaling = out;
	after = decode(&req, &t, latent.data, 256, 192);
	psnr = photo_psnr(&before, &after);
	blob_free(&latent);
	free(before.rgb);
	free(after.rgb);
	return psnr;
}

Test(codec, photo_survives_the_round_trip_in_every_model_and_dtype)
{
	static const enum latentd_dtype dtypes[] = {
	    LATENTD_F32, LATENTD_F16, LATENTD_BF16};
	static const double floors[] = {45, 45, 40};
	size_t i, j;
	double psnr;

	for (i = 0; i < model_count(); i++) {
		for (j = 0; j < 3; j++) {
			psnr = round_trip(model_at(i)->name, dtypes[j],
			    REMOTE_SCALING_SERVER, REMOTE_SCALING_SERVER);
			cr_expect_gt(psnr, floors[j], "%s %s: %.1f dB",
			    model_at(i)->name, dtype_name(dtypes[j]), psnr);
		}
	}
}

Test(codec, space_of_the_request_is_undone_on_the_way_back)
{
	static const enum remote_scaling spaces[] = {
	    REMOTE_SCALING_NONE, REMOTE_SCALING_SERVER, REMOTE_SCALING_FACTORS};
	size_t i, j;

	for (i = 0; i < model_count(); i++) {
		for (j = 0; j < 3; j++)
			cr_expect_gt(round_trip(model_at(i)->name, LATENTD_F32,
					 spaces[j], spaces[j]),
			    45, "%s", model_at(i)->name);
		/* The factors of the model are what the server would use. */
		cr_expect_gt(round_trip(model_at(i)->name, LATENTD_F32,
				 REMOTE_SCALING_FACTORS, REMOTE_SCALING_SERVER),
		    45, "%s", model_at(i)->name);
		cr_expect_lt(round_trip(model_at(i)->name, LATENTD_F32,
				 REMOTE_SCALING_NONE, REMOTE_SCALING_SERVER),
		    30, "%s: the spaces must differ", model_at(i)->name);
	}
}

Test(codec, factors_are_used_as_given)
{
	struct remote_request req = photo_request(LATENTD_DECODE, "sdxl");
	struct latentd_tensor t = {LATENTD_F32, 4, {1, 4, 2, 2}};
	float one[16], two[16];
	struct picture a, b;
	size_t i;

	for (i = 0; i < 16; i++) {
		one[i] = (float)i / 10 - 0.8f;
		/* z / 0.5 + 0.1 is the VAE's value. */
		two[i] = (one[i] / 0.13025f - 0.1f) * 0.5f;
	}
	a = decode(&req, &t, one, 16, 16);
	req.scaling = REMOTE_SCALING_FACTORS;
	req.scaling_factor = 0.5;
	req.shift_factor = 0.1;
	req.has_shift = true;
	b = decode(&req, &t, two, 16, 16);
	for (i = 0; i < (size_t)16 * 16 * 3; i++)
		cr_assert_leq(abs(a.rgb[i] - b.rgb[i]), 1);
	free(a.rgb);
	free(b.rgb);
}

Test(codec, packed_latent_decodes_as_the_unpacked_one)
{
	struct remote_request req = photo_request(LATENTD_DECODE, "flux");
	struct picture photo_in = photo_make(128, 96), a, b;
	struct latentd_tensor t = photo_latent(&req, &photo_in, LATENTD_F32);
	struct latentd_tensor packed = {LATENTD_F32, 3, {1, 48, 64}};
	struct blob latent = encode(&req, &photo_in, &t);
	float *tokens = malloc(latent.bytes), *z = latent.data;
	size_t c, y, x;

	/* diffusers pipeline_flux.py _pack_latents */
	for (c = 0; c < 16; c++)
		for (y = 0; y < 12; y++)
			for (x = 0; x < 16; x++)
				tokens[(y / 2 * 8 + x / 2) * 64 + c * 4 +
				    y % 2 * 2 + x % 2] =
				    z[(c * 12 + y) * 16 + x];
	a = decode(&req, &t, z, 128, 96);
	b = decode(&req, &packed, tokens, 128, 96);
	for (x = 0; x < (size_t)128 * 96 * 3; x++)
		cr_assert_leq(abs(a.rgb[x] - b.rgb[x]), 1);
	free(a.rgb);
	free(b.rgb);
	free(tokens);
	free(photo_in.rgb);
	blob_free(&latent);
}

Test(codec, hunyuan_map_is_orthogonal_and_inverts_exactly)
{
	const struct factors *f = factors_find("hunyuan-video");
	float inverse[FACTORS_MAX_CHANNELS][3];
	int c, i, j;

	cr_assert_not_null(f);
	factors_inverse(f, inverse);
	for (i = 0; i < 3; i++) {
		for (j = 0; j < 3; j++) {
			float sum = 0;

			for (c = 0; c < 16; c++)
				sum += inverse[c][i] * f->weight[c][j];
			cr_assert_eq(sum, i == j ? 1.0f : 0.0f);
		}
	}
}

Test(codec, pseudo_inverse_inverts_every_map)
{
	float inverse[FACTORS_MAX_CHANNELS][3];
	size_t m;
	uint32_t c;
	int i, j;

	for (m = 0; m < model_count(); m++) {
		const struct factors *f = factors_find(model_at(m)->name);

		cr_assert_not_null(f, "%s", model_at(m)->name);
		cr_assert_eq(f->channels, model_at(m)->channels);
		factors_inverse(f, inverse);
		for (i = 0; i < 3; i++) {
			for (j = 0; j < 3; j++) {
				double sum = 0;

				for (c = 0; c < f->channels; c++)
					sum += (double)inverse[c][i] *
					    (double)f->weight[c][j];
				cr_assert_float_eq(
				    sum, i == j ? 1 : 0, 1e-5, "%s", f->model);
			}
		}
	}
}
