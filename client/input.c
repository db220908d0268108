/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file is, its first bytes decide, never its name.  The data stays
 * where it was read unless it must be converted.
 */
#include "input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "image.h"
#include "message.h"
#include "npy.h"
#include "safetensors.h"
#include "tensor.h"

#define FILE_MAX ((size_t)LATENTD_MAX_BODY_BYTES + SAFETENSORS_HEADER_MAX)

/* What files hold that must be converted before it is sent. */
struct raw {
	struct latentd_tensor tensor; /* dtype NONE: float64 */
	const uint8_t *data;
	size_t bytes;
	bool fortran;
	bool rescale; /* .latent without its version marker */
};

static size_t
element_bytes(enum latentd_dtype dtype)
{
	return dtype == LATENTD_DTYPE_NONE ? sizeof(double)
					   : dtype_bytes(dtype);
}

static uint64_t
elements(const struct latentd_tensor *t)
{
	uint64_t n = 1;

	for (uint32_t i = 0; i < t->ndim; i++)
		n *= t->shape[i];
	return n;
}

/* ComfyUI's LoadLatent: 1/0.18215 for files before the marker. */
#define OLD_LATENT_SCALE (1.0f / 0.18215f)

/* The converted data is the input's from now on. */
static void
replace(
    struct input *in, struct raw *raw, uint8_t *data, enum latentd_dtype dtype)
{
	free(in->converted);
	in->converted = data;
	raw->data = data;
	raw->tensor.dtype = dtype;
	raw->bytes = (size_t)elements(&raw->tensor) * element_bytes(dtype);
}

static uint8_t *
room(uint64_t n, size_t each, struct reason *why)
{
	uint8_t *data = NULL;

	if (n <= LATENTD_MAX_BODY_BYTES)
		data = malloc((size_t)n * each);
	if (data == NULL)
		reason_set(why, LATENTD_ERR_MEMORY,
		    "no memory to convert %ju elements", (uintmax_t)n);
	return data;
}

/* Element i of the C order is element j of the Fortran order. */
static enum latentd_err
to_c_order(struct input *in, struct raw *raw, struct reason *why)
{
	const struct latentd_tensor *t = &raw->tensor;
	size_t each = element_bytes(t->dtype);
	uint64_t n = elements(t);
	uint64_t index[LATENTD_MAX_NDIM] = {0};
	uint8_t *data = room(n, each, why);

	if (data == NULL)
		return why->err;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t j = 0;

		for (uint32_t d = t->ndim; d-- > 0;)
			j = j * t->shape[d] + index[d];
		memcpy(data + i * each, raw->data + j * each, each);
		for (uint32_t d = t->ndim; d-- > 0;) {
			if (++index[d] < t->shape[d])
				break;
			index[d] = 0;
		}
	}
	replace(in, raw, data, t->dtype);
	raw->fortran = false;
	return LATENTD_OK;
}

static enum latentd_err
to_float(struct input *in, struct raw *raw, struct reason *why)
{
	uint64_t n = elements(&raw->tensor);
	uint8_t *data = room(n, sizeof(float), why);
	double wide;
	float narrow;

	if (data == NULL)
		return why->err;
	if (raw->tensor.dtype != LATENTD_DTYPE_NONE) {
		tensor_load((float *)(void *)data, raw->data, raw->tensor.dtype,
		    (size_t)n);
	} else {
		for (uint64_t i = 0; i < n; i++) {
			memcpy(
			    &wide, raw->data + i * sizeof(wide), sizeof(wide));
			narrow = (float)wide;
			memcpy(
			    data + i * sizeof(narrow), &narrow, sizeof(narrow));
		}
	}
	replace(in, raw, data, LATENTD_F32);
	return LATENTD_OK;
}

static enum latentd_err
convert(struct input *in, struct raw *raw, const struct input_options *o,
    struct reason *why)
{
	enum latentd_dtype wanted = o->dtype;
	uint64_t n = elements(&raw->tensor);
	uint8_t *data;

	if (raw->fortran && to_c_order(in, raw, why) != LATENTD_OK)
		return why->err;
	if (wanted == LATENTD_DTYPE_NONE)
		wanted = raw->tensor.dtype;
	if ((raw->tensor.dtype == LATENTD_DTYPE_NONE || raw->rescale ||
		wanted != raw->tensor.dtype) &&
	    to_float(in, raw, why) != LATENTD_OK)
		return why->err;
	if (raw->rescale) {
		float *at = (float *)(void *)in->converted;

		for (uint64_t i = 0; i < n; i++)
			at[i] *= OLD_LATENT_SCALE;
	}
	if (wanted == LATENTD_DTYPE_NONE || wanted == raw->tensor.dtype)
		return LATENTD_OK;
	data = room(n, dtype_bytes(wanted), why);
	if (data == NULL)
		return why->err;
	tensor_store(
	    data, (const float *)(const void *)raw->data, wanted, (size_t)n);
	replace(in, raw, data, wanted);
	return LATENTD_OK;
}

