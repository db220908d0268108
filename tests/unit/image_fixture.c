/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <turbojpeg.h>

#include "image_fixture.h"

/* Smooth with some texture, so that files hold real data. */
static void
paint(uint8_t *at, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		at[i] = (uint8_t)(i * 7 + i / 97 * 3);
}

struct file
fixture_copy(const void *data, size_t bytes)
{
	struct file f = {.at = malloc(bytes > 0 ? bytes : 1), .bytes = bytes};

	assert(f.at != NULL);
	if (bytes > 0)
		memcpy(f.at, data, bytes);
	return f;
}

struct file
fixture_png(enum fixture_png kind, unsigned width, unsigned height)
{
	static const png_uint_32 formats[] = {
	    [FIXTURE_GRAY] = PNG_FORMAT_GRAY,
	    [FIXTURE_GRAY_ALPHA] = PNG_FORMAT_GA,
	    [FIXTURE_RGB] = PNG_FORMAT_RGB,
	    [FIXTURE_RGBA] = PNG_FORMAT_RGBA,
	    [FIXTURE_RGB16] = PNG_FORMAT_LINEAR_RGB,
	    [FIXTURE_INDEXED] = PNG_FORMAT_RGB_COLORMAP,
	};
	png_image image = {.version = PNG_IMAGE_VERSION,
	    .width = width,
	    .height = height,
	    .format = formats[kind]};
	uint8_t *pixels, map[256 * 3], *out;
	png_alloc_size_t bytes;
	struct file f;
	int ok;

	image.colormap_entries = kind == FIXTURE_INDEXED ? 256 : 0;
	paint(map, sizeof(map));
	pixels = malloc(PNG_IMAGE_SIZE(image));
	assert(pixels != NULL);
	paint(pixels, PNG_IMAGE_SIZE(image));
	bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
	out = malloc(bytes);
	assert(out != NULL);
	ok = png_image_write_to_memory(&image, out, &bytes, 0, pixels, 0, map);
	assert(ok);
	f = fixture_copy(out, bytes);
	free(pixels);
	free(out);
	return f;
}

struct file
fixture_jpeg(unsigned width, unsigned height, bool progressive, bool gray)
{
	uint8_t *pixels = malloc((size_t)width * height * 3), *out = NULL;
	tjhandle tj = tjInitCompress();
	unsigned long bytes = 0;
	struct file f;
	int failed;

	assert(pixels != NULL && tj != NULL);
	paint(pixels, (size_t)width * height * 3);
	failed = tjCompress2(tj, pixels, (int)width, 0, (int)height,
	    gray ? TJPF_GRAY : TJPF_RGB, &out, &bytes,
	    gray ? TJSAMP_GRAY : TJSAMP_420, 80,
	    progressive ? TJFLAG_PROGRESSIVE : 0);
	assert(!failed);
	f = fixture_copy(out, bytes);
	tjFree(out);
	tjDestroy(tj);
	free(pixels);
	return f;
}

/* ---- MP4 ---- */

struct builder {
	uint8_t at[65536];
	size_t used;
};

static void
put_zeros(struct builder *b, size_t n)
{
	assert(n <= sizeof(b->at) - b->used);
	memset(b->at + b->used, 0, n);
	b->used += n;
}

static void
put_u32(struct builder *b, uint32_t value)
{
	put_zeros(b, 4);
	b->at[b->used - 4] = (uint8_t)(value >> 24);
	b->at[b->used - 3] = (uint8_t)(value >> 16);
	b->at[b->used - 2] = (uint8_t)(value >> 8);
	b->at[b->used - 1] = (uint8_t)value;
}

static void
put_type(struct builder *b, const char *type)
{
	put_zeros(b, 4);
	memcpy(b->at + b->used - 4, type, 4);
}

static size_t
box_begin(struct builder *b, const char *type)
{
	size_t start = b->used;

	put_u32(b, 0);
	put_type(b, type);
	return start;
}

static void
box_end(struct builder *b, size_t start)
{
	size_t end = b->used;

	b->used = start;
	put_u32(b, (uint32_t)(end - start));
	b->used = end;
}

static void
put_tkhd(struct builder *b, const struct fixture_mp4 *o)
{
	size_t box = box_begin(b, "tkhd");

	put_u32(b, o->version_1 ? 0x01000003 : 3);
	put_zeros(b, o->version_1 ? 84 : 72);
	put_u32(b, o->width_px << 16);
	put_u32(b, o->height_px << 16);
	box_end(b, box);
}

static uint32_t
sample_bytes(const struct fixture_mp4 *o, uint32_t i)
{
	return o->same_size ? 20 : 10 + i * 3;
}

