/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Larger rather than smaller, because every size that may be asked for has a
 * next one.  What the new rows show does not matter: they are black.
 */
#include <stdlib.h>
#include <string.h>

#include "misfit.h"
#include "tensor.h"

static enum latentd_err
refuse_memory(struct reason *why)
{
	return reason_set(why, LATENTD_ERR_MEMORY,
	    "not enough memory for a reply of the wrong size");
}

enum latentd_err
misfit_tensor(struct remote_request *req, const struct geometry *geo,
    const void *data, void **grown, struct reason *why)
{
	struct latentd_tensor t = req->tensor;
	uint32_t height_px = req->height_px;
	uint64_t before, after;
	enum latentd_err err;

	if (geo == NULL) {
		t.shape[t.ndim - 2] += req->model->spatial;
	} else if (geo->packed) {
		t.shape[1] += geo->latent_width / 2;
		height_px += 2 * req->model->spatial;
	} else {
		t.shape[t.ndim - 2]++;
	}
	err = tensor_bytes(&req->tensor, &before, why);
	if (err == LATENTD_OK)
		err = tensor_bytes(&t, &after, why);
	if (err != LATENTD_OK)
		return err;
	*grown = calloc(1, (size_t)after);
	if (*grown == NULL)
		return refuse_memory(why);
	memcpy(*grown, data, (size_t)before);
	req->tensor = t;
	req->height_px = height_px;
	return LATENTD_OK;
}

enum latentd_err
misfit_picture(const struct remote_request *req, struct picture *picture,
    struct reason *why)
{
	const size_t row_bytes = (size_t)picture->width * 3;
	const uint32_t more = req->model->spatial;
	uint8_t *rgb =
	    realloc(picture->rgb, row_bytes * (picture->height + more));

	if (rgb == NULL)
		return refuse_memory(why);
	memset(rgb + row_bytes * picture->height, 0, row_bytes * more);
	picture->rgb = rgb;
	picture->height += more;
	return LATENTD_OK;
}
