/* SPDX-License-Identifier: Apache-2.0 */
/* Which paths there are. */
#include <string.h>

#include "factors.h"
#include "route.h"

const struct model *
route_find(const char *path, enum latentd_task *task)
{
	static const char encode[] = "/encode/";
	const struct model *model;

	*task = LATENTD_DECODE;
	if (strncmp(path, encode, sizeof(encode) - 1) == 0) {
		*task = LATENTD_ENCODE;
		path += sizeof(encode) - 2;
	}
	if (path[0] != '/')
		return NULL;
	model = model_find(path + 1, strlen(path + 1));
	if (model == NULL || factors_find(model->name) == NULL)
		return NULL;
	return model;
}

const char *
route_label(const char *path)
{
	static const char *const others[] = {
	    "/", "/health", "/metrics", "/control"};
	enum latentd_task task;
	size_t i;

	if (route_find(path, &task) != NULL)
		return path;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (strcmp(others[i], path) == 0)
			return path;
	}
	return "other";
}
