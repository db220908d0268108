/* SPDX-License-Identifier: Apache-2.0 */
/* The files that latentctl reads and writes: good ones, and every bad one that
 * could be thought of. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fuzz.h"
#include "npy.h"
#include "safetensors.h"

struct file {
	uint8_t data[4096];
	size_t bytes;
};

/* A .safetensors of this header and so many data bytes 0, 1, 2, ... */
static struct file
safetensors_of(const char *header, size_t data_bytes)
{
	struct file f = {.bytes = 8 + strlen(header) + data_bytes};

	cr_assert_leq(f.bytes, sizeof(f.data));
	for (size_t i = 0; i < 8; i++)
		f.data[i] = (uint8_t)(strlen(header) >> 8 * i);
	memcpy(f.data + 8, header, strlen(header));
	for (size_t i = 0; i < data_bytes; i++)
		f.data[8 + strlen(header) + i] = (uint8_t)i;
	return f;
}

#define TWO                                                                 \
	"{\"__metadata__\":{\"prompt\":\"a cat\"},"                         \
	"\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}," \
	"\"a\":{\"dtype\":\"F16\",\"shape\":[1,2,3],"                       \
	"\"data_offsets\":[0,12]}}  "

/* Open a copy that ends where the memory ends, so that ASan sees any byte read
 * beyond it. */
static enum latentd_err
open_exactly(const uint8_t *data, size_t bytes, struct reason *why)
{
	uint8_t *copy = malloc(bytes);
	struct safetensors *file;
	enum latentd_err err;

	if (bytes > 0)
		memcpy(copy, data, bytes);
	err = safetensors_open(copy, bytes, &file, why);
	if (err == LATENTD_OK) {
		for (size_t i = 0; i < safetensors_count(file); i++) {
			const struct safetensors_tensor *t =
			    safetensors_at(file, i);

			cr_assert_geq(t->data, copy);
			cr_assert_leq(t->data + t->bytes, copy + bytes);
		}
		safetensors_close(file);
	}
	free(copy);
	return err;
}

static void
refuse(const char *header, size_t data_bytes, enum latentd_err expected,
    const char *sentence)
{
	struct file f = safetensors_of(header, data_bytes);
	struct reason why;

	cr_assert_eq(
	    open_exactly(f.data, f.bytes, &why), expected, "%s", header);
	cr_assert(strstr(why.text, sentence), "\"%s\" lacks \"%s\"", why.text,
	    sentence);
}

Test(safetensors, holds_its_tensors_in_the_order_of_their_data)
{
	struct file f = safetensors_of(TWO, 20);
	const struct safetensors_tensor *t;
	struct safetensors *file;
	struct reason why;

	cr_assert_eq(safetensors_open(f.data, f.bytes, &file, &why), LATENTD_OK,
	    "%s", why.text);
	cr_assert_eq(safetensors_count(file), 2);
	t = safetensors_at(file, 0);
	cr_assert_str_eq(t->name, "a");
	cr_assert_eq(t->tensor.dtype, LATENTD_F16);
	cr_assert_eq(t->tensor.ndim, 3);
	cr_assert_eq(t->tensor.shape[2], 3);
	cr_assert_eq(t->bytes, 12);
	cr_assert_eq(t->data[11], 11);
	t = safetensors_find(file, "b");
	cr_assert_eq(t->tensor.dtype, LATENTD_F32);
	cr_assert_eq(t->data[0], 12);
	cr_assert_null(safetensors_find(file, "c"));
	cr_assert_null(safetensors_at(file, 2));
	cr_assert_str_eq(safetensors_metadata(file, "prompt"), "a cat");
	cr_assert_null(safetensors_metadata(file, "workflow"));
	safetensors_close(file);
}

Test(safetensors, takes_empty_and_scalar_tensors)
{
	struct file f = safetensors_of(
	    "{\"m\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
	    "\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
	    1);
	struct reason why;

	cr_assert_eq(
	    open_exactly(f.data, f.bytes, &why), LATENTD_OK, "%s", why.text);
}

Test(safetensors, cut_off_anywhere_is_refused)
{
	struct file f = safetensors_of(TWO, 20);
	struct reason why;

	for (size_t n = 0; n < f.bytes; n++)
		cr_assert_neq(open_exactly(f.data, n, &why), LATENTD_OK,
		    "cut to %zu bytes", n);
}

Test(safetensors, one_byte_more_is_refused)
{
	refuse(TWO, 21, LATENTD_ERR_INVALID, "the last 1 bytes");
}

