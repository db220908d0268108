/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_PICTURE_H
#define ENDPOINT_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "blob.h"
#include "latentd/errors.h"
#include "reason.h"

/* Bytes [height][width][3], sRGB. */
struct picture {
	uint32_t width;
	uint32_t height;
	uint8_t *rgb;
};

/*
 * picture_write_jpeg(picture, file, why) / picture_write_png(...):
 * Compress ${picture} to a file in memory, which is then the caller's.  JPEG:
 * quality 95, 4:2:0.  PNG: 8 bits, sRGB.  Fails with MEMORY or INTERNAL.
 */
enum latentd_err picture_write_jpeg(
    const struct picture *picture, struct blob *file, struct reason *why);
enum latentd_err picture_write_png(
    const struct picture *picture, struct blob *file, struct reason *why);

/*
 * picture_read(data, bytes, picture, why):
 * Decode a PNG or JPEG file as PIL's convert("RGB") does: palettes and grey
 * expanded, 16 bits cut to 8, transparency dropped (not composited), gamma,
 * profiles and EXIF orientation ignored.  ${picture}'s rgb is malloc'd and the
 * caller's.  Fails with IMAGE (damaged, CMYK), TOO_LARGE beyond
 * LATENTD_MAX_SIDE_PX each way, MEMORY; ${picture} is unchanged then.
 */
enum latentd_err picture_read(const void *data, size_t bytes,
    struct picture *picture, struct reason *why);

#endif
