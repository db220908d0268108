/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters, bodies and replies of the one who answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "remote_fixture.h"
#include "tensor.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define F16 LATENTD_F16

/* ---- parameters ---- */

Test(remote_server, scaling_arguments_mean_what_the_table_says)
{
	static const struct {
		const char *query;
		enum remote_scaling scaling;
		double factor, shift;
	} cases[] = {
	    {"", REMOTE_SCALING_NONE, 0, 0},
	    {"do_scaling=False", REMOTE_SCALING_NONE, 0, 0},
	    {"do_scaling=True", REMOTE_SCALING_SERVER, 0, 0},
	    {"do_scaling=true", REMOTE_SCALING_SERVER, 0, 0},
	    {"do_scaling=1", REMOTE_SCALING_SERVER, 0, 0},
	    {"shift_factor=0.5&do_scaling=True", REMOTE_SCALING_SERVER, 0, .5},
	    {"do_scaling=True&shift_factor=0.5", REMOTE_SCALING_SERVER, 0, .5},
	    {"scaling_factor=0.25", REMOTE_SCALING_FACTORS, .25, 0},
	    {"scaling_factor=0.25&shift_factor=-2", REMOTE_SCALING_FACTORS, .25,
		-2},
	    {"shift_factor=1e-1&scaling_factor=5E-1", REMOTE_SCALING_FACTORS,
		.5, .1},
	    {"scaling_factor=0.25&do_scaling=True", REMOTE_SCALING_FACTORS, .25,
		0},
	    {"scaling_factor=0.25&do_scaling=False", REMOTE_SCALING_NONE, .25,
		0},
	    {"do_scaling=FALSE&scaling_factor=0.25", REMOTE_SCALING_NONE, .25,
		0},
	    {"scaling_factor=3&scaling_factor=4", REMOTE_SCALING_FACTORS, 4, 0},
	};
	struct remote_request req;
	struct reason why;
	char target[256];
	size_t i;

	for (i = 0; i < N(cases); i++) {
		snprintf(target, sizeof(target), "/flux?%s", cases[i].query);
		cr_assert_eq(fixture_target(&req, target, &why), LATENTD_OK,
		    "%s: %s", target, why.text);
		cr_expect_eq(req.scaling, cases[i].scaling, "%s", target);
		cr_expect(req.scaling_factor == cases[i].factor);
		cr_expect(req.shift_factor == cases[i].shift);
	}
}

Test(remote_server, wrong_parameters_are_refused_by_name_and_value)
{
	static const char *const cases[] = {"shape=", "shape=0", "shape=-1",
	    "shape=+1", "shape= 1", "shape=1.0", "shape=0x1", "shape=1048577",
	    "shape=99999999999999999999999", "shape=one", "shape=1,4", "shape",
	    "dtype=", "dtype=float64", "dtype=FLOAT16", "dtype=none", "dtype",
	    "scaling_factor=", "scaling_factor=0", "scaling_factor=0.0",
	    "scaling_factor=nan", "scaling_factor=inf", "scaling_factor=-inf",
	    "scaling_factor=-0.5", "scaling_factor=1e7", "scaling_factor=1e-7",
	    "scaling_factor=1e999", "scaling_factor=0x1p-3",
	    "scaling_factor=1.5x", "scaling_factor= 1", "scaling_factor=None",
	    "scaling_factor=1e", "scaling_factor=.", "scaling_factor=--1",
	    "scaling_factor", "shift_factor=nan", "shift_factor=1e7",
	    "shift_factor=-1e7", "shift_factor=", "shift_factor",
	    "do_scaling=", "do_scaling=yes", "do_scaling=2", "do_scaling=None",
	    "do_scaling", "height=0", "height=-8", "height=1e3",
	    "height=1048577", "height=", "height", "width=0",
	    "width=4294967297", "width=512px",
	    "output_type=", "output_type=PIL", "output_type=gif", "output_type",
	    "image_format=webp", "image_format=", "image_format",
	    "partial_postprocess=", "partial_postprocess=maybe"};
	char target[256], key[64];
	struct remote_request req;
	struct reason why;
	size_t i;

	for (i = 0; i < N(cases); i++) {
		snprintf(target, sizeof(target), "/sdxl?%s", cases[i]);
		snprintf(key, sizeof(key), "%.*s", (int)strcspn(cases[i], "="),
		    cases[i]);
		why.text[0] = '\0';
		cr_expect_eq(fixture_target(&req, target, &why),
		    LATENTD_ERR_INVALID, "%s", target);
		cr_expect_eq(
		    strncmp(why.text, key, strlen(key)), 0, "%s", why.text);
		cr_expect_not_null(strstr(why.text, "must be"), "%s", why.text);
	}
	cr_expect_eq(fixture_target(&req,
			 "/sdxl?shape=1&shape=2&shape=3&shape=4&shape=5"
			 "&shape=6&shape=7",
			 &why),
	    LATENTD_ERR_INVALID);
}

