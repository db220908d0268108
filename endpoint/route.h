/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_ROUTE_H
#define ENDPOINT_ROUTE_H

#include "model.h"

/* route_find(path, task): the model that /MODEL decodes for or /encode/MODEL
 * encodes for, and which of the two; NULL if the path is no such. */
const struct model *route_find(const char *path, enum latentd_task *task);

/* route_label(path): ${path} where it is one of the endpoint's, else "other":
 * one of a bounded number of names. */
const char *route_label(const char *path);

#endif
