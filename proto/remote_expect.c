/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which reply a request must get, and whether what came is that.  Pure
 * functions without state: any thread.
 */
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "remote.h"
#include "tensor.h"

/* Headers of a file that do not grow with the picture, metadata included. */
#define FILE_SPARE_BYTES 65536u
#define MP4_SPARE_BYTES 1048576u
/* {"inputs": "...", "parameters": {"shape": [...], "dtype": "..."}} */
#define BASE64_SPARE_BYTES 1024u
/* More of an error reply is not worth parsing. */
#define ERROR_JSON_BYTES 16384u
#define ERROR_TEXT_BYTES 200

/* ---- what must come ---- */

static uint64_t
cap_bytes(uint64_t bytes)
{
	return bytes < LATENTD_MAX_BODY_BYTES ? bytes : LATENTD_MAX_BODY_BYTES;
}

/*
 * The largest file of such a picture.  PNG: four 16-bit channels stored
 * without compression.  JPEG: libjpeg-turbo's own bound for 4:4:4
 * (tjBufSize).  MP4: more than raw pixels is no video.
 */
static uint64_t
file_max_bytes(enum remote_type type, const struct geometry *geo)
{
	uint64_t width = geo->width_px, height = geo->height_px, raw;

	if (type == REMOTE_JPEG) {
		width = (width + 15) / 16 * 16;
		height = (height + 15) / 16 * 16;
		return cap_bytes(width * height * 6 + FILE_SPARE_BYTES);
	}
	if (type == REMOTE_PNG) {
		raw = (width * 8 + 1) * height;
		return cap_bytes(raw + raw / 256 + FILE_SPARE_BYTES);
	}
	return cap_bytes(width * height * 3 * geo->frames + MP4_SPARE_BYTES);
}

static enum latentd_err
expect_tensor(const struct remote_request *req, struct remote_expect *out,
    struct reason *why)
{
	struct latentd_tensor t = out->tensor;
	enum latentd_err err;
	uint64_t bytes;

	out->type = REMOTE_TENSOR;
	out->base64 = req->accept == REMOTE_TENSOR_BASE64;
	if (t.dtype == LATENTD_DTYPE_NONE)
		t.dtype = req->model->dtype;
	err = tensor_bytes(&t, &bytes, why);
	if (err != LATENTD_OK)
		return err;
	if (out->base64 &&
	    bytes / 3 * 4 + BASE64_SPARE_BYTES > LATENTD_MAX_BODY_BYTES)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "a reply of %" PRIu64
		    " bytes is too large for base64: accept tensor/binary",
		    bytes);
	if (out->tensor.dtype == LATENTD_DTYPE_NONE)
		bytes = bytes / dtype_bytes(t.dtype) * dtype_bytes(LATENTD_F32);
	if (out->base64)
		bytes = (bytes + 2) / 3 * 4 + BASE64_SPARE_BYTES;
	out->max_bytes = cap_bytes(bytes);
	return LATENTD_OK;
}

static void
set_shape(struct latentd_tensor *t, enum latentd_dtype dtype, uint32_t ndim,
    uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	const uint64_t dims[] = {a, b, c, d, e};

	*t = (struct latentd_tensor){.dtype = dtype, .ndim = ndim};
	memcpy(t->shape, dims, ndim * sizeof(dims[0]));
}

static enum latentd_err
refuse_batch(const struct remote_request *req, const struct geometry *geo,
    const char *what, struct reason *why)
{
	return reason_set(why, LATENTD_ERR_UNSUPPORTED,
	    "Can only serialize %s, got list: split batches of %" PRIu32
	    "%s %s latents into one request each",
	    what, geo->batch, geo->packed ? " packed" : "", req->model->name);
}

static enum latentd_err
expect_file(const struct remote_request *req, struct remote_expect *out,
    struct reason *why)
{
	bool mp4 = req->output == REMOTE_MP4;

	if (mp4 && !out->geo.video)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "output_type=mp4 is for video models only, %s decodes to "
		    "images: use pil or pt",
		    req->model->name);
	if (!mp4 && out->geo.video)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "%s decodes to a video, which is not one image: use "
		    "output_type mp4 or pt, or pil with Accept tensor/binary",
		    req->model->name);
	if (out->geo.batch > 1)
		return refuse_batch(
		    req, &out->geo, mp4 ? "one mp4" : "PIL.Image.Image", why);
	out->type = mp4 ? REMOTE_TEXT : req->png ? REMOTE_PNG : REMOTE_JPEG;
	out->max_bytes = file_max_bytes(out->type, &out->geo);
	return LATENTD_OK;
}