Test(safetensors, a_huge_header_is_refused_before_it_is_read)
{
	struct file f = safetensors_of("{}", 0);
	struct reason why;

	memset(f.data, 0xff, 8);
	cr_assert_eq(
	    open_exactly(f.data, f.bytes, &why), LATENTD_ERR_TOO_LARGE);
	cr_assert(strstr(why.text, "18446744073709551615"));
	memset(f.data, 0, 8);
	f.data[1] = 1;
	cr_assert_eq(open_exactly(f.data, f.bytes, &why), LATENTD_ERR_INVALID);
	cr_assert(strstr(why.text, "256 bytes is announced"));
}

#define ONE(dtype, shape, offsets)                     \
	"{\"a\":{\"dtype\":" dtype ",\"shape\":" shape \
	",\"data_offsets\":" offsets "}}"

Test(safetensors, headers_that_lie_are_refused)
{
	refuse("[]", 0, LATENTD_ERR_INVALID, "begin with '{'");
	refuse("{", 0, LATENTD_ERR_INVALID, "not JSON");
	refuse("{}{}", 0, LATENTD_ERR_INVALID, "not JSON");
	refuse("{\"a\":1}", 0, LATENTD_ERR_INVALID, "not an object");
	refuse(
	    "{\"__metadata__\":[]}", 0, LATENTD_ERR_INVALID, "not an object");
	refuse("{\"__metadata__\":{\"n\":1}}", 0, LATENTD_ERR_INVALID,
	    "\"n\" is not a string");
	refuse(ONE("\"F32\"", "[1]", "[0,4]") " x", 4, LATENTD_ERR_INVALID,
	    "not JSON");
	refuse(ONE("\"F32\"", "[1]", "[0]"), 4, LATENTD_ERR_INVALID,
	    "not two numbers");
	refuse(ONE("\"F32\"", "[1]", "[4,0]"), 4, LATENTD_ERR_INVALID, "[4,0]");
	refuse(ONE("\"F32\"", "[1]", "[-4,0]"), 4, LATENTD_ERR_INVALID,
	    "not two numbers");
	refuse(ONE("\"F32\"", "[1]", "[0,8]"), 4, LATENTD_ERR_INVALID,
	    "the data has 4 bytes");
	refuse(ONE("\"F32\"", "[2]", "[0,4]"), 4, LATENTD_ERR_SHAPE,
	    "2 elements of F32, but 4 bytes");
	refuse(ONE("\"F32\"", "[-1]", "[0,4]"), 4, LATENTD_ERR_INVALID,
	    "not a list of counts");
	refuse(ONE("\"F32\"", "[1.0]", "[0,4]"), 4, LATENTD_ERR_INVALID,
	    "not a list of counts");
	refuse(ONE("\"F32\"", "[4294967296,4294967296]", "[0,4]"), 4,
	    LATENTD_ERR_INVALID, "not a list of counts");
	refuse(ONE("\"F32\"", "[4611686018427387905]", "[0,4]"), 4,
	    LATENTD_ERR_SHAPE, "but 4 bytes");
	refuse(ONE("\"F99\"", "[1]", "[0,4]"), 4, LATENTD_ERR_UNSUPPORTED,
	    "\"F99\"");
	refuse(ONE("7", "[1]", "[0,4]"), 4, LATENTD_ERR_INVALID, "no dtype");
}

Test(safetensors, duplicate_keys_are_refused)
{
	refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],"
	       "\"data_offsets\":[0,1]},"
	       "\"a\":{\"dtype\":\"U8\",\"shape\":[1],"
	       "\"data_offsets\":[1,2]}}",
	    2, LATENTD_ERR_INVALID, "duplicate");
	refuse("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],"
	       "\"data_offsets\":[0,1]}}",
	    1, LATENTD_ERR_INVALID, "duplicate");
}

Test(safetensors, overlap_and_holes_are_refused)
{
	refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],"
	       "\"data_offsets\":[0,2]},"
	       "\"b\":{\"dtype\":\"U8\",\"shape\":[2],"
	       "\"data_offsets\":[1,3]}}",
	    3, LATENTD_ERR_INVALID, "\"b\" overlaps");
	refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],"
	       "\"data_offsets\":[0,1]},"
	       "\"b\":{\"dtype\":\"U8\",\"shape\":[1],"
	       "\"data_offsets\":[2,3]}}",
	    3, LATENTD_ERR_INVALID, "\"b\" leaves a hole");
}

Test(safetensors, deep_nesting_is_refused)
{
	char header[3000];

	memset(header, '[', sizeof(header));
	memcpy(header, "{\"a\":", 5);
	header[sizeof(header) - 1] = '\0';
	refuse(header, 0, LATENTD_ERR_INVALID, "not JSON");
}

