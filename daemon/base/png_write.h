/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PNG_WRITE_H
#define BASE_PNG_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/png_rows.h"
#include "base/png_text.h"

/*
 * png_write(pixels, texts, texts_n, write, arg):
 * Write ${pixels} as a PNG through ${write}(data, bytes, arg), which returns
 * false to stop.  Each text becomes a chunk before the pixels, where
 * generation tools look for "parameters", "prompt" and "workflow".  Needs 1 MiB
 * of memory for a picture like a photograph, and for one that repeats itself
 * twice its size.  Any thread, several at once.  False when ${write} stopped
 * it or memory is out.
 */
bool png_write(const struct png_pixels *pixels, const struct png_text *texts,
    size_t texts_n, bool (*write)(const void *data, size_t bytes, void *arg),
    void *arg);

#endif
