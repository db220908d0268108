/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoint's contract as the one who answers sees it: parameters, bodies
 * and JSON replies.  Pure functions; memory only for what JSON carries: any
 * thread.  Numbers are read in the C numeric locale, which latentd's programs
 * never leave.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "remote.h"
#include "remote_json.h"
#include "tensor.h"

/* Range of factors; real ones lie between 0.01 and 100. */
#define FACTOR_MIN 1e-6
#define FACTOR_MAX 1e6

void
remote_request_init(struct remote_request *req, enum latentd_task task,
    const struct model *model)
{
	*req = (struct remote_request){.task = task, .model = model};
}

void
remote_request_headers(
    struct remote_request *req, const char *content_type, const char *accept)
{
	req->body = remote_type_find(content_type);
	req->accept = remote_type_find(accept);
}

/* ---- parameters ---- */

static enum latentd_err
refuse_param(
    const char *key, const char *value, const char *right, struct reason *why)
{
	if (value == NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s has no value, must be %s", key, right);
	return reason_set(why, LATENTD_ERR_INVALID,
	    "%s is \"%.64s\", must be %s", key, value, right);
}

/* Digits only: strtoull alone would take signs and blanks. */
static bool
read_count(const char *value, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;

	if (*value == '\0')
		return false;
	for (; *value != '\0'; value++) {
		if (*value < '0' || *value > '9')
			return false;
		n = n * 10 + (uint64_t)(*value - '0');
		if (n > max)
			return false;
	}
	*out = n;
	return n > 0;
}

/* The alphabet first: strtod alone would take "nan", "0x1p3" and blanks. */
static bool
read_float(const char *value, double *out)
{
	char *end;
	double x;

	if (*value == '\0' || value[strspn(value, "0123456789.eE+-")] != '\0')
		return false;
	x = strtod(value, &end);
	if (*end != '\0' || !isfinite(x))
		return false;
	*out = x;
	return true;
}

static bool
read_bool(const char *value, bool *out)
{
	if (strcasecmp(value, "true") == 0 || strcmp(value, "1") == 0)
		*out = true;
	else if (strcasecmp(value, "false") == 0 || strcmp(value, "0") == 0)
		*out = false;
	else
		return false;
	return true;
}

static bool
set_shape(struct remote_request *req, const char *value)
{
	uint64_t dim;

	if (req->tensor.ndim >= LATENTD_MAX_NDIM ||
	    !read_count(value, LATENTD_MAX_DIM, &dim))
		return false;
	req->tensor.shape[req->tensor.ndim++] = dim;
	return true;
}

static bool
set_dtype(struct remote_request *req, const char *value)
{
	enum latentd_dtype dtype = dtype_find(value, strlen(value));

	if (dtype == LATENTD_DTYPE_NONE)
		return false;
	req->tensor.dtype = dtype;
	return true;
}

static void
settle_scaling(struct remote_request *req)
{
	req->scaling = REMOTE_SCALING_NONE;
	if (req->do_scaling >= 0 && req->has_factor)
		req->scaling = REMOTE_SCALING_FACTORS;
	else if (req->do_scaling > 0)
		req->scaling = REMOTE_SCALING_SERVER;
}

static bool
set_scaling_factor(struct remote_request *req, const char *value)
{
	double x;

	if (!read_float(value, &x) || !(x >= FACTOR_MIN && x <= FACTOR_MAX))
		return false;
	req->scaling_factor = x;
	req->has_factor = true;
	settle_scaling(req);
	return true;
}

static bool
set_shift_factor(struct remote_request *req, const char *value)
{
	double x;

	if (!read_float(value, &x) || !(fabs(x) <= FACTOR_MAX))
		return false;
	req->shift_factor = x;
	req->has_shift = true;
	return true;
}

static bool
set_do_scaling(struct remote_request *req, const char *value)
{
	bool on;

	if (!read_bool(value, &on))
		return false;
	req->do_scaling = on ? 1 : -1;
	settle_scaling(req);
	return true;
}

static bool
set_height(struct remote_request *req, const char *value)
{
	uint64_t px;

	if (!read_count(value, LATENTD_MAX_DIM, &px))
		return false;
	req->height_px = (uint32_t)px;
	return true;
}

static bool
set_width(struct remote_request *req, const char *value)
{
	uint64_t px;

	if (!read_count(value, LATENTD_MAX_DIM, &px))
		return false;
	req->width_px = (uint32_t)px;
	return true;
}

static bool
set_output_type(struct remote_request *req, const char *value)
{
	if (strcmp(value, "pil") == 0)
		req->output = REMOTE_PIL;
	else if (strcmp(value, "pt") == 0)
		req->output = REMOTE_PT;
	else if (strcmp(value, "mp4") == 0)
		req->output = REMOTE_MP4;
	else
		return false;
	return true;
}

static bool
set_image_format(struct remote_request *req, const char *value)
{
	req->png = strcmp(value, "png") == 0;
	return req->png || strcmp(value, "jpg") == 0 ||
	    strcmp(value, "jpeg") == 0;
}

static bool
set_partial_postprocess(struct remote_request *req, const char *value)
{
	return read_bool(value, &req->partial_postprocess);
}

static const struct param {
	const char *key;
	bool (*set)(struct remote_request *req, const char *value);
	const char *right;
} params[] = {
    {"shape", set_shape,
	"a number from 1 to 1048576, repeated for at most 6 dimensions"},
    {"dtype", set_dtype, "float16, bfloat16, float32 or uint8"},
    {"scaling_factor", set_scaling_factor, "a number from 1e-6 to 1e6"},
    {"shift_factor", set_shift_factor, "a number from -1e6 to 1e6"},
    {"do_scaling", set_do_scaling, "True or False"},
    {"height", set_height, "a number of pixels from 1 to 1048576"},
    {"width", set_width, "a number of pixels from 1 to 1048576"},
    {"output_type", set_output_type, "pil, pt or mp4"},
    {"image_format", set_image_format, "jpg or png"},
    {"partial_postprocess", set_partial_postprocess, "True or False"},
};

static const struct param *
param_find(const char *key)
{
	size_t i;

	for (i = 0; i < sizeof(params) / sizeof(params[0]); i++)
		if (strcmp(params[i].key, key) == 0)
			return &params[i];
	return NULL;
}

enum latentd_err
remote_request_param(struct remote_request *req, const char *key,
    const char *value, struct reason *why)
{
	const struct param *p = param_find(key);

	if (p == NULL || (value != NULL && p->set(req, value)))
		return LATENTD_OK;
	return refuse_param(key, value, p->right, why);
}

/* ---- JSON bodies ---- */

/* A JSON value as the text that it would be in a query. */
static enum latentd_err
param_from_json(struct remote_request *req, const struct param *p,
    const json_t *value, struct reason *why)
{
	char text[64] = "";

	if (json_is_string(value))
		return remote_request_param(
		    req, p->key, json_string_value(value), why);
	if (json_is_integer(value))
		snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT,
		    json_integer_value(value));
	else if (json_is_real(value))
		snprintf(text, sizeof(text), "%.17g", json_real_value(value));
	else if (json_is_boolean(value))
		snprintf(text, sizeof(text), "%s",
		    json_is_true(value) ? "True" : "False");
	else
		return reason_set(why, LATENTD_ERR_INVALID,
		    "parameter %s is a JSON list, object or null, must be %s",
		    p->key, p->right);
	return remote_request_param(req, p->key, text, why);
}

