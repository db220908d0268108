/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_IMAGE_H
#define PROTO_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "latentd/types.h"
#include "reason.h"

enum image_kind {
	IMAGE_UNKNOWN = 0,
	IMAGE_PNG,
	IMAGE_JPEG,
	IMAGE_MP4,
};

struct image_info {
	enum image_kind kind;
	uint32_t width_px;
	uint32_t height_px;
	uint32_t channels; /* 1..4, 3 for indexed; 0 for mp4 */
	uint32_t bits; /* per channel, at most 16; 0 for mp4 */
	uint32_t frames; /* samples of the mp4's video; else 1 */
};

/* image_sniff(data, bytes): the kind by its magic alone. */
enum image_kind image_sniff(const void *data, size_t bytes);

/* image_kind_name(kind): "PNG", "JPEG", "MP4", "unknown". */
const char *image_kind_name(enum image_kind kind);

/*
 * image_parse(data, bytes, info, why):
 * Read kind and dimensions and check that the file is whole, without decoding
 * pixels: PNG by walking every chunk to IEND with its CRC; JPEG from SOI over
 * well-formed segments with one SOF to EOI at the end; MP4 by boxes of stated
 * length that fill the file exactly, one ftyp first, one moov holding one video
 * track (tkhd, hdlr, stsz) and an mdat that has room for its samples.  Bytes
 * behind the end of a file are refused.  Never reads outside ${data}, never
 * recurses deeper than the boxes it knows.  Fails with IMAGE and a sentence
 * saying where it breaks off; ${info} is unchanged then.  Cost: one pass (the
 * PNG CRC) at most.
 */
enum latentd_err image_parse(const void *data, size_t bytes,
    struct image_info *info, struct reason *why);

#endif
