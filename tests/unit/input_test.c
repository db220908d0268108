/* SPDX-License-Identifier: Apache-2.0 */
/* What latentctl makes of files, and how it writes them. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "input.h"

static char directory[] = "/tmp/latentd-files-XXXXXX";

static void
setup(void)
{
	cr_assert_not_null(mkdtemp(directory));
}

static void
teardown(void)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

TestSuite(input, .init = setup, .fini = teardown);

static char *
path_of(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void
put(const char *name, const void *head, size_t head_bytes, const void *data,
    size_t data_bytes)
{
	const struct files_piece pieces[] = {
	    {head, head_bytes}, {data, data_bytes}};
	struct reason why;

	cr_assert_eq(files_write(directory, name, pieces, 2, true, &why),
	    LATENTD_OK, "%s", why.text);
}

static void
put_safetensors(
    const char *name, const char *header, const void *data, size_t data_bytes)
{
	uint8_t head[1024] = {
	    (uint8_t)strlen(header), (uint8_t)(strlen(header) >> 8)};

	memcpy(head + 8, header, strlen(header));
	put(name, head, 8 + strlen(header), data, data_bytes);
}

static void
put_npy(const char *name, const char *dictionary, const void *data,
    size_t data_bytes)
{
	uint8_t head[256] = {
	    0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)strlen(dictionary)};

	memcpy(head + 10, dictionary, strlen(dictionary));
	put(name, head, 10 + strlen(dictionary), data, data_bytes);
}

static struct input
open_input(const char *name, const struct input_options *options)
{
	struct reason why;
	struct input in;

	cr_assert_eq(input_open(path_of(name), options, &in, &why), LATENTD_OK,
	    "%s", why.text);
	return in;
}

static void
refuse(const char *name, const struct input_options *options,
    enum latentd_err expected, const char *sentence)
{
	struct reason why;
	struct input in;

	cr_assert_eq(input_open(path_of(name), options, &in, &why), expected,
	    "%s", name);
	cr_assert(strstr(why.text, name), "%s", why.text);
	cr_assert(strstr(why.text, sentence), "\"%s\" lacks \"%s\"", why.text,
	    sentence);
}

static const struct input_options decode = {.task = LATENTD_DECODE};
static const struct input_options encode = {.task = LATENTD_ENCODE};

static const float numbers[4] = {1.0f, -2.0f, 0.5f, 3.0f};

#define LATENT_F32                                                  \
	"\"latent_tensor\":{\"dtype\":\"F32\",\"shape\":[1,4,1,1]," \
	"\"data_offsets\":[0,16]}"
#define MARKER                                                          \
	"\"latent_format_version_0\":{\"dtype\":\"F32\",\"shape\":[0]," \
	"\"data_offsets\":[0,0]}"

Test(input, a_comfyui_latent_is_in_vae_space_with_its_metadata)
{
	struct input in;

	put_safetensors("x.latent",
	    "{\"__metadata__\":{\"prompt\":\"{}\",\"workflow\":\"[]\","
	    "\"format\":\"pt\"}," LATENT_F32 "," MARKER "}",
	    numbers, 16);
	in = open_input("x.latent", &decode);
	cr_assert_eq(in.space, LATENTD_SPACE_VAE);
	cr_assert_eq(in.tensor.dtype, LATENTD_F32);
	cr_assert_eq(in.tensor.ndim, 4);
	cr_assert_eq(in.data_bytes, 16);
	cr_assert_arr_eq(in.data, numbers, 16);
	cr_assert_eq(in.metadata_n, 2);
	cr_assert_str_eq(in.metadata[0].key, "prompt");
	cr_assert_str_eq(in.metadata[1].value, "[]");
	input_close(&in);
}

Test(input, a_latent_without_the_marker_is_rescaled)
{
	const float *at;
	struct input in;

	put_safetensors("x.latent", "{" LATENT_F32 "}", numbers, 16);
	in = open_input("x.latent", &decode);
	cr_assert_eq(in.space, LATENTD_SPACE_VAE);
	at = in.data;
	for (size_t i = 0; i < 4; i++)
		cr_assert_float_eq(at[i], numbers[i] / 0.18215f, 1e-5);
	input_close(&in);
}

Test(input, other_safetensors_are_in_model_space_unless_they_say)
{
	const struct input_options vae = {.task = LATENTD_DECODE,
	    .has_space = true,
	    .space = LATENTD_SPACE_VAE};
	struct input in;

	put_safetensors("a.safetensors",
	    "{\"z\":{\"dtype\":\"F32\",\"shape\":[1,4,1,1],"
	    "\"data_offsets\":[0,16]}}",
	    numbers, 16);
	in = open_input("a.safetensors", &decode);
	cr_assert_eq(in.space, LATENTD_SPACE_MODEL);
	input_close(&in);
	in = open_input("a.safetensors", &vae);
	cr_assert_eq(in.space, LATENTD_SPACE_VAE);
	input_close(&in);
	put_safetensors("b.safetensors",
	    "{\"__metadata__\":{\"latentd.space\":\"vae\"},"
	    "\"z\":{\"dtype\":\"F32\",\"shape\":[1,4,1,1],"
	    "\"data_offsets\":[0,16]}}",
	    numbers, 16);
	in = open_input("b.safetensors", &decode);
	cr_assert_eq(in.space, LATENTD_SPACE_VAE);
	input_close(&in);
}

#define BOTH                                                                  \
	"{\"left\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}," \
	"\"right\":{\"dtype\":\"F32\",\"shape\":[2],"                         \
	"\"data_offsets\":[8,16]}}"

Test(input, of_several_tensors_one_must_be_chosen)
{
	const struct input_options right = {.tensor = "right"};
	const struct input_options wrong = {.tensor = "middle"};
	struct input in;

	put_safetensors("x.safetensors", BOTH, numbers, 16);
	refuse("x.safetensors", &decode, LATENTD_ERR_INVALID,
	    "several tensors (left, right); choose one with --tensor");
	refuse("x.safetensors", &wrong, LATENTD_ERR_NOT_FOUND,
	    "no tensor \"middle\"; it has left, right");
	in = open_input("x.safetensors", &right);
	cr_assert_arr_eq(in.data, &numbers[2], 8);
	input_close(&in);
}

Test(input, fortran_order_becomes_c_order)
{
	/* [[0,1,2],[3,4,5]] with the first dimension running fastest. */
	static const uint8_t columns[] = {0, 3, 1, 4, 2, 5};
	static const uint8_t rows[] = {0, 1, 2, 3, 4, 5};
	struct input in;

	put_npy("x.npy",
	    "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3)}", columns,
	    6);
	in = open_input("x.npy", &encode);
	cr_assert_eq(in.data_bytes, 6);
	cr_assert_arr_eq(in.data, rows, 6);
	input_close(&in);
}

