/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_TENSOR_H
#define PROTO_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/types.h"
#include "reason.h"

/* "[4294967295,...]" for LATENTD_MAX_NDIM dimensions, with the NUL. */
#define TENSOR_SHAPE_TEXT_BYTES (LATENTD_MAX_NDIM * 21 + 3)

/*
 * dtype_name(dtype) / dtype_find(name, name_bytes) / dtype_bytes(dtype):
 * The wire name ("bfloat16"; "none" for NONE), its inverse (DTYPE_NONE where
 * ${name} is none of the four), and the size of an element in bytes.
 */
const char *dtype_name(enum latentd_dtype dtype);
enum latentd_dtype dtype_find(const char *name, size_t name_bytes);
size_t dtype_bytes(enum latentd_dtype dtype);

/*
 * tensor_bytes(t, bytes, why):
 * Set ${*bytes} to the byte count of ${t}.  Fails with SHAPE when the dtype is
 * missing, ndim is 0 or above LATENTD_MAX_NDIM, a dimension is 0 or above
 * LATENTD_MAX_DIM, or the product exceeds LATENTD_MAX_BODY_BYTES (TOO_LARGE);
 * then ${*bytes} is unchanged.
 */
enum latentd_err tensor_bytes(
    const struct latentd_tensor *t, uint64_t *bytes, struct reason *why);

/* tensor_equal(a, b): same dtype, ndim and shape. */
bool tensor_equal(
    const struct latentd_tensor *a, const struct latentd_tensor *b);

/*
 * tensor_shape_format(t, text):
 * Write the shape as JSON without blanks ("[1,3,512,512]", the form of the
 * endpoint's shape header) into ${text}.  Return ${text}.
 */
char *tensor_shape_format(
    const struct latentd_tensor *t, char text[TENSOR_SHAPE_TEXT_BYTES]);

/*
 * tensor_shape_parse(text, text_bytes, t, why):
 * Read such a shape (blanks allowed) into ${t}'s ndim and shape; dtype stays.
 * Fails with SHAPE on anything else, leaving ${t} unchanged.
 */
enum latentd_err tensor_shape_parse(const char *text, size_t text_bytes,
    struct latentd_tensor *t, struct reason *why);

/*
 * tensor_load(dst, src, dtype, n) / tensor_store(dst, src, dtype, n):
 * Convert ${n} elements from ${dtype} to float32 and back.  ${src} and
 * ${dst} need no alignment on the ${dtype} side.  Storing rounds to nearest
 * even; out of range becomes infinity (float16), and for uint8 is clamped to
 * 0..255 after rounding, NaN becoming 0.
 */
void tensor_load(
    float *dst, const void *src, enum latentd_dtype dtype, size_t n);
void tensor_store(
    void *dst, const float *src, enum latentd_dtype dtype, size_t n);

#endif
