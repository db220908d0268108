/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptions of tensors and the conversion of their elements.  No state: any
 * thread.  The wire is little-endian and so is every supported machine;
 * elements are therefore only copied, never swapped.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "tensor.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
    "tensors are copied as they are, which needs a little-endian machine");

/* Longest text taken for a shape; blanks beyond that are not a real header. */
#define SHAPE_TEXT_MAX 256

static const struct {
	const char *name;
	size_t bytes;
} dtypes[] = {
    [LATENTD_DTYPE_NONE] = {"none", 0},
    [LATENTD_F16] = {"float16", 2},
    [LATENTD_BF16] = {"bfloat16", 2},
    [LATENTD_F32] = {"float32", 4},
    [LATENTD_U8] = {"uint8", 1},
};

#define DTYPES_N (sizeof(dtypes) / sizeof(dtypes[0]))

const char *
dtype_name(enum latentd_dtype dtype)
{
	return (size_t)dtype < DTYPES_N ? dtypes[dtype].name : "none";
}

enum latentd_dtype
dtype_find(const char *name, size_t name_bytes)
{
	size_t i;

	for (i = LATENTD_F16; i < DTYPES_N; i++)
		if (strlen(dtypes[i].name) == name_bytes &&
		    memcmp(dtypes[i].name, name, name_bytes) == 0)
			return (enum latentd_dtype)i;
	return LATENTD_DTYPE_NONE;
}

size_t
dtype_bytes(enum latentd_dtype dtype)
{
	return (size_t)dtype < DTYPES_N ? dtypes[dtype].bytes : 0;
}

static enum latentd_err
check_dim(uint32_t i, uint64_t dim, struct reason *why)
{
	if (dim == 0 || dim > LATENTD_MAX_DIM)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "dimension %" PRIu32 " of the shape is %" PRIu64
		    ", must be 1 to %u",
		    i, dim, LATENTD_MAX_DIM);
	return LATENTD_OK;
}

static enum latentd_err
check_ndim(uint64_t ndim, struct reason *why)
{
	if (ndim == 0 || ndim > LATENTD_MAX_NDIM)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "the shape has %" PRIu64 " dimensions, must have 1 to %d",
		    ndim, LATENTD_MAX_NDIM);
	return LATENTD_OK;
}

enum latentd_err
tensor_bytes(
    const struct latentd_tensor *t, uint64_t *bytes, struct reason *why)
{
	char text[TENSOR_SHAPE_TEXT_BYTES];
	uint64_t n = dtype_bytes(t->dtype);
	enum latentd_err err;
	uint32_t i;

	if (n == 0)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "dtype is missing, must be float16, bfloat16, float32 or "
		    "uint8");
	if ((err = check_ndim(t->ndim, why)) != LATENTD_OK)
		return err;
	for (i = 0; i < t->ndim; i++)
		if ((err = check_dim(i, t->shape[i], why)) != LATENTD_OK)
			return err;
	/* Never overflows: below 2^30 before each step, a step is <= 2^20. */
	for (i = 0; i < t->ndim; i++) {
		n *= t->shape[i];
		if (n > LATENTD_MAX_BODY_BYTES)
			return reason_set(why, LATENTD_ERR_TOO_LARGE,
			    "a %s tensor of shape %s has more than %u bytes",
			    dtype_name(t->dtype), tensor_shape_format(t, text),
			    LATENTD_MAX_BODY_BYTES);
	}
	*bytes = n;
	return LATENTD_OK;
}

bool
tensor_equal(const struct latentd_tensor *a, const struct latentd_tensor *b)
{
	return a->dtype == b->dtype && a->ndim == b->ndim &&
	    a->ndim <= LATENTD_MAX_NDIM &&
	    memcmp(a->shape, b->shape, a->ndim * sizeof(a->shape[0])) == 0;
}

char *
tensor_shape_format(
    const struct latentd_tensor *t, char text[TENSOR_SHAPE_TEXT_BYTES])
{
	size_t used = 0;
	uint32_t i;

	text[used++] = '[';
	for (i = 0; i < t->ndim && i < LATENTD_MAX_NDIM; i++)
		used += (size_t)snprintf(text + used,
		    TENSOR_SHAPE_TEXT_BYTES - used, "%s%" PRIu64,
		    i == 0 ? "" : ",", t->shape[i]);
	text[used++] = ']';
	text[used] = '\0';
	return text;
}

static enum latentd_err
shape_from_json(
    const json_t *list, struct latentd_tensor *t, struct reason *why)
{
	struct latentd_tensor found = {.dtype = t->dtype};
	enum latentd_err err;
	json_int_t dim;
	uint32_t i;

	if (!json_is_array(list))
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "the shape is not a list of numbers like [1,3,512,512]");
	if ((err = check_ndim(json_array_size(list), why)) != LATENTD_OK)
		return err;
	found.ndim = (uint32_t)json_array_size(list);
	for (i = 0; i < found.ndim; i++) {
		if (!json_is_integer(json_array_get(list, i)))
			return reason_set(why, LATENTD_ERR_SHAPE,
			    "dimension %" PRIu32 " of the shape is not a whole "
			    "number",
			    i);
		dim = json_integer_value(json_array_get(list, i));
		found.shape[i] = dim < 0 ? 0 : (uint64_t)dim;
		if ((err = check_dim(i, found.shape[i], why)) != LATENTD_OK)
			return err;
	}
	*t = found;
	return LATENTD_OK;
}

