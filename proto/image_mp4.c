/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Size, frame count and wholeness of an MP4 file, from its boxes alone
 * (ISO/IEC 14496-12 §4.2 and §8).  Pure functions over the caller's bytes: any
 * thread; nothing is allocated.  Only the boxes on the way to the sample sizes
 * of the video track are opened, so nesting cannot go deeper than that.
 */
#include <inttypes.h>
#include <stdbool.h>

#include "image_mp4.h"

/* A box's content, or a file's. */
struct box {
	uint32_t type;
	const uint8_t *at;
	size_t bytes;
};

struct video {
	uint32_t tracks_n;
	uint32_t width_px;
	uint32_t height_px;
	uint32_t frames;
	uint64_t sample_bytes;
};

#define TYPE(s)                                            \
	((uint32_t)(s)[0] << 24 | (uint32_t)(s)[1] << 16 | \
	    (uint32_t)(s)[2] << 8 | (uint32_t)(s)[3])

#define TKHD_V0_BYTES 84u
#define TKHD_V1_BYTES 96u

static uint32_t
read_u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
	    (uint32_t)at[2] << 8 | at[3];
}

static uint64_t
read_u64(const uint8_t *at)
{
	return (uint64_t)read_u32(at) << 32 | read_u32(at + 4);
}

/* Take the next box off ${parent}, or say why there is none. */
static bool
box_next(struct box *parent, struct box *box, struct reason *why)
{
	const uint8_t *at = parent->at;
	uint64_t size, head = 8;

	if (parent->bytes < 8) {
		reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: breaks off within the head of a box");
		return false;
	}
	size = read_u32(at);
	if (size == 1 && parent->bytes >= 16) {
		size = read_u64(at + 8);
		head = 16;
	}
	/* 0 would mean "to the end", which hides that the end is missing. */
	if (size < head) {
		reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: a %.4s box of %" PRIu64 " bytes",
		    (const char *)at + 4, size);
		return false;
	}
	if (size > parent->bytes) {
		reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: breaks off in the %.4s box, %zu of %" PRIu64
		    " bytes are there",
		    (const char *)at + 4, parent->bytes, size);
		return false;
	}
	*box = (struct box){
	    .type = read_u32(at + 4),
	    .at = at + head,
	    .bytes = (size_t)(size - head),
	};
	parent->at += size;
	parent->bytes -= (size_t)size;
	return true;
}

/* Find the one box of ${type} among the children of ${parent}. */
static bool
box_only(struct box parent, const char *type, size_t at_least_bytes,
    struct box *found, struct reason *why)
{
	struct box child = {0};
	unsigned n = 0;

	while (parent.bytes > 0) {
		if (!box_next(&parent, &child, why))
			return false;
		if (child.type != TYPE(type))
			continue;
		*found = child;
		n++;
	}
	if (n != 1) {
		reason_set(why, LATENTD_ERR_IMAGE,
		    n == 0 ? "MP4: a %s box is missing"
			   : "MP4: more than one %s box",
		    type);
		return false;
	}
	if (found->bytes < at_least_bytes) {
		reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: the %s box has %zu bytes, needs %zu", type,
		    found->bytes, at_least_bytes);
		return false;
	}
	return true;
}

/* Width and height are the last two fields of tkhd, 16.16 fixed point. */
static enum latentd_err
read_tkhd(const struct box *trak, struct video *video, struct reason *why)
{
	struct box tkhd = {0};
	uint32_t width, height;

	if (!box_only(*trak, "tkhd", TKHD_V0_BYTES, &tkhd, why))
		return LATENTD_ERR_IMAGE;
	if (tkhd.bytes != (tkhd.at[0] == 1 ? TKHD_V1_BYTES : TKHD_V0_BYTES))
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: a tkhd box of version %d and %zu bytes", tkhd.at[0],
		    tkhd.bytes);
	width = read_u32(tkhd.at + tkhd.bytes - 8);
	height = read_u32(tkhd.at + tkhd.bytes - 4);
	if (width >> 16 == 0 || height >> 16 == 0)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: %" PRIu32 "x%" PRIu32 " is no size of a video",
		    width >> 16, height >> 16);
	video->width_px = width >> 16;
	video->height_px = height >> 16;
	return LATENTD_OK;
}

