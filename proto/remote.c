/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of the endpoint's contract and the query of a request.  Pure
 * functions without state: any thread.  Numbers are written in the C numeric
 * locale, which latentd's programs never leave.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
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

static void query_add(struct query *q, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
query_add(struct query *q, const char *key, const char *fmt, ...)
{
	size_t room = REMOTE_QUERY_BYTES - q->used;
	va_list args;
	int n;

	n = snprintf(
	    q->text + q->used, room, "%s%s=", q->used > 0 ? "&" : "?", key);
	assert(n > 0 && (size_t)n < room);
	q->used += (size_t)n;
	room -= (size_t)n;
	va_start(args, fmt);
	n = vsnprintf(q->text + q->used, room, fmt, args);
	va_end(args);
	assert(n >= 0 && (size_t)n < room);
	q->used += (size_t)n;
}

/*
 * Python's repr(): the fewest digits that read back as the same double, plain
 * from 1e-4 up to 1e16 and always with a point there, else with an exponent.
 */
static void
query_add_float(struct query *q, const char *key, double value)
{
	char text[40];
	int digits, exponent;

	for (digits = 1; digits < 17; digits++) {
		snprintf(text, sizeof(text), "%.*e", digits - 1, value);
		if (strtod(text, NULL) == value)
			break;
	}
	snprintf(text, sizeof(text), "%.*e", digits - 1, value);
	exponent = atoi(strchr(text, 'e') + 1);
	if (exponent < -4 || exponent >= 16)
		query_add(q, key, "%s", text);
	else
		query_add(q, key, "%.*f",
		    digits - 1 > exponent ? digits - 1 - exponent : 1, value);
}

static void
query_add_tensor(struct query *q, const struct latentd_tensor *t)
{
	uint32_t i;

	for (i = 0; i < t->ndim && i < LATENTD_MAX_NDIM; i++)
		query_add(q, "shape", "%" PRIu64, t->shape[i]);
	if (t->ndim > 0)
		query_add(q, "dtype", "%s", dtype_name(t->dtype));
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
	query_add(&q, "image_format", "%s", req->png ? "png" : "jpg");
	query_add(&q, "output_type", "%s", outputs[req->output]);
	query_add(&q, "partial_postprocess", "%s",
	    req->partial_postprocess ? "True" : "False");
	query_add_tensor(&q, &req->tensor);
	query_add_scaling(&q, req);
	if (req->height_px != 0 && req->width_px != 0) {
		query_add(&q, "height", "%" PRIu32, req->height_px);
		query_add(&q, "width", "%" PRIu32, req->width_px);
	}
	return query;
}
