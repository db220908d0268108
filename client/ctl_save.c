/* SPDX-License-Identifier: Apache-2.0 */
/* Results become files: pictures as they came, tensors behind a header. */
#include "ctl_save.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "model.h"
#include "npy.h"
#include "safetensors.h"
#include "tensor.h"

struct writer {
	const struct ctl *ctl;
	const char *stem;
	const char *extension;
	size_t parts_n;
	bool frames;
	void (*on_written)(const char *name, void *arg);
	void *arg;
};

static const char *
extension_of(enum latentd_output output, enum ctl_format format)
{
	switch (output) {
	case LATENTD_OUT_PNG:
		return "png";
	case LATENTD_OUT_JPG:
		return "jpg";
	case LATENTD_OUT_MP4:
		return "mp4";
	case LATENTD_OUT_PIXELS:
		return format == CTL_FORMAT_SAFETENSORS ? "safetensors" : "npy";
	case LATENTD_OUT_NONE:
	case LATENTD_OUT_FLOAT:
	case LATENTD_OUT_LATENT:
		break;
	}
	return format == CTL_FORMAT_NPY ? "npy" : "safetensors";
}

void
ctl_save_name(const struct ctl *ctl, const char *stem, char *name)
{
	static const char *const extensions[] = {
	    [CTL_FORMAT_PNG] = "png",
	    [CTL_FORMAT_JPG] = "jpg",
	    [CTL_FORMAT_MP4] = "mp4",
	    [CTL_FORMAT_NPY] = "npy",
	    [CTL_FORMAT_SAFETENSORS] = "safetensors",
	};
	const struct model *m = ctl->model != NULL
	    ? model_find(ctl->model, strlen(ctl->model))
	    : NULL;
	enum ctl_format format = ctl->format;

	if (format == CTL_FORMAT_NONE && ctl->input.task == LATENTD_ENCODE)
		format = CTL_FORMAT_SAFETENSORS;
	else if (format == CTL_FORMAT_NONE)
		format = m != NULL && m->temporal > 0 ? CTL_FORMAT_MP4
						      : CTL_FORMAT_PNG;
	snprintf(name, NAME_MAX + 1, "%s.%s", stem, extensions[format]);
}

static enum latentd_err
write_part(const struct writer *w, size_t i, const struct files_piece *pieces,
    size_t pieces_n, struct reason *why)
{
	char name[NAME_MAX + 1];
	int n;

	if (strcmp(w->ctl->out, FILES_STANDARD) == 0)
		return files_write_standard(pieces, pieces_n, why);
	if (w->parts_n == 1)
		n = snprintf(
		    name, sizeof(name), "%s.%s", w->stem, w->extension);
	else
		n = snprintf(name, sizeof(name),
		    w->frames ? "%s-%04zu.%s" : "%s-%zu.%s", w->stem, i,
		    w->extension);
	if ((size_t)n >= sizeof(name))
		return reason_set(why, LATENTD_ERR_IO,
		    "the name %s is too long for a file", name);
	if (files_write(w->ctl->out, name, pieces, pieces_n, w->ctl->force,
		why) != LATENTD_OK)
		return why->err;
	if (w->on_written != NULL)
		w->on_written(name, w->arg);
	return LATENTD_OK;
}

static enum latentd_err
write_npy(const struct writer *w, size_t i, const struct latentd_tensor *t,
    const void *data, size_t bytes, struct reason *why)
{
	char head[NPY_HEAD_BYTES];
	struct latentd_tensor wide = *t;
	struct files_piece pieces[2];
	float *converted = NULL;
	enum latentd_err err;

	if (t->dtype == LATENTD_BF16) {
		/* NumPy has no bfloat16. */
		converted = malloc(2 * bytes);
		if (converted == NULL)
			return reason_set(why, LATENTD_ERR_MEMORY,
			    "no memory to convert %zu bytes", bytes);
		tensor_load(converted, data, t->dtype, bytes / 2);
		wide.dtype = LATENTD_F32;
		data = converted;
		bytes *= 2;
		ctl_note(w->ctl,
		    "%s: bfloat16 is written as float32, because "
		    ".npy has no bfloat16",
		    w->stem);
	}
	pieces[0] = (struct files_piece){head, npy_head(&wide, head)};
	pieces[1] = (struct files_piece){data, bytes};
	err = write_part(w, i, pieces, 2, why);
	free(converted);
	return err;
}

static enum latentd_err
write_safetensors(const struct writer *w, size_t i, enum latentd_output output,
    const struct latentd_tensor *t, const void *data, size_t bytes,
    struct reason *why)
{
	const struct ctl *ctl = w->ctl;
	const char *about[6] = {
	    "latentd.software", "latentctl " LATENTD_VERSION};
	struct files_piece pieces[2];
	enum latentd_err err;
	size_t head_bytes, n = 1;
	char *head;

	if (ctl->model != NULL) {
		about[2] = "latentd.model";
		about[3] = ctl->model;
		n = 2;
	}
	if (ctl->model != NULL && output == LATENTD_OUT_LATENT) {
		about[4] = "latentd.space";
		about[5] = ctl->input.has_space &&
			ctl->input.space == LATENTD_SPACE_VAE
		    ? "vae"
		    : "model";
		n = 3;
	}
	head =
	    safetensors_head(output == LATENTD_OUT_LATENT ? "latent" : "image",
		t, about, n, &head_bytes);
	if (head == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "no memory for a safetensors header");
	pieces[0] = (struct files_piece){head, head_bytes};
	pieces[1] = (struct files_piece){data, bytes};
	err = write_part(w, i, pieces, 2, why);
	free(head);
	return err;
}

static enum latentd_err
save_part(const struct writer *w, const struct latentd_result *r, size_t i,
    struct reason *why)
{
	const struct latentd_tensor *t = latentd_result_tensor(r);
	struct files_piece piece;
	uint64_t expected;

	piece.data = latentd_result_part(r, i, &piece.bytes);
	if (t->ndim == 0)
		return write_part(w, i, &piece, 1, why);
	if (tensor_bytes(t, &expected, why) != LATENTD_OK)
		return why->err;
	if (expected != piece.bytes)
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "the result's shape takes %ju bytes, but it has %zu",
		    (uintmax_t)expected, piece.bytes);
	if (strcmp(w->extension, "npy") == 0)
		return write_npy(w, i, t, piece.data, piece.bytes, why);
	return write_safetensors(
	    w, i, latentd_result_output(r), t, piece.data, piece.bytes, why);
}

enum latentd_err
ctl_save(const struct ctl *ctl, const struct latentd_result *r,
    const char *stem, void (*on_written)(const char *name, void *arg),
    void *arg, struct reason *why)
{
	struct writer w = {
	    .ctl = ctl,
	    .stem = stem,
	    .extension = extension_of(latentd_result_output(r), ctl->format),
	    .parts_n = latentd_result_parts(r),
	    .frames = latentd_result_frames(r) > 1 &&
		latentd_result_output(r) == LATENTD_OUT_PNG,
	    .on_written = on_written,
	    .arg = arg,
	};

	if (strcmp(ctl->out, FILES_STANDARD) == 0 && w.parts_n != 1)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "the result has %zu files; --out must be a directory",
		    w.parts_n);
	for (size_t i = 0; i < w.parts_n; i++) {
		if (save_part(&w, r, i, why) != LATENTD_OK)
			return why->err;
	}
	return LATENTD_OK;
}
