/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of [endpoint NAME]. */
#include <string.h>

#include "config_value.h"

CONFIG_VALUE(model)
{
	(void)config;
	ep->model = model_find(value, strlen(value));
	if (ep->model == NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "model is \"%s\", "
		    "but must be one of %s",
		    value, model_names());
	return LATENTD_OK;
}

CONFIG_VALUE(task)
{
	(void)config;
	ep->has_task = true;
	ep->task = LATENTD_DECODE;
	if (strcmp(value, "encode") == 0)
		ep->task = LATENTD_ENCODE;
	else if (strcmp(value, "decode") != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "task is \"%s\", "
		    "but must be decode or encode",
		    value);
	return LATENTD_OK;
}

CONFIG_VALUE(url)
{
	const size_t n = strlen(value);

	(void)config;
	if ((strncmp(value, "http://", 7) != 0 &&
		strncmp(value, "https://", 8) != 0) ||
	    n >= LATENTD_MAX_URL_BYTES || strpbrk(value, " \t\"<>") != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "url is \"%.200s\", but must begin with http:// or "
		    "https:// and have no blanks",
		    value);
	for (const char *c = value; *c != '\0'; c++) {
		if (*c < '!' || *c > '~')
			return reason_set(why, LATENTD_ERR_INVALID,
			    "url must be ASCII; write other letters as %%XX");
	}
	if (strpbrk(value, "?#@") != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "url must have no "
		    "query, fragment or credentials; a token goes into "
		    "token_file");
	memcpy(ep->url, value, n + 1);
	return LATENTD_OK;
}

CONFIG_VALUE(parallel)
{
	(void)config;
	if (strcmp(value, "auto") == 0) {
		ep->parallel = 0;
		return LATENTD_OK;
	}
	if (config_read_unsigned(
		"parallel", value, 1, 1024, &ep->parallel, why) == LATENTD_OK)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "parallel is \"%s\", but must be auto or a whole number from 1 to "
	    "1024",
	    value);
}

CONFIG_VALUE(weight)
{
	(void)config;
	return config_read_unsigned("weight", value, 1, 1000, &ep->weight, why);
}

CONFIG_VALUE(backup)
{
	(void)config;
	return config_read_yes("backup", value, &ep->backup, why);
}

CONFIG_VALUE(health)
{
	size_t n = strlen(value);

	(void)config;
	if (value[0] != '/' || n >= sizeof(ep->health) ||
	    strspn(value,
		"/abcdefghijklmnopqrstuvwxyz"
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~%-") != n)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "health is \"%.200s\", but must be a path on the "
		    "endpoint's host, such as /health",
		    value);
	memcpy(ep->health, value, n + 1);
	return LATENTD_OK;
}

CONFIG_VALUE(connect_s)
{
	(void)config;
	return config_read_unsigned(
	    "connect_s", value, 1, 300, &ep->times.connect_s, why);
}

CONFIG_VALUE(stall_s)
{
	(void)config;
	return config_read_unsigned(
	    "stall_s", value, 1, 3600, &ep->times.stall_s, why);
}

CONFIG_VALUE(think_s)
{
	(void)config;
	return config_read_unsigned(
	    "think_s", value, 1, 86400, &ep->times.think_s, why);
}

CONFIG_VALUE(total_s)
{
	(void)config;
	return config_read_unsigned(
	    "total_s", value, 1, 86400, &ep->times.total_s, why);
}

CONFIG_VALUE(scale_up_s)
{
	(void)config;
	return config_read_unsigned(
	    "scale_up_s", value, 0, 3600, &ep->times.scale_up_s, why);
}

CONFIG_VALUE(token_file)
{
	(void)config;
	return config_read_token(
	    "token_file", value, ep->token_file, &ep->token, why);
}
