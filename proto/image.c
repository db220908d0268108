/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kind, size and wholeness of image files, without decoding pixels.  Pure
 * functions over the caller's bytes: any thread; nothing is allocated.  Every
 * read goes through a span that knows how much is left.
 *
 * PNG: W3C PNG 3rd edition §5 and §11.2.  JPEG: ITU-T T.81 Annex B.  MP4 is in
 * image_mp4.c.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include <zlib.h>

#include "image.h"
#include "image_mp4.h"

/* Bytes that are left to read. */
struct span {
	const uint8_t *at;
	size_t bytes;
};

static const uint8_t png_magic[8] = {
    0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

#define TYPE(a, b, c, d)                                                  \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | \
	    (uint32_t)(d))

static uint32_t
read_u16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t
read_u32(const uint8_t *at)
{
	return read_u16(at) << 16 | read_u16(at + 2);
}

static void
span_skip(struct span *s, size_t bytes)
{
	s->at += bytes;
	s->bytes -= bytes;
}

enum image_kind
image_sniff(const void *data, size_t bytes)
{
	const uint8_t *at = data;

	if (bytes >= sizeof(png_magic) &&
	    memcmp(at, png_magic, sizeof(png_magic)) == 0)
		return IMAGE_PNG;
	if (bytes >= 3 && at[0] == 0xff && at[1] == 0xd8 && at[2] == 0xff)
		return IMAGE_JPEG;
	if (bytes >= 8 && read_u32(at + 4) == TYPE('f', 't', 'y', 'p'))
		return IMAGE_MP4;
	return IMAGE_UNKNOWN;
}

const char *
image_kind_name(enum image_kind kind)
{
	static const char *const names[] = {
	    [IMAGE_UNKNOWN] = "unknown",
	    [IMAGE_PNG] = "PNG",
	    [IMAGE_JPEG] = "JPEG",
	    [IMAGE_MP4] = "MP4",
	};

	return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind]
							       : "unknown";
}

/* ---- PNG ---- */

struct png_state {
	struct image_info info;
	bool palette_needed;
	bool palette;
	bool data; /* an IDAT was seen */
	bool data_over; /* and something else behind it */
};

static enum latentd_err
png_header(
    struct png_state *png, const uint8_t *d, size_t bytes, struct reason *why)
{
	/* Channels per colour type; an indexed pixel means three. */
	static const uint8_t channels[7] = {1, 0, 3, 3, 2, 0, 4};
	/* Allowed bit depths per colour type, as a mask of 1<<depth. */
	static const uint32_t depths[7] = {
	    0x10116, 0, 0x10100, 0x116, 0x10100, 0, 0x10100};
	uint32_t depth, colour;

	if (bytes != 13)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: IHDR has %zu bytes, must have 13", bytes);
	depth = d[8];
	colour = d[9];
	png->info = (struct image_info){
	    .kind = IMAGE_PNG,
	    .width_px = read_u32(d),
	    .height_px = read_u32(d + 4),
	    .frames = 1,
	};
	if (png->info.width_px == 0 || png->info.width_px > INT32_MAX ||
	    png->info.height_px == 0 || png->info.height_px > INT32_MAX)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: %" PRIu32 "x%" PRIu32 " is no size of a picture",
		    png->info.width_px, png->info.height_px);
	if (colour > 6 || depth > 16 || (depths[colour] >> depth & 1) == 0)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: %" PRIu32 " bits of colour type %" PRIu32
		    " do not exist",
		    depth, colour);
	if (d[10] != 0 || d[11] != 0 || d[12] > 1)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: compression %d, filter %d, interlace %d, must be 0, "
		    "0 and 0 or 1",
		    d[10], d[11], d[12]);
	png->info.channels = channels[colour];
	png->palette_needed = colour == 3;
	png->info.bits = colour == 3 ? 8 : depth;
	return LATENTD_OK;
}

/* The order that PNG §5.6 demands of critical chunks. */
static enum latentd_err
png_chunk(struct png_state *png, uint32_t type, const uint8_t *d, size_t bytes,
    struct reason *why)
{
	bool first = png->info.kind == IMAGE_UNKNOWN;

	if (first != (type == TYPE('I', 'H', 'D', 'R')))
		return reason_set(why, LATENTD_ERR_IMAGE,
		    first ? "PNG: the first chunk is not IHDR"
			  : "PNG: a second IHDR");
	if (first)
		return png_header(png, d, bytes, why);
	if (type != TYPE('I', 'D', 'A', 'T')) {
		png->data_over = png->data;
		if (type == TYPE('P', 'L', 'T', 'E'))
			png->palette = true;
		return LATENTD_OK;
	}
	if (png->data_over)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: the IDAT chunks are not in one row");
	if (png->palette_needed && !png->palette)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: IDAT of an indexed picture before its PLTE");
	png->data = true;
	return LATENTD_OK;
}

