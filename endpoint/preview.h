/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_PREVIEW_H
#define ENDPOINT_PREVIEW_H

#include <stddef.h>
#include <stdint.h>

#include "latentd/errors.h"
#include "reason.h"

/*
 * The small pictures behind a latent, one pixel per latent element: float RGB
 * around [-1,1], planar, [batch][frames][3][height][width].  frames counts
 * latent frames.
 */
struct preview {
	uint32_t batch;
	uint32_t frames;
	uint32_t height;
	uint32_t width;
	float *rgb; /* malloc'd */
};

/* preview_alloc(p, why): allocate rgb for the counts in ${p}, which
 * are at least 1, not filled.  Fails with MEMORY. */
enum latentd_err preview_alloc(struct preview *p, struct reason *why);

/* preview_planes(p, n, frame): plane 0 of one picture; planes 1 and 2 follow,
 * height * width floats apart. */
float *preview_planes(const struct preview *p, uint32_t n, uint32_t frame);

/* preview_free(p): NULL rgb is harmless. */
void preview_free(struct preview *p);

#endif