static enum latentd_err
expect_decoded(const struct remote_request *req, struct remote_expect *out,
    struct reason *why)
{
	const struct geometry *g = &out->geo;
	struct latentd_tensor *t = &out->tensor;
	bool to_tensor =
	    req->accept == REMOTE_TENSOR || req->accept == REMOTE_TENSOR_BASE64;
	bool frames_only =
	    req->output == REMOTE_PIL || req->partial_postprocess;

	if (req->output == REMOTE_MP4 ||
	    (req->output == REMOTE_PIL && !to_tensor))
		return expect_file(req, out, why);
	if (g->video && frames_only && g->batch > 1)
		return refuse_batch(req, g, "the frames of one video", why);
	if (req->output == REMOTE_PT && req->partial_postprocess)
		set_shape(t, LATENTD_U8, 4, g->video ? g->frames : g->batch,
		    g->height_px, g->width_px, 3, 0);
	else if (g->video && req->output == REMOTE_PT)
		set_shape(t, LATENTD_DTYPE_NONE, 5, g->batch, 3, g->frames,
		    g->height_px, g->width_px);
	else
		set_shape(t, LATENTD_DTYPE_NONE, 4,
		    g->video ? g->frames : g->batch, 3, g->height_px,
		    g->width_px, 0);
	return expect_tensor(req, out, why);
}

enum latentd_err
remote_encode_batch(const struct model *m, const struct latentd_tensor *t,
    struct geometry *geo, struct reason *why)
{
	char text[TENSOR_SHAPE_TEXT_BYTES];
	const uint64_t *last = t->shape + (t->ndim >= 2 ? t->ndim - 2 : 0);
	bool video = m->temporal != 0;
	uint64_t channels, batch, frames, bytes;
	enum latentd_err err;

	if ((err = tensor_bytes(t, &bytes, why)) != LATENTD_OK)
		return err;
	channels = t->shape[t->ndim == 3 ? 0 : 1];
	if (channels != 3 || (video && t->ndim != 5) ||
	    (!video && t->ndim != 3 && t->ndim != 4))
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "shape %s is no picture for %s: must be %s, or no shape "
		    "and a PNG or JPEG file",
		    tensor_shape_format(t, text), m->name,
		    video ? "[N,3,F,H,W]" : "[N,3,H,W]");
	batch = t->ndim == 3 ? 1 : t->shape[0];
	frames = video ? t->shape[2] : 1;
	*geo = (struct geometry){
	    .video = video,
	    /* Dimensions are at most LATENTD_MAX_DIM here. */
	    .batch = (uint32_t)batch,
	    .frames = (uint32_t)frames,
	    .height_px = (uint32_t)last[0],
	    .width_px = (uint32_t)last[1],
	};
	return LATENTD_OK;
}

static enum latentd_err
expect_encoded(const struct remote_request *req, const struct image_info *image,
    struct remote_expect *out, struct reason *why)
{
	struct geometry in = {.batch = 1, .frames = 1};
	enum latentd_err err;

	if (req->tensor.ndim > 0) {
		err = remote_encode_batch(req->model, &req->tensor, &in, why);
		if (err != LATENTD_OK)
			return err;
	} else {
		assert(image != NULL);
		if (image->kind != IMAGE_PNG && image->kind != IMAGE_JPEG)
			return reason_set(why, LATENTD_ERR_UNSUPPORTED,
			    "a file of kind %s cannot be encoded, must be PNG "
			    "or JPEG",
			    image_kind_name(image->kind));
		in.width_px = image->width_px;
		in.height_px = image->height_px;
	}
	err = model_encoded(req->model, in.width_px, in.height_px, in.frames,
	    in.batch, &out->tensor, why);
	if (err != LATENTD_OK)
		return err;
	out->tensor.dtype = LATENTD_DTYPE_NONE;
	return expect_tensor(req, out, why);
}

enum latentd_err
remote_expect(const struct remote_request *req, const struct image_info *image,
    struct remote_expect *expect, struct reason *why)
{
	struct remote_expect out = {.type = REMOTE_ANY};
	enum latentd_err err;

	if (req->task == LATENTD_ENCODE) {
		err = expect_encoded(req, image, &out, why);
	} else {
		err = model_geometry(req->model, &req->tensor, req->height_px,
		    req->width_px, &out.geo, why);
		if (err == LATENTD_OK)
			err = expect_decoded(req, &out, why);
	}
	if (err == LATENTD_OK)
		*expect = out;
	return err;
}

/* ---- what came ---- */

static enum latentd_err
check_tensor_head(const struct remote_expect *expect, const char *shape,
    const char *dtype, uint64_t bytes, struct latentd_tensor *tensor,
    struct reason *why)
{
	char want[TENSOR_SHAPE_TEXT_BYTES], got[TENSOR_SHAPE_TEXT_BYTES];
	struct latentd_tensor t = {0}, same = expect->tensor;
	uint64_t need = 0;