static enum latentd_err
read_stsz(const struct box *mdia, struct video *video, struct reason *why)
{
	struct box minf = {0}, stbl = {0}, stsz = {0};
	uint32_t size, n, i;

	if (!box_only(*mdia, "minf", 0, &minf, why) ||
	    !box_only(minf, "stbl", 0, &stbl, why) ||
	    !box_only(stbl, "stsz", 12, &stsz, why))
		return LATENTD_ERR_IMAGE;
	size = read_u32(stsz.at + 4);
	n = read_u32(stsz.at + 8);
	if (stsz.bytes - 12 != (size == 0 ? (uint64_t)n * 4 : 0))
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: %zu bytes of sample sizes for %" PRIu32 " samples",
		    stsz.bytes - 12, n);
	if (n == 0)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: the video track has no samples");
	video->sample_bytes = (uint64_t)size * n;
	for (i = 0; size == 0 && i < n; i++)
		video->sample_bytes += read_u32(stsz.at + 12 + 4 * (size_t)i);
	video->frames = n;
	return LATENTD_OK;
}

static enum latentd_err
read_trak(const struct box *trak, struct video *video, struct reason *why)
{
	struct box mdia = {0}, hdlr = {0};
	enum latentd_err err;

	if (!box_only(*trak, "mdia", 0, &mdia, why) ||
	    !box_only(mdia, "hdlr", 12, &hdlr, why))
		return LATENTD_ERR_IMAGE;
	if (read_u32(hdlr.at + 8) != TYPE("vide"))
		return LATENTD_OK;
	if (video->tracks_n++ > 0)
		return reason_set(
		    why, LATENTD_ERR_IMAGE, "MP4: more than one video track");
	err = read_tkhd(trak, video, why);
	return err == LATENTD_OK ? read_stsz(&mdia, video, why) : err;
}

static enum latentd_err
read_moov(struct box moov, struct video *video, struct reason *why)
{
	struct box child = {0};
	enum latentd_err err;

	while (moov.bytes > 0) {
		if (!box_next(&moov, &child, why))
			return LATENTD_ERR_IMAGE;
		if (child.type != TYPE("trak"))
			continue;
		err = read_trak(&child, video, why);
		if (err != LATENTD_OK)
			return err;
	}
	if (video->tracks_n == 0)
		return reason_set(
		    why, LATENTD_ERR_IMAGE, "MP4: there is no video track");
	return LATENTD_OK;
}

enum latentd_err
image_mp4_parse(
    const void *data, size_t bytes, struct image_info *info, struct reason *why)
{
	const struct box file = {.at = data, .bytes = bytes};
	struct box rest = file, child = {0}, moov = {0};
	struct video video = {0};
	enum latentd_err err;
	uint64_t data_bytes = 0;

	while (rest.bytes > 0) {
		if (!box_next(&rest, &child, why))
			return LATENTD_ERR_IMAGE;
		if (child.type == TYPE("mdat"))
			data_bytes += child.bytes;
	}
	if (!box_only(file, "ftyp", 8, &child, why) ||
	    !box_only(file, "moov", 0, &moov, why))
		return LATENTD_ERR_IMAGE;
	err = read_moov(moov, &video, why);
	if (err != LATENTD_OK)
		return err;
	if (video.sample_bytes == 0 || video.sample_bytes > data_bytes)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "MP4: the samples need %" PRIu64
		    " bytes and the mdat boxes hold %" PRIu64,
		    video.sample_bytes, data_bytes);
	*info = (struct image_info){
	    .kind = IMAGE_MP4,
	    .width_px = video.width_px,
	    .height_px = video.height_px,
	    .frames = video.frames,
	};
	return LATENTD_OK;
}