static enum latentd_err
shape_from_json(struct remote_request *req, const struct param *p,
    const json_t *list, struct reason *why)
{
	enum latentd_err err = LATENTD_OK;
	size_t i;

	req->tensor.ndim = 0;
	if (!json_is_array(list))
		return param_from_json(req, p, list, why);
	for (i = 0; i < json_array_size(list) && err == LATENTD_OK; i++)
		err = param_from_json(req, p, json_array_get(list, i), why);
	return err;
}

static enum latentd_err
params_from_json(struct remote_request *req, json_t *object, struct reason *why)
{
	enum latentd_err err = LATENTD_OK;
	const struct param *p;
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "\"parameters\" must be a JSON object");
	json_object_foreach(object, key, value)
	{
		p = param_find(key);
		if (p == NULL || json_is_null(value))
			continue;
		err = p->set == set_shape ? shape_from_json(req, p, value, why)
					  : param_from_json(req, p, value, why);
		if (err != LATENTD_OK)
			return err;
	}
	/* The oldest clients say nothing of scaling and expect it done. */
	if (req->do_scaling == 0 && !req->has_factor && !req->has_shift)
		req->scaling = REMOTE_SCALING_SERVER;
	return LATENTD_OK;
}

static enum latentd_err
read_json_body(struct remote_request *req, const void *body, size_t bytes,
    void **data, size_t *data_bytes, struct reason *why)
{
	enum latentd_err err;
	json_t *root, *object;

	err = remote_json_load(body, bytes, &root, why);
	if (err != LATENTD_OK)
		return err;
	object = json_object_get(root, "parameters");
	if (object != NULL && !json_is_null(object))
		err = params_from_json(req, object, why);
	if (err == LATENTD_OK)
		err = remote_json_inputs(root, data, data_bytes, why);
	json_decref(root);
	return err;
}

