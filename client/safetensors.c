/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jansson reads the header; everything it says is checked against the file
 * before it is used.
 */
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tensor.h"

#define TENSORS_MAX 65536u
#define LENGTH_BYTES 8u

struct safetensors {
	json_t *root;
	struct safetensors_tensor *tensors;
	size_t tensors_n;
};

static const struct {
	const char *text;
	unsigned bits;
	enum latentd_dtype dtype;
} dtypes[] = {
    {"F16", 16, LATENTD_F16},
    {"BF16", 16, LATENTD_BF16},
    {"F32", 32, LATENTD_F32},
    {"U8", 8, LATENTD_U8},
    {"F64", 64, LATENTD_DTYPE_NONE},
    {"I8", 8, LATENTD_DTYPE_NONE},
    {"I16", 16, LATENTD_DTYPE_NONE},
    {"U16", 16, LATENTD_DTYPE_NONE},
    {"I32", 32, LATENTD_DTYPE_NONE},
    {"U32", 32, LATENTD_DTYPE_NONE},
    {"I64", 64, LATENTD_DTYPE_NONE},
    {"U64", 64, LATENTD_DTYPE_NONE},
    {"BOOL", 8, LATENTD_DTYPE_NONE},
    {"F8_E4M3", 8, LATENTD_DTYPE_NONE},
    {"F8_E5M2", 8, LATENTD_DTYPE_NONE},
    {"F8_E8M0", 8, LATENTD_DTYPE_NONE},
    {"C64", 64, LATENTD_DTYPE_NONE},
};

static uint64_t
header_bytes(const uint8_t *data)
{
	uint64_t n = 0;

	for (size_t i = LENGTH_BYTES; i-- > 0;)
		n = n << 8 | data[i];
	return n;
}

bool
safetensors_sniff(const uint8_t *data, size_t bytes)
{
	return bytes > LENGTH_BYTES &&
	    header_bytes(data) <= bytes - LENGTH_BYTES &&
	    data[LENGTH_BYTES] == '{';
}

static enum latentd_err
check_length(const uint8_t *data, size_t bytes, struct reason *why)
{
	uint64_t n;

	if (bytes < LENGTH_BYTES)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: %zu bytes are too few for a header length",
		    bytes);
	n = header_bytes(data);
	if (n > SAFETENSORS_HEADER_MAX)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "safetensors: a header of %ju bytes is announced; at most "
		    "%u are allowed",
		    (uintmax_t)n, SAFETENSORS_HEADER_MAX);
	if (n > bytes - LENGTH_BYTES)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: a header of %ju bytes is announced, but the "
		    "file has only %zu after its length",
		    (uintmax_t)n, bytes - LENGTH_BYTES);
	if (n == 0 || data[LENGTH_BYTES] != '{')
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: the header does not begin with '{'");
	return LATENTD_OK;
}

/* A number of the header that is no count would be negative or too large. */
static bool
as_size(const json_t *value, uint64_t *number)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*number = (uint64_t)json_integer_value(value);
	return true;
}

/* Elements of the shape; false when it is no shape or overflows. */
static bool
read_shape(const json_t *array, struct latentd_tensor *t, uint64_t *elements)
{
	size_t n = json_array_size(array);
	uint64_t dim;

	if (!json_is_array(array))
		return false;
	*elements = 1;
	t->ndim = n <= LATENTD_MAX_NDIM ? (uint32_t)n : 0;
	for (size_t i = 0; i < n; i++) {
		if (!as_size(json_array_get(array, i), &dim) ||
		    __builtin_mul_overflow(*elements, dim, elements))
			return false;
		if (t->ndim > 0)
			t->shape[i] = dim;
	}
	return true;
}

static enum latentd_err
read_range(const json_t *entry, uint64_t buffer_bytes, const uint8_t *buffer,
    struct safetensors_tensor *t, struct reason *why)
{
	const json_t *offsets = json_object_get(entry, "data_offsets");
	uint64_t begin, end;

