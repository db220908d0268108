/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that are more than a latent: pictures to encode, metadata. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "image_fixture.h"
#include "intake.h"

#define TEXT(s) ((struct text){s, strlen(s)})

static struct message_submit
encode(const char *model)
{
	return (struct message_submit){.producer = TEXT("p"),
	    .key = TEXT("k"),
	    .task = LATENTD_ENCODE,
	    .model = TEXT(model)};
}

static const char *
query(const struct intake *in)
{
	static char text[REMOTE_QUERY_BYTES];

	return remote_query_format(&in->remote, text);
}

static void
check_file(const char *model, struct file file, const char *want_query)
{
	struct message_submit s = encode(model);
	struct intake in;
	struct reason why = {0};

	cr_assert_eq(intake_read(&s, file.at, file.bytes, &in, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(in.output, LATENTD_OUT_LATENT);
	cr_assert_eq(in.parts_n, 1);
	cr_assert_eq(in.payload, file.at);
	cr_assert_eq(in.payload_bytes, file.bytes);
	cr_assert_str_eq(query(&in), want_query);
	cr_assert_eq(in.remote.body, REMOTE_ANY);
	cr_assert_eq(in.remote.accept, REMOTE_ANY);
	cr_assert_eq(in.expect.type, REMOTE_TENSOR);
	cr_assert_eq(in.expect.tensor.shape[in.expect.tensor.ndim - 2], 3);
	cr_assert_eq(in.expect.tensor.shape[in.expect.tensor.ndim - 1], 5);
	free(file.at);
}

Test(intake, pictures_are_sent_as_they_are_with_the_scaling_alone)
{
	check_file("sd-v1", fixture_png(FIXTURE_RGB, 40, 24),
	    "?scaling_factor=0.18215");
	check_file("sdxl", fixture_jpeg(40, 24, false, false),
	    "?scaling_factor=0.13025");
	check_file("flux", fixture_png(FIXTURE_GRAY_ALPHA, 47, 31),
	    "?scaling_factor=0.3611&shift_factor=0.1159");
}

Test(intake, a_latent_wanted_in_vae_space_is_not_scaled)
{
	struct file file = fixture_png(FIXTURE_RGB, 16, 16);
	struct message_submit s = encode("sdxl");
	struct intake in;

	s.space = LATENTD_SPACE_VAE;
	cr_assert_eq(
	    intake_read(&s, file.at, file.bytes, &in, NULL), LATENTD_OK);
	cr_assert_str_eq(query(&in), "");
	free(file.at);
}

Test(intake, picture_tensors_are_sent_with_shape_and_dtype)
{
	static uint8_t body[2 * 3 * 16 * 24];
	struct message_submit s = encode("sdxl");
	struct intake in;

	s.tensor = (struct latentd_tensor){LATENTD_U8, 4, {2, 3, 16, 24}};
	cr_assert_eq(
	    intake_read(&s, body, sizeof(body), &in, NULL), LATENTD_OK);
	cr_assert_str_eq(query(&in),
	    "?scaling_factor=0.13025&shape=2&shape=3&shape=16&shape=24"
	    "&dtype=uint8");
	cr_assert_eq(in.remote.body, REMOTE_TENSOR);
	cr_assert_eq(in.parts_n, 1);
	cr_assert_eq(in.expect.tensor.ndim, 4);
	cr_assert_eq(in.expect.tensor.shape[0], 2);
	cr_assert_eq(in.expect.tensor.shape[1], 4);
	cr_assert_eq(in.expect.tensor.shape[2], 2);
	cr_assert_eq(in.expect.tensor.shape[3], 3);
}

static void
file_refused(struct file file, enum latentd_err err, const char *names)
{
	struct message_submit s = encode("sdxl");
	struct intake in;
	struct reason why = {0};

	cr_assert_eq(intake_read(&s, file.at, file.bytes, &in, &why), err, "%s",
	    why.text);
	cr_assert_not_null(strstr(why.text, names), "%s", why.text);
	free(file.at);
}

Test(intake, files_that_are_no_whole_picture_are_refused)
{
	const struct fixture_mp4 mp4 = {
	    .width_px = 64, .height_px = 64, .samples_n = 3};
	struct file png = fixture_png(FIXTURE_RGB, 32, 32);

	file_refused(fixture_copy("", 0), LATENTD_ERR_IMAGE, "");
	file_refused(fixture_copy("GIF89a...", 9), LATENTD_ERR_IMAGE, "");
	file_refused(
	    fixture_copy(png.at, png.bytes - 1), LATENTD_ERR_IMAGE, "PNG");
	png.at[png.bytes / 2] ^= 1;
	file_refused(png, LATENTD_ERR_IMAGE, "PNG");
	file_refused(fixture_mp4(&mp4), LATENTD_ERR_UNSUPPORTED, "MP4");
	file_refused(fixture_png(FIXTURE_RGB, 7, 64), LATENTD_ERR_SHAPE, "7");
	file_refused(
	    fixture_png(FIXTURE_RGB, 16392, 8), LATENTD_ERR_TOO_LARGE, "16392");
}

/* ---- metadata ---- */

#define LATENT_BYTES 512u

struct body {
	uint8_t *at;
	size_t bytes;
};

static struct body
latent_body(void)
{
	struct body b = {calloc(1, 2097152), LATENT_BYTES};

	cr_assert_not_null(b.at);
	return b;
}

static void
put(struct body *b, const char *key, const char *value, size_t value_bytes)
{
	b->bytes += metadata_put(
	    b->at + b->bytes, TEXT(key), (struct text){value, value_bytes});
}

static enum latentd_err
take(const struct body *b, enum latentd_output output, struct intake *in,
    struct reason *why)
{
	const struct message_submit s = {.producer = TEXT("p"),
	    .key = TEXT("k"),
	    .model = TEXT("sdxl"),
	    .output = output,
	    .tensor = {LATENTD_F16, 4, {1, 4, 8, 8}},
	    .metadata_bytes = b->bytes - LATENT_BYTES};
	/* A copy of just that size, so that ASan sees each byte too far. */
	struct file copy = fixture_copy(b->at, b->bytes);
	enum latentd_err err = intake_read(&s, copy.at, copy.bytes, in, why);

	if (err == LATENTD_OK) {
		cr_assert_eq(in->payload, copy.at);
		cr_assert_eq(in->payload_bytes, LATENT_BYTES);
		cr_assert_eq(in->metadata, copy.at + LATENT_BYTES);
		cr_assert_eq(in->metadata_bytes, b->bytes - LATENT_BYTES);
	}
	free(copy.at);
	return err;
}

Test(intake, metadata_stands_behind_the_latent)
{
	struct body b = latent_body();
	struct intake in;

	put(&b, "parameters", "a cat", 5);
	put(&b, "workflow", "{\"caf\xc3\xa9\": 1}\n", 13);
	put(&b, "every", "\x7f\xc2\x80\xe0\xa0\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf",
	    13);
	put(&b, "empty", "", 0);
	cr_assert_eq(take(&b, LATENTD_OUT_PNG, &in, NULL), LATENTD_OK);
	cr_assert_eq(take(&b, LATENTD_OUT_NONE, &in, NULL), LATENTD_OK);
	cr_assert_eq(in.output, LATENTD_OUT_PNG);
	free(b.at);
}

Test(intake, metadata_of_anything_but_png_is_refused)
{
	static const enum latentd_output others[] = {
	    LATENTD_OUT_JPG, LATENTD_OUT_PIXELS, LATENTD_OUT_FLOAT};
	struct body b = latent_body();
	struct intake in;
	struct reason why;

	put(&b, "parameters", "a cat", 5);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(
		    take(&b, others[i], &in, &why), LATENTD_ERR_UNSUPPORTED);
		cr_assert_not_null(strstr(why.text, output_name(others[i])));
	}
	free(b.at);
}

static void
metadata_refused(
    const char *key, const char *value, size_t value_bytes, const char *names)
{
	struct body b = latent_body();
	struct intake in;
	struct reason why = {0};

	put(&b, "good", "value", 5);
	put(&b, key, value, value_bytes);
	cr_assert_eq(take(&b, LATENTD_OUT_PNG, &in, &why), LATENTD_ERR_INVALID,
	    "%s", key);
	cr_assert_not_null(strstr(why.text, names), "%s", why.text);
	free(b.at);
}

Test(intake, metadata_that_png_cannot_hold_is_refused)
{
	metadata_refused(" leading", "v", 1, " leading");
	metadata_refused("trailing ", "v", 1, "trailing ");
	metadata_refused("two  blanks", "v", 1, "two  blanks");
	metadata_refused("line\nend", "v", 1, "line?end");
	metadata_refused("del\x7f", "v", 1, "del?");
	metadata_refused("nul", "v\0w", 3, "NUL");
	metadata_refused("latin1", "caf\xe9", 4, "UTF-8");
	metadata_refused("cut", "caf\xc3", 4, "UTF-8");
	metadata_refused("surrogate", "\xed\xa0\x80", 3, "UTF-8");
	metadata_refused("overlong", "\xe0\x80\xaf", 3, "UTF-8");
	metadata_refused("overlong", "\xf0\x80\x80\xaf", 4, "UTF-8");
	metadata_refused("overlong", "\xc0\xaf", 2, "UTF-8");
	metadata_refused("beyond", "\xf4\x90\x80\x80", 4, "UTF-8");
	metadata_refused("alone", "\x80", 1, "UTF-8");
}

Test(intake, as_many_entries_as_allowed_and_not_one_more)
{
	struct body b = latent_body();
	struct intake in;
	struct reason why;

	for (size_t i = 0; i < LATENTD_MAX_METADATA_N; i++)
		put(&b, "key", "value", 5);
	cr_assert_eq(take(&b, LATENTD_OUT_PNG, &in, &why), LATENTD_OK);
	put(&b, "key", "value", 5);
	cr_assert_eq(
	    take(&b, LATENTD_OUT_PNG, &in, &why), LATENTD_ERR_TOO_LARGE);
	cr_assert_not_null(strstr(why.text, "64"), "%s", why.text);
	free(b.at);
}

Test(intake, metadata_that_breaks_off_or_passes_the_body_is_refused)
{
	struct body b = latent_body();
	const struct message_submit s = {.producer = TEXT("p"),
	    .key = TEXT("k"),
	    .model = TEXT("sdxl"),
	    .tensor = {LATENTD_F16, 4, {1, 4, 8, 8}},
	    .metadata_bytes = LATENT_BYTES + 1};
	struct intake in;
	struct reason why;
	size_t whole;

	put(&b, "key", "value", 5);
	whole = b.bytes;
	for (b.bytes = LATENT_BYTES + 1; b.bytes < whole; b.bytes++)
		cr_assert_eq(
		    take(&b, LATENTD_OUT_PNG, &in, &why), LATENTD_ERR_INVALID);
	cr_assert_eq(intake_read(&s, b.at, LATENT_BYTES, &in, &why),
	    LATENTD_ERR_INVALID);
	cr_assert_not_null(strstr(why.text, "metadata_bytes"));
	free(b.at);
}
