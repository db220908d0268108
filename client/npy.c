/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header is a Python dictionary of three known keys; only that is read,
 * nothing of Python.
 */
#include "npy.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tensor.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6u
#define HEADER_MAX 65536u

struct cursor {
	const char *at;
	const char *end;
};

struct header {
	char descr[16];
	bool has_descr;
	bool has_order;
	bool has_shape;
};

static void
skip_blanks(struct cursor *c)
{
	while (c->at < c->end && isspace((unsigned char)*c->at))
		c->at++;
}

static bool
accept(struct cursor *c, char wanted)
{
	skip_blanks(c);
	if (c->at == c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

static bool
accept_word(struct cursor *c, const char *word)
{
	size_t n = strlen(word);

	skip_blanks(c);
	if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
		return false;
	c->at += n;
	return true;
}

/* A quoted string without escapes, as NumPy writes them. */
static bool
read_string(struct cursor *c, char *s, size_t room)
{
	char quote = '\'';
	size_t n = 0;

	if (!accept(c, quote)) {
		quote = '"';
		if (!accept(c, quote))
			return false;
	}
	for (; c->at < c->end && *c->at != quote; c->at++) {
		if (n + 1 == room || *c->at == '\\')
			return false;
		s[n++] = *c->at;
	}
	s[n] = '\0';
	return accept(c, quote);
}

static bool
read_number(struct cursor *c, uint64_t *number)
{
	size_t digits = 0;

	*number = 0;
	skip_blanks(c);
	while (
	    c->at < c->end && isdigit((unsigned char)*c->at) && digits++ < 18)
		*number = 10 * *number + (uint64_t)(*c->at++ - '0');
	return digits > 0 && digits <= 18;
}

static bool
read_shape(struct cursor *c, struct latentd_tensor *t)
{
	uint64_t dim;

	t->ndim = 0;
	if (!accept(c, '('))
		return false;
	while (!accept(c, ')')) {
		if (t->ndim == LATENTD_MAX_NDIM || !read_number(c, &dim))
			return false;
		t->shape[t->ndim++] = dim;
		if (accept(c, ','))
			continue;
		/* (3) is a number in parentheses, not a tuple. */
		return t->ndim > 1 && accept(c, ')');
	}
	return true;
}

static enum latentd_err
bad_header(const char *what, struct reason *why)
{
	return reason_set(why, LATENTD_ERR_INVALID, "npy: %s", what);
}

static enum latentd_err
read_entry(
    struct cursor *c, struct header *h, struct npy *npy, struct reason *why)
{
	char key[16];

	if (!read_string(c, key, sizeof(key)) || !accept(c, ':'))
		return bad_header("the header is not a dictionary", why);
	if (strcmp(key, "descr") == 0 && !h->has_descr) {
		h->has_descr = true;
		if (accept(c, '['))
			return reason_set(why, LATENTD_ERR_UNSUPPORTED,
			    "npy: a structured array; one of numbers is "
			    "needed");
		if (!read_string(c, h->descr, sizeof(h->descr)))
			return bad_header("descr is not a type", why);
	} else if (strcmp(key, "fortran_order") == 0 && !h->has_order) {
		h->has_order = true;
		npy->fortran = accept_word(c, "True");
		if (!npy->fortran && !accept_word(c, "False"))
			return bad_header(
			    "fortran_order is neither True nor False", why);
	} else if (strcmp(key, "shape") == 0 && !h->has_shape) {
		h->has_shape = true;
		if (!read_shape(c, &npy->tensor))
			return bad_header(
			    "shape is not a tuple of at most 6 counts", why);
	} else {
		return reason_set(why, LATENTD_ERR_INVALID,
		    "npy: the header has the key \"%s\" where descr, "
		    "fortran_order and shape belong, once each",
		    key);
	}
	return LATENTD_OK;
}

static enum latentd_err
read_header(
    struct cursor *c, struct header *h, struct npy *npy, struct reason *why)
{
	if (!accept(c, '{'))
		return bad_header("the header is not a dictionary", why);
	while (!accept(c, '}')) {
		if (read_entry(c, h, npy, why) != LATENTD_OK)
			return why->err;
		if (accept(c, ','))
			continue;
		if (!accept(c, '}'))
			return bad_header(
			    "the header's dictionary does not end", why);
		break;
	}
	skip_blanks(c);
	if (c->at != c->end)
		return bad_header(
		    "something follows the header's dictionary", why);
	if (!h->has_descr || !h->has_order || !h->has_shape)
		return bad_header("the header lacks descr, fortran_order or "
				  "shape",
		    why);
	return LATENTD_OK;
}

static enum latentd_err
set_type(const char *descr, struct npy *npy, struct reason *why)
{
	static const struct {
		const char *descr;
		enum latentd_dtype dtype;
		size_t bytes;
	} types[] = {
	    {"<f2", LATENTD_F16, 2},
	    {"<f4", LATENTD_F32, 4},
	    {"<f8", LATENTD_DTYPE_NONE, 8},
	    {"|u1", LATENTD_U8, 1},
	    {"<u1", LATENTD_U8, 1},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(descr, types[i].descr) == 0) {
			npy->tensor.dtype = types[i].dtype;
			npy->element_bytes = types[i].bytes;
			return LATENTD_OK;
		}
	}
	return reason_set(why, LATENTD_ERR_UNSUPPORTED,
	    "npy: type '%s'; '<f2', '<f4', '<f8' or '|u1' are read, so save it "
	    "with .astype(\"<f4\")",
	    descr);
}

static enum latentd_err
check_size(const struct npy *npy, struct reason *why)
{
	struct latentd_tensor t = npy->tensor;
	uint64_t bytes;

	if (t.ndim == 0)
		return reason_set(
		    why, LATENTD_ERR_SHAPE, "npy: the array has no dimensions");
	/* Bound everything by the bytes of uint8, then count in elements. */
	t.dtype = LATENTD_U8;
	if (tensor_bytes(&t, &bytes, why) != LATENTD_OK)
		return why->err;
	if (bytes * npy->element_bytes != npy->bytes)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "npy: %ju elements of %zu bytes are announced, but %zu "
		    "bytes follow",
		    (uintmax_t)bytes, npy->element_bytes, npy->bytes);
	return LATENTD_OK;
}