Test(remote_server, unknown_parameters_are_ignored)
{
	struct remote_request req, plain;

	remote_request_init(&plain, LATENTD_DECODE, model_find("sdxl", 4));
	cr_assert_eq(fixture_target(&req,
			 "/sdxl?input_tensor_type=binary&x&=&Shape=zero", NULL),
	    LATENTD_OK);
	cr_assert(tensor_equal(&req.tensor, &plain.tensor));
	cr_assert_eq(req.scaling, plain.scaling);
}

/* ---- bodies ---- */

Test(remote_server, the_oldest_json_form_scales_unless_it_says_otherwise)
{
	static const struct {
		const char *target, *params;
		enum remote_scaling scaling;
	} cases[] = {
	    {"/sdxl", "", REMOTE_SCALING_SERVER},
	    {"/sdxl?image_format=png", "", REMOTE_SCALING_SERVER},
	    {"/sdxl", ", \"do_scaling\": false", REMOTE_SCALING_NONE},
	    {"/sdxl", ", \"do_scaling\": true", REMOTE_SCALING_SERVER},
	    {"/sdxl", ", \"scaling_factor\": 0.5", REMOTE_SCALING_FACTORS},
	    {"/sdxl", ", \"scaling_factor\": 2", REMOTE_SCALING_FACTORS},
	    {"/sdxl", ", \"scaling_factor\": null", REMOTE_SCALING_SERVER},
	    {"/sdxl?do_scaling=False", "", REMOTE_SCALING_NONE},
	    {"/sdxl?scaling_factor=0.5", "", REMOTE_SCALING_FACTORS},
	};
	struct remote_request req;
	struct reason why;
	char body[512];
	size_t i, n;

	for (i = 0; i < N(cases); i++) {
		snprintf(body, sizeof(body),
		    "{\"inputs\": \"AAAAAAAAAAA=\", \"parameters\": {\"shape\":"
		    " [1,4,1,1], \"dtype\": \"float16\"%s}}",
		    cases[i].params);
		cr_assert_eq(fixture_give(cases[i].target, "application/json",
				 body, strlen(body), &req, &n, &why),
		    LATENTD_OK, "%s: %s", body, why.text);
		cr_expect_eq(n, 8);
		cr_expect_eq(req.scaling, cases[i].scaling, "case %zu", i);
	}
	/* Without "parameters" it is the newer form: nothing means none. */
	cr_assert_eq(
	    fixture_give("/sdxl?shape=1&shape=4&shape=1&shape=1&dtype=float16",
		"tensor/base64", "{\"inputs\":\"AAAAAAAAAAA=\"}", 25, &req, &n,
		&why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(req.scaling, REMOTE_SCALING_NONE);
}

Test(remote_server, a_shape_in_json_replaces_that_of_the_query)
{
	const char *body = "{\"inputs\": \"AAAAAAAAAAA=\", \"parameters\": "
			   "{\"shape\": [1,4,1,1], \"dtype\": \"float16\", "
			   "\"output_type\": \"pt\", \"height\": \"8\", "
			   "\"partial_postprocess\": true, \"other\": [{}]}}";
	struct remote_request req;
	struct reason why;
	size_t n;

	cr_assert_eq(
	    fixture_give("/sdxl?shape=9&dtype=float32", "application/json",
		body, strlen(body), &req, &n, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert(tensor_equal(
	    &req.tensor, &(struct latentd_tensor){F16, 4, {1, 4, 1, 1}}));
	cr_assert(req.output == REMOTE_PT && req.partial_postprocess);
	cr_assert_eq(req.height_px, 8);
}

#define TENSOR "shape=1&shape=4&shape=1&shape=1&dtype=float16"

static const struct {
	const char *target, *type, *body;
	enum latentd_err err;
	const char *says;
} bad_bodies[] = {
    {"/sdxl?" TENSOR, "tensor/binary", "", LATENTD_ERR_INVALID,
	"body is empty"},
    {"/sdxl?" TENSOR, "tensor/binary", "1234567", LATENTD_ERR_SHAPE,
	"7 bytes, but shape [1,4,1,1] of float16 takes 8"},
    {"/sdxl?" TENSOR, "tensor/binary", "123456789", LATENTD_ERR_SHAPE,
	"9 bytes"},
    {"/sdxl?dtype=float16", NULL, "1234", LATENTD_ERR_SHAPE,
	"shape is missing"},
    {"/sdxl?shape=4", NULL, "1234", LATENTD_ERR_SHAPE, "dtype is missing"},
    {"/sdxl?shape=4&dtype=uint8", NULL, "1234", LATENTD_ERR_SHAPE,
	"dtype uint8 cannot be a latent's"},
    {"/sdxl?" TENSOR "&shift_factor=0.1", NULL, "12345678", LATENTD_ERR_INVALID,
	"shift_factor is given without"},
    {"/sdxl?shape=1048576&shape=1048576&dtype=uint8", NULL, "1",
	LATENTD_ERR_TOO_LARGE, "more than"},
    {"/encode/sdxl", NULL, "GIF89a", LATENTD_ERR_IMAGE,
	"must be a PNG or JPEG"},
    {"/encode/sdxl?shape=4", NULL, "1234", LATENTD_ERR_SHAPE,
	"dtype is missing"},
    {"/encode/sdxl", NULL,
	"\x01\x01\x01\x01"
	"ftypisom",
	LATENTD_ERR_IMAGE, "kind MP4"},
    {"/sdxl", "application/json", "{", LATENTD_ERR_INVALID, "not JSON"},
    {"/sdxl", "application/json", "[]", LATENTD_ERR_INVALID, "not an object"},
    {"/sdxl", "application/json", "{}", LATENTD_ERR_INVALID, "no \"inputs\""},
    {"/sdxl", "application/json", "{\"inputs\":\"\"}", LATENTD_ERR_INVALID,
	"no \"inputs\""},
    {"/sdxl", "application/json", "{\"inputs\":[]}", LATENTD_ERR_INVALID,
	"no \"inputs\""},
    {"/sdxl", "application/json", "{\"inputs\":\"AAAA\",\"inputs\":\"AAAA\"}",
	LATENTD_ERR_INVALID, "duplicate"},
    {"/sdxl", "application/json", "{\"inputs\":\"AAAA\"} x",
	LATENTD_ERR_INVALID, "not JSON"},
    {"/sdxl", "application/json", "{\"inputs\":\"AAAA\\u0000\"}",
	LATENTD_ERR_INVALID, "not JSON"},
    {"/sdxl", "application/json", "{\"inputs\":\"AAAA\",\"parameters\":5}",
	LATENTD_ERR_INVALID, "\"parameters\" must be"},
    {"/sdxl", "application/json",
	"{\"inputs\":\"AAAA\",\"parameters\":{\"shape\":[1,[2]]}}",
	LATENTD_ERR_INVALID, "parameter shape"},
    {"/sdxl", "application/json",
	"{\"inputs\":\"AAAA\",\"parameters\":{\"shape\":[1,-2]}}",
	LATENTD_ERR_INVALID, "shape is \"-2\""},
    {"/sdxl", "application/json",
	"{\"inputs\":\"AAAA\",\"parameters\":{\"dtype\":{}}}",
	LATENTD_ERR_INVALID, "parameter dtype"},
    {"/sdxl", "application/json",
	"{\"inputs\":\"AAAA\",\"parameters\":{\"height\":1.5}}",
	LATENTD_ERR_INVALID, "height is \"1.5\""},
    {"/sdxl", "application/json",
	"{\"inputs\":\"AAAA\",\"parameters\":{\"scaling_factor\":0}}",
	LATENTD_ERR_INVALID, "scaling_factor is \"0\""},
};

Test(remote_server, wrong_bodies_are_refused_with_a_reason)
{
	struct remote_request req;
	struct reason why;
	size_t i, n;

	for (i = 0; i < N(bad_bodies); i++) {
		why.text[0] = '\0';
		cr_expect_eq(fixture_give(bad_bodies[i].target,
				 bad_bodies[i].type, bad_bodies[i].body,
				 strlen(bad_bodies[i].body), &req, &n, &why),
		    bad_bodies[i].err, "case %zu: %s", i, why.text);
		cr_expect_not_null(strstr(why.text, bad_bodies[i].says),
		    "case %zu: %s", i, why.text);
	}
}

Test(remote_server, files_and_picture_tensors_are_taken_for_encode)
{
	struct remote_request req;
	struct reason why;
	size_t n;

	cr_assert_eq(fixture_give("/encode/sdxl?scaling_factor=0.13025", NULL,
			 "\xff\xd8\xff\xe0", 4, &req, &n, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(
	    fixture_give("/encode/sdxl?shape=3&shape=1&shape=1&dtype=uint8",
		NULL, "123", 3, &req, &n, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_eq(n, 3);
}

Test(remote_server, base64_is_taken_in_its_canonical_form_only)
{
	static const struct {
		const char *text;
		int bytes; /* -1: refused */
	} cases[] = {
	    {"AA==", 1},
	    {"/w==", 1},
	    {"AAA=", 2},
	    {"AAAA", 3},
	    {"+/+/", 3},
	    {"Zm9vYg==", 4},
	    {"AA", -1},
	    {"AAA", -1},
	    {"A", -1},
	    {"====", -1},
	    {"A===", -1},
	    {"AA=A", -1},
	    {"AAAA====", -1},
	    {"AA==AAAA", -1},
	    {"AB==", -1},
	    {"AAB=", -1},
	    {"AA\\n==", -1},
	    {"AAA AAA=", -1},
	    {"-_-_", -1},
	    {"AAA\xc3\xa9", -1},
	    {"=AAA", -1},
	};
	struct remote_request req;
	char target[128], body[128];
	struct reason why;
	enum latentd_err err;
	size_t i, n;

	for (i = 0; i < N(cases); i++) {
		snprintf(target, sizeof(target),
		    "/encode/sdxl?shape=%d&dtype=uint8",
		    cases[i].bytes < 0 ? 1 : cases[i].bytes);
		snprintf(
		    body, sizeof(body), "{\"inputs\": \"%s\"}", cases[i].text);
		err = fixture_give(target, "tensor/base64", body, strlen(body),
		    &req, &n, &why);
		cr_expect_eq(err,
		    cases[i].bytes < 0 ? LATENTD_ERR_INVALID : LATENTD_OK,
		    "%s: %s", cases[i].text, why.text);
	}
}

Test(remote_server, json_of_countless_values_is_refused_before_it_is_read)
{
	static const char *const units[] = {"[", "{},", "1,", "{\"a\":"};
	size_t bytes = 10000000, i, j, unit, n;
	char *body = malloc(bytes);
	struct remote_request req;
	struct reason why;

	cr_assert_not_null(body);
	for (i = 0; i < N(units); i++) {
		unit = strlen(units[i]);
		for (j = 0; j + unit <= bytes; j += unit)
			memcpy(body + j, units[i], unit);
		cr_expect_eq(fixture_give("/sdxl", "application/json", body, j,
				 &req, &n, &why),
		    LATENTD_ERR_INVALID);
		cr_expect_not_null(
		    strstr(why.text, "more than 1000 values"), "%s", why.text);
	}
	free(body);
}

Test(remote_server, brackets_in_a_string_are_not_values)
{
	struct remote_request req;
	char brackets[2000], *body = NULL;
	struct reason why;
	size_t n;

	memset(brackets, '[', sizeof(brackets));
	cr_assert(asprintf(&body,
		      "{\"note\": \"\\\"%.*s\\\\\", \"inputs\": \"AAAA\"}",
		      (int)sizeof(brackets), brackets) > 0);
	cr_assert_eq(
	    fixture_give("/encode/sdxl?shape=3&shape=1&shape=1&dtype=uint8",
		"tensor/base64", body, strlen(body), &req, &n, &why),
	    LATENTD_OK, "%s", why.text);
	free(body);
}

/* ---- replies ---- */

Test(remote_server, errors_are_json_that_the_client_reads_back)
{
	struct reason why = {.err = LATENTD_ERR_SHAPE}, back = {0};
	size_t bytes = 0;
	char *text;

	reason_set(&why, LATENTD_ERR_SHAPE, "a \"b\" \\ \xe2\x82\xac");
	text = remote_error_format(&why, &bytes);
	cr_assert_eq(strlen(text), bytes);
	cr_assert_eq(strncmp(text, "{\"error\":\"", 10), 0);
	remote_error_text(text, bytes, &back);
	cr_assert_str_eq(back.text, why.text);
	free(text);
	memcpy(why.text, "\xff", 2);
	text = remote_error_format(&why, &bytes);
	remote_error_text(text, bytes, &back);
	cr_assert_str_eq(back.text, latentd_err_text(LATENTD_ERR_SHAPE));
	free(text);
}

Test(remote_server, base64_replies_that_lie_are_refused)
{
#define REPLY(inputs, shape, dtype)                               \
	"{\"inputs\":" inputs ",\"parameters\":{\"shape\":" shape \
	",\"dtype\":" dtype "}}"
	static const char *const cases[] = {"", "{}", "[]",
	    "{\"inputs\":\"AAAA\"}", REPLY("\"AAAA\"", "[2]", "\"uint8\""),
	    REPLY("\"AAAA\"", "[3]", "\"int8\""),
	    REPLY("\"AAAA\"", "[3.0]", "\"uint8\""),
	    REPLY("\"AAAA\"", "3", "\"uint8\""), REPLY("\"AAAA\"", "[3]", "5"),
	    REPLY("\"AA\"", "[1]", "\"uint8\""),
	    REPLY("\"AAAA\"", "[1,1,1,1,1,1,3]", "\"uint8\""),
	    REPLY("5", "[3]", "\"uint8\"")};
	struct latentd_tensor t = {.ndim = 77};
	size_t i, bytes = 0;
	struct reason why;
	void *data = NULL;

	for (i = 0; i < N(cases); i++) {
		cr_expect_eq(remote_base64_parse(cases[i], strlen(cases[i]), &t,
				 &data, &bytes, &why),
		    LATENTD_ERR_ENDPOINT, "%s", cases[i]);
		cr_expect_eq(t.ndim, 77);
		cr_expect_null(data);
	}
}