Test(safetensors, mutated_files_never_reach_outside_themselves)
{
	struct fuzz fuzz = {20261122};
	struct reason why;
	size_t good_n = 0;

	for (size_t round = 0; round < 20000; round++) {
		struct file f = safetensors_of(TWO, 20);

		for (size_t k = fuzz_below(&fuzz, 3); k < 3; k++)
			f.bytes =
			    fuzz_mutate(&fuzz, f.data, f.bytes, sizeof(f.data));
		good_n += open_exactly(f.data, f.bytes, &why) == LATENTD_OK;
	}
	cr_assert_gt(good_n, 0);
}

Test(safetensors, what_is_written_is_read_again)
{
	const struct latentd_tensor t = {LATENTD_BF16, 4, {1, 4, 2, 2}};
	const char *const about[] = {"k\"ey", "v\"alue\n"};
	uint8_t whole[512];
	struct safetensors *file;
	struct reason why;
	size_t bytes;
	char *head = safetensors_head("latent", &t, about, 1, &bytes);

	cr_assert_eq(bytes % 8, 0);
	cr_assert_lt(bytes + 32, sizeof(whole));
	memcpy(whole, head, bytes);
	memset(whole + bytes, 7, 32);
	free(head);
	cr_assert_eq(safetensors_open(whole, bytes + 32, &file, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_str_eq(safetensors_metadata(file, "k\"ey"), "v\"alue\n");
	cr_assert_eq(
	    safetensors_find(file, "latent")->tensor.dtype, LATENTD_BF16);
	cr_assert_eq(safetensors_find(file, "latent")->data[31], 7);
	safetensors_close(file);
}

/* ---- npy ---- */

static struct file
npy_of(unsigned major, const char *dictionary, size_t data_bytes)
{
	size_t n = strlen(dictionary), start = major == 1 ? 10 : 12;
	struct file f = {.bytes = start + n + data_bytes};

	memcpy(f.data, "\x93NUMPY", 6);
	f.data[6] = (uint8_t)major;
	f.data[8] = (uint8_t)n;
	f.data[9] = (uint8_t)(n >> 8);
	memcpy(f.data + start, dictionary, n);
	for (size_t i = 0; i < data_bytes; i++)
		f.data[start + n + i] = (uint8_t)i;
	return f;
}

static enum latentd_err
npy_exactly(
    const uint8_t *data, size_t bytes, struct npy *npy, struct reason *why)
{
	uint8_t *copy = malloc(bytes);
	enum latentd_err err;

	if (bytes > 0)
		memcpy(copy, data, bytes);
	err = npy_open(copy, bytes, npy, why);
	if (err == LATENTD_OK)
		cr_assert_eq(npy->data + npy->bytes, copy + bytes);
	free(copy);
	return err;
}

#define NPY_GOOD \
	"{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2, 3), }\n"

Test(npy, all_three_versions_are_read)
{
	struct reason why;
	struct npy npy;

	for (unsigned major = 1; major <= 3; major++) {
		struct file f = npy_of(major, NPY_GOOD, 12);

		cr_assert_eq(npy_exactly(f.data, f.bytes, &npy, &why),
		    LATENTD_OK, "version %u: %s", major, why.text);
		cr_assert_eq(npy.tensor.dtype, LATENTD_F16);
		cr_assert_eq(npy.tensor.ndim, 3);
		cr_assert_eq(npy.tensor.shape[1], 2);
		cr_assert_not(npy.fortran);
		cr_assert_eq(npy.bytes, 12);
	}
}

Test(npy, cut_off_anywhere_is_refused)
{
	for (unsigned major = 1; major <= 3; major++) {
		struct file f = npy_of(major, NPY_GOOD, 12);
		struct reason why;
		struct npy npy;

		for (size_t n = 0; n < f.bytes; n++)
			cr_assert_neq(npy_exactly(f.data, n, &npy, &why),
			    LATENTD_OK, "version %u cut to %zu", major, n);
	}
}

Test(npy, other_spellings_of_the_dictionary_are_read)
{
	static const char *const good[] = {
	    "{\"shape\":(3,),\"descr\":\"<f4\",\"fortran_order\":True}",
	    "  { 'fortran_order' : False , 'descr' : '<f4' , 'shape' : (3 ,) }",
	    "{'descr':'<f4','fortran_order':False,'shape':(1,3)}",
	};
	struct reason why;
	struct npy npy;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct file f = npy_of(1, good[i], 12);

		cr_assert_eq(npy_exactly(f.data, f.bytes, &npy, &why),
		    LATENTD_OK, "%s: %s", good[i], why.text);
		cr_assert_eq(npy.fortran, i == 0);
	}
}

static void
refuse_npy(
    const char *dictionary, enum latentd_err expected, const char *sentence)
{
	struct file f = npy_of(1, dictionary, 12);
	struct reason why;
	struct npy npy;

	cr_assert_eq(npy_exactly(f.data, f.bytes, &npy, &why), expected, "%s",
	    dictionary);
	cr_assert(strstr(why.text, sentence), "\"%s\" lacks \"%s\"", why.text,
	    sentence);
}

#define NPY(descr, order, shape) \
	"{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape "}"