	if (json_array_size(offsets) != 2 ||
	    !as_size(json_array_get(offsets, 0), &begin) ||
	    !as_size(json_array_get(offsets, 1), &end))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: data_offsets of \"%s\" are not two numbers",
		    t->name);
	if (begin > end || end > buffer_bytes)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: data_offsets of \"%s\" are [%ju,%ju], but "
		    "the data has %ju bytes",
		    t->name, (uintmax_t)begin, (uintmax_t)end,
		    (uintmax_t)buffer_bytes);
	t->data = buffer + begin;
	t->bytes = (size_t)(end - begin);
	return LATENTD_OK;
}

static enum latentd_err
read_type(const json_t *entry, struct safetensors_tensor *t, struct reason *why)
{
	uint64_t elements, bits;
	size_t i;

	t->dtype_text = json_string_value(json_object_get(entry, "dtype"));
	if (t->dtype_text == NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: \"%s\" has no dtype", t->name);
	if (!read_shape(json_object_get(entry, "shape"), &t->tensor, &elements))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: the shape of \"%s\" is not a list of counts",
		    t->name);
	for (i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
		if (strcmp(t->dtype_text, dtypes[i].text) == 0)
			break;
	}
	if (i == sizeof(dtypes) / sizeof(dtypes[0]))
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "safetensors: \"%s\" has the unknown dtype \"%s\"", t->name,
		    t->dtype_text);
	t->tensor.dtype = dtypes[i].dtype;
	if (__builtin_mul_overflow(elements, dtypes[i].bits, &bits) ||
	    bits / 8 != t->bytes)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "safetensors: \"%s\" has %ju elements of %s, but %zu bytes",
		    t->name, (uintmax_t)elements, t->dtype_text, t->bytes);
	return LATENTD_OK;
}

static int
compare(const void *a, const void *b)
{
	const struct safetensors_tensor *x = a, *y = b;

	if (x->data != y->data)
		return x->data < y->data ? -1 : 1;
	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static enum latentd_err
check_layout(const struct safetensors *file, const uint8_t *buffer,
    size_t buffer_bytes, struct reason *why)
{
	const uint8_t *end = buffer;

	for (size_t i = 0; i < file->tensors_n; i++) {
		const struct safetensors_tensor *t = &file->tensors[i];

		if (t->data != end)
			return reason_set(why, LATENTD_ERR_INVALID,
			    "safetensors: \"%s\" %s", t->name,
			    t->data < end ? "overlaps another tensor"
					  : "leaves a hole before it");
		end += t->bytes;
	}
	if (end != buffer + buffer_bytes)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: the last %zu bytes belong to no tensor",
		    (size_t)(buffer + buffer_bytes - end));
	return LATENTD_OK;
}

static enum latentd_err
check_metadata(json_t *metadata, struct reason *why)
{
	const char *key;
	json_t *value;

	if (metadata != NULL && !json_is_object(metadata))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: __metadata__ is not an object");
	json_object_foreach(metadata, key, value)
	{
		if (!json_is_string(value))
			return reason_set(why, LATENTD_ERR_INVALID,
			    "safetensors: __metadata__ \"%s\" is not a string",
			    key);
	}
	return LATENTD_OK;
}

static enum latentd_err
read_tensors(struct safetensors *file, const uint8_t *buffer,
    size_t buffer_bytes, struct reason *why)
{
	const char *key;
	json_t *value;

	json_object_foreach(file->root, key, value)
	{
		struct safetensors_tensor *t = &file->tensors[file->tensors_n];

		if (strcmp(key, "__metadata__") == 0)
			continue;
		t->name = key;
		if (!json_is_object(value))
			return reason_set(why, LATENTD_ERR_INVALID,
			    "safetensors: \"%s\" is not an object", key);
		if (read_range(value, buffer_bytes, buffer, t, why) !=
			LATENTD_OK ||
		    read_type(value, t, why) != LATENTD_OK)
			return why->err;
		file->tensors_n++;
	}
	qsort(file->tensors, file->tensors_n, sizeof(*file->tensors), compare);
	return check_layout(file, buffer, buffer_bytes, why);
}

static enum latentd_err
load(struct safetensors *file, const uint8_t *data, size_t bytes,
    struct reason *why)
{
	size_t n = (size_t)header_bytes(data);
	json_error_t error;