/* ---- the whole request ---- */

static enum latentd_err
check_file(const void *data, size_t bytes, struct reason *why)
{
	enum image_kind kind = image_sniff(data, bytes);

	if (kind != IMAGE_PNG && kind != IMAGE_JPEG)
		return reason_set(why, LATENTD_ERR_IMAGE,
		    "the body is of kind %s, must be a PNG or JPEG file, or a "
		    "tensor with shape and dtype",
		    image_kind_name(kind));
	return LATENTD_OK;
}

static enum latentd_err
check_payload(const struct remote_request *req, const void *data, size_t bytes,
    struct reason *why)
{
	const struct latentd_tensor *t = &req->tensor;
	char text[TENSOR_SHAPE_TEXT_BYTES];
	enum latentd_err err;
	uint64_t need;

	if (req->has_shift && !req->has_factor && req->do_scaling == 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "shift_factor is given without scaling_factor: give both, "
		    "or do_scaling");
	if (t->ndim == 0 && req->task == LATENTD_ENCODE)
		return check_file(data, bytes, why);
	if (t->ndim == 0)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "shape is missing, must be given as shape=1&shape=4&... "
		    "for each dimension");
	if ((err = tensor_bytes(t, &need, why)) != LATENTD_OK)
		return err;
	if (t->dtype == LATENTD_U8 && req->task == LATENTD_DECODE)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "dtype uint8 cannot be a latent's, must be float16, "
		    "bfloat16 or float32");
	if (need != bytes)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "the body has %zu bytes, but shape %s of %s takes %" PRIu64,
		    bytes, tensor_shape_format(t, text), dtype_name(t->dtype),
		    need);
	return LATENTD_OK;
}

enum latentd_err
remote_request_body(struct remote_request *req, const void *body, size_t bytes,
    const void **payload, size_t *payload_bytes, void **owned,
    struct reason *why)
{
	const void *data = body;
	size_t data_bytes = bytes;
	void *decoded = NULL;
	enum latentd_err err;

	if (bytes == 0)
		return reason_set(
		    why, LATENTD_ERR_INVALID, "the body is empty");
	if (req->body == REMOTE_JSON || req->body == REMOTE_TENSOR_BASE64) {
		err = read_json_body(
		    req, body, bytes, &decoded, &data_bytes, why);
		if (err != LATENTD_OK)
			return err;
		data = decoded;
	}
	err = check_payload(req, data, data_bytes, why);
	if (err != LATENTD_OK) {
		free(decoded);
		return err;
	}
	*payload = data;
	*payload_bytes = data_bytes;
	*owned = decoded;
	return LATENTD_OK;
}

/* ---- the reply ---- */

const char *
remote_reply_type(const struct remote_expect *expect)
{
	if (expect->base64)
		return remote_type_name(REMOTE_TENSOR_BASE64);
	if (expect->type == REMOTE_TEXT)
		return "text/plain; charset=utf-8";
	return remote_type_name(expect->type);
}
