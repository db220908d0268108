/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_MODEL_H
#define PROTO_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/types.h"
#include "reason.h"

/*
 * A latent space.  z_vae = z_model / scaling_factor + shift_factor (diffusers
 * AutoencoderKL config; the factors are those of the published VAEs).
 */
struct model {
	const char *name; /* "sdxl", as in a producer's request */
	uint32_t channels; /* C of [N,C,(T,)h,w] */
	uint32_t spatial; /* pixels per latent element, each way */
	uint32_t temporal; /* frames = (T-1)*temporal+1; 0: images */
	bool packs; /* clients send [N,P,4C] too (Flux) */
	double scaling_factor;
	double shift_factor; /* 0 where the model has none */
	bool has_shift;
	enum latentd_dtype dtype; /* of float replies and encoded latents */
};

/* What a latent decodes to; all counts are at least 1. */
struct geometry {
	bool packed; /* [N,P,4C] */
	bool video; /* [N,C,T,h,w] */
	uint32_t batch; /* N */
	uint32_t latent_height;
	uint32_t latent_width;
	uint32_t latent_frames; /* T; 1 for images */
	uint32_t height_px;
	uint32_t width_px;
	uint32_t frames; /* 1 for images */
};

size_t model_count(void);
const struct model *model_at(size_t i);

/* model_find(name, name_bytes): the model of that exact name, or NULL. */
const struct model *model_find(const char *name, size_t name_bytes);

/* model_names(): "sd-v1, sdxl, flux, hunyuan-video", static, for messages. */
const char *model_names(void);

/*
 * model_geometry(m, t, height_px, width_px, geo, why):
 * Work out what the latent ${t} of ${m} is and decodes to.  ${height_px} and
 * ${width_px} (0 = not given) are used only for packed latents and ignored
 * otherwise, as real clients send them where they mean nothing.  A tensor is
 * packed when it has 3 dimensions (or 4 with a leading 1 before [N,P,4C]: the
 * old SD.Next form), its last one is 4*channels and P = (H/2s)*(W/2s).
 * Accepted: [N,C,h,w]; packed where the sizes fit, for any image model; [C,h,w]
 * with the height and width that it decodes to (SD.Next forgets the batch of
 * unpacked latents; it is laid out like [1,C,h,w]); [N,C,T,h,w] and nothing
 * else for a video model.  dtype uint8 is no latent's.
 * Fails with SHAPE (sentence names what was found and what would fit) or
 * TOO_LARGE beyond LATENTD_MAX_SIDE_PX, _FRAMES, _BATCH; ${geo} unchanged.
 * Source: diffusers pipeline_flux.py _unpack_latents; wire.md §1.
 */
enum latentd_err model_geometry(const struct model *m,
    const struct latentd_tensor *t, uint32_t height_px, uint32_t width_px,
    struct geometry *geo, struct reason *why);

/*
 * model_encoded(m, width_px, height_px, frames, batch, t, why):
 * Set ${t} to the latent that encoding such pictures gives: [N,C,h/s,w/s], or
 * with T = (frames-1)/temporal+1 for a video model.  Sides are cut down to a
 * multiple of ${m}'s factor, as diffusers' VaeImageProcessor does.  Fails with
 * SHAPE when a side is smaller than one latent element, and with TOO_LARGE.
 */
enum latentd_err model_encoded(const struct model *m, uint32_t width_px,
    uint32_t height_px, uint32_t frames, uint32_t batch,
    struct latentd_tensor *t, struct reason *why);

#endif