static bool
is_letter(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Take the next chunk off ${s}; its type and data are checked by their CRC. */
static enum latentd_err
png_next(struct span *s, struct span *chunk, uint32_t *type, size_t offset,
    struct reason *why)
{
	const uint8_t *at = s->at;
	size_t length;

	if (s->bytes < 12)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: breaks off at byte %zu, before IEND", offset);
	length = read_u32(at);
	if (!is_letter(at[4]) || !is_letter(at[5]) || !is_letter(at[6]) ||
	    !is_letter(at[7]))
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: no chunk at byte %zu", offset);
	if (length > s->bytes - 12)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: breaks off in the %.4s chunk at byte %zu",
		    (const char *)at + 4, offset);
	if (crc32_z(0, at + 4, length + 4) != read_u32(at + 8 + length))
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: the CRC of the %.4s chunk at byte %zu is wrong",
		    (const char *)at + 4, offset);
	*type = read_u32(at + 4);
	*chunk = (struct span){.at = at + 8, .bytes = length};
	span_skip(s, length + 12);
	return LATENTD_OK;
}

static enum latentd_err
png_parse(struct span s, struct image_info *info, struct reason *why)
{
	struct png_state png = {.info = {.kind = IMAGE_UNKNOWN}};
	const uint8_t *start = s.at;
	struct span chunk = {0};
	enum latentd_err err;
	uint32_t type = 0;

	span_skip(&s, sizeof(png_magic));
	while (type != TYPE('I', 'E', 'N', 'D')) {
		err = png_next(&s, &chunk, &type, (size_t)(s.at - start), why);
		if (err == LATENTD_OK)
			err = png_chunk(&png, type, chunk.at, chunk.bytes, why);
		if (err != LATENTD_OK)
			return err;
	}
	if (!png.data || chunk.bytes != 0)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    png.data ? "PNG: IEND is not empty"
			     : "PNG: there is no IDAT");
	if (s.bytes != 0)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "PNG: %zu bytes behind IEND", s.bytes);
	*info = png.info;
	return LATENTD_OK;
}

/* ---- JPEG ---- */

#define JPEG_STEP 256

enum jpeg_marker {
	JPEG_TEM = 0x01,
	JPEG_SOF0 = 0xc0,
	JPEG_DHT = 0xc4,
	JPEG_JPG = 0xc8,
	JPEG_DAC = 0xcc,
	JPEG_SOF15 = 0xcf,
	JPEG_RST0 = 0xd0,
	JPEG_RST7 = 0xd7,
	JPEG_SOI = 0xd8,
	JPEG_EOI = 0xd9,
	JPEG_SOS = 0xda,
};

static bool
is_sof(uint8_t marker)
{
	return marker >= JPEG_SOF0 && marker <= JPEG_SOF15 &&
	    marker != JPEG_DHT && marker != JPEG_JPG && marker != JPEG_DAC;
}

static enum latentd_err
jpeg_frame(
    struct image_info *info, const struct span *segment, struct reason *why)
{
	const uint8_t *d = segment->at;

	if (info->kind != IMAGE_UNKNOWN)
		return reason_set(
		    why, LATENTD_ERR_IMAGE, "JPEG: a second frame header");
	if (segment->bytes < 6 || d[5] == 0 || d[5] > 4 ||
	    segment->bytes != 6 + 3 * (size_t)d[5])
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "JPEG: the frame header does not fit 1 to 4 components");
	if (d[0] < 2 || d[0] > 16)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "JPEG: %d bits per channel, must be 2 to 16", d[0]);
	if (read_u16(d + 1) == 0 || read_u16(d + 3) == 0)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "JPEG: %" PRIu32 "x%" PRIu32 " is no size of a picture",
		    read_u16(d + 3), read_u16(d + 1));
	*info = (struct image_info){
	    .kind = IMAGE_JPEG,
	    .width_px = read_u16(d + 3),
	    .height_px = read_u16(d + 1),
	    .channels = d[5],
	    .bits = d[0],
	    .frames = 1,
	};
	return LATENTD_OK;
}

/*
 * Whether a marker other than RSTn begins in the next JPEG_STEP bytes; reads one
 * more.  Of fixed length, so that both loops are compiled into vectors: there
 * is a stuffed FF in every few hundred bytes, too many to stop at each.  Who
 * stops has found one, so that no picture can be made of which a step is looked
 * at again for every FF in it.
 */
