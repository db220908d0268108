/* SPDX-License-Identifier: Apache-2.0 */
/* One input of latentctl: a latent or a picture out of a file. */
#ifndef CLIENT_INPUT_H
#define CLIENT_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/client.h"
#include "reason.h"

#define INPUT_METADATA_MAX 3u

struct safetensors;

struct input_options {
	enum latentd_task task;
	const char *tensor; /* name in a .safetensors; NULL: the usual ones */
	enum latentd_dtype dtype; /* to be sent; NONE: as it is */
	bool has_space;
	enum latentd_space space;
};

struct input {
	struct latentd_tensor tensor; /* ndim 0: a picture's file */
	const void *data;
	size_t data_bytes;
	enum latentd_space space;
	/* "prompt", "workflow", "parameters", where the file has them. */
	struct latentd_metadata metadata[INPUT_METADATA_MAX];
	size_t metadata_n;
	/* What a file of latentctl spool export says; NULL or 0: nothing. */
	const char *model;
	uint32_t width_px;
	uint32_t height_px;
	enum latentd_output output;
	enum latentd_priority priority;
	/* What the above points into. */
	uint8_t *file;
	uint8_t *converted;
	struct safetensors *safetensors;
};

/*
 * input_open(path, options, input, why):
 * Read ${path} ("-": standard input), recognise it by its content, and make
 * of it what can be sent: C order, one of latentd's dtypes, for an old .latent
 * with its scale undone.  Sentences begin with the file's name.  On success
 * ${input} is to be closed.
 */
enum latentd_err input_open(const char *path,
    const struct input_options *options, struct input *input,
    struct reason *why);

void input_close(struct input *input);

#endif
