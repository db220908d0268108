/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "image.h"
#include "image_fixture.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define MUTATIONS 120000

/* One file of every form that must be read. */
static size_t
make_files(struct file files[32])
{
	static const struct fixture_mp4 mp4s[] = {
	    {.width_px = 512, .height_px = 320, .samples_n = 9},
	    {.width_px = 512,
		.height_px = 320,
		.samples_n = 9,
		.moov_last = true,
		.audio = true},
	    {.width_px = 8,
		.height_px = 16,
		.samples_n = 1,
		.same_size = true,
		.version_1 = true},
	    {.width_px = 16384,
		.height_px = 8,
		.samples_n = 3,
		.long_mdat = true},
	};
	size_t n = 0, i;

	for (i = FIXTURE_GRAY; i <= FIXTURE_INDEXED; i++)
		files[n++] = fixture_png((enum fixture_png)i, 19, 11);
	for (i = 0; i < 4; i++)
		files[n++] = fixture_jpeg(40, 24, i % 2 != 0, i / 2 != 0);
	for (i = 0; i < N(mp4s); i++)
		files[n++] = fixture_mp4(&mp4s[i]);
	return n;
}

static void
free_files(struct file *files, size_t n)
{
	while (n > 0)
		free(files[--n].at);
}

/* Parse; when it is accepted, what it says must be possible. */
static bool
parses(const struct file *f, struct reason *why)
{
	struct image_info info = {.kind = IMAGE_UNKNOWN};
	enum latentd_err err = image_parse(f->at, f->bytes, &info, why);

	if (err != LATENTD_OK) {
		cr_assert_eq(err, LATENTD_ERR_IMAGE);
		cr_assert(why->text[0] != '\0');
		cr_assert_eq(info.kind, IMAGE_UNKNOWN);
		return false;
	}
	cr_assert_eq(info.kind, image_sniff(f->at, f->bytes));
	cr_assert(info.width_px > 0 && info.height_px > 0 && info.frames > 0);
	cr_assert(info.channels <= 4 && info.bits <= 16);
	return true;
}

Test(image, png_says_size_channels_and_bits)
{
	static const struct {
		enum fixture_png kind;
		uint32_t channels, bits;
	} cases[] = {
	    {FIXTURE_GRAY, 1, 8},
	    {FIXTURE_GRAY_ALPHA, 2, 8},
	    {FIXTURE_RGB, 3, 8},
	    {FIXTURE_RGBA, 4, 8},
	    {FIXTURE_RGB16, 3, 16},
	    {FIXTURE_INDEXED, 3, 8},
	};
	struct image_info info;
	struct reason why;
	struct file f;
	size_t i;

	for (i = 0; i < N(cases); i++) {
		f = fixture_png(cases[i].kind, 19, 11);
		cr_assert_eq(image_parse(f.at, f.bytes, &info, &why),
		    LATENTD_OK, "%zu: %s", i, why.text);
		cr_expect_eq(info.kind, IMAGE_PNG);
		cr_expect_eq(info.width_px, 19);
		cr_expect_eq(info.height_px, 11);
		cr_expect_eq(info.channels, cases[i].channels, "%zu", i);
		cr_expect_eq(info.bits, cases[i].bits, "%zu", i);
		cr_expect_eq(info.frames, 1);
		free(f.at);
	}
}

Test(image, jpeg_says_size_and_channels)
{
	struct image_info info;
	struct reason why;
	struct file f;
	unsigned i;

	for (i = 0; i < 4; i++) {
		f = fixture_jpeg(41, 23, i % 2 != 0, i / 2 != 0);
		cr_assert_eq(image_parse(f.at, f.bytes, &info, &why),
		    LATENTD_OK, "%u: %s", i, why.text);
		cr_expect_eq(info.kind, IMAGE_JPEG);
		cr_expect_eq(info.width_px, 41);
		cr_expect_eq(info.height_px, 23);
		cr_expect_eq(info.channels, i / 2 != 0 ? 1 : 3);
		cr_expect_eq(info.bits, 8);
		free(f.at);
	}
}

Test(image, mp4_says_size_and_frames_of_its_video_track)
{
	struct file files[32];
	struct image_info info;
	struct reason why;
	size_t n = make_files(files), i;

	for (i = n - 4; i < n; i++)
		cr_assert_eq(
		    image_parse(files[i].at, files[i].bytes, &info, &why),
		    LATENTD_OK, "%zu: %s", i, why.text);
	image_parse(files[n - 3].at, files[n - 3].bytes, &info, &why);
	cr_expect_eq(info.kind, IMAGE_MP4);
	cr_expect_eq(info.width_px, 512);
	cr_expect_eq(info.height_px, 320);
	cr_expect_eq(info.frames, 9);
	image_parse(files[n - 1].at, files[n - 1].bytes, &info, &why);
	cr_expect_eq(info.width_px, 16384);
	cr_expect_eq(info.frames, 3);
	free_files(files, n);
}

