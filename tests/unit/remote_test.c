/* SPDX-License-Identifier: Apache-2.0 */
/* Golden vectors; names and queries. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fuzz.h"
#include "remote_fixture.h"
#include "tensor.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* ---- golden vectors ---- */

static void
read_request(struct remote_request *req, const json_t *from)
{
	const char *model = fixture_string(from, "model");
	const char *dtype = fixture_string(from, "dtype");
	const char *output = fixture_string(from, "output_type");
	const json_t *shape = json_object_get(from, "shape"), *factor;
	size_t i;

	remote_request_init(req,
	    strcmp(fixture_string(from, "task"), "encode") == 0
		? LATENTD_ENCODE
		: LATENTD_DECODE,
	    model_find(model, strlen(model)));
	for (i = 0; i < json_array_size(shape); i++)
		req->tensor.shape[req->tensor.ndim++] =
		    (uint64_t)json_integer_value(json_array_get(shape, i));
	if (dtype != NULL)
		req->tensor.dtype = dtype_find(dtype, strlen(dtype));
	if (output != NULL) {
		req->output = strcmp(output, "pil") == 0 ? REMOTE_PIL
		    : strcmp(output, "pt") == 0          ? REMOTE_PT
							 : REMOTE_MP4;
		req->png =
		    strcmp(fixture_string(from, "image_format"), "png") == 0;
		req->partial_postprocess =
		    json_is_true(json_object_get(from, "partial_postprocess"));
	}
	if (json_is_true(json_object_get(from, "do_scaling")))
		req->scaling = REMOTE_SCALING_SERVER;
	if ((factor = json_object_get(from, "scaling_factor")) != NULL) {
		req->scaling = REMOTE_SCALING_FACTORS;
		req->scaling_factor = json_real_value(factor);
	}
	if ((factor = json_object_get(from, "shift_factor")) != NULL) {
		req->has_shift = true;
		req->shift_factor = json_real_value(factor);
	}
	req->height_px =
	    (uint32_t)json_integer_value(json_object_get(from, "height"));
	req->width_px =
	    (uint32_t)json_integer_value(json_object_get(from, "width"));
}

static void
check_tensor_vector(const json_t *row)
{
	const char *name = fixture_string(row, "dtype");
	enum latentd_dtype dtype = dtype_find(name, strlen(name));
	const json_t *list = json_object_get(row, "floats");
	size_t n = json_array_size(list), bytes, i;
	float *floats = calloc(n, sizeof(float));
	uint8_t *want = fixture_hex(fixture_string(row, "bytes"), &bytes);
	uint8_t *got = malloc(bytes);
	const json_t *one;

	for (i = 0; i < n; i++) {
		one = json_array_get(list, i);
		floats[i] = json_is_string(one)
		    ? strtof(json_string_value(one), NULL)
		    : (float)json_real_value(one);
	}
	cr_assert_eq(bytes, n * dtype_bytes(dtype));
	tensor_store(got, floats, dtype, n);
	for (i = 0; i < bytes; i++)
		cr_expect_eq(got[i], want[i], "%s: value %zu (%a)", name,
		    i / dtype_bytes(dtype),
		    (double)floats[i / dtype_bytes(dtype)]);
	free(got);
	free(want);
	free(floats);
}

/* ${text} is a reply of ${want}; ${t} is set to what it says. */
static void
check_base64_text(const char *text, const uint8_t *want, size_t bytes,
    struct latentd_tensor *t)
{
	size_t got_bytes = 0;
	struct reason why;
	void *got = NULL;

