/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latents to small pictures and back.
 *
 * A request's values are brought to model space, where the maps are defined, by
 * z_model = gain * z + offset, folded into the map's own weights and bias.
 *
 * Everything works row by row, so that memory is the small pictures (12 bytes
 * per latent element position) and some rows.  Pure functions; any thread.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "factors.h"
#include "resample.h"
#include "tensor.h"

/* z_model = gain * z + offset for the values z of a request. */
struct space {
	double gain;
	double offset;
};

static enum latentd_err
no_memory(const char *what, struct reason *why)
{
	return reason_set(why, LATENTD_ERR_MEMORY,
	    "not enough memory for %s; try again later", what);
}

static enum latentd_err
find_factors(
    const struct model *m, const struct factors **factors, struct reason *why)
{
	*factors = factors_find(m->name);
	if (*factors == NULL || (*factors)->channels != m->channels ||
	    m->spatial != RESAMPLE_FACTOR)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "no latent-to-RGB map is built in for %s", m->name);
	return LATENTD_OK;
}

/* z_vae = z / scaling + shift, and z_model = (z_vae - m.shift) * m.scaling. */
static struct space
request_space(const struct remote_request *req)
{
	const struct model *m = req->model;
	struct space space = {1.0, 0.0};
	double shift;

	switch (req->scaling) {
	case REMOTE_SCALING_NONE:
		space.gain = m->scaling_factor;
		space.offset = -m->shift_factor * m->scaling_factor;
		break;
	case REMOTE_SCALING_FACTORS:
		shift = req->has_shift ? req->shift_factor : 0.0;
		space.gain = m->scaling_factor / req->scaling_factor;
		space.offset = (shift - m->shift_factor) * m->scaling_factor;
		break;
	case REMOTE_SCALING_SERVER:
		break;
	}
	return space;
}

/* The map of one request: weights with its space folded in. */
struct map {
	uint32_t channels;
	float weight[FACTORS_MAX_CHANNELS][3];
	float bias[3];
};

static void
map_make(struct map *map, const struct factors *factors, struct space space)
{
	uint32_t c;
	int k;

	map->channels = factors->channels;
	for (k = 0; k < 3; k++) {
		double bias = (double)factors->bias[k];

		for (c = 0; c < factors->channels; c++) {
			const double w = (double)factors->weight[c][k];

			map->weight[c][k] = (float)(w * space.gain);
			bias += w * space.offset;
		}
		map->bias[k] = (float)bias;
	}
}

/* Add one row of channel ${c} to the three planes. */
static void
add_row(const struct map *map, uint32_t c, const float *row, size_t width,
    float *rgb, size_t pixels)
{
	size_t k, x;

	for (k = 0; k < 3; k++) {
		const float weight = map->weight[c][k];
		float *out = rgb + k * pixels;

		for (x = 0; x < width; x++)
			out[x] += weight * row[x];
	}
}

/* The planes of [N,C,T,h,w]; ${row} holds one row of floats. */
static void
project_planes(const struct map *map, const struct preview *p,
    enum latentd_dtype dtype, const uint8_t *latent, uint32_t n, float *row)
{
	const size_t pixels = (size_t)p->height * p->width;
	const size_t row_bytes = p->width * dtype_bytes(dtype);
	const uint8_t *from = latent +
	    (size_t)n * map->channels * p->frames * p->height * row_bytes;
	uint32_t c, t, y;
	size_t k, x;

	for (t = 0; t < p->frames; t++) {
		for (k = 0; k < 3; k++) {
			float *plane = preview_planes(p, n, t) + k * pixels;

			for (x = 0; x < pixels; x++)
				plane[x] = map->bias[k];
		}
	}
	for (c = 0; c < map->channels; c++) {
		for (t = 0; t < p->frames; t++) {
			float *rgb = preview_planes(p, n, t);

			for (y = 0; y < p->height; y++) {
				tensor_load(row, from, dtype, p->width);
				add_row(map, c, row, p->width, rgb, pixels);
				from += row_bytes;
				rgb += p->width;
			}
		}
	}
}

/* One row of tokens [w/2, 4C] is two rows of pixels: channel c of pixel
 * (dy, dx) of a token is its element 4c + 2dy + dx. */
static void
project_tokens(const struct map *map, const float *tokens, uint32_t width,
    uint32_t dy, float *const rgb[3])
{
	size_t c, x;
	int k;

	for (x = 0; x < width; x++) {
		const float *token =
		    tokens + x / 2 * 4 * map->channels + x % 2 + 2 * (size_t)dy;
		float sum[3] = {map->bias[0], map->bias[1], map->bias[2]};

		for (c = 0; c < map->channels; c++) {
			for (k = 0; k < 3; k++)
				sum[k] += map->weight[c][k] * token[4 * c];
		}
		for (k = 0; k < 3; k++)
			rgb[k][x] = sum[k];
	}
}

