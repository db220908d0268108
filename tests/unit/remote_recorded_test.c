/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What real clients sent (tests/vectors/client-requests.jsonl), read as a
 * server reads it, answered as it was answered; and mutations of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "image_fixture.h"
#include "remote_fixture.h"
#include "tensor.h"

#define MUTATIONS 60000

/* ---- what real clients sent ---- */

/* The bodies themselves are not recorded; their lengths say what they were. */
static struct file
recorded_body(const struct remote_request *req, size_t bytes)
{
	static const char *const olds[] = {
	    ", \"parameters\": {\"shape\": [1, 1, 48, 64], \"dtype\": "
	    "\"float16\", \"height\": 96, \"width\": 128}",
	    ", \"parameters\": {\"shape\": [1, 4, 12, 16], \"dtype\": "
	    "\"float16\"}"};
	struct file f = {.at = NULL, .bytes = bytes};
	uint64_t need = 0;

	if (req->body == REMOTE_JSON) {
		f.at = (uint8_t *)fixture_json(req->model->packs ? 6144 : 1536,
		    olds[req->model->packs ? 0 : 1]);
	} else if (req->body == REMOTE_TENSOR_BASE64) {
		cr_assert_eq(
		    tensor_bytes(&req->tensor, &need, NULL), LATENTD_OK);
		f.at = (uint8_t *)fixture_json((size_t)need, "");
	} else {
		f.at = calloc(1, bytes);
		if (req->tensor.ndim == 0)
			memcpy(f.at, "\x89PNG\r\n\x1a\n", 8);
	}
	if (req->body == REMOTE_JSON || req->body == REMOTE_TENSOR_BASE64)
		cr_assert_eq(strlen((char *)f.at), bytes);
	return f;
}

/* The size of an image file is not recorded; the latent's shape says it. */
static struct image_info
recorded_image(const json_t *headers)
{
	const char *shape = fixture_string(headers, "shape");
	struct image_info info = {.kind = IMAGE_PNG, .frames = 1};
	struct latentd_tensor t = {0};

	if (shape != NULL &&
	    tensor_shape_parse(shape, strlen(shape), &t, NULL) == LATENTD_OK &&
	    t.ndim == 4) {
		info.height_px = (uint32_t)t.shape[2] * 8;
		info.width_px = (uint32_t)t.shape[3] * 8;
	}
	return info;
}

static void
check_reply(const struct remote_expect *expect,
    const struct remote_request *req, const json_t *headers, const char *target)
{
	const char *shape = fixture_string(headers, "shape");
	char text[TENSOR_SHAPE_TEXT_BYTES];
	enum latentd_dtype dtype = expect->tensor.dtype;
	struct latentd_tensor want;

	cr_expect_str_eq(remote_reply_type(expect),
	    fixture_string(headers, "Content-Type"), "%s", target);
	if (shape == NULL)
		return;
	cr_expect_str_eq(
	    tensor_shape_format(&expect->tensor, text), shape, "%s", target);
	if (dtype == LATENTD_DTYPE_NONE)
		dtype = req->model->dtype;
	cr_expect_str_eq(
	    dtype_name(dtype), fixture_string(headers, "dtype"), "%s", target);
	/* And such a reply passes the client's check of it. */
	want = expect->tensor;
	want.dtype = dtype;
	if (!expect->base64) {
		uint64_t bytes = 0;

		cr_assert_eq(tensor_bytes(&want, &bytes, NULL), LATENTD_OK);
		cr_expect_eq(
		    remote_check_head(expect, remote_reply_type(expect), shape,
			dtype_name(dtype), bytes, &want, NULL),
		    LATENTD_OK);
	}
}

static void
replay(const json_t *row)
{
	const char *target = fixture_string(row, "target");
	const json_t *headers = json_object_get(row, "headers");
	const json_t *reply = json_object_get(row, "reply");
	const json_t *reply_headers = json_object_get(reply, "headers");
	struct image_info image = recorded_image(reply_headers);
	struct remote_expect expect;
	struct remote_request req;
	struct reason why = {0};
	enum latentd_err err;
	const void *payload;
	size_t payload_bytes;
	struct file body;
	void *owned = NULL;

	err = fixture_target(&req, target, &why);
	cr_assert_eq(err, LATENTD_OK, "%s: %s", target, why.text);
	remote_request_headers(&req, fixture_string(headers, "Content-Type"),
	    fixture_string(headers, "Accept"));
	body = recorded_body(&req,
	    (size_t)json_integer_value(json_object_get(row, "body_bytes")));
	err = remote_request_body(
	    &req, body.at, body.bytes, &payload, &payload_bytes, &owned, &why);
	cr_assert_eq(err, LATENTD_OK, "%s: %s", target, why.text);
	err = remote_expect(
	    &req, req.tensor.ndim == 0 ? &image : NULL, &expect, &why);
	if (json_integer_value(json_object_get(reply, "status")) == 200) {
		cr_expect_eq(err, LATENTD_OK, "%s: %s", target, why.text);
		check_reply(&expect, &req, reply_headers, target);
	} else {
		cr_expect_eq(err, LATENTD_ERR_SHAPE, "%s", target);
	}
	free(owned);
	free(body.at);
}

