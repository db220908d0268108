/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of latent spaces and what their tensors mean in pixels.  Constant
 * data and pure functions: any thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "tensor.h"

/*
 * scaling_factor and shift_factor: diffusers' AutoencoderKL configurations of
 * stable-diffusion-v1, sdxl-vae, FLUX.1 and HunyuanVideo; wire.md "Constants".
 */
#define MODEL_TABLE(X)                                                \
	X("sd-v1", 4, 8, 0, false, 0.18215, 0.0, false, LATENTD_F16)  \
	X("sdxl", 4, 8, 0, false, 0.13025, 0.0, false, LATENTD_F16)   \
	X("flux", 16, 8, 0, true, 0.3611, 0.1159, true, LATENTD_BF16) \
	X("hunyuan-video", 16, 8, 4, false, 0.476986, 0.0, false, LATENTD_F16)

static const struct model models[] = {
#define MODEL_ENTRY(n, c, s, t, p, scale, shift, has_shift, dtype) \
	{n, c, s, t, p, scale, shift, has_shift, dtype},
    MODEL_TABLE(MODEL_ENTRY)
#undef MODEL_ENTRY
};

#define MODELS_N (sizeof(models) / sizeof(models[0]))

size_t
model_count(void)
{
	return MODELS_N;
}

const struct model *
model_at(size_t i)
{
	return i < MODELS_N ? &models[i] : NULL;
}

const struct model *
model_find(const char *name, size_t name_bytes)
{
	size_t i;

	for (i = 0; i < MODELS_N; i++)
		if (strlen(models[i].name) == name_bytes &&
		    memcmp(models[i].name, name, name_bytes) == 0)
			return &models[i];
	return NULL;
}

const char *
model_names(void)
{
	/* Two characters too many at the front, which are the first ", ". */
	static const char names[] =
#define MODEL_NAME(n, ...) ", " n
	    MODEL_TABLE(MODEL_NAME);
#undef MODEL_NAME

	return names + 2;
}

static enum latentd_err
check_side(
    const struct model *m, const char *side, uint64_t px, struct reason *why)
{
	if (px > LATENTD_MAX_SIDE_PX)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "the %s of a %s picture is %" PRIu64
		    " pixels, at most %u are allowed",
		    side, m->name, px, LATENTD_MAX_SIDE_PX);
	return LATENTD_OK;
}

static enum latentd_err
check_batch(uint64_t batch, struct reason *why)
{
	if (batch == 0)
		return reason_set(why, LATENTD_ERR_SHAPE, "the batch is empty");
	if (batch > LATENTD_MAX_BATCH)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "the batch is %" PRIu64 ", at most %u are allowed", batch,
		    LATENTD_MAX_BATCH);
	return LATENTD_OK;
}

static enum latentd_err
check_frames(uint64_t frames, struct reason *why)
{
	if (frames > LATENTD_MAX_FRAMES)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "the video has %" PRIu64 " frames, at most %u are allowed",
		    frames, LATENTD_MAX_FRAMES);
	return LATENTD_OK;
}

/*
 * Fill ${geo} from counts that tensor_bytes() has bounded one by one (so the
 * products below stay within 2^40), or say which is too large.
 */
static enum latentd_err
geometry_fill(const struct model *m, uint64_t batch, uint64_t frames,
    uint64_t height, uint64_t width, struct geometry *geo, struct reason *why)
{
	uint64_t step = m->temporal != 0 ? m->temporal : 1;
	uint64_t out_frames = (frames - 1) * step + 1;
	enum latentd_err err;

	if ((err = check_batch(batch, why)) != LATENTD_OK ||
	    (err = check_frames(out_frames, why)) != LATENTD_OK ||
	    (err = check_side(m, "height", height * m->spatial, why)) !=
		LATENTD_OK ||
	    (err = check_side(m, "width", width * m->spatial, why)) !=
		LATENTD_OK)
		return err;
	*geo = (struct geometry){
	    .video = m->temporal != 0,
	    .batch = (uint32_t)batch,
	    .latent_height = (uint32_t)height,
	    .latent_width = (uint32_t)width,
	    .latent_frames = (uint32_t)frames,
	    .height_px = (uint32_t)height * m->spatial,
	    .width_px = (uint32_t)width * m->spatial,
	    .frames = (uint32_t)out_frames,
	};
	return LATENTD_OK;
}

/* What [N,P,4C] (${dims} points at the N) is, if the sizes fit. */
static bool
is_packed(const struct model *m, const uint64_t dims[3], uint32_t height_px,
    uint32_t width_px)
{
	uint64_t rows = height_px / (2 * m->spatial);
	uint64_t columns = width_px / (2 * m->spatial);

	return dims[2] == 4 * (uint64_t)m->channels &&
	    rows * columns == dims[1];
}

