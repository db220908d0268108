/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_IMAGE_MP4_H
#define PROTO_IMAGE_MP4_H

#include "image.h"

/* image_mp4_parse(data, bytes, info, why): image_parse() of an MP4. */
enum latentd_err image_mp4_parse(const void *data, size_t bytes,
    struct image_info *info, struct reason *why);

#endif
