/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tensor.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static uint16_t
store16(float value, enum latentd_dtype dtype)
{
	uint16_t out;

	tensor_store(&out, &value, dtype, 1);
	return out;
}

static float
load16(uint16_t bits, enum latentd_dtype dtype)
{
	float out;

	tensor_load(&out, &bits, dtype, 1);
	return out;
}

static float
float_of(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, 4);
	return f;
}

/* float16 by its definition, IEEE 754 binary16. */
static double
f16_value(unsigned bits)
{
	int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
	double sign = bits & 0x8000 ? -1.0 : 1.0;

	if (exponent == 0)
		return sign * ldexp(fraction, -24);
	return sign * ldexp(1024 + fraction, exponent - 25);
}

Test(tensor, float16_loads_every_value_as_defined)
{
	unsigned bits;
	float f;

	for (bits = 0; bits < 65536; bits++) {
		f = load16((uint16_t)bits, LATENTD_F16);
		if ((bits & 0x7fff) > 0x7c00)
			cr_assert(isnan(f), "%04x", bits);
		else if ((bits & 0x7fff) == 0x7c00)
			cr_assert(isinf(f), "%04x", bits);
		else
			cr_assert((double)f == f16_value(bits), "%04x", bits);
		cr_assert_eq(!!signbit(f), bits >> 15, "%04x", bits);
	}
}

Test(tensor, every_16_bit_float_comes_back_bit_for_bit)
{
	static const enum latentd_dtype dtypes[] = {LATENTD_F16, LATENTD_BF16};
	uint16_t *in = calloc(65536, 2), *out = calloc(65536, 2);
	float *floats = calloc(65536, sizeof(float));
	size_t d;
	unsigned i;

	for (d = 0; d < N(dtypes); d++) {
		for (i = 0; i < 65536; i++)
			in[i] = (uint16_t)i;
		tensor_load(floats, in, dtypes[d], 65536);
		tensor_store(out, floats, dtypes[d], 65536);
		cr_assert_arr_eq(in, out, 131072);
	}
	free(in);
	free(out);
	free(floats);
}

Test(tensor, float16_rounds_halfway_values_to_even)
{
	uint16_t below, above, want;
	double low, high, middle;
	float half, eps;

	for (below = 0; below < 0x7bff; below++) {
		above = (uint16_t)(below + 1);
		low = f16_value(below);
		high = f16_value(above);
		middle = (low + high) / 2; /* exact, also in float32 */
		half = (float)middle;
		want = below % 2 == 0 ? below : above;
		cr_assert((double)half == middle);
		cr_assert_eq(store16(half, LATENTD_F16), want, "%04x", below);
		cr_assert_eq(store16(-half, LATENTD_F16), want | 0x8000);
		eps = nextafterf(half, 0.0f);
		cr_assert_eq(store16(eps, LATENTD_F16), below, "%04x", below);
		eps = nextafterf(half, INFINITY);
		cr_assert_eq(store16(eps, LATENTD_F16), above, "%04x", below);
	}
}

Test(tensor, bfloat16_rounds_halfway_values_to_even)
{
	uint32_t below, want;

	for (below = 0; below < 0x7f80; below++) {
		want = below + below % 2;
		cr_assert_eq(
		    store16(float_of(below << 16 | 0x8000), LATENTD_BF16),
		    want);
		cr_assert_eq(
		    store16(float_of(below << 16 | 0x7fff), LATENTD_BF16),
		    below);
		cr_assert_eq(
		    store16(float_of(below << 16 | 0x8001), LATENTD_BF16),
		    below + 1);
	}
}

Test(tensor, out_of_range_becomes_infinity)
{
	cr_assert_eq(store16(65504.0f, LATENTD_F16), 0x7bff);
	cr_assert_eq(store16(65519.996f, LATENTD_F16), 0x7bff);
	cr_assert_eq(store16(65520.0f, LATENTD_F16), 0x7c00);
	cr_assert_eq(store16(-65536.0f, LATENTD_F16), 0xfc00);
	cr_assert_eq(store16(3e38f, LATENTD_F16), 0x7c00);
	cr_assert_eq(store16(INFINITY, LATENTD_F16), 0x7c00);
	cr_assert_eq(store16(-INFINITY, LATENTD_BF16), 0xff80);
	cr_assert_eq(store16(3.4e38f, LATENTD_BF16), 0x7f80);
}

Test(tensor, nan_stays_nan_whatever_its_payload)
{
	uint32_t bit, sign;

	for (bit = 0; bit < 23; bit++) {
		for (sign = 0; sign < 2; sign++) {
			float nan =
			    float_of(sign << 31 | 0x7f800000u | 1u << bit);

			cr_assert(isnan(
			    load16(store16(nan, LATENTD_F16), LATENTD_F16)));
			cr_assert(isnan(
			    load16(store16(nan, LATENTD_BF16), LATENTD_BF16)));
			cr_assert_eq(store16(nan, LATENTD_F16) >> 15, sign);
		}
	}
}