static enum latentd_err
take_raw(struct input *in, struct raw *raw, const struct input_options *o,
    struct reason *why)
{
	if (raw->tensor.dtype == LATENTD_U8 && o->task == LATENTD_DECODE)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "it holds uint8; a latent is float16, bfloat16 or "
		    "float32");
	if (convert(in, raw, o, why) != LATENTD_OK)
		return why->err;
	in->tensor = raw->tensor;
	in->data = raw->data;
	in->data_bytes = raw->bytes;
	return LATENTD_OK;
}

/* ---- safetensors ---- */

static enum latentd_err
no_tensor(
    const struct safetensors *file, const char *wanted, struct reason *why)
{
	char names[LATENTD_MAX_TEXT_BYTES / 2] = "";
	size_t n = 0;

	for (size_t i = 0; i < safetensors_count(file); i++) {
		const char *name = safetensors_at(file, i)->name;
		size_t more = strlen(name) + 2;

		if (n + more + 4 > sizeof(names)) {
			strcpy(names + n, ", ...");
			break;
		}
		n +=
		    (size_t)sprintf(names + n, "%s%s", n > 0 ? ", " : "", name);
	}
	if (safetensors_count(file) == 0)
		return reason_set(
		    why, LATENTD_ERR_NOT_FOUND, "it holds no tensor");
	if (wanted != NULL)
		return reason_set(why, LATENTD_ERR_NOT_FOUND,
		    "it holds no tensor \"%s\"; it has %s", wanted, names);
	return reason_set(why, LATENTD_ERR_INVALID,
	    "it holds several tensors (%s); choose one with --tensor", names);
}

/* ComfyUI's name, the usual ones, or the only one that is not empty. */
static const struct safetensors_tensor *
choose(const struct safetensors *file)
{
	static const char *const usual[] = {
	    "latent_tensor", "latent", "latents", "samples", "image"};
	const struct safetensors_tensor *t, *only = NULL;

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		t = safetensors_find(file, usual[i]);
		if (t != NULL)
			return t;
	}
	for (size_t i = 0; i < safetensors_count(file); i++) {
		t = safetensors_at(file, i);
		if (t->bytes == 0)
			continue;
		if (only != NULL)
			return NULL;
		only = t;
	}
	return only;
}

static void
take_metadata(struct input *in)
{
	static const char *const keys[INPUT_METADATA_MAX] = {
	    "parameters", "prompt", "workflow"};

	for (size_t i = 0; i < INPUT_METADATA_MAX; i++) {
		const char *value =
		    safetensors_metadata(in->safetensors, keys[i]);

		if (value != NULL)
			in->metadata[in->metadata_n++] =
			    (struct latentd_metadata){keys[i], value};
	}
}

static void
take_space(struct input *in, bool comfy, const struct input_options *o)
{
	const char *space =
	    safetensors_metadata(in->safetensors, "latentd.space");

	if (o->has_space)
		return;
	if (comfy || (space != NULL && strcmp(space, "vae") == 0))
		in->space = LATENTD_SPACE_VAE;
}

static uint32_t
pixels_of(const struct safetensors *file, const char *key)
{
	const char *text = safetensors_metadata(file, key);
	unsigned long n = text != NULL ? strtoul(text, NULL, 10) : 0;

	return n <= LATENTD_MAX_SIDE_PX ? (uint32_t)n : 0;
}

/* The value of ${names} that the file says for ${key}; 0: none. */
static size_t
choice_of(const struct safetensors *file, const char *key,
    const char *(*name)(size_t i), size_t n)
{
	const char *text = safetensors_metadata(file, key);

	for (size_t i = 0; text != NULL && i < n; i++) {
		if (strcmp(text, name(i)) == 0)
			return i;
	}
	return 0;
}

static const char *
output_at(size_t i)
{
	return output_name((enum latentd_output)i);
}

static const char *
priority_at(size_t i)
{
	return priority_name((enum latentd_priority)i);
}

/* What the job in the file was to be; the command line goes before it. */
static enum latentd_err
take_job(struct input *in, const struct input_options *o, struct reason *why)
{
	const struct safetensors *file = in->safetensors;
	const char *task = safetensors_metadata(file, "latentd.task");

	in->model = safetensors_metadata(file, "latentd.model");
	/* Other files than those of an export name no task. */
	if (task == NULL)
		return LATENTD_OK;
	if (strcmp(task, task_name(o->task)) != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "it is to be %sd, as its metadata says, and not %sd", task,
		    task_name(o->task));
	in->width_px = pixels_of(file, "latentd.width_px");
	in->height_px = pixels_of(file, "latentd.height_px");
	in->output = (enum latentd_output)choice_of(
	    file, "latentd.output", output_at, LATENTD_OUT_LATENT + 1);
	in->priority = (enum latentd_priority)choice_of(
	    file, "latentd.priority", priority_at, LATENTD_LOW + 1);
	return LATENTD_OK;
}

