/* SPDX-License-Identifier: Apache-2.0 */
#include "config_value.h"

#include <limits.h>
#include <string.h>

/* LMDB's least map, and more than any disk of a render box. */
#define SIZE_LEAST_BYTES (UINT64_C(64) << 20)
#define SIZE_MOST_BYTES (UINT64_C(1) << 44)

CONFIG_VALUE(spool_path)
{
	size_t n = strlen(value);

	(void)ep;
	/* The files in it need room for their names. */
	if (value[0] != '/' || n > PATH_MAX - 64)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "path is \"%.200s\", but must be an absolute path of a "
		    "directory, of at most %d bytes",
		    value, PATH_MAX - 64);
	/* Without slashes at the end, so that what is above it can be told. */
	while (n > 1 && value[n - 1] == '/')
		n--;
	snprintf(config->spool_path, sizeof(config->spool_path), "%.*s", (int)n,
	    value);
	return LATENTD_OK;
}

CONFIG_VALUE(spool_size)
{
	(void)ep;
	return config_read_number("size", value, SIZE_LEAST_BYTES,
	    SIZE_MOST_BYTES, true, &config->spool_bytes, why);
}

CONFIG_VALUE(spool_durability)
{
	(void)ep;
	config->spool_has_durability = true;
	config->spool_durable = strcmp(value, "spooled") == 0;
	if (!config->spool_durable && strcmp(value, "none") != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "durability is \"%.200s\", but must be none or spooled",
		    value);
	return LATENTD_OK;
}

enum latentd_err
config_value_spool(const struct config *config, struct reason *why)
{
	if (config->spool_path[0] != '\0' ||
	    (config->spool_bytes == 0 && !config->spool_has_durability))
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "[spool] has no \"path\": the directory of the spool, such as "
	    "/var/lib/latentd/spool");
}