static enum latentd_err
refuse_packed(const struct model *m, const struct latentd_tensor *t,
    uint32_t height_px, uint32_t width_px, struct reason *why)
{
	const uint32_t step = 2 * m->spatial;
	uint64_t patches = height_px / step;
	char text[TENSOR_SHAPE_TEXT_BYTES];

	patches *= width_px / step;
	tensor_shape_format(t, text);
	if (height_px == 0 || width_px == 0)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "shape %s is a packed %s latent and needs height and width",
		    text, m->name);
	return reason_set(why, LATENTD_ERR_SHAPE,
	    "shape %s with height %" PRIu32 " and width %" PRIu32
	    " does not fit %s: a packed latent of that size is [N,%" PRIu64
	    ",%" PRIu32 "]",
	    text, height_px, width_px, m->name, patches, 4 * m->channels);
}

static enum latentd_err
refuse_shape(
    const struct model *m, const struct latentd_tensor *t, struct reason *why)
{
	char text[TENSOR_SHAPE_TEXT_BYTES];

	tensor_shape_format(t, text);
	if (m->temporal != 0)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "shape %s does not fit %s: must be [N,%" PRIu32 ",T,h,w]",
		    text, m->name, m->channels);
	if (m->packs)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "shape %s does not fit %s: must be [N,%" PRIu32
		    ",h,w], or packed [N,P,%" PRIu32 "] with height and width",
		    text, m->name, m->channels, 4 * m->channels);
	return reason_set(why, LATENTD_ERR_SHAPE,
	    "shape %s does not fit %s: must be [N,%" PRIu32 ",h,w]", text,
	    m->name, m->channels);
}

/* ${dims}: [N,P,4C] or, where sizes say so, [C,h,w] (wire.md §1: SD.Next). */
static enum latentd_err
geometry_of_three(const struct model *m, const struct latentd_tensor *t,
    const uint64_t dims[3], uint32_t height_px, uint32_t width_px,
    struct geometry *geo, struct reason *why)
{
	const uint32_t step = 2 * m->spatial;
	const uint64_t rows = height_px / step, columns = width_px / step;
	enum latentd_err err;

	if (is_packed(m, dims, height_px, width_px)) {
		err = geometry_fill(
		    m, dims[0], 1, 2 * rows, 2 * columns, geo, why);
		if (err == LATENTD_OK)
			geo->packed = true;
		return err;
	}
	if (dims[0] == m->channels && dims[1] * m->spatial == height_px &&
	    dims[2] * m->spatial == width_px)
		return geometry_fill(m, 1, 1, dims[1], dims[2], geo, why);
	if (dims[2] == 4 * (uint64_t)m->channels)
		return refuse_packed(m, t, height_px, width_px, why);
	return refuse_shape(m, t, why);
}

enum latentd_err
model_geometry(const struct model *m, const struct latentd_tensor *t,
    uint32_t height_px, uint32_t width_px, struct geometry *geo,
    struct reason *why)
{
	const uint64_t *d = t->shape;
	enum latentd_err err;
	uint64_t bytes;

	if ((err = tensor_bytes(t, &bytes, why)) != LATENTD_OK)
		return err;
	if (t->dtype == LATENTD_U8)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "dtype uint8 cannot be a latent's, must be float16, "
		    "bfloat16 or float32");
	if (m->temporal != 0) {
		if (t->ndim != 5 || d[1] != m->channels)
			return refuse_shape(m, t, why);
		return geometry_fill(m, d[0], d[2], d[3], d[4], geo, why);
	}
	if (t->ndim == 4 && d[1] == m->channels)
		return geometry_fill(m, d[0], 1, d[2], d[3], geo, why);
	if (t->ndim == 3)
		return geometry_of_three(
		    m, t, d, height_px, width_px, geo, why);
	/* SD.Next before 2025-03-16 sent packed latents as [1,N,P,4C]. */
	if (t->ndim == 4 && d[0] == 1 &&
	    is_packed(m, d + 1, height_px, width_px))
		return geometry_of_three(
		    m, t, d + 1, height_px, width_px, geo, why);
	return refuse_shape(m, t, why);
}

enum latentd_err
model_encoded(const struct model *m, uint32_t width_px, uint32_t height_px,
    uint32_t frames, uint32_t batch, struct latentd_tensor *t,
    struct reason *why)
{
	struct latentd_tensor out = {.dtype = m->dtype};
	enum latentd_err err;

	if ((err = check_batch(batch, why)) != LATENTD_OK ||
	    (err = check_frames(frames, why)) != LATENTD_OK ||
	    (err = check_side(m, "height", height_px, why)) != LATENTD_OK ||
	    (err = check_side(m, "width", width_px, why)) != LATENTD_OK)
		return err;
	if (width_px < m->spatial || height_px < m->spatial || frames == 0)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "a picture of %" PRIu32 "x%" PRIu32 " pixels and %" PRIu32
		    " frames is too small for %s, whose latent elements are "
		    "%" PRIu32 " pixels wide",
		    width_px, height_px, frames, m->name, m->spatial);
	if (m->temporal == 0 && frames != 1)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "%s encodes pictures, not videos of %" PRIu32 " frames",
		    m->name, frames);
	out.shape[out.ndim++] = batch;
	out.shape[out.ndim++] = m->channels;
	if (m->temporal != 0)
		out.shape[out.ndim++] = (frames - 1) / m->temporal + 1;
	out.shape[out.ndim++] = height_px / m->spatial;
	out.shape[out.ndim++] = width_px / m->spatial;
	*t = out;
	return LATENTD_OK;
}