enum latentd_err
tensor_shape_parse(const char *text, size_t text_bytes,
    struct latentd_tensor *t, struct reason *why)
{
	enum latentd_err err;
	json_t *list;

	if (text_bytes > SHAPE_TEXT_MAX)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "the shape is %zu characters long, at most %d make sense",
		    text_bytes, SHAPE_TEXT_MAX);
	list = json_loadb(text, text_bytes, JSON_REJECT_DUPLICATES, NULL);
	if (list == NULL)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "the shape \"%.*s\" is not a list of numbers like "
		    "[1,3,512,512]",
		    (int)text_bytes, text);
	err = shape_from_json(list, t, why);
	json_decref(list);
	return err;
}

static float
float_of(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static uint32_t
bits_of(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

static float
f16_load(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
	uint32_t rest = (uint32_t)(h & 0x7fffu) << 13;

	if (rest >= 0x1fu << 23) /* infinity and NaN, payload kept */
		return float_of(sign | 0x7f800000u | rest);
	if (rest >= 1u << 23)
		return float_of(sign | (rest + (112u << 23)));
	/* Subnormal: as 2^-14 * 1.m, minus 2^-14, exact in float32. */
	rest = bits_of(float_of(rest + (113u << 23)) - float_of(113u << 23));
	return float_of(sign | rest);
}

static uint16_t
f16_store(float value)
{
	/* Adding 0.5 puts a subnormal's last place on float32's, rounded. */
	const uint32_t half = 126u << 23;
	uint32_t bits = bits_of(value), nan, low;
	uint32_t sign = bits >> 16 & 0x8000u;

	bits &= 0x7fffffffu;
	if (bits > 0x7f800000u) {
		nan = bits >> 13 & 0x3ffu;
		return (uint16_t)(sign | 0x7c00u | (nan != 0 ? nan : 0x200u));
	}
	if (bits >= 143u << 23) /* 2^16 and above */
		return (uint16_t)(sign | 0x7c00u);
	if (bits < 113u << 23) {
		low = bits_of(float_of(bits) + float_of(half)) - half;
		return (uint16_t)(sign | low);
	}
	/* To nearest even; a carry into the exponent is right, also to inf. */
	bits = bits - (112u << 23) + 0xfffu + (bits >> 13 & 1u);
	return (uint16_t)(sign | bits >> 13);
}

static uint16_t
bf16_store(float value)
{
	uint32_t bits = bits_of(value);
	uint32_t high = bits >> 16;

	if ((bits & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)((high & 0x7fu) != 0 ? high : high | 0x40u);
	return (uint16_t)((bits + 0x7fffu + (high & 1u)) >> 16);
}

static uint8_t
u8_store(float value)
{
	if (!(value > 0.0f)) /* NaN too */
		return 0;
	return value >= 255.0f ? 255 : (uint8_t)rintf(value);
}

void
tensor_load(float *dst, const void *src, enum latentd_dtype dtype, size_t n)
{
	const uint8_t *from = src;
	uint16_t two;
	size_t i;

	switch (dtype) {
	case LATENTD_F16:
		for (i = 0; i < n; i++) {
			memcpy(&two, from + 2 * i, 2);
			dst[i] = f16_load(two);
		}
		break;
	case LATENTD_BF16:
		for (i = 0; i < n; i++) {
			memcpy(&two, from + 2 * i, 2);
			dst[i] = float_of((uint32_t)two << 16);
		}
		break;
	case LATENTD_F32:
		memcpy(dst, src, n * sizeof(*dst));
		break;
	case LATENTD_U8:
		for (i = 0; i < n; i++)
			dst[i] = from[i];
		break;
	case LATENTD_DTYPE_NONE:
		break;
	}
}

void
tensor_store(void *dst, const float *src, enum latentd_dtype dtype, size_t n)
{
	uint8_t *to = dst;
	uint16_t two;
	size_t i;

	switch (dtype) {
	case LATENTD_F16:
		for (i = 0; i < n; i++) {
			two = f16_store(src[i]);
			memcpy(to + 2 * i, &two, 2);
		}
		break;
	case LATENTD_BF16:
		for (i = 0; i < n; i++) {
			two = bf16_store(src[i]);
			memcpy(to + 2 * i, &two, 2);
		}
		break;
	case LATENTD_F32:
		memcpy(dst, src, n * sizeof(*src));
		break;
	case LATENTD_U8:
		for (i = 0; i < n; i++)
			to[i] = u8_store(src[i]);
		break;
	case LATENTD_DTYPE_NONE:
		break;
	}
}