Test(image, an_mp4_that_lacks_something_is_refused_by_name)
{
	static const struct {
		struct fixture_mp4 o;
		const char *says;
	} cases[] = {
	    {{.no_moov = true}, "moov box is missing"},
	    {{.no_mdat = true}, "mdat boxes hold 0"},
	    {{.no_tkhd = true}, "tkhd box is missing"},
	    {{.no_stsz = true}, "stsz box is missing"},
	    {{.no_video = true}, "no video track"},
	    {{.no_video = true, .audio = true}, "no video track"},
	    {{.second_video = true}, "more than one video track"},
	    {{.open_mdat = true}, "mdat box of 0 bytes"},
	    {{.missing_bytes = 1}, "samples need"},
	    {{.no_ftyp = true}, "neither like PNG nor JPEG nor MP4"},
	};
	struct fixture_mp4 o;
	struct reason why;
	struct file f;
	size_t i;

	for (i = 0; i < N(cases); i++) {
		o = cases[i].o;
		o.width_px = o.height_px = 64;
		o.samples_n = 3;
		f = fixture_mp4(&o);
		cr_expect_not(parses(&f, &why), "%zu", i);
		cr_expect_not_null(
		    strstr(why.text, cases[i].says), "%s", why.text);
		free(f.at);
	}
	o = (struct fixture_mp4){.width_px = 64, .height_px = 64};
	f = fixture_mp4(&o);
	cr_expect_not(parses(&f, &why));
	cr_expect_not_null(strstr(why.text, "no samples"), "%s", why.text);
	free(f.at);
	o = (struct fixture_mp4){.height_px = 64, .samples_n = 1};
	f = fixture_mp4(&o);
	cr_expect_not(parses(&f, &why));
	cr_expect_not_null(strstr(why.text, "0x64"), "%s", why.text);
	free(f.at);
}

Test(image, no_file_is_accepted_when_cut_at_any_byte)
{
	struct file files[32], cut;
	size_t n = make_files(files), i, bytes;
	struct reason why;

	for (i = 0; i < n; i++) {
		cr_assert(parses(&files[i], &why), "%zu: %s", i, why.text);
		for (bytes = 0; bytes < files[i].bytes; bytes++) {
			cut = fixture_copy(files[i].at, bytes);
			cr_assert_not(parses(&cut, &why),
			    "file %zu cut to %zu of %zu", i, bytes,
			    files[i].bytes);
			free(cut.at);
		}
	}
	free_files(files, n);
}

Test(image, bytes_behind_the_end_are_refused)
{
	struct file files[32], longer;
	size_t n = make_files(files), i, extra;
	struct reason why;

	for (i = 0; i < n; i++) {
		for (extra = 1; extra < 20; extra += 6) {
			longer.bytes = files[i].bytes + extra;
			longer.at = calloc(1, longer.bytes);
			memcpy(longer.at, files[i].at, files[i].bytes);
			cr_expect_not(parses(&longer, &why), "file %zu", i);
			free(longer.at);
		}
	}
	free_files(files, n);
}

