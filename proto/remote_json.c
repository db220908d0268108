/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON bodies of the endpoint's contract, in both directions.  Pure functions,
 * any thread.  jansson reads and writes JSON; base64 is done here, because none
 * of the libraries that proto links does it.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote.h"
#include "remote_json.h"
#include "tensor.h"

/* Values in one JSON body; a real one has about a dozen. */
#define JSON_VALUES_MAX 1000
/* All of a base64 reply but the text in "inputs". */
#define FRAME_BYTES (TENSOR_SHAPE_TEXT_BYTES + 80)

/*
 * A value costs jansson some hundred bytes and the body two: bound the number
 * of values, and with it depth and memory, before it is parsed.
 */
static bool
too_many_values(const char *text, size_t bytes)
{
	size_t i, values = 0;
	bool string = false;

	for (i = 0; i < bytes && values <= JSON_VALUES_MAX; i++) {
		if (string && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			string = !string;
		else if (!string)
			values +=
			    text[i] == ',' || text[i] == '[' || text[i] == '{';
	}
	return values > JSON_VALUES_MAX;
}

enum latentd_err
remote_json_load(
    const void *body, size_t bytes, json_t **root, struct reason *why)
{
	json_error_t error;
	json_t *found;

	if (too_many_values(body, bytes))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the JSON body has more than %d values", JSON_VALUES_MAX);
	found = json_loadb(body, bytes, JSON_REJECT_DUPLICATES, &error);
	if (found == NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the body is not JSON: %s at byte %d", error.text,
		    error.position);
	if (!json_is_object(found)) {
		json_decref(found);
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the JSON body is not an object with \"inputs\"");
	}
	*root = found;
	return LATENTD_OK;
}

/* ---- base64, RFC 4648 §4, canonical form only ---- */

/* The value of a base64 character, or 64. */
static uint32_t
base64_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return (uint32_t)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (uint32_t)(c - 'a') + 26;
	if (c >= '0' && c <= '9')
		return (uint32_t)(c - '0') + 52;
	return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/*
 * Decode ${n} of ${text}, a multiple of 4 with padding cut to ${n}, into
 * ${out}.  Return how many characters were good; ${n} is success.
 */
static size_t
base64_decode(uint8_t *out, const char *text, size_t n)
{
	uint32_t value, bits = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		value = base64_value((unsigned char)text[i]);
		if (value == 64)
			return i;
		bits = bits << 6 | value;
		if (i % 4 == 1)
			*out++ = (uint8_t)(bits >> 4);
		else if (i % 4 == 2)
			*out++ = (uint8_t)(bits >> 2);
		else if (i % 4 == 3)
			*out++ = (uint8_t)bits;
	}
	/* Bits that no byte uses must be zero, or two texts mean the same. */
	if ((n % 4 == 2 && (bits & 0xf) != 0) ||
	    (n % 4 == 3 && (bits & 0x3) != 0))
		return n - 1;
	return n;
}

static char *
base64_encode(char *out, const uint8_t *data, size_t bytes)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "abcdefghijklmnopqrstuvwxyz"
				       "0123456789+/=";
	uint32_t bits;
	size_t i, left;

	for (i = 0; i < bytes; i += 3) {
		left = bytes - i;
		bits = (uint32_t)data[i] << 16;
		if (left > 1)
			bits |= (uint32_t)data[i + 1] << 8;
		if (left > 2)
			bits |= data[i + 2];
		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = alphabet[left > 1 ? bits >> 6 & 63 : 64];
		*out++ = alphabet[left > 2 ? bits & 63 : 64];
	}
	return out;
}

