/* SPDX-License-Identifier: Apache-2.0 */
/* What the halves of the endpoint's contract share about JSON bodies. */
#ifndef PROTO_REMOTE_JSON_H
#define PROTO_REMOTE_JSON_H

#include <stddef.h>

#include <jansson.h>

#include "reason.h"

/*
 * remote_json_load(body, bytes, root, why):
 * Parse a JSON object from outside, its depth and the memory that it takes
 * bounded by a few times ${bytes}.  ${*root} is the caller's.  INVALID.
 */
enum latentd_err remote_json_load(
    const void *body, size_t bytes, json_t **root, struct reason *why);

/*
 * remote_json_inputs(root, data, data_bytes, why):
 * Decode ${root}'s "inputs"; ${*data} is malloc'd, the caller's and at least
 * one byte long.  INVALID, MEMORY; outputs untouched then.
 */
enum latentd_err remote_json_inputs(
    const json_t *root, void **data, size_t *data_bytes, struct reason *why);

#endif
