/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PNG_TEXT_H
#define BASE_PNG_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A text of a PNG; not NUL-ended. */
struct png_text {
	const char *key; /* 1 to 79 bytes */
	size_t key_bytes;
	const char *value; /* UTF-8 */
	size_t value_bytes;
};

/* png_text_key_valid(key, bytes): whether PNG allows such a keyword: Latin-1
 * printable, no leading, trailing or double blanks. */
bool png_text_key_valid(const char *key, size_t bytes);

/* png_text_value_valid(value, bytes): whether it is UTF-8 without NUL. */
bool png_text_value_valid(const char *value, size_t bytes);

/* What png_text_chunk adds to a key and a value at most. */
#define PNG_TEXT_MORE_BYTES 5u

/*
 * png_text_chunk(text, type, out):
 * Write what the chunk of ${text} contains to ${out}, which has room for key,
 * value and PNG_TEXT_MORE_BYTES, return its length and set the four letters of
 * ${type}: tEXt when the value is printable ASCII, iTXt otherwise.
 */
size_t png_text_chunk(const struct png_text *text, char *type, uint8_t *out);

#endif
