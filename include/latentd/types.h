/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain values that client, daemon and endpoint share.  docs/architecture.md
 * §2 defines the words.
 */
#ifndef LATENTD_TYPES_H
#define LATENTD_TYPES_H

#include <stdint.h>

#include "latentd/errors.h"
#include "latentd/limits.h"

/* Element types; names on the wire: float16, bfloat16, float32, uint8. */
enum latentd_dtype {
	LATENTD_DTYPE_NONE = 0,
	LATENTD_F16,
	LATENTD_BF16,
	LATENTD_F32,
	LATENTD_U8,
};

/* "decode" (latent to picture) or "encode" (picture to latent). */
enum latentd_task {
	LATENTD_DECODE = 0,
	LATENTD_ENCODE,
};

/*
 * Which values a latent holds.  MODEL ("model"): scaled, as diffusers'
 * output_type="latent" returns it; the endpoint unscales.  VAE ("vae"): what
 * the VAE itself takes, as ComfyUI's LATENT and .latent files hold it.
 */
enum latentd_space {
	LATENTD_SPACE_MODEL = 0,
	LATENTD_SPACE_VAE,
};

/*
 * What the producer wants back.
 * JPG, PNG: one file per image of the batch (PNG also per frame of a video).
 * MP4: one file per video.
 * PIXELS ("pixels"): uint8 sRGB, [N,H,W,3], for a video [F,H,W,3].
 * FLOAT ("float"): float16/bfloat16 in [-1,1], [N,3,H,W], for a video
 *     [N,3,F,H,W].
 * LATENT ("latent"): what an encode job returns, [N,C,H/s,W/s].
 */
enum latentd_output {
	LATENTD_OUT_NONE = 0,
	LATENTD_OUT_JPG,
	LATENTD_OUT_PNG,
	LATENTD_OUT_MP4,
	LATENTD_OUT_PIXELS,
	LATENTD_OUT_FLOAT,
	LATENTD_OUT_LATENT,
};

/*
 * Which of a model's jobs go first.  A job that waits long moves up a class at
 * a time, so that no class starves (protocol.md §1).
 */
enum latentd_priority {
	LATENTD_NORMAL = 0,
	LATENTD_URGENT,
	LATENTD_HIGH,
	LATENTD_LOW,
};

/*
 * What a job that was accepted survives.  NONE ("none"): the end of its
 * producer, but not of the daemon; liblatentd submits it again.  SPOOLED
 * ("spooled"): it is on the daemon's disk, and survives crash and power cut.
 */
enum latentd_durability {
	LATENTD_DURABILITY_NONE = 0,
	LATENTD_DURABILITY_SPOOLED,
};

/*
 * A tensor's description: C-contiguous, little-endian, outermost dimension
 * first.  ndim 0 means "no tensor here".
 */
struct latentd_tensor {
	enum latentd_dtype dtype;
	uint32_t ndim;
	uint64_t shape[LATENTD_MAX_NDIM];
};

#endif
