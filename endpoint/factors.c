/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The maps of sd-v1, sdxl and flux are the published linear latent-to-RGB fits
 * of leejet/stable-diffusion.cpp (src/runtime/latent-preview.h at 97d29908),
 * Copyright (c) 2023 leejet, MIT licence.
 *
 * For hunyuan-video no fit with a permissive licence is published, so its map
 * is our own: it is NOT a preview of the real VAE, and shows a latent of the
 * real model in arbitrary colours.  Its columns are three rows of the 16 x 16
 * Hadamard matrix divided by 16.  They are orthogonal and of equal length, so
 * the map is as well-conditioned as one can be, its pseudo-inverse is the same
 * signs without the division, and both are exact in float16 and bfloat16.
 *
 * Constant tables and pure functions; any thread.
 */
#include <stddef.h>
#include <string.h>

#include "factors.h"

static const float sd_v1_weight[4][3] = {
    {0.337366f, 0.216344f, 0.257386f},
    {0.165636f, 0.386828f, 0.046994f},
    {-0.267803f, 0.237036f, 0.223517f},
    {-0.178022f, -0.200862f, -0.678514f},
};

static const float sdxl_weight[4][3] = {
    {0.258303f, 0.277640f, 0.329699f},
    {-0.299701f, 0.105446f, 0.014194f},
    {0.050522f, 0.186163f, -0.143257f},
    {-0.211938f, -0.149892f, -0.080036f},
};

static const float flux_weight[16][3] = {
    {-0.041168f, 0.019917f, 0.097253f},
    {0.028096f, 0.026730f, 0.129576f},
    {0.065618f, -0.067950f, -0.014651f},
    {-0.012998f, -0.014762f, 0.081251f},
    {0.078567f, 0.059296f, -0.024687f},
    {-0.015987f, -0.003697f, 0.005012f},
    {0.033605f, 0.138999f, 0.068517f},
    {-0.024450f, -0.063567f, -0.030101f},
    {-0.040194f, -0.016710f, 0.127185f},
    {0.112681f, 0.088764f, -0.041940f},
    {-0.023498f, 0.093664f, 0.025543f},
    {0.082899f, 0.048320f, 0.007491f},
    {0.075712f, 0.074139f, 0.081965f},
    {-0.143501f, 0.018263f, -0.136138f},
    {-0.025767f, -0.082035f, -0.040023f},
    {-0.111849f, -0.055589f, -0.032361f},
};

#define S 0.0625f

static const float hunyuan_video_weight[16][3] = {
    {S, S, S},
    {-S, -S, S},
    {S, -S, -S},
    {-S, S, -S},
    {-S, S, -S},
    {S, -S, -S},
    {-S, -S, S},
    {S, S, S},
    {S, -S, -S},
    {-S, S, -S},
    {S, S, S},
    {-S, -S, S},
    {-S, -S, S},
    {S, S, S},
    {-S, S, -S},
    {S, -S, -S},
};

#undef S

static const struct factors table[] = {
    {"sd-v1", 4, sd_v1_weight, {-0.017478f, -0.055834f, -0.105825f}},
    {"sdxl", 4, sdxl_weight, {0.144381f, -0.033313f, 0.007061f}},
    {"flux", 16, flux_weight, {0.024600f, -0.006937f, -0.008089f}},
    {"hunyuan-video", 16, hunyuan_video_weight, {0.0f, 0.0f, 0.0f}},
};

const struct factors *
factors_find(const char *model)
{
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(table[i].model, model) == 0)
			return &table[i];
	}
	return NULL;
}

/* Invert a symmetric, well-conditioned 3 x 3 matrix by its cofactors. */
static void
invert_3x3(double m[3][3], double inverse[3][3])
{
	double det = 0.0;
	int i, j;

	for (i = 0; i < 3; i++) {
		for (j = 0; j < 3; j++) {
			const int a = (j + 1) % 3, b = (j + 2) % 3;
			const int c = (i + 1) % 3, d = (i + 2) % 3;

			inverse[i][j] = m[a][c] * m[b][d] - m[a][d] * m[b][c];
		}
	}
	for (i = 0; i < 3; i++)
		det += m[0][i] * inverse[i][0];
	for (i = 0; i < 3; i++) {
		for (j = 0; j < 3; j++)
			inverse[i][j] /= det;
	}
}

void
factors_inverse(
    const struct factors *factors, float inverse[FACTORS_MAX_CHANNELS][3])
{
	double gram[3][3] = {{0.0}}, gram_inverse[3][3], sum;
	uint32_t c;
	int i, j;

	for (c = 0; c < factors->channels; c++) {
		for (i = 0; i < 3; i++) {
			for (j = 0; j < 3; j++)
				gram[i][j] += (double)factors->weight[c][i] *
				    (double)factors->weight[c][j];
		}
	}
	invert_3x3(gram, gram_inverse);
	for (c = 0; c < factors->channels; c++) {
		for (j = 0; j < 3; j++) {
			sum = 0.0;
			for (i = 0; i < 3; i++)
				sum += (double)factors->weight[c][i] *
				    gram_inverse[i][j];
			inverse[c][j] = (float)sum;
		}
	}
}
