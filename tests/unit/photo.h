/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PHOTO_H
#define TESTS_PHOTO_H

#include "picture.h"
#include "remote.h"

/* photo_make(width, height): like a photo: gradients, soft shapes, hard edges
 * and some fine texture; rgb is malloc'd. */
struct picture photo_make(uint32_t width, uint32_t height);

/* photo_psnr(a, b): of the pictures at 1/8 scale, in dB; sides must be
 * multiples of 8. */
double photo_psnr(const struct picture *a, const struct picture *b);

/* photo_request(task, model): a request in model space. */
struct remote_request photo_request(enum latentd_task task, const char *model);

/* photo_latent(req, p, dtype): the latent that ${p} becomes. */
struct latentd_tensor photo_latent(const struct remote_request *req,
    const struct picture *p, enum latentd_dtype dtype);

#endif
