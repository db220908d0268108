/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_FACTORS_H
#define ENDPOINT_FACTORS_H

#include <stdint.h>

#define FACTORS_MAX_CHANNELS 16

/*
 * A linear map from a latent in model space to a picture of one pixel per
 * latent element: rgb = z * weight + bias, with rgb in [-1,1].  These are
 * previews of what the model's VAE would give, at 1/8 of its resolution.
 */
struct factors {
	const char *model; /* as in proto/model.h */
	uint32_t channels;
	const float (*weight)[3]; /* [channels][3] */
	float bias[3];
};

/* factors_find(model): the map of the model of that name, or NULL. */
const struct factors *factors_find(const char *model);

/*
 * factors_inverse(factors, inverse):
 * Set ${inverse} to the pseudo-inverse of the weights, so that
 * z[c] = sum over k of inverse[c][k] * (rgb[k] - bias[k]) is the shortest
 * latent that maps to rgb exactly.
 */
void factors_inverse(
    const struct factors *factors, float inverse[FACTORS_MAX_CHANNELS][3]);

#endif