	cr_assert_eq(
	    remote_base64_parse(text, strlen(text), t, &got, &got_bytes, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(got_bytes, bytes);
	cr_assert_arr_eq(got, want, bytes);
	free(got);
}

static void
check_base64_vector(const json_t *row)
{
	size_t bytes = 0, text_bytes = 0;
	uint8_t *want = fixture_hex(fixture_string(row, "bytes"), &bytes);
	struct latentd_tensor t, again;
	char *text;

	check_base64_text(fixture_string(row, "body"), want, bytes, &t);
	text = remote_base64_format(&t, want, bytes, &text_bytes);
	cr_assert_eq(strlen(text), text_bytes);
	check_base64_text(text, want, bytes, &again);
	cr_assert(tensor_equal(&t, &again));
	free(text);
	free(want);
}

Test(remote, golden_vectors_hold)
{
	json_t *rows = fixture_lines("remote.jsonl"), *row;
	char query[REMOTE_QUERY_BYTES];
	size_t i, seen[3] = {0, 0, 0};
	struct remote_request req;
	const char *kind;

	json_array_foreach(rows, i, row)
	{
		kind = fixture_string(row, "kind");
		if (strcmp(kind, "query") == 0) {
			read_request(&req, json_object_get(row, "request"));
			cr_expect_str_eq(remote_query_format(&req, query),
			    fixture_string(row, "query"));
			seen[0]++;
		} else if (strcmp(kind, "tensor") == 0) {
			check_tensor_vector(row);
			seen[1]++;
		} else {
			check_base64_vector(row);
			seen[2]++;
		}
	}
	cr_assert(seen[0] > 90 && seen[1] == 4 && seen[2] >= 7);
	json_decref(rows);
}

/* ---- names and queries ---- */

Test(remote, types_are_found_whatever_case_and_parameters)
{
	static const struct {
		const char *text;
		enum remote_type type;
	} cases[] = {
	    {NULL, REMOTE_ANY},
	    {"", REMOTE_ANY},
	    {"*/*", REMOTE_ANY},
	    {"tensor/binary", REMOTE_TENSOR},
	    {"Tensor/Base64", REMOTE_TENSOR_BASE64},
	    {"application/json; charset=utf-8", REMOTE_JSON},
	    {"image/jpeg", REMOTE_JPEG},
	    {" image/png;q=0.5", REMOTE_PNG},
	    {"text/plain; charset=utf-8", REMOTE_TEXT},
	    {"video/mp4", REMOTE_TEXT},
	    {"text/html, image/png;q=0.9, */*", REMOTE_PNG},
	    {"text/html,*/*;q=0.1", REMOTE_ANY},
	    {"text/html", REMOTE_OTHER},
	    {"image/jpegx", REMOTE_OTHER},
	    {"x image/png", REMOTE_OTHER},
	    {";", REMOTE_ANY},
	    {",,,", REMOTE_ANY},
	};
	size_t i;

	for (i = 0; i < N(cases); i++)
		cr_expect_eq(remote_type_find(cases[i].text), cases[i].type,
		    "%s", cases[i].text);
	cr_expect_str_eq(remote_type_name(REMOTE_JPEG), "image/jpeg");
	cr_expect_str_eq(remote_type_name(REMOTE_TEXT), "text/plain");
	cr_expect_str_eq(remote_type_name(REMOTE_ANY), "");
	cr_expect_str_eq(remote_type_name(REMOTE_OTHER), "");
}

Test(remote, the_longest_query_fits)
{
	struct remote_request req = fixture_request("flux", LATENTD_BF16, 6,
	    UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	char query[REMOTE_QUERY_BYTES];

	req.tensor.shape[5] = UINT64_MAX;
	req.scaling = REMOTE_SCALING_FACTORS;
	req.scaling_factor = -1.2345678901234568e-300;
	req.shift_factor = -1.2345678901234568e-300;
	req.has_shift = req.partial_postprocess = true;
	req.height_px = req.width_px = UINT32_MAX;
	remote_query_format(&req, query);
	cr_assert_not_null(strstr(
	    query, "scaling_factor=-1.2345678901234568e-300&shift_factor="));
	cr_assert(strlen(query) < REMOTE_QUERY_BYTES / 2);
}

/* ---- floats ---- */

/* The scaling factor ${value} as a query has it. */
static const char *
written(double value)
{
	static char query[REMOTE_QUERY_BYTES];
	struct remote_request req;

	remote_request_init(&req, LATENTD_ENCODE, model_find("sdxl", 4));
	req.scaling = REMOTE_SCALING_FACTORS;
	req.scaling_factor = value;
	return strchr(remote_query_format(&req, query), '=') + 1;
}

/* How many digits ${text} has, but for noughts before and after them. */
static int
digits_of(const char *text)
{
	int digits = 0, noughts = 0;

	for (; *text != '\0' && *text != 'e'; text++) {
		if (*text < '0' || *text > '9' || (*text == '0' && digits == 0))
			continue;
		noughts = *text == '0' ? noughts + 1 : 0;
		digits++;
	}
	return digits - noughts;
}

static int
fewest_digits(double value)
{
	char text[40];
	int digits = 1;

	for (; digits < 17; digits++) {
		snprintf(text, sizeof(text), "%.*e", digits - 1, value);
		if (strtod(text, NULL) == value)
			break;
	}
	return digits;
}

static void
check_shortest(double value)
{
	const char *text = written(value);

	cr_assert(strtod(text, NULL) == value, "%s: %a", text, value);
	cr_assert_eq(
	    digits_of(text), fewest_digits(value), "%s: %a", text, value);
}

Test(remote, any_float_is_written_with_the_fewest_digits_that_read_back)
{
	struct fuzz f = {.state = 8};
	char text[40];
	double value;

	for (int i = 0; i < 20000; i++) {
		uint64_t bits = fuzz_next(&f);

		memcpy(&value, &bits, sizeof(value));
		if (isfinite(value))
			check_shortest(value);
		/* One of few digits, as people write them. */
		snprintf(text, sizeof(text), "%.*e", (int)fuzz_below(&f, 17),
		    (double)(bits >> 12));
		check_shortest(strtod(text, NULL));
		/* One that is subnormal. */
		bits &= UINT64_C(0x800fffffffffffff) >> fuzz_below(&f, 52);
		memcpy(&value, &bits, sizeof(value));
		if (bits << 1 != 0)
			check_shortest(value);
	}
}

Test(remote, floats_are_written_as_python_does)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {{0.13025, "0.13025"}, {1, "1.0"}, {0, "0.0"},
	    {-0.0, "-0.0"}, {100, "100.0"}, {0.1159, "0.1159"},
	    {0.476986, "0.476986"}, {0.1 + 0.2, "0.30000000000000004"},
	    {1e-4, "0.0001"}, {1e-5, "1e-05"}, {1.5e300, "1.5e+300"},
	    {9999999999999998, "9999999999999998.0"}, {1e16, "1e+16"},
	    {5e-324, "5e-324"}, {DBL_MIN, "2.2250738585072014e-308"},
	    {DBL_MAX, "1.7976931348623157e+308"}};

	for (size_t i = 0; i < N(cases); i++)
		cr_expect_str_eq(written(cases[i].value), cases[i].text);
}
