/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "image_fixture.h"
#include "remote_fixture.h"

json_t *
fixture_lines(const char *name)
{
	json_t *all = json_array(), *line;
	char path[512], *text = NULL;
	size_t room = 0;
	ssize_t n;
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", TEST_VECTORS, name);
	in = fopen(path, "r");
	cr_assert_not_null(in, "%s", path);
	while ((n = getline(&text, &room, in)) > 0) {
		line =
		    json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
		cr_assert_not_null(line, "%s", text);
		json_array_append_new(all, line);
	}
	free(text);
	fclose(in);
	return all;
}

static enum latentd_err
apply_query(struct remote_request *req, char *query, struct reason *why)
{
	enum latentd_err err = LATENTD_OK;
	char *save = NULL, *pair, *value;

	for (pair = strtok_r(query, "&", &save);
	     pair != NULL && err == LATENTD_OK;
	     pair = strtok_r(NULL, "&", &save)) {
		value = strchr(pair, '=');
		if (value != NULL)
			*value++ = '\0';
		err = remote_request_param(req, pair, value, why);
	}
	return err;
}

enum latentd_err
fixture_target(
    struct remote_request *req, const char *target, struct reason *why)
{
	enum latentd_task task = LATENTD_DECODE;
	const struct model *model;
	const char *path = target + 1;
	enum latentd_err err;
	char *query;

	if (strncmp(path, "encode/", 7) == 0) {
		task = LATENTD_ENCODE;
		path += 7;
	}
	model = model_find(path, strcspn(path, "?"));
	cr_assert_not_null(model, "%s", target);
	remote_request_init(req, task, model);
	path += strcspn(path, "?");
	query = strdup(*path == '?' ? path + 1 : "");
	cr_assert_not_null(query);
	err = apply_query(req, query, why);
	free(query);
	return err;
}

const char *
fixture_string(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

void *
fixture_hex(const char *hex, size_t *bytes)
{
	size_t n = strlen(hex) / 2, i;
	uint8_t *out = malloc(n + 1);
	unsigned value;

	cr_assert_not_null(out);
	for (i = 0; i < n; i++) {
		cr_assert_eq(sscanf(hex + 2 * i, "%2x", &value), 1);
		out[i] = (uint8_t)value;
	}
	*bytes = n;
	return out;
}

struct remote_request
fixture_request(const char *model, enum latentd_dtype dtype, uint32_t ndim,
    uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	struct remote_request req;

	remote_request_init(
	    &req, LATENTD_DECODE, model_find(model, strlen(model)));
	cr_assert_not_null(req.model);
	req.tensor = (struct latentd_tensor){dtype, ndim, {a, b, c, d, e}};
	return req;
}

char *
fixture_json(size_t n, const char *rest)
{
	size_t length = (n + 2) / 3 * 4, pad = (3 - n % 3) % 3;
	char *base64 = malloc(length + 1), *text = NULL;

	cr_assert_not_null(base64);
	memset(base64, 'A', length - pad);
	memset(base64 + length - pad, '=', pad);
	base64[length] = '\0';
	cr_assert(asprintf(&text, "{\"inputs\": \"%s\"%s}", base64, rest) > 0);
	free(base64);
	return text;
}

enum latentd_err
fixture_give(const char *target, const char *type, const char *body,
    size_t bytes, struct remote_request *req, size_t *payload_bytes,
    struct reason *why)
{
	const void *payload = NULL;
	struct file copy = fixture_copy(body, bytes);
	void *owned = NULL;
	enum latentd_err err;

	cr_assert_eq(
	    fixture_target(req, target, why), LATENTD_OK, "%s", why->text);
	remote_request_headers(req, type, NULL);
	err = remote_request_body(
	    req, copy.at, copy.bytes, &payload, payload_bytes, &owned, why);
	if (err == LATENTD_OK)
		cr_assert_eq(payload, owned != NULL ? owned : copy.at);
	else
		cr_assert_null(owned);
	free(owned);
	free(copy.at);
	return err;
}