Test(remote_recorded, recorded_requests_get_the_recorded_reply)
{
	json_t *rows = fixture_lines("client-requests.jsonl"), *row;
	size_t i;

	json_array_foreach(rows, i, row) replay(row);
	cr_assert_eq(json_array_size(rows), 48);
	json_decref(rows);
}

/* diffusers' own order; the other clients have theirs. */
static bool
is_diffusers(const char *query)
{
	return strncmp(query, "?image_format=", 14) == 0 ||
	    strncmp(query, "?scaling_factor=", 16) == 0;
}

Test(remote_recorded, queries_of_diffusers_are_reproduced_byte_for_byte)
{
	json_t *rows = fixture_lines("client-requests.jsonl"), *row;
	char query[REMOTE_QUERY_BYTES];
	struct remote_request req;
	size_t i, same = 0;
	const char *target, *want;

	json_array_foreach(rows, i, row)
	{
		target = fixture_string(row, "target");
		want = strchr(target, '?');
		if (want == NULL || !is_diffusers(want))
			continue;
		cr_assert_eq(fixture_target(&req, target, NULL), LATENTD_OK);
		cr_expect_str_eq(remote_query_format(&req, query), want);
		same++;
	}
	cr_assert_eq(same, 33);
	json_decref(rows);
}

Test(remote_recorded, a_formatted_query_means_the_same_request)
{
	json_t *rows = fixture_lines("client-requests.jsonl"), *row;
	char target[REMOTE_QUERY_BYTES + 64], query[REMOTE_QUERY_BYTES];
	struct remote_request a, b;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		cr_assert_eq(
		    fixture_target(&a, fixture_string(row, "target"), NULL),
		    LATENTD_OK);
		snprintf(target, sizeof(target), "/%s%s%s",
		    a.task == LATENTD_ENCODE ? "encode/" : "", a.model->name,
		    remote_query_format(&a, query));
		cr_assert_eq(fixture_target(&b, target, NULL), LATENTD_OK);
		cr_expect(tensor_equal(&a.tensor, &b.tensor));
		cr_expect_eq(a.scaling, b.scaling);
		cr_expect(a.scaling_factor == b.scaling_factor);
		cr_expect(a.shift_factor == b.shift_factor);
		cr_expect_eq(a.height_px, b.height_px);
		cr_expect_eq(a.width_px, b.width_px);
		cr_expect_eq(a.output, b.output);
		cr_expect_eq(a.png, b.png);
		cr_expect_eq(a.partial_postprocess, b.partial_postprocess);
	}
	json_decref(rows);
}

/* ---- mutations ---- */

static size_t
mutate_query(struct fixture_random *random, const char *seed)
{
	struct file in = {.bytes = strlen(seed)}, out;
	struct remote_request req;
	struct reason why = {0};
	char *target = NULL;
	enum latentd_err err;

	in.at = (uint8_t *)strdup(seed);
	out = fixture_mutate(random, in);
	cr_assert(asprintf(&target, "/flux?%.*s", (int)out.bytes,
		      (char *)out.at) > 0);
	err = fixture_target(&req, target, &why);
	cr_assert(err == LATENTD_OK || err == LATENTD_ERR_INVALID);
	cr_assert_eq(err != LATENTD_OK, why.text[0] != '\0');
	cr_assert(req.tensor.ndim <= LATENTD_MAX_NDIM);
	free(target);
	free(in.at);
	free(out.at);
	return err == LATENTD_OK;
}

static size_t
mutate_body(struct fixture_random *random, const char *seed)
{
	struct file in = {.bytes = strlen(seed)}, out;
	struct remote_expect expect;
	struct remote_request req;
	struct reason why = {0};
	enum latentd_err err;
	size_t n = 0;

	in.at = (uint8_t *)strdup(seed);
	out = fixture_mutate(random, in);
	err = fixture_give("/flux", "application/json", (char *)out.at,
	    out.bytes, &req, &n, &why);
	if (err == LATENTD_OK)
		err = remote_expect(&req, NULL, &expect, &why);
	cr_assert_eq(err != LATENTD_OK, why.text[0] != '\0');
	free(in.at);
	free(out.at);
	return err == LATENTD_OK;
}

Test(remote_recorded, mutated_requests_are_read_or_refused, .timeout = 200)
{
	static const char query[] =
	    "image_format=jpg&output_type=pil&partial_postprocess=False&shape=1"
	    "&shape=48&shape=64&dtype=float16&scaling_factor=0.3611"
	    "&shift_factor=0.1159&do_scaling=True&height=96&width=128";
	struct fixture_random random = {.state = 20261122};
	size_t i, queries = 0, bodies = 0;
	char *body = fixture_json(128,
	    ", \"parameters\": {\"shape\": [1, 1, 64], \"dtype\": "
	    "\"float16\", \"height\": 16, \"width\": 16, "
	    "\"scaling_factor\": 0.5, \"output_type\": \"pt\"}");

	for (i = 0; i < MUTATIONS; i++) {
		queries += mutate_query(&random, query);
		bodies += mutate_body(&random, body);
	}
	/* Both outcomes were met, so both paths were. */
	cr_assert(queries > 1000 && queries < MUTATIONS - 1000);
	cr_assert(bodies > 1000 && bodies < MUTATIONS - 1000);
	free(body);
}