bool
npy_sniff(const uint8_t *data, size_t bytes)
{
	return bytes >= MAGIC_BYTES && memcmp(data, MAGIC, MAGIC_BYTES) == 0;
}

enum latentd_err
npy_open(const uint8_t *data, size_t bytes, struct npy *npy, struct reason *why)
{
	struct header h = {0};
	struct cursor c;
	size_t start, n;

	memset(npy, 0, sizeof(*npy));
	if (!npy_sniff(data, bytes) || bytes < MAGIC_BYTES + 6)
		return bad_header("the file is cut off in its header", why);
	if (data[6] < 1 || data[6] > 3)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "npy: version %u; 1, 2 and 3 are known", data[6]);
	start = data[6] == 1 ? 10 : 12;
	n = data[8] | (size_t)data[9] << 8;
	if (data[6] > 1)
		n |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
	if (n > HEADER_MAX)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "npy: a header of %zu bytes; at most %u are allowed", n,
		    HEADER_MAX);
	if (n > bytes - start)
		return bad_header("the file is cut off in its header", why);
	c = (struct cursor){
	    (const char *)data + start, (const char *)data + start + n};
	npy->data = data + start + n;
	npy->bytes = bytes - start - n;
	if (read_header(&c, &h, npy, why) != LATENTD_OK ||
	    set_type(h.descr, npy, why) != LATENTD_OK ||
	    check_size(npy, why) != LATENTD_OK)
		return why->err;
	return LATENTD_OK;
}

size_t
npy_head(const struct latentd_tensor *tensor, char head[NPY_HEAD_BYTES])
{
	const char *descr = tensor->dtype == LATENTD_F16 ? "<f2"
	    : tensor->dtype == LATENTD_F32               ? "<f4"
							 : "|u1";
	size_t n = 10, total;

	n += (size_t)snprintf(head + n, NPY_HEAD_BYTES - n,
	    "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
	for (uint32_t i = 0; i < tensor->ndim; i++)
		n += (size_t)snprintf(head + n, NPY_HEAD_BYTES - n,
		    "%" PRIu64 ", ", tensor->shape[i]);
	n += (size_t)snprintf(head + n, NPY_HEAD_BYTES - n, "), }");
	/* NumPy pads so that the data is aligned to 64 bytes. */
	total = (n + 1 + 63) / 64 * 64;
	memset(head + n, ' ', total - n);
	head[total - 1] = '\n';
	memcpy(head, MAGIC, MAGIC_BYTES);
	head[6] = 1;
	head[7] = 0;
	head[8] = (char)(uint8_t)((total - 10) & 0xff);
	head[9] = (char)(uint8_t)((total - 10) >> 8);
	return total;
}
