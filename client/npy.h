/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy's .npy, versions 1 to 3: one array. */
#ifndef CLIENT_NPY_H
#define CLIENT_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/types.h"
#include "reason.h"

struct npy {
	struct latentd_tensor tensor; /* dtype NONE: float64 */
	bool fortran; /* the first dimension runs fastest */
	size_t element_bytes;
	const uint8_t *data; /* into the file */
	size_t bytes;
};

/* npy_sniff(data, bytes): it has the magic. */
bool npy_sniff(const uint8_t *data, size_t bytes);

/*
 * npy_open(data, bytes, npy, why): read the header of a whole file.  Takes
 * little-endian float16, float32, float64 and uint8 with 1 to
 * LATENTD_MAX_NDIM dimensions.  Fails with INVALID, UNSUPPORTED, SHAPE.
 */
enum latentd_err npy_open(
    const uint8_t *data, size_t bytes, struct npy *npy, struct reason *why);

#define NPY_HEAD_BYTES 256u

/* npy_head(tensor, head): what comes before the data; returns its length.
 * ${tensor} is float16, float32 or uint8. */
size_t npy_head(const struct latentd_tensor *tensor, char head[NPY_HEAD_BYTES]);

#endif