static void
put_stsz(struct builder *b, const struct fixture_mp4 *o)
{
	size_t box = box_begin(b, "stsz");
	uint32_t i;

	put_u32(b, 0);
	put_u32(b, o->same_size ? 20 : 0);
	put_u32(b, o->samples_n);
	for (i = 0; i < o->samples_n && !o->same_size; i++)
		put_u32(b, sample_bytes(o, i));
	box_end(b, box);
}

static void
put_trak(struct builder *b, const struct fixture_mp4 *o, const char *handler)
{
	size_t trak = box_begin(b, "trak"), mdia, minf, stbl, hdlr;

	if (!o->no_tkhd)
		put_tkhd(b, o);
	mdia = box_begin(b, "mdia");
	hdlr = box_begin(b, "hdlr");
	put_zeros(b, 8);
	put_type(b, handler);
	put_zeros(b, 13);
	box_end(b, hdlr);
	minf = box_begin(b, "minf");
	stbl = box_begin(b, "stbl");
	box_end(b, box_begin(b, "stsd"));
	if (!o->no_stsz)
		put_stsz(b, o);
	box_end(b, stbl);
	box_end(b, minf);
	box_end(b, mdia);
	box_end(b, trak);
}

static void
put_moov(struct builder *b, const struct fixture_mp4 *o)
{
	size_t moov = box_begin(b, "moov"), mvhd = box_begin(b, "mvhd");

	put_zeros(b, 100);
	box_end(b, mvhd);
	if (o->audio)
		put_trak(b, o, "soun");
	if (!o->no_video)
		put_trak(b, o, "vide");
	if (o->second_video)
		put_trak(b, o, "vide");
	box_end(b, moov);
}

static void
put_mdat(struct builder *b, const struct fixture_mp4 *o)
{
	size_t mdat = box_begin(b, "mdat"), end;
	uint32_t i;

	if (o->long_mdat)
		put_zeros(b, 8);
	for (i = 0; i < o->samples_n; i++)
		put_zeros(b, sample_bytes(o, i));
	b->used -= o->missing_bytes;
	end = b->used;
	if (o->long_mdat) {
		b->used = mdat;
		put_u32(b, 1);
		b->used = mdat + 12;
		put_u32(b, (uint32_t)(end - mdat));
		b->used = end;
	} else if (!o->open_mdat) {
		box_end(b, mdat);
	}
}

struct file
fixture_mp4(const struct fixture_mp4 *o)
{
	struct builder *b = calloc(1, sizeof(*b));
	struct file f;
	size_t ftyp;

	assert(b != NULL);
	if (!o->no_ftyp) {
		ftyp = box_begin(b, "ftyp");
		put_type(b, "isom");
		put_u32(b, 512);
		put_type(b, "mp41");
		box_end(b, ftyp);
	}
	if (!o->moov_last && !o->no_moov)
		put_moov(b, o);
	if (!o->no_mdat)
		put_mdat(b, o);
	if (o->moov_last && !o->no_moov)
		put_moov(b, o);
	f = fixture_copy(b->at, b->used);
	free(b);
	return f;
}

/* ---- mutations ---- */

/* xorshift64* (Vigna 2016). */
uint64_t
fixture_next(struct fixture_random *random)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return random->state * 2685821657736338717u;
}

static size_t
pick(struct fixture_random *random, size_t below)
{
	return below == 0 ? 0 : (size_t)(fixture_next(random) % below);
}

static void
mutate_once(struct fixture_random *random, struct file *f)
{
	static const uint8_t bytes[] = {0, 1, 0x7f, 0x80, 0xff, '"', '[', '&'};
	static const uint32_t words[] = {
	    0, 1, 7, 8, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff};
	size_t at = pick(random, f->bytes), n, i;
	uint32_t word;

	switch (pick(random, 5)) {
	case 0:
		f->at[at] ^= (uint8_t)(1u << pick(random, 8));
		break;
	case 1:
		f->at[at] = bytes[pick(random, sizeof(bytes))];
		break;
	case 2:
		word = words[pick(random, 8)];
		for (i = 0; i < 4 && at + i < f->bytes; i++)
			f->at[at + i] = (uint8_t)(word >> (24 - 8 * i));
		break;
	case 3: /* cut a piece out */
		n = 1 + pick(random, f->bytes - at);
		memmove(f->at + at, f->at + at + n, f->bytes - at - n);
		f->bytes -= n;
		break;
	default: /* overwrite with another piece */
		i = pick(random, f->bytes);
		n = f->bytes - (i > at ? i : at);
		memmove(f->at + at, f->at + i, pick(random, n) + 1);
		break;
	}
}

struct file
fixture_mutate(struct fixture_random *random, struct file in)
{
	struct file work = fixture_copy(in.at, in.bytes), out;
	size_t n = 1 + pick(random, 4);

	while (n-- > 0 && work.bytes > 0)
		mutate_once(random, &work);
	out = fixture_copy(work.at, work.bytes);
	free(work.at);
	return out;
}