Test(image, a_png_with_any_bit_flipped_is_refused)
{
	struct file files[32];
	size_t n = make_files(files), i, bit;
	struct reason why;

	for (i = FIXTURE_GRAY; i <= FIXTURE_INDEXED; i++) {
		for (bit = 0; bit < files[i].bytes * 8; bit++) {
			files[i].at[bit / 8] ^= (uint8_t)(1u << bit % 8);
			cr_assert_not(parses(&files[i], &why),
			    "file %zu, bit %zu", i, bit);
			files[i].at[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	free_files(files, n);
}

Test(image, a_jpeg_or_mp4_with_any_bit_flipped_never_lies_about_its_kind)
{
	struct file files[32];
	size_t n = make_files(files), i, bit, refused = 0;
	struct reason why;

	for (i = FIXTURE_INDEXED + 1; i < n; i++) {
		for (bit = 0; bit < files[i].bytes * 8; bit++) {
			files[i].at[bit / 8] ^= (uint8_t)(1u << bit % 8);
			refused += !parses(&files[i], &why);
			files[i].at[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	cr_assert(refused > 1000);
	free_files(files, n);
}

/* The same picture with 700 bytes more in its scan, two of them as given. */
static struct file
longer_scan(const struct file *jpeg, size_t at, uint8_t first, uint8_t second)
{
	struct file f = {.bytes = jpeg->bytes + 700};

	f.at = malloc(f.bytes);
	cr_assert_not_null(f.at);
	memcpy(f.at, jpeg->at, jpeg->bytes - 2);
	memset(f.at + jpeg->bytes - 2, 0x55, 700);
	memcpy(f.at + f.bytes - 2, "\xff\xd9", 2);
	f.at[jpeg->bytes - 2 + at] = first;
	f.at[jpeg->bytes - 1 + at] = second;
	return f;
}

Test(image, a_marker_is_seen_wherever_in_a_jpegs_scan_it_stands)
{
	static const struct {
		uint8_t second;
		bool fine;
	} pairs[] = {{0, true}, {0xd0, true}, {0xd7, true}, {0x01, false},
	    {0xd8, false}, {0xd9, false}};
	struct file jpeg = fixture_jpeg(8, 8, false, false);
	struct reason why;

	for (size_t at = 0; at < 699; at++) {
		for (size_t i = 0; i < N(pairs); i++) {
			struct file f =
			    longer_scan(&jpeg, at, 0xff, pairs[i].second);

			cr_assert_eq(parses(&f, &why), pairs[i].fine,
			    "ff%02x at byte %zu", pairs[i].second, at);
			free(f.at);
		}
	}
	free(jpeg.at);
}

/* Byte by byte: where the scan's data end, at the first marker but RSTn. */
static size_t
scan_end(const uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i + 1 < bytes; i++) {
		if (at[i] != 0xff)
			continue;
		if (at[i + 1] != 0 && (at[i + 1] & 0xf8) != 0xd0)
			return i;
		i++;
	}
	return bytes;
}

/* Data of a scan with many an FF before, at and behind the ends of steps. */
static void
fill_scan(uint8_t *at, size_t bytes)
{
	static const uint8_t seconds[] = {0, 0, 0, 0xd0, 0xd3, 0xd7};
	size_t rare = 1 + (size_t)rand() % 300;

	for (size_t i = 0; i < bytes; i++) {
		at[i] = 1;
		if ((size_t)rand() % rare != 0 || i + 1 == bytes)
			continue;
		at[i++] = 0xff;
		at[i] = seconds[(size_t)rand() % N(seconds)];
	}
	/* Not refused by itself, nor the only end that there is. */
	if (bytes > 0 && rand() % 4 == 0)
		at[(size_t)rand() % bytes] = (uint8_t)(0xfe + rand() % 2);
}

Test(image, a_jpegs_scan_ends_where_a_plain_walk_ends_it)
{
	struct file jpeg = fixture_jpeg(8, 8, false, false), f;
	size_t fine = 0, refused = 0;
	struct reason why;

	srand(1);
	for (int round = 0; round < 4000; round++) {
		size_t n = (size_t)rand() % 1500, at = jpeg.bytes - 2, end;

		f.bytes = jpeg.bytes + n;
		f.at = malloc(f.bytes);
		cr_assert_not_null(f.at);
		memcpy(f.at, jpeg.at, at);
		fill_scan(f.at + at, n);
		memcpy(f.at + at + n, "\xff\xd9", 2);
		end = at + scan_end(f.at + at, n + 2);
		/* Fill bytes may stand before EOI. */
		while (end + 2 < f.bytes && f.at[end + 1] == 0xff)
			end++;
		cr_assert_eq(parses(&f, &why), end == at + n, "round %d: %s",
		    round, why.text);
		fine += end == at + n;
		refused += end != at + n;
		free(f.at);
	}
	cr_assert(fine > 1000 && refused > 100, "%zu, %zu", fine, refused);
	free(jpeg.at);
}

Test(image, sniff_goes_by_the_magic_alone)
{
	cr_assert_eq(image_sniff("\x89PNG\r\n\x1a\n", 8), IMAGE_PNG);
	cr_assert_eq(image_sniff("\x89PNG\r\n\x1a\n", 7), IMAGE_UNKNOWN);
	cr_assert_eq(image_sniff("\xff\xd8\xff", 3), IMAGE_JPEG);
	cr_assert_eq(image_sniff("\xff\xd8\xff", 2), IMAGE_UNKNOWN);
	cr_assert_eq(image_sniff("\0\0\0\x18"
				 "ftyp",
			 8),
	    IMAGE_MP4);
	cr_assert_eq(image_sniff("GIF89a..", 8), IMAGE_UNKNOWN);
	cr_assert_eq(image_sniff(NULL, 0), IMAGE_UNKNOWN);
	cr_assert_str_eq(image_kind_name(IMAGE_PNG), "PNG");
	cr_assert_str_eq(image_kind_name(IMAGE_UNKNOWN), "unknown");
}

Test(image, mutated_files_are_read_or_refused, .timeout = 200)
{
	struct fixture_random random = {.state = 20261122};
	struct file files[32], mutant;
	size_t n = make_files(files), i, accepted = 0;
	struct reason why;

	for (i = 0; i < MUTATIONS; i++) {
		mutant = fixture_mutate(&random, files[i % n]);
		accepted += parses(&mutant, &why);
		free(mutant.at);
	}
	/* Changes to pixels of JPEG and MP4 cannot be seen from outside. */
	cr_assert(accepted > 0 && accepted < MUTATIONS / 2, "%zu", accepted);
	free_files(files, n);
}