static bool
jpeg_has_marker(const uint8_t *at)
{
	uint8_t found = 0;

	for (size_t i = 0; i < JPEG_STEP; i++)
		found |= (uint8_t)((at[i] == 0xff) & (at[i + 1] != 0));
	/* Most pictures have no RSTn. */
	if (found == 0)
		return false;
	found = 0;
	for (size_t i = 0; i < JPEG_STEP; i++)
		found |= (uint8_t)((at[i] == 0xff) & (at[i + 1] != 0) &
		    ((at[i + 1] & 0xf8) != JPEG_RST0));
	return found != 0;
}

/* Skip entropy-coded data: up to an FF that is neither stuffed nor RSTn. */
static void
jpeg_skip_scan(struct span *s)
{
	const uint8_t *ff;

	for (;;) {
		while (s->bytes > JPEG_STEP && !jpeg_has_marker(s->at))
			span_skip(s, JPEG_STEP);
		ff = memchr(s->at, 0xff, s->bytes);
		if (ff == NULL)
			break;
		span_skip(s, (size_t)(ff - s->at));
		if (s->bytes < 2)
			break;
		if (s->at[1] != 0 &&
		    (s->at[1] < JPEG_RST0 || s->at[1] > JPEG_RST7))
			return;
		span_skip(s, 2);
	}
	span_skip(s, s->bytes);
}

/*
 * Take marker and segment off ${s}, whatever fill bytes stand before.  EOI is
 * the only marker without a segment that may come here.
 */
static enum latentd_err
jpeg_next(struct span *s, uint8_t *marker, struct span *segment, size_t offset,
    struct reason *why)
{
	size_t length;

	if (s->bytes > 0 && s->at[0] != 0xff)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "JPEG: no marker at byte %zu", offset);
	while (s->bytes > 1 && s->at[1] == 0xff)
		span_skip(s, 1);
	if (s->bytes < 2)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "JPEG: breaks off at byte %zu, before EOI", offset);
	*marker = s->at[1];
	span_skip(s, 2);
	*segment = (struct span){.at = s->at};
	if (*marker == JPEG_EOI)
		return LATENTD_OK;
	if (*marker <= JPEG_TEM ||
	    (*marker >= JPEG_RST0 && *marker <= JPEG_SOI))
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "JPEG: marker ff%02x is out of place at byte %zu", *marker,
		    offset);
	length = s->bytes < 2 ? 0 : read_u16(s->at);
	if (length < 2 || length > s->bytes)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "JPEG: breaks off in the ff%02x segment at byte %zu",
		    *marker, offset);
	*segment = (struct span){.at = s->at + 2, .bytes = length - 2};
	span_skip(s, length);
	return LATENTD_OK;
}

static enum latentd_err
jpeg_parse(struct span s, struct image_info *info, struct reason *why)
{
	struct image_info found = {.kind = IMAGE_UNKNOWN};
	const uint8_t *start = s.at;
	struct span segment = {0};
	enum latentd_err err;
	bool scan = false;
	uint8_t marker = 0;

	span_skip(&s, 2);
	for (;;) {
		err = jpeg_next(
		    &s, &marker, &segment, (size_t)(s.at - start), why);
		if (err == LATENTD_OK && is_sof(marker))
			err = jpeg_frame(&found, &segment, why);
		if (err != LATENTD_OK)
			return err;
		if (marker == JPEG_EOI)
			break;
		if (marker != JPEG_SOS)
			continue;
		if (found.kind == IMAGE_UNKNOWN)
			return reason_set(why, LATENTD_ERR_IMAGE,
			    "JPEG: a scan before the frame header");
		scan = true;
		jpeg_skip_scan(&s);
	}
	if (!scan)
		return reason_set(
		    why, LATENTD_ERR_IMAGE, "JPEG: ends without a scan");
	if (s.bytes != 0)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "JPEG: %zu bytes behind EOI", s.bytes);
	*info = found;
	return LATENTD_OK;
}

enum latentd_err
image_parse(
    const void *data, size_t bytes, struct image_info *info, struct reason *why)
{
	struct span s = {.at = data, .bytes = bytes};

	switch (image_sniff(data, bytes)) {
	case IMAGE_PNG:
		return png_parse(s, info, why);
	case IMAGE_JPEG:
		return jpeg_parse(s, info, why);
	case IMAGE_MP4:
		return image_mp4_parse(data, bytes, info, why);
	case IMAGE_UNKNOWN:
		break;
	}
	return reason_set(why, LATENTD_ERR_IMAGE,
	    "%zu bytes that start neither like PNG nor JPEG nor MP4", bytes);
}
