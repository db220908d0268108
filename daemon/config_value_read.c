/* SPDX-License-Identifier: Apache-2.0 */
/* What values of several keys have in common. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_value.h"

/* A number in ${least}..${most}; with ${units} also as 2G, 512 MiB. */
enum latentd_err
config_read_number(const char *key, const char *value, uint64_t least,
    uint64_t most, bool units, uint64_t *out, struct reason *why)
{
	static const char *const suffix[] = {"K", "M", "G", "T"};
	char *end;
	unsigned long long n;
	unsigned shift = 0;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || errno != 0)
		goto wrong;
	while (*end == ' ')
		end++;
	for (unsigned i = 0; units && *end != '\0' && i < 4; i++) {
		if (toupper((unsigned char)*end) != suffix[i][0])
			continue;
		shift = 10 * (i + 1);
		end++;
		if (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0)
			end += strlen(end);
		break;
	}
	if (*end != '\0' || n > most >> shift || n << shift < least)
		goto wrong;
	*out = n << shift;
	return LATENTD_OK;
wrong:
	return reason_set(why, LATENTD_ERR_INVALID,
	    "%s is \"%s\", but must be a whole number from %llu to %llu%s", key,
	    value, (unsigned long long)least, (unsigned long long)most,
	    units ? ", or with K, M, G, T behind it" : "");
}

enum latentd_err
config_read_unsigned(const char *key, const char *value, uint64_t least,
    uint64_t most, unsigned *out, struct reason *why)
{
	uint64_t n = 0;
	enum latentd_err err;

	err = config_read_number(key, value, least, most, false, &n, why);
	*out = (unsigned)n;
	return err;
}

enum latentd_err
config_read_yes(
    const char *key, const char *value, bool *out, struct reason *why)
{
	*out = strcmp(value, "yes") == 0;
	if (*out || strcmp(value, "no") == 0)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "%s is \"%s\", but must be yes or no", key, value);
}