Test(input, float64_becomes_float32_and_dtype_is_converted)
{
	static const double wide[4] = {1.0, -2.0, 0.5, 3.0};
	static const uint16_t half[4] = {0x3c00, 0xc000, 0x3800, 0x4200};
	const struct input_options f16 = {.dtype = LATENTD_F16};
	struct input in;

	put_npy("x.npy",
	    "{'descr': '<f8', 'fortran_order': False, 'shape': (4,)}", wide,
	    sizeof(wide));
	in = open_input("x.npy", &decode);
	cr_assert_eq(in.tensor.dtype, LATENTD_F32);
	cr_assert_arr_eq(in.data, numbers, 16);
	input_close(&in);
	in = open_input("x.npy", &f16);
	cr_assert_eq(in.tensor.dtype, LATENTD_F16);
	cr_assert_eq(in.data_bytes, 8);
	cr_assert_arr_eq(in.data, half, 8);
	input_close(&in);
}

Test(input, wrong_files_are_refused_with_their_name)
{
	static const uint8_t png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

	put("empty", "", 0, "", 0);
	put("zip.pt", "PK\3\4", 4, "archive", 7);
	put("text.latent", "hello", 5, " world", 6);
	put("x.png", png, sizeof(png), "", 0);
	put_safetensors("i.safetensors",
	    "{\"i\":{\"dtype\":\"I32\",\"shape\":[1],"
	    "\"data_offsets\":[0,4]}}",
	    numbers, 4);
	put_safetensors("none.safetensors", "{}", "", 0);
	put_npy("u8.npy",
	    "{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}", numbers,
	    4);
	refuse("missing", &decode, LATENTD_ERR_NOT_FOUND, "No such file");
	refuse("empty", &decode, LATENTD_ERR_INVALID, "empty");
	refuse("zip.pt", &decode, LATENTD_ERR_UNSUPPORTED, "zip file");
	refuse("text.latent", &decode, LATENTD_ERR_INVALID, "none of");
	refuse("x.png", &decode, LATENTD_ERR_INVALID, "encode takes pictures");
	refuse("x.png", &encode, LATENTD_ERR_IMAGE, "");
	refuse("i.safetensors", &decode, LATENTD_ERR_UNSUPPORTED, "I32");
	refuse("none.safetensors", &decode, LATENTD_ERR_NOT_FOUND, "no tensor");
	refuse("u8.npy", &decode, LATENTD_ERR_UNSUPPORTED, "uint8");
	refuse(".", &decode, LATENTD_ERR_IO, "directory");
}

