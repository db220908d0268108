/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of small pictures.  Any thread. */
#include <stdlib.h>

#include "preview.h"

enum latentd_err
preview_alloc(struct preview *p, struct reason *why)
{
	const uint64_t pictures = (uint64_t)p->batch * p->frames;
	const uint64_t pixels = (uint64_t)p->height * p->width;

	p->rgb = NULL;
	if (pictures > 0 && pixels > 0 &&
	    pictures <= SIZE_MAX / 3 / sizeof(float) / pixels)
		p->rgb =
		    malloc((size_t)(pictures * pixels) * 3 * sizeof(float));
	if (p->rgb == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "not enough memory for the latent; try again later");
	return LATENTD_OK;
}

float *
preview_planes(const struct preview *p, uint32_t n, uint32_t frame)
{
	const size_t pixels = (size_t)p->height * p->width;

	return p->rgb + ((size_t)n * p->frames + frame) * 3 * pixels;
}

void
preview_free(struct preview *p)
{
	free(p->rgb);
	p->rgb = NULL;
}
