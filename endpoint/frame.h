/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_FRAME_H
#define ENDPOINT_FRAME_H

#include <stdbool.h>

#include "picture.h"
#include "preview.h"
#include "remote.h"

/*
 * frame_pixels(preview, n, frame, step, rgb, why):
 * Enlarge picture ${n} at video frame ${frame} to 8 times its sides, as bytes
 * [8*height][8*width][3] into ${rgb}.  Latent frame t is shown at frame
 * t * ${step}; between two of them, their mixture.  Fails with MEMORY.
 */
enum latentd_err frame_pixels(const struct preview *preview, uint32_t n,
    uint32_t frame, uint32_t step, uint8_t *rgb, struct reason *why);

/*
 * frame_floats(preview, n, frame, step, unit, dtype, dst, plane_bytes, why):
 * The same as three planes of ${dtype}, ${plane_bytes} apart, in [0,1] when
 * ${unit}, else in [-1,1].
 */
enum latentd_err frame_floats(const struct preview *preview, uint32_t n,
    uint32_t frame, uint32_t step, bool unit, enum latentd_dtype dtype,
    uint8_t *dst, size_t plane_bytes, struct reason *why);

/*
 * frame_shrink_picture(picture, latent, preview, why) /
 * frame_shrink_tensor(req, geo, data, latent, preview, why):
 * Reduce a picture, or the pictures [N,3,H,W] or video [N,3,F,H,W] at ${data}
 * (floats in [-1,1], bytes in 0..255; ${geo} counts in pixels and frames), to
 * the small pictures that a latent of ${latent}'s shape holds.  Sides that are
 * no multiple of 8 are resized down to one, as diffusers' VaeImageProcessor
 * does; of a video every frame that becomes a latent frame is taken.
 */
enum latentd_err frame_shrink_picture(const struct picture *picture,
    const struct latentd_tensor *latent, struct preview *preview,
    struct reason *why);
enum latentd_err frame_shrink_tensor(const struct remote_request *req,
    const struct geometry *geo, const void *data,
    const struct latentd_tensor *latent, struct preview *preview,
    struct reason *why);

#endif
