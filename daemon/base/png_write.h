/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PNG_WRITE_H
#define BASE_PNG_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A text of the PNG; not NUL-ended. */
struct png_text {
	const char *key; /* 1 to 79 bytes */
	size_t key_bytes;
	const char *value; /* UTF-8 */
	size_t value_bytes;
};

/*
 * png_write(pixels, width_px, height_px, texts, texts_n, write, arg):
 * Write ${pixels}, [height][width][3] uint8 sRGB, as a PNG through
 * ${write}(data, bytes, arg), which returns false to stop.  Each text becomes
 * a tEXt chunk when it is printable ASCII and an iTXt chunk otherwise, before
 * the pixels, where generation tools look for "parameters", "prompt" and
 * "workflow".  Any thread.  False when ${write} stopped it or memory is out.
 */
bool png_write(const uint8_t *pixels, uint32_t width_px, uint32_t height_px,
    const struct png_text *texts, size_t texts_n,
    bool (*write)(const void *data, size_t bytes, void *arg), void *arg);

/* png_text_key_valid(key, bytes): whether PNG allows such a keyword: Latin-1
 * printable, no leading, trailing or double blanks. */
bool png_text_key_valid(const char *key, size_t bytes);

/* png_text_value_valid(value, bytes): whether it is UTF-8 without NUL. */
bool png_text_value_valid(const char *value, size_t bytes);

#endif
