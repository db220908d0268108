/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of both sides of the endpoint's contract share. */
#ifndef UNIT_REMOTE_FIXTURE_H
#define UNIT_REMOTE_FIXTURE_H

#include <jansson.h>

#include "remote.h"

/* fixture_lines(name): all objects of tests/vectors/${name}, in an array. */
json_t *fixture_lines(const char *name);

/*
 * fixture_target(req, target, why): read a recorded target, "/sdxl?shape=1...",
 * as a server does.  Return the first refusal.
 */
enum latentd_err fixture_target(
    struct remote_request *req, const char *target, struct reason *why);

/* The string at ${key}, or NULL. */
const char *fixture_string(const json_t *object, const char *key);

/* fixture_hex(hex, bytes): malloc'd bytes of a hexadecimal string. */
void *fixture_hex(const char *hex, size_t *bytes);

/* fixture_request(model, dtype, ndim, a, b, c, d, e): a decode with a shape. */
struct remote_request fixture_request(const char *model,
    enum latentd_dtype dtype, uint32_t ndim, uint64_t a, uint64_t b, uint64_t c,
    uint64_t d, uint64_t e);

/*
 * fixture_json(n, rest): {"inputs": "<base64 of n zero bytes>"<rest>}, spaced
 * as Python does it, malloc'd.
 */
char *fixture_json(size_t n, const char *rest);

/*
 * fixture_give(target, type, body, bytes, req, payload_bytes, why): read the
 * request for ${target} with that Content-Type and body as a server does.
 */
enum latentd_err fixture_give(const char *target, const char *type,
    const char *body, size_t bytes, struct remote_request *req,
    size_t *payload_bytes, struct reason *why);

#endif