Test(tensor, uint8_is_rounded_and_clamped)
{
	static const float in[] = {-1e9f, -0.4f, 0.5f, 1.5f, 2.5f, 254.5f,
	    254.6f, 255.4f, 256.0f, 1e9f};
	static const uint8_t want[] = {0, 0, 0, 2, 2, 254, 255, 255, 255, 255};
	float special[] = {NAN, INFINITY, -INFINITY}, back[256];
	uint8_t out[10], all[256];
	unsigned i;

	tensor_store(out, in, LATENTD_U8, N(in));
	cr_assert_arr_eq(out, want, sizeof(want));
	tensor_store(out, special, LATENTD_U8, 3);
	cr_assert_eq(out[0], 0);
	cr_assert_eq(out[1], 255);
	cr_assert_eq(out[2], 0);
	for (i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	tensor_load(back, all, LATENTD_U8, 256);
	for (i = 0; i < 256; i++)
		cr_assert(back[i] == (float)i);
}

Test(tensor, elements_need_no_alignment)
{
	uint8_t raw[1 + 3 * 4];
	float in[3] = {1.5f, -2.0f, 0.25f}, out[3];
	static const enum latentd_dtype dtypes[] = {
	    LATENTD_F16, LATENTD_BF16, LATENTD_F32};
	size_t d;

	for (d = 0; d < N(dtypes); d++) {
		memset(out, 0, sizeof(out));
		tensor_store(raw + 1, in, dtypes[d], 3);
		tensor_load(out, raw + 1, dtypes[d], 3);
		cr_assert_arr_eq(in, out, sizeof(in));
	}
}

Test(tensor, names_and_sizes_of_dtypes)
{
	static const struct {
		enum latentd_dtype dtype;
		const char *name;
		size_t bytes;
	} cases[] = {
	    {LATENTD_F16, "float16", 2},
	    {LATENTD_BF16, "bfloat16", 2},
	    {LATENTD_F32, "float32", 4},
	    {LATENTD_U8, "uint8", 1},
	};
	size_t i;

	for (i = 0; i < N(cases); i++) {
		cr_expect_str_eq(dtype_name(cases[i].dtype), cases[i].name);
		cr_expect_eq(dtype_bytes(cases[i].dtype), cases[i].bytes);
		cr_expect_eq(dtype_find(cases[i].name, strlen(cases[i].name)),
		    cases[i].dtype);
	}
	cr_expect_str_eq(dtype_name(LATENTD_DTYPE_NONE), "none");
	cr_expect_eq(dtype_find("none", 4), LATENTD_DTYPE_NONE);
	cr_expect_eq(dtype_find("float", 5), LATENTD_DTYPE_NONE);
	cr_expect_eq(dtype_find("float160", 8), LATENTD_DTYPE_NONE);
	cr_expect_eq(dtype_find("", 0), LATENTD_DTYPE_NONE);
	cr_expect_eq(dtype_find("Float16", 7), LATENTD_DTYPE_NONE);
}

Test(tensor, bytes_is_the_product)
{
	struct latentd_tensor t = {LATENTD_F16, 4, {1, 4, 128, 128}};
	uint64_t bytes = 0;

	cr_assert_eq(tensor_bytes(&t, &bytes, NULL), LATENTD_OK);
	cr_assert_eq(bytes, 131072);
	t = (struct latentd_tensor){LATENTD_U8, 1, {LATENTD_MAX_DIM}};
	cr_assert_eq(tensor_bytes(&t, &bytes, NULL), LATENTD_OK);
	cr_assert_eq(bytes, LATENTD_MAX_DIM);
	t = (struct latentd_tensor){LATENTD_U8, 2, {1024, LATENTD_MAX_DIM}};
	cr_assert_eq(tensor_bytes(&t, &bytes, NULL), LATENTD_OK);
	cr_assert_eq(bytes, LATENTD_MAX_BODY_BYTES);
}

Test(tensor, bytes_refuses_what_is_no_tensor)
{
	static const struct {
		struct latentd_tensor t;
		enum latentd_err err;
	} cases[] = {
	    {{LATENTD_DTYPE_NONE, 1, {1}}, LATENTD_ERR_SHAPE},
	    {{(enum latentd_dtype)7, 1, {1}}, LATENTD_ERR_SHAPE},
	    {{LATENTD_F16, 0, {0}}, LATENTD_ERR_SHAPE},
	    {{LATENTD_F16, 7, {1, 1, 1, 1, 1, 1}}, LATENTD_ERR_SHAPE},
	    {{LATENTD_F16, UINT32_MAX, {1}}, LATENTD_ERR_SHAPE},
	    {{LATENTD_F16, 2, {4, 0}}, LATENTD_ERR_SHAPE},
	    {{LATENTD_F16, 1, {LATENTD_MAX_DIM + 1}}, LATENTD_ERR_SHAPE},
	    {{LATENTD_F16, 1, {UINT64_MAX}}, LATENTD_ERR_SHAPE},
	    {{LATENTD_U8, 3, {1025, 1024, 1024}}, LATENTD_ERR_TOO_LARGE},
	    {{LATENTD_F32, 6,
		 {1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20}},
		LATENTD_ERR_TOO_LARGE},
	};
	struct reason why;
	uint64_t bytes = 77;
	size_t i;

	for (i = 0; i < N(cases); i++) {
		why.text[0] = '\0';
		cr_expect_eq(tensor_bytes(&cases[i].t, &bytes, &why),
		    cases[i].err, "case %zu", i);
		cr_expect(strlen(why.text) > 0);
		cr_expect_eq(bytes, 77, "case %zu", i);
	}
}

Test(tensor, shape_is_written_as_json_without_blanks)
{
	struct latentd_tensor t = {LATENTD_F16, 4, {1, 3, 512, 512}};
	char text[TENSOR_SHAPE_TEXT_BYTES];
	size_t i;

	cr_assert_str_eq(tensor_shape_format(&t, text), "[1,3,512,512]");
	t.ndim = 0;
	cr_assert_str_eq(tensor_shape_format(&t, text), "[]");
	t.ndim = LATENTD_MAX_NDIM;
	for (i = 0; i < LATENTD_MAX_NDIM; i++)
		t.shape[i] = UINT64_MAX;
	cr_assert_eq(strlen(tensor_shape_format(&t, text)),
	    (size_t)LATENTD_MAX_NDIM * 21 + 1);
	t.ndim = 4000; /* an error message about it must not overrun */
	cr_assert_eq(strlen(tensor_shape_format(&t, text)),
	    (size_t)LATENTD_MAX_NDIM * 21 + 1);
}

Test(tensor, shape_is_read_with_and_without_blanks)
{
	struct latentd_tensor t = {LATENTD_BF16, 0, {0}};
	const char *text = " [1, 16,\t40 ,72 ] ";

	cr_assert_eq(
	    tensor_shape_parse(text, strlen(text), &t, NULL), LATENTD_OK);
	cr_assert(tensor_equal(
	    &t, &(struct latentd_tensor){LATENTD_BF16, 4, {1, 16, 40, 72}}));
}

Test(tensor, what_is_no_shape_is_refused_and_changes_nothing)
{
	static const char *const cases[] = {"", "[]", "1", "[1", "1]", "[1,]",
	    "[,1]", "[1 2]", "[-1]", "[0]", "[1.0]", "[1e3]", "[01]", "[+1]",
	    "[\"1\"]", "[1][2]", "[1,2,3,4,5,6,7]", "[[1]]", "{\"a\":1}",
	    "[1048577]", "[18446744073709551616]", "[9223372036854775807]",
	    "(1,2)", "[null]", "[true]", "torch.Size([1, 2])"};
	const struct latentd_tensor before = {LATENTD_F16, 2, {5, 6}};
	struct latentd_tensor t = before;
	char blanks[1000];
	size_t i;

	for (i = 0; i < N(cases); i++) {
		cr_expect_eq(
		    tensor_shape_parse(cases[i], strlen(cases[i]), &t, NULL),
		    LATENTD_ERR_SHAPE, "%s", cases[i]);
		cr_expect(tensor_equal(&t, &before), "%s", cases[i]);
	}
	memset(blanks, ' ', sizeof(blanks));
	memcpy(blanks, "[1]", 3);
	cr_expect_eq(tensor_shape_parse(blanks, sizeof(blanks), &t, NULL),
	    LATENTD_ERR_SHAPE);
}

Test(tensor, equal_compares_dtype_and_shape)
{
	const struct latentd_tensor t = {LATENTD_F16, 2, {5, 6}};

	cr_assert(tensor_equal(
	    &t, &(struct latentd_tensor){LATENTD_F16, 2, {5, 6, 9}}));
	cr_assert_not(tensor_equal(
	    &t, &(struct latentd_tensor){LATENTD_BF16, 2, {5, 6}}));
	cr_assert_not(
	    tensor_equal(&t, &(struct latentd_tensor){LATENTD_F16, 3, {5, 6}}));
	cr_assert_not(
	    tensor_equal(&t, &(struct latentd_tensor){LATENTD_F16, 2, {5, 7}}));
}
