/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_MISFIT_H
#define ENDPOINT_MISFIT_H

#include "picture.h"
#include "remote.h"

/*
 * For replies of another size than asked for: what was sent is made higher by
 * one latent row (two for a packed latent), and then served as if that had been
 * sent.  Any thread.
 *
 * misfit_tensor(req, geo, data, grown, why): enlarge ${req}'s tensor and copy
 * ${data} to ${*grown}, the caller's to free(); ${geo} is a latent's geometry,
 * NULL for a picture to encode.
 * misfit_picture(req, picture, why): the same for a picture of ${req}.
 * Both fail with MEMORY or TOO_LARGE and change nothing then.
 */
enum latentd_err misfit_tensor(struct remote_request *req,
    const struct geometry *geo, const void *data, void **grown,
    struct reason *why);
enum latentd_err misfit_picture(const struct remote_request *req,
    struct picture *picture, struct reason *why);

#endif
