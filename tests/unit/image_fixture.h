/* SPDX-License-Identifier: Apache-2.0 */
/* Image files for tests, made by the libraries, and MP4s box by box. */
#ifndef UNIT_IMAGE_FIXTURE_H
#define UNIT_IMAGE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file {
	uint8_t *at; /* malloc'd, exactly ${bytes} long */
	size_t bytes;
};

enum fixture_png {
	FIXTURE_GRAY,
	FIXTURE_GRAY_ALPHA,
	FIXTURE_RGB,
	FIXTURE_RGBA,
	FIXTURE_RGB16,
	FIXTURE_INDEXED,
};

struct fixture_mp4 {
	uint32_t width_px;
	uint32_t height_px;
	uint32_t samples_n;
	bool moov_last;
	bool audio; /* a second track */
	bool second_video;
	bool same_size; /* stsz without a table */
	bool long_mdat; /* 64-bit box length */
	bool version_1; /* of tkhd */
	bool no_ftyp, no_moov, no_mdat, no_tkhd, no_stsz, no_video;
	bool open_mdat; /* box length 0: to the end of the file */
	uint32_t missing_bytes; /* taken from mdat's end, its length adapted */
};

struct file fixture_png(enum fixture_png kind, unsigned width, unsigned height);
struct file fixture_jpeg(
    unsigned width, unsigned height, bool progressive, bool gray);
struct file fixture_mp4(const struct fixture_mp4 *options);

/* fixture_copy(data, bytes): so that reading past the end is seen by ASan. */
struct file fixture_copy(const void *data, size_t bytes);

/* A generator of its own: the same mutations everywhere. */
struct fixture_random {
	uint64_t state;
};

uint64_t fixture_next(struct fixture_random *random);

/* fixture_mutate(random, in): a copy of ${in} with 1 to 4 random changes. */
struct file fixture_mutate(struct fixture_random *random, struct file in);

#endif
