/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .safetensors: u64 LE N, N bytes of JSON, the data.  Strict: no duplicate
 * keys, no overlap, no holes, every byte count equal to its shape.
 */
#ifndef CLIENT_SAFETENSORS_H
#define CLIENT_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/types.h"
#include "reason.h"

#define SAFETENSORS_HEADER_MAX (16u << 20)

struct safetensors;

struct safetensors_tensor {
	const char *name;
	const char *dtype_text; /* as in the file: "F16" */
	/* dtype NONE: none of latentd's; ndim 0: scalar or too many. */
	struct latentd_tensor tensor;
	const uint8_t *data;
	size_t bytes;
};

/*
 * safetensors_open(data, bytes, out, why):
 * Read the header of a whole file.  ${*out} points into ${data}, which must
 * outlive it.  Fails with INVALID, SHAPE, TOO_LARGE, MEMORY.
 */
enum latentd_err safetensors_open(const uint8_t *data, size_t bytes,
    struct safetensors **out, struct reason *why);
void safetensors_close(struct safetensors *file);

/* In the order of their data.  find: NULL if there is none of that name. */
size_t safetensors_count(const struct safetensors *file);
const struct safetensors_tensor *safetensors_at(
    const struct safetensors *file, size_t i);
const struct safetensors_tensor *safetensors_find(
    const struct safetensors *file, const char *name);

/* safetensors_metadata(file, key): an entry of __metadata__, or NULL. */
const char *safetensors_metadata(
    const struct safetensors *file, const char *key);

/* safetensors_sniff(data, bytes): it begins like such a file. */
bool safetensors_sniff(const uint8_t *data, size_t bytes);

/*
 * safetensors_head(name, tensor, metadata, metadata_n, bytes):
 * What comes before the data of a file with one tensor, malloc'd; ${metadata}
 * are key/value pairs.  NULL when memory is out.
 */
char *safetensors_head(const char *name, const struct latentd_tensor *tensor,
    const char *const *metadata, size_t metadata_n, size_t *bytes);

#endif
