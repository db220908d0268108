/* SPDX-License-Identifier: Apache-2.0 */
/* From a client's request to the one that an endpoint gets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "intake.h"
#include "tensor.h"

#define PIL "image_format=jpg&output_type=pil&partial_postprocess=False&"
#define PT "image_format=jpg&output_type=pt&partial_postprocess=True&"
#define MP4 "image_format=jpg&output_type=mp4&partial_postprocess=False&"
#define SDXL "shape=1&shape=4&shape=8&shape=16&dtype=float16"

/* Apply "key=value&key=value". */
static void
apply(struct remote_request *req, const char *query)
{
	char text[512], *at = text, *pair;
	struct reason why;

	snprintf(text, sizeof(text), "%s", query);
	while ((pair = strsep(&at, "&")) != NULL) {
		char *value = strchr(pair, '=');

		cr_assert_not_null(value);
		*value++ = '\0';
		cr_assert_eq(remote_request_param(req, pair, value, &why),
		    LATENTD_OK, "%s", why.text);
	}
}

static enum latentd_err
take(const char *model, const char *accept, const char *query,
    struct intake *in, struct reason *why)
{
	struct remote_request req;
	uint64_t bytes;
	enum latentd_err err;
	void *payload;

	remote_request_init(
	    &req, LATENTD_DECODE, model_find(model, strlen(model)));
	remote_request_headers(&req, "tensor/binary", accept);
	apply(&req, query);
	cr_assert_eq(tensor_bytes(&req.tensor, &bytes, NULL), LATENTD_OK);
	payload = calloc(1, (size_t)bytes);
	err = intake_remote(&req, payload, (size_t)bytes, in, why);
	free(payload);
	return err;
}

static const struct form {
	const char *model, *accept, *query;
	const char *asked; /* of the endpoint */
	enum remote_type accepted;
	enum latentd_output output;
} forms[] = {
    {"sdxl", "image/jpeg", PIL SDXL "&scaling_factor=0.13025",
	"?" PIL SDXL "&scaling_factor=0.13025", REMOTE_JPEG, LATENTD_OUT_JPG},
    /* Nothing but what is needed: the defaults. */
    {"sdxl", NULL, SDXL, "?" PIL SDXL, REMOTE_JPEG, LATENTD_OUT_JPG},
    {"sdxl", "*/*", "image_format=png&" SDXL,
	"?image_format=png&output_type=pil&partial_postprocess=False&" SDXL,
	REMOTE_PNG, LATENTD_OUT_PNG},
    /* The client has a processor, or wants base64: both are tensors. */
    {"sdxl", "tensor/binary", PIL SDXL, "?" PIL SDXL, REMOTE_TENSOR,
	LATENTD_OUT_FLOAT},
    {"sdxl", "tensor/base64", PT SDXL, "?" PT SDXL, REMOTE_TENSOR,
	LATENTD_OUT_PIXELS},
    /* Scaling, and parameters that are sent and not meant. */
    {"sdxl", "image/jpeg", PIL SDXL "&do_scaling=True&input_tensor_type=x",
	"?" PIL SDXL "&do_scaling=True", REMOTE_JPEG, LATENTD_OUT_JPG},
    {"sdxl", "image/jpeg", PIL SDXL "&do_scaling=false", "?" PIL SDXL,
	REMOTE_JPEG, LATENTD_OUT_JPG},
    {"sdxl", "image/jpeg", PIL SDXL "&height=64&width=128", "?" PIL SDXL,
	REMOTE_JPEG, LATENTD_OUT_JPG},
    {"sdxl", "image/jpeg", PIL SDXL "&dtype=float32&dtype=float16",
	"?" PIL SDXL, REMOTE_JPEG, LATENTD_OUT_JPG},
    /* Packed; with one dimension too many, and unpacked with one too few. */
    {"flux", "image/jpeg",
	PIL "shape=1&shape=48&shape=64&dtype=bfloat16&height=96&width=128",
	"?" PIL "shape=1&shape=48&shape=64&dtype=bfloat16&height=96&width=128",
	REMOTE_JPEG, LATENTD_OUT_JPG},
    {"flux", "image/jpeg",
	PIL "shape=1&shape=1&shape=48&shape=64&dtype=bfloat16&height=96"
	    "&width=128",
	"?" PIL "shape=1&shape=48&shape=64&dtype=bfloat16&height=96&width=128",
	REMOTE_JPEG, LATENTD_OUT_JPG},
    {"flux", "image/jpeg",
	PIL "shape=16&shape=12&shape=16&dtype=bfloat16&height=96&width=128",
	"?" PIL "shape=1&shape=16&shape=12&shape=16&dtype=bfloat16",
	REMOTE_JPEG, LATENTD_OUT_JPG},
    /* Video. */
    {"hunyuan-video", "text/plain",
	MP4 "shape=1&shape=16&shape=2&shape=4&shape=6&dtype=float16&height=16"
	    "&width=48",
	"?" MP4 "shape=1&shape=16&shape=2&shape=4&shape=6&dtype=float16",
	REMOTE_TEXT, LATENTD_OUT_MP4},
    {"hunyuan-video", "tensor/binary",
	PT "shape=1&shape=16&shape=2&shape=4&shape=6&dtype=float16",
	"?" PT "shape=1&shape=16&shape=2&shape=4&shape=6&dtype=float16",
	REMOTE_TENSOR, LATENTD_OUT_PIXELS},
};