enum latentd_err
remote_json_inputs(
    const json_t *root, void **data, size_t *data_bytes, struct reason *why)
{
	const json_t *inputs = json_object_get(root, "inputs");
	const char *text = json_string_value(inputs);
	size_t length = json_string_length(inputs), n = length, good;
	uint8_t *out;

	if (text == NULL || length == 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the JSON body has no \"inputs\", must be a base64 string");
	if (length % 4 != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "inputs has %zu characters, base64 with its padding has a "
		    "multiple of 4",
		    length);
	n -= text[n - 1] == '=';
	n -= n < length && text[n - 1] == '=';
	*data_bytes = length / 4 * 3 - (length - n);
	out = malloc(*data_bytes);
	if (out == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "no memory for %zu bytes of inputs", *data_bytes);
	good = base64_decode(out, text, n);
	if (good != n) {
		free(out);
		return reason_set(why, LATENTD_ERR_INVALID,
		    "inputs is not base64 at character %zu", good);
	}
	*data = out;
	return LATENTD_OK;
}

/* ---- replies ---- */

char *
remote_error_format(const struct reason *why, size_t *bytes)
{
	json_t *root = json_pack("{s:s}", "error", why->text);
	char *text;

	/* Only text that reason_set() has not seen can fail to be UTF-8. */
	if (root == NULL)
		root = json_pack("{s:s}", "error", latentd_err_text(why->err));
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	if (text != NULL)
		*bytes = strlen(text);
	return text;
}

/* By hand: jansson would hold a payload of base64 three times. */
char *
remote_base64_format(const struct latentd_tensor *t, const void *data,
    size_t data_bytes, size_t *bytes)
{
	char shape[TENSOR_SHAPE_TEXT_BYTES];
	size_t room = data_bytes / 3 * 4 + 4 + FRAME_BYTES;
	char *text, *at;

	text = malloc(room);
	if (text == NULL)
		return NULL;
	at = stpcpy(text, "{\"inputs\": \"");
	at = base64_encode(at, data, data_bytes);
	at += snprintf(at, room - (size_t)(at - text),
	    "\", \"parameters\": {\"shape\": %s, \"dtype\": \"%s\"}}",
	    tensor_shape_format(t, shape), dtype_name(t->dtype));
	*bytes = (size_t)(at - text);
	return text;
}

/* Shape and dtype of a reply; the same rules as for its headers. */
static enum latentd_err
tensor_from_json(
    const json_t *root, struct latentd_tensor *t, struct reason *why)
{
	const json_t *object = json_object_get(root, "parameters");
	const char *dtype = json_string_value(json_object_get(object, "dtype"));
	const json_t *list = json_object_get(object, "shape");
	enum latentd_err err;
	char *shape;

	if (dtype == NULL || !json_is_array(list))
		return reason_set(why, LATENTD_ERR_ENDPOINT,
		    "\"parameters\" has no shape and dtype");
	shape = json_dumps(list, JSON_COMPACT);
	if (shape == NULL)
		return reason_set(
		    why, LATENTD_ERR_MEMORY, "no memory for a shape");
	t->dtype = dtype_find(dtype, strlen(dtype));
	err = tensor_shape_parse(shape, strlen(shape), t, why);
	free(shape);
	return err;
}

enum latentd_err
remote_base64_parse(const void *body, size_t bytes,
    struct latentd_tensor *tensor, void **data, size_t *data_bytes,
    struct reason *why)
{
	struct latentd_tensor t = {0};
	struct reason inner = {0};
	void *decoded = NULL;
	size_t decoded_bytes = 0;
	uint64_t need = 0;
	json_t *root = NULL;

	if (remote_json_load(body, bytes, &root, &inner) != LATENTD_OK ||
	    tensor_from_json(root, &t, &inner) != LATENTD_OK ||
	    tensor_bytes(&t, &need, &inner) != LATENTD_OK ||
	    remote_json_inputs(root, &decoded, &decoded_bytes, &inner) !=
		LATENTD_OK)
		goto refuse;
	if (need != decoded_bytes) {
		reason_set(&inner, LATENTD_ERR_ENDPOINT,
		    "%zu bytes came for a tensor of %" PRIu64, decoded_bytes,
		    need);
		goto free_decoded;
	}
	json_decref(root);
	*tensor = t;
	*data = decoded;
	*data_bytes = decoded_bytes;
	return LATENTD_OK;
free_decoded:
	free(decoded);
refuse:
	json_decref(root);
	return reason_set(why, LATENTD_ERR_ENDPOINT,
	    "the endpoint's base64 reply is wrong: %s", inner.text);
}