static void
project_packed(const struct map *map, const struct preview *p,
    enum latentd_dtype dtype, const uint8_t *latent, uint32_t n, float *tokens)
{
	const size_t pixels = (size_t)p->height * p->width;
	const size_t row_n = (size_t)p->width / 2 * 4 * map->channels;
	uint32_t y;

	for (y = 0; y < p->height; y++) {
		float *planes = preview_planes(p, n, 0) + (size_t)y * p->width;
		float *const rgb[3] = {
		    planes, planes + pixels, planes + 2 * pixels};
		const size_t at = ((size_t)n * p->height / 2 + y / 2) * row_n;

		if (y % 2 == 0)
			tensor_load(tokens, latent + at * dtype_bytes(dtype),
			    dtype, row_n);
		project_tokens(map, tokens, p->width, y % 2, rgb);
	}
}

enum latentd_err
codec_project(const struct remote_request *req, const struct geometry *geo,
    const void *latent, struct preview *preview, struct reason *why)
{
	const struct factors *factors;
	struct preview p = {geo->batch, geo->latent_frames, geo->latent_height,
	    geo->latent_width, NULL};
	struct map map;
	enum latentd_err err;
	float *row;
	uint32_t n;

	err = find_factors(req->model, &factors, why);
	if (err != LATENTD_OK)
		return err;
	map_make(&map, factors, request_space(req));
	err = preview_alloc(&p, why);
	if (err != LATENTD_OK)
		return err;
	row = malloc((size_t)p.width * 2 * map.channels * sizeof(float));
	if (row == NULL) {
		preview_free(&p);
		return no_memory("a row of the latent", why);
	}
	for (n = 0; n < p.batch; n++) {
		if (geo->packed)
			project_packed(
			    &map, &p, req->tensor.dtype, latent, n, row);
		else
			project_planes(
			    &map, &p, req->tensor.dtype, latent, n, row);
	}
	free(row);
	*preview = p;
	return LATENTD_OK;
}

/* Channel ${c} of picture ${n}, frame ${t}, to ${dst}. */
static void
embed_plane(const struct preview *p, uint32_t n, uint32_t t,
    const float weight[3], float bias, enum latentd_dtype dtype, uint8_t *dst,
    float *row)
{
	const size_t pixels = (size_t)p->height * p->width;
	const size_t row_bytes = p->width * dtype_bytes(dtype);
	const float *rgb = preview_planes(p, n, t);
	uint32_t x, y;

	for (y = 0; y < p->height; y++) {
		const float *r = rgb + (size_t)y * p->width;
		const float *g = r + pixels, *b = g + pixels;

		for (x = 0; x < p->width; x++)
			row[x] = bias + weight[0] * r[x] + weight[1] * g[x] +
			    weight[2] * b[x];
		tensor_store(dst + y * row_bytes, row, dtype, p->width);
	}
}

/* Fold z = (z_model - offset) / gain into the inverse map. */
static void
map_invert(struct map *map, const struct factors *factors, struct space space,
    float bias[FACTORS_MAX_CHANNELS])
{
	uint32_t c;
	int k;

	map->channels = factors->channels;
	factors_inverse(factors, map->weight);
	for (c = 0; c < map->channels; c++) {
		double sum = -space.offset;

		for (k = 0; k < 3; k++) {
			sum -= (double)map->weight[c][k] *
			    (double)factors->bias[k];
			map->weight[c][k] =
			    (float)((double)map->weight[c][k] / space.gain);
		}
		bias[c] = (float)(sum / space.gain);
	}
}

enum latentd_err
codec_embed(const struct remote_request *req, const struct preview *p,
    const struct latentd_tensor *tensor, struct blob *latent,
    struct reason *why)
{
	const struct factors *factors;
	float bias[FACTORS_MAX_CHANNELS], *row;
	uint32_t n, c, t;
	struct map map;
	enum latentd_err err;
	uint64_t bytes;
	uint8_t *dst;

	err = find_factors(req->model, &factors, why);
	if (err != LATENTD_OK)
		return err;
	err = tensor_bytes(tensor, &bytes, why);
	if (err != LATENTD_OK)
		return err;
	map_invert(&map, factors, request_space(req), bias);
	row = malloc(p->width * sizeof(float));
	dst = malloc((size_t)bytes);
	if (row == NULL || dst == NULL) {
		free(row);
		free(dst);
		return no_memory("the latent", why);
	}
	*latent = (struct blob){dst, (size_t)bytes, free};
	for (n = 0; n < p->batch; n++) {
		for (c = 0; c < map.channels; c++) {
			for (t = 0; t < p->frames; t++) {
				embed_plane(p, n, t, map.weight[c], bias[c],
				    tensor->dtype, dst, row);
				dst += (size_t)p->height * p->width *
				    dtype_bytes(tensor->dtype);
			}
		}
	}
	free(row);
	return LATENTD_OK;
}