Test(intake_remote, every_form_is_asked_as_every_endpoint_knows_it)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const struct form *f = &forms[i];
		char query[REMOTE_QUERY_BYTES];
		struct intake in;
		struct reason why;

		cr_assert_eq(take(f->model, f->accept, f->query, &in, &why),
		    LATENTD_OK, "%s: %s", f->query, why.text);
		cr_assert_str_eq(
		    remote_query_format(&in.remote, query), f->asked);
		cr_assert_eq(in.remote.accept, f->accepted, "%s", f->query);
		cr_assert_eq(in.remote.body, REMOTE_TENSOR);
		cr_assert_eq(in.output, f->output, "%s", f->query);
		cr_assert_eq(in.parts_n, 1);
		cr_assert_not(in.expect.base64);
	}
}

static const struct bad {
	const char *model, *accept, *query;
	enum latentd_err err;
	const char *word;
} bads[] = {
    {"sdxl", "image/jpeg", PIL "shape=2&shape=4&shape=8&shape=8&dtype=float16",
	LATENTD_ERR_UNSUPPORTED, "split batches"},
    {"sdxl", "text/plain", MP4 SDXL, LATENTD_ERR_UNSUPPORTED, "mp4"},
    {"hunyuan-video", "image/jpeg",
	PIL "shape=1&shape=16&shape=2&shape=4&shape=6&dtype=float16",
	LATENTD_ERR_UNSUPPORTED, "not one image"},
    {"sdxl", "image/jpeg", PIL "shape=1&shape=5&shape=8&shape=8&dtype=float16",
	LATENTD_ERR_SHAPE, "[1,5,8,8]"},
    {"flux", "image/jpeg", PIL "shape=1&shape=48&shape=64&dtype=float16",
	LATENTD_ERR_SHAPE, "height"},
};

Test(intake_remote, what_no_endpoint_can_do_is_refused)
{
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		const struct bad *b = &bads[i];
		struct intake in;
		struct reason why;

		cr_assert_eq(take(b->model, b->accept, b->query, &in, &why),
		    b->err, "%s", b->query);
		cr_assert_not_null(strstr(why.text, b->word), "%s", why.text);
	}
}

Test(intake_remote, tensor_to_encode_goes_as_it_came)
{
	const struct model *model = model_find("sdxl", 4);
	char query[REMOTE_QUERY_BYTES];
	uint8_t payload[3 * 16 * 8 * 4] = {0};
	struct remote_request req;
	struct intake in;
	struct reason why;

	remote_request_init(&req, LATENTD_ENCODE, model);
	remote_request_headers(&req, NULL, "tensor/base64");
	apply(&req,
	    "scaling_factor=0.5&shape=1&shape=3&shape=16&shape=8"
	    "&dtype=float32");
	cr_assert_eq(intake_remote(&req, payload, sizeof(payload), &in, &why),
	    LATENTD_OK, "%s", why.text);
	cr_assert_str_eq(remote_query_format(&in.remote, query),
	    "?scaling_factor=0.5&shape=1&shape=3&shape=16&shape=8"
	    "&dtype=float32");
	cr_assert_eq(in.remote.accept, REMOTE_ANY);
	cr_assert_eq(in.output, LATENTD_OUT_LATENT);
}

Test(intake_remote, file_that_is_no_picture_is_refused)
{
	const struct model *model = model_find("sdxl", 4);
	struct remote_request req;
	struct intake in;
	struct reason why;

	remote_request_init(&req, LATENTD_ENCODE, model);
	cr_assert_eq(
	    intake_remote(&req, "\x89PNG\r\n\x1a\n????", 12, &in, &why),
	    LATENTD_ERR_IMAGE);
}