static enum latentd_err
take_safetensors(struct input *in, size_t file_bytes,
    const struct input_options *o, struct reason *why)
{
	const struct safetensors_tensor *t;
	struct raw raw = {0};
	bool comfy;

	if (safetensors_open(in->file, file_bytes, &in->safetensors, why) !=
	    LATENTD_OK)
		return why->err;
	t = o->tensor != NULL ? safetensors_find(in->safetensors, o->tensor)
			      : choose(in->safetensors);
	if (t == NULL)
		return no_tensor(in->safetensors, o->tensor, why);
	if (t->tensor.ndim == 0 || t->bytes == 0)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "\"%s\" is empty, a scalar, or has more than %u dimensions",
		    t->name, LATENTD_MAX_NDIM);
	if (t->tensor.dtype == LATENTD_DTYPE_NONE &&
	    strcmp(t->dtype_text, "F64") != 0)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "\"%s\" holds %s; F16, BF16, F32, F64 or, for pictures, "
		    "U8 is needed",
		    t->name, t->dtype_text);
	comfy =
	    o->task == LATENTD_DECODE && strcmp(t->name, "latent_tensor") == 0;
	raw.tensor = t->tensor;
	raw.data = t->data;
	raw.bytes = t->bytes;
	raw.rescale = comfy &&
	    safetensors_find(in->safetensors, "latent_format_version_0") ==
		NULL;
	take_space(in, comfy, o);
	take_metadata(in);
	if (take_job(in, o, why) != LATENTD_OK)
		return why->err;
	return take_raw(in, &raw, o, why);
}

static enum latentd_err
take_npy(struct input *in, size_t file_bytes, const struct input_options *o,
    struct reason *why)
{
	struct npy npy;
	struct raw raw = {0};

	if (npy_open(in->file, file_bytes, &npy, why) != LATENTD_OK)
		return why->err;
	raw.tensor = npy.tensor;
	raw.data = npy.data;
	raw.bytes = npy.bytes;
	raw.fortran = npy.fortran;
	return take_raw(in, &raw, o, why);
}

static enum latentd_err
take_image(struct input *in, size_t file_bytes, const struct input_options *o,
    struct reason *why)
{
	struct image_info info;

	if (o->task == LATENTD_DECODE)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "it is a %s; decode takes .safetensors, .latent or .npy "
		    "(encode takes pictures)",
		    image_kind_name(image_sniff(in->file, file_bytes)));
	if (image_parse(in->file, file_bytes, &info, why) != LATENTD_OK)
		return why->err;
	in->data = in->file;
	in->data_bytes = file_bytes;
	return LATENTD_OK;
}

static enum latentd_err
take_file(struct input *in, size_t bytes, const struct input_options *o,
    struct reason *why)
{
	enum image_kind kind = image_sniff(in->file, bytes);

	if (bytes == 0)
		return reason_set(why, LATENTD_ERR_INVALID, "it is empty");
	if (kind == IMAGE_PNG || kind == IMAGE_JPEG)
		return take_image(in, bytes, o, why);
	if (npy_sniff(in->file, bytes))
		return take_npy(in, bytes, o, why);
	if (safetensors_sniff(in->file, bytes))
		return take_safetensors(in, bytes, o, why);
	if (bytes > 2 && memcmp(in->file, "PK", 2) == 0)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "it is a zip file (.pt or .npz?); save the latent as "
		    ".safetensors or .npy");
	return reason_set(why, LATENTD_ERR_INVALID,
	    "it is none of .safetensors, .latent, .npy, PNG and JPEG, or its "
	    "header is cut off");
}

enum latentd_err
input_open(const char *path, const struct input_options *o, struct input *in,
    struct reason *why)
{
	struct reason inner;
	size_t bytes;

	memset(in, 0, sizeof(*in));
	in->space = o->has_space ? o->space : LATENTD_SPACE_MODEL;
	if (files_read(path, FILE_MAX, &in->file, &bytes, why) != LATENTD_OK)
		return why->err;
	if (take_file(in, bytes, o, &inner) == LATENTD_OK)
		return LATENTD_OK;
	input_close(in);
	return reason_set(why, inner.err, "%s: %s",
	    strcmp(path, FILES_STANDARD) == 0 ? "standard input" : path,
	    inner.text);
}

void
input_close(struct input *in)
{
	safetensors_close(in->safetensors);
	free(in->converted);
	free(in->file);
	memset(in, 0, sizeof(*in));
}
