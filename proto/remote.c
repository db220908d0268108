/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of the endpoint's contract and the query of a request.  Pure
 * functions without state: any thread.  Numbers are written in the C numeric
 * locale, which latentd's programs never leave.
 */
#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "remote.h"
#include "tensor.h"

static const struct {
	const char *name;
	enum remote_type type;
} types[] = {
    /* The first of a type is the one that remote_type_name() gives. */
    {"tensor/binary", REMOTE_TENSOR},
    {"tensor/base64", REMOTE_TENSOR_BASE64},
    {"application/json", REMOTE_JSON},
    {"image/jpeg", REMOTE_JPEG},
    {"image/jpg", REMOTE_JPEG},
    {"image/*", REMOTE_JPEG},
    {"image/png", REMOTE_PNG},
    {"text/plain", REMOTE_TEXT},
    {"video/mp4", REMOTE_TEXT},
    {"*/*", REMOTE_ANY},
};

/* Of a double with seventeen digits, in either form. */
#define FLOAT_BYTES 40

#define TYPES_N (sizeof(types) / sizeof(types[0]))

/* ---- names ---- */

const char *
remote_type_name(enum remote_type type)
{
	size_t i;

	for (i = 0; i < TYPES_N && type != REMOTE_ANY; i++)
		if (types[i].type == type)
			return types[i].name;
	return "";
}

enum remote_type
remote_type_find(const char *text)
{
	size_t i, n;
	bool some = false;

	while (text != NULL && *text != '\0') {
		text += strspn(text, " \t,");
		n = strcspn(text, " \t;,");
		some |= n > 0;
		for (i = 0; i < TYPES_N; i++)
			if (strlen(types[i].name) == n &&
			    strncasecmp(types[i].name, text, n) == 0)
				return types[i].type;
		text += strcspn(text, ",");
	}
	return some ? REMOTE_OTHER : REMOTE_ANY;
}

/* ---- the query ---- */

struct query {
	char *text;
	size_t used;
};

static void
query_put(struct query *q, const char *text)
{
	size_t bytes = strlen(text);

	assert(bytes < REMOTE_QUERY_BYTES - q->used);
	memcpy(q->text + q->used, text, bytes + 1);
	q->used += bytes;
}

static void
query_add(struct query *q, const char *key, const char *value)
{
	query_put(q, q->used > 0 ? "&" : "?");
	query_put(q, key);
	query_put(q, "=");
	query_put(q, value);
}

static void
query_add_number(struct query *q, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	query_add(q, key, text);
}

/*
 * The fewest digits that read back as ${value}, and its decimal exponent.
 * Fifteen show every decimal that has no more of them, with noughts behind it,
 * so fewer need not be tried; but a subnormal number has less than that to say.
 */
static int
shortest_digits(double value, int *exponent)
{
	int digits = value < DBL_MIN && value > -DBL_MIN ? 1 : DBL_DIG;
	char text[FLOAT_BYTES];
	const char *end;

	for (; digits < DBL_DECIMAL_DIG; digits++) {
		snprintf(text, sizeof(text), "%.*e", digits - 1, value);
		if (strtod(text, NULL) == value)
			break;
	}
	if (digits == DBL_DECIMAL_DIG)
		snprintf(text, sizeof(text), "%.*e", digits - 1, value);
	end = strchr(text, 'e');
	*exponent = atoi(end + 1);
	if (digits == DBL_DIG)
		while (digits > 1 && *--end == '0')
			digits--;
	return digits;
}

/* Python's repr(): as few digits as will do, plain from 1e-4 up to 1e16 and
 * always with a point there, else with an exponent. */
static void
query_add_float(struct query *q, const char *key, double value)
{
	char text[FLOAT_BYTES];
	int exponent, digits = shortest_digits(value, &exponent);

	if (exponent < -4 || exponent >= 16)
		snprintf(text, sizeof(text), "%.*e", digits - 1, value);
	else
		snprintf(text, sizeof(text), "%.*f",
		    digits - 1 > exponent ? digits - 1 - exponent : 1, value);
	query_add(q, key, text);
}

static void
query_add_tensor(struct query *q, const struct latentd_tensor *t)
{
	uint32_t i;

	for (i = 0; i < t->ndim && i < LATENTD_MAX_NDIM; i++)
		query_add_number(q, "shape", t->shape[i]);
	if (t->ndim > 0)
		query_add(q, "dtype", dtype_name(t->dtype));
}

static void
query_add_scaling(struct query *q, const struct remote_request *req)
{
	if (req->scaling == REMOTE_SCALING_SERVER)
		query_add(q, "do_scaling", "True");
	if (req->scaling != REMOTE_SCALING_FACTORS)
		return;
	query_add_float(q, "scaling_factor", req->scaling_factor);
	if (req->has_shift)
		query_add_float(q, "shift_factor", req->shift_factor);
}

char *
remote_query_format(
    const struct remote_request *req, char query[REMOTE_QUERY_BYTES])
{
	static const char *const outputs[] = {"pil", "pt", "mp4"};
	struct query q = {.text = query};

	query[0] = '\0';
	if (req->task == LATENTD_ENCODE) {
		query_add_scaling(&q, req);
		query_add_tensor(&q, &req->tensor);
		return query;
	}
	query_add(&q, "image_format", req->png ? "png" : "jpg");
	query_add(&q, "output_type", outputs[req->output]);
	query_add(&q, "partial_postprocess",
	    req->partial_postprocess ? "True" : "False");
	query_add_tensor(&q, &req->tensor);
	query_add_scaling(&q, req);
	if (req->height_px != 0 && req->width_px != 0) {
		query_add_number(&q, "height", req->height_px);
		query_add_number(&q, "width", req->width_px);
	}
	return query;
}
