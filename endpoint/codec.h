/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_CODEC_H
#define ENDPOINT_CODEC_H

#include "blob.h"
#include "preview.h"
#include "remote.h"

/*
 * codec_project(req, geo, latent, preview, why):
 * Map the latent at ${latent} (as ${req}'s tensor describes it, ${geo} being
 * its geometry) to its small pictures.  ${preview} is the caller's, to be freed
 * with preview_free().  Fails with MEMORY, or UNSUPPORTED for a model without a
 * map; ${preview} is unchanged then.
 */
enum latentd_err codec_project(const struct remote_request *req,
    const struct geometry *geo, const void *latent, struct preview *preview,
    struct reason *why);

/*
 * codec_embed(req, preview, tensor, latent, why):
 * The way back: the shortest latent of ${req}'s model that gives ${preview},
 * in the space that ${req}'s scaling parameters ask for, as ${tensor} (its
 * dtype and shape) describes it.  Fails with MEMORY or UNSUPPORTED.
 */
enum latentd_err codec_embed(const struct remote_request *req,
    const struct preview *preview, const struct latentd_tensor *tensor,
    struct blob *latent, struct reason *why);

#endif