Test(npy, what_cannot_be_a_latent_is_refused_with_a_reason)
{
	refuse_npy(
	    NPY("'>f4'", "False", "(3,)"), LATENTD_ERR_UNSUPPORTED, "'>f4'");
	refuse_npy(
	    NPY("'<i8'", "False", "(3,)"), LATENTD_ERR_UNSUPPORTED, "astype");
	refuse_npy(
	    NPY("'|O'", "False", "(3,)"), LATENTD_ERR_UNSUPPORTED, "'|O'");
	refuse_npy(NPY("[('a', '<f4')]", "False", "(3,)"),
	    LATENTD_ERR_UNSUPPORTED, "structured");
	refuse_npy(
	    NPY("'<f4'", "False", "()"), LATENTD_ERR_SHAPE, "no dimensions");
	refuse_npy(NPY("'<f4'", "False", "(4,)"), LATENTD_ERR_SHAPE,
	    "4 elements of 4 bytes are announced, but 12 bytes follow");
	refuse_npy(NPY("'<f4'", "False", "(3)"), LATENTD_ERR_INVALID, "tuple");
	refuse_npy(NPY("'<f4'", "False", "(1,1,1,1,1,1,3)"),
	    LATENTD_ERR_INVALID, "at most 6");
	refuse_npy(
	    NPY("'<f4'", "False", "(-3,)"), LATENTD_ERR_INVALID, "tuple");
	refuse_npy(NPY("'<f4'", "False", "(99999999999999999999,)"),
	    LATENTD_ERR_INVALID, "tuple");
	refuse_npy(
	    NPY("'<f4'", "False", "(1048577,)"), LATENTD_ERR_SHAPE, "1048577");
	refuse_npy(NPY("'<f4'", "0", "(3,)"), LATENTD_ERR_INVALID,
	    "neither True nor False");
	refuse_npy(
	    "{'descr': '<f4', 'shape': (3,)}", LATENTD_ERR_INVALID, "lacks");
	refuse_npy("{'descr': '<f4', 'descr': '<f4'}", LATENTD_ERR_INVALID,
	    "once each");
	refuse_npy("{'extra': 1}", LATENTD_ERR_INVALID, "\"extra\"");
	refuse_npy("__import__('os')", LATENTD_ERR_INVALID, "not a dictionary");
	refuse_npy(NPY("'<f4'", "False", "(3,)") " + 1", LATENTD_ERR_INVALID,
	    "follows");
}

Test(npy, an_unknown_version_is_refused)
{
	struct file f = npy_of(4, NPY_GOOD, 12);
	struct reason why;
	struct npy npy;

	cr_assert_eq(
	    npy_exactly(f.data, f.bytes, &npy, &why), LATENTD_ERR_UNSUPPORTED);
	f = npy_of(2, NPY_GOOD, 12);
	f.data[11] = 0x7f;
	cr_assert_eq(
	    npy_exactly(f.data, f.bytes, &npy, &why), LATENTD_ERR_TOO_LARGE);
}

Test(npy, mutated_files_never_reach_outside_themselves)
{
	struct fuzz fuzz = {19700101};
	struct reason why;
	size_t good_n = 0;
	struct npy npy;

	for (unsigned round = 0; round < 20000; round++) {
		struct file f = npy_of(1 + round % 3, NPY_GOOD, 12);

		for (size_t k = fuzz_below(&fuzz, 3); k < 3; k++)
			f.bytes =
			    fuzz_mutate(&fuzz, f.data, f.bytes, sizeof(f.data));
		good_n +=
		    npy_exactly(f.data, f.bytes, &npy, &why) == LATENTD_OK;
	}
	cr_assert_gt(good_n, 0);
}

Test(npy, what_is_written_is_read_again)
{
	const struct latentd_tensor t = {
	    LATENTD_F32, 6, {1, 1, 1, 1, 1, 1048576}};
	char head[NPY_HEAD_BYTES];
	size_t n = npy_head(&t, head), bytes = n + 4 * 1048576;
	uint8_t *whole = calloc(1, bytes);
	struct reason why;
	struct npy npy;

	cr_assert_eq(n % 64, 0);
	memcpy(whole, head, n);
	cr_assert_eq(
	    npy_open(whole, bytes, &npy, &why), LATENTD_OK, "%s", why.text);
	cr_assert_eq(npy.tensor.ndim, 6);
	cr_assert_eq(npy.tensor.shape[5], 1048576);
	cr_assert_eq(npy.tensor.dtype, LATENTD_F32);
	free(whole);
}