Test(input, files_beyond_the_bound_are_refused_unread)
{
	uint8_t *data;
	struct reason why;
	size_t bytes;

	put("five", "12345", 5, "", 0);
	cr_assert_eq(files_read(path_of("five"), 4, &data, &bytes, &why),
	    LATENTD_ERR_TOO_LARGE);
	cr_assert_eq(files_read("/dev/zero", 200000, &data, &bytes, &why),
	    LATENTD_ERR_TOO_LARGE);
	cr_assert_eq(
	    files_read(path_of("five"), 5, &data, &bytes, &why), LATENTD_OK);
	cr_assert_eq(bytes, 5);
	cr_assert_arr_eq(data, "12345", 5);
	free(data);
}

Test(input, a_file_is_replaced_only_when_that_is_wanted)
{
	const struct files_piece old = {"old", 3}, new = {"newer", 5};
	struct reason why;
	uint8_t *data;
	size_t bytes;

	cr_assert_eq(
	    files_write(directory, "f", &old, 1, false, &why), LATENTD_OK);
	cr_assert_eq(
	    files_write(directory, "f", &new, 1, false, &why), LATENTD_ERR_IO);
	cr_assert(strstr(why.text, "--force"));
	cr_assert_eq(
	    files_read(path_of("f"), 9, &data, &bytes, &why), LATENTD_OK);
	cr_assert_eq(bytes, 3);
	free(data);
	cr_assert_eq(
	    files_write(directory, "f", &new, 1, true, &why), LATENTD_OK);
	cr_assert_eq(
	    files_read(path_of("f"), 9, &data, &bytes, &why), LATENTD_OK);
	cr_assert_eq(bytes, 5);
	free(data);
	/* Nothing temporary is left: the directory can be emptied. */
	cr_assert_eq(unlink(path_of("f")), 0);
	cr_assert_eq(rmdir(directory), 0);
	cr_assert_eq(mkdir(directory, 0700), 0);
}

Test(input, directories_are_made_with_their_parents)
{
	struct reason why;

	put("file", "x", 1, "", 0);
	cr_assert_eq(files_make_directory(path_of("a/b/c"), &why), LATENTD_OK);
	cr_assert_eq(files_make_directory(path_of("a/b/c"), &why), LATENTD_OK);
	cr_assert(files_exists(directory, "a/b/c"));
	cr_assert_not(files_exists(directory, "a/b/d"));
	cr_assert_eq(
	    files_make_directory(path_of("file"), &why), LATENTD_ERR_IO);
	cr_assert_eq(
	    files_make_directory(path_of("file/x"), &why), LATENTD_ERR_IO);
}

Test(input, stems_are_names_without_extension)
{
	static const char *const cases[][2] = {
	    {"a/b.c/portrait.v2.latent", "portrait.v2"},
	    {"portrait", "portrait"},
	    {".hidden", ".hidden"},
	    {"-", "stdin"},
	};
	char stem[32];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		files_stem(cases[i][0], stem, sizeof(stem));
		cr_assert_str_eq(stem, cases[i][1]);
	}
	files_stem("abcdefgh.x", stem, 4);
	cr_assert_str_eq(stem, "abc");
}