	if (shape == NULL || dtype == NULL)
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint's tensor has no %s header",
		    shape == NULL ? "shape" : "dtype");
	t.dtype = dtype_find(dtype, strlen(dtype));
	if (same.dtype == LATENTD_DTYPE_NONE && t.dtype != LATENTD_U8)
		same.dtype = t.dtype;
	if (t.dtype == LATENTD_DTYPE_NONE || t.dtype != same.dtype)
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint sent dtype \"%.32s\", expected %s", dtype,
		    same.dtype == LATENTD_U8 ? "uint8" : "a float type");
	tensor_shape_format(&same, want);
	if (tensor_shape_parse(shape, strlen(shape), &t, NULL) != LATENTD_OK ||
	    !tensor_equal(&t, &same))
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint sent shape %.64s, expected %s", shape, want);
	if (tensor_bytes(&t, &need, NULL) != LATENTD_OK || need != bytes)
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint sent %" PRIu64
		    " bytes, but shape %s of %s takes %" PRIu64,
		    bytes, tensor_shape_format(&t, got), dtype_name(t.dtype),
		    need);
	*tensor = t;
	return LATENTD_OK;
}

enum latentd_err
remote_check_head(const struct remote_expect *expect, const char *content_type,
    const char *shape, const char *dtype, uint64_t bytes,
    struct latentd_tensor *tensor, struct reason *why)
{
	enum remote_type want =
	    expect->base64 ? REMOTE_TENSOR_BASE64 : expect->type;

	if (content_type == NULL || remote_type_find(content_type) != want)
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint sent Content-Type \"%.64s\", expected %s",
		    content_type != NULL ? content_type : "",
		    remote_type_name(want));
	if (bytes == 0 || bytes > expect->max_bytes)
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint sent %" PRIu64
		    " bytes, expected at least 1 and at most %" PRIu64,
		    bytes, expect->max_bytes);
	if (want == REMOTE_TENSOR)
		return check_tensor_head(
		    expect, shape, dtype, bytes, tensor, why);
	*tensor = (struct latentd_tensor){0};
	return LATENTD_OK;
}

enum latentd_err
remote_check_body(const struct remote_expect *expect, const void *data,
    size_t bytes, struct reason *why)
{
	const struct geometry *g = &expect->geo;
	enum image_kind want = expect->type == REMOTE_PNG ? IMAGE_PNG
	    : expect->type == REMOTE_JPEG                 ? IMAGE_JPEG
							  : IMAGE_MP4;
	struct image_info info;
	struct reason inner = {0};

	if (expect->type == REMOTE_TENSOR)
		return LATENTD_OK;
	if (image_sniff(data, bytes) != want)
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint's file is of kind %s, expected %s",
		    image_kind_name(image_sniff(data, bytes)),
		    image_kind_name(want));
	if (image_parse(data, bytes, &info, &inner) != LATENTD_OK)
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint's file is damaged: %s", inner.text);
	if (info.width_px != g->width_px || info.height_px != g->height_px ||
	    info.frames != g->frames)
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "the endpoint's %s has %" PRIu32 "x%" PRIu32
		    " pixels and %" PRIu32 " frames, expected %" PRIu32
		    "x%" PRIu32 " and %" PRIu32,
		    image_kind_name(want), info.width_px, info.height_px,
		    info.frames, g->width_px, g->height_px, g->frames);
	return LATENTD_OK;
}

static const char *
error_string(const json_t *root)
{
	const json_t *error = json_object_get(root, "error");

	if (json_is_string(error))
		return json_string_value(error);
	if (json_is_object(error))
		return json_string_value(json_object_get(error, "message"));
	return json_string_value(json_object_get(root, "message"));
}

void
remote_error_text(const void *body, size_t bytes, struct reason *why)
{
	const char *text = NULL, *start = body;
	int most = LATENTD_MAX_TEXT_BYTES;
	json_t *root = NULL;

	for (; bytes > 0 && isspace((unsigned char)*start); bytes--)
		start++;
	if (bytes <= ERROR_JSON_BYTES)
		root = json_loadb(start, bytes, JSON_REJECT_DUPLICATES, NULL);
	if (root != NULL)
		text = error_string(root);
	if (text == NULL && bytes == 0) {
		text = "no reason given";
	} else if (text == NULL) {
		text = start;
		most = bytes < ERROR_TEXT_BYTES ? (int)bytes : ERROR_TEXT_BYTES;
	}
	reason_set(why, why->err, "%.*s", most, text);
	json_decref(root);
}