	file->root = json_loadb((const char *)data + LENGTH_BYTES, n,
	    JSON_REJECT_DUPLICATES, &error);
	if (file->root == NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "safetensors: the header is not JSON: %s", error.text);
	if (json_object_size(file->root) > TENSORS_MAX)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "safetensors: %zu tensors; at most %u are allowed",
		    json_object_size(file->root), TENSORS_MAX);
	if (check_metadata(json_object_get(file->root, "__metadata__"), why) !=
	    LATENTD_OK)
		return why->err;
	file->tensors =
	    calloc(json_object_size(file->root) + 1, sizeof(*file->tensors));
	if (file->tensors == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "no memory for a safetensors header");
	return read_tensors(
	    file, data + LENGTH_BYTES + n, bytes - LENGTH_BYTES - n, why);
}

enum latentd_err
safetensors_open(const uint8_t *data, size_t bytes, struct safetensors **out,
    struct reason *why)
{
	struct safetensors *file;

	if (check_length(data, bytes, why) != LATENTD_OK)
		return why->err;
	file = calloc(1, sizeof(*file));
	if (file == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "no memory for a safetensors header");
	if (load(file, data, bytes, why) != LATENTD_OK) {
		safetensors_close(file);
		return why->err;
	}
	*out = file;
	return LATENTD_OK;
}

void
safetensors_close(struct safetensors *file)
{
	if (file == NULL)
		return;
	json_decref(file->root);
	free(file->tensors);
	free(file);
}

size_t
safetensors_count(const struct safetensors *file)
{
	return file->tensors_n;
}

const struct safetensors_tensor *
safetensors_at(const struct safetensors *file, size_t i)
{
	return i < file->tensors_n ? &file->tensors[i] : NULL;
}

const struct safetensors_tensor *
safetensors_find(const struct safetensors *file, const char *name)
{
	for (size_t i = 0; i < file->tensors_n; i++) {
		if (strcmp(file->tensors[i].name, name) == 0)
			return &file->tensors[i];
	}
	return NULL;
}

const char *
safetensors_metadata(const struct safetensors *file, const char *key)
{
	const json_t *metadata = json_object_get(file->root, "__metadata__");

	return json_string_value(json_object_get(metadata, key));
}

static json_t *
head_json(const char *name, const struct latentd_tensor *tensor,
    uint64_t data_bytes, const char *const *metadata, size_t metadata_n)
{
	json_t *root = json_object(), *about = json_object();
	json_t *shape = json_array();
	const char *dtype = "";

	for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
		if (dtypes[i].dtype == tensor->dtype)
			dtype = dtypes[i].text;
	}
	for (uint32_t i = 0; i < tensor->ndim; i++)
		json_array_append_new(
		    shape, json_integer((json_int_t)tensor->shape[i]));
	for (size_t i = 0; i < metadata_n; i++)
		json_object_set_new(
		    about, metadata[2 * i], json_string(metadata[2 * i + 1]));
	json_object_set_new(root, "__metadata__", about);
	json_object_set_new(root, name,
	    json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape,
		"data_offsets", (json_int_t)0, (json_int_t)data_bytes));
	return root;
}

char *
safetensors_head(const char *name, const struct latentd_tensor *tensor,
    const char *const *metadata, size_t metadata_n, size_t *bytes)
{
	uint64_t data_bytes;
	json_t *root;
	size_t n, padded;
	char *head = NULL, *text;

	if (tensor_bytes(tensor, &data_bytes, NULL) != LATENTD_OK)
		return NULL;
	root = head_json(name, tensor, data_bytes, metadata, metadata_n);
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	if (text == NULL)
		return NULL;
	n = strlen(text);
	padded = (n + 7) / 8 * 8;
	head = malloc(LENGTH_BYTES + padded);
	if (head != NULL) {
		for (size_t i = 0; i < LENGTH_BYTES; i++)
			head[i] = (char)(uint8_t)(padded >> 8 * i);
		memcpy(head + LENGTH_BYTES, text, n);
		memset(head + LENGTH_BYTES + n, ' ', padded - n);
		*bytes = LENGTH_BYTES + padded;
	}
	free(text);
	return head;
}
