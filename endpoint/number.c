/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as the command line and the control path write them. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

enum latentd_err
number_read(const char *name, const char *value, uint64_t min, uint64_t max,
    uint64_t *number, struct reason *why)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (errno != 0 || !isdigit((unsigned char)value[0]) || *end != '\0' ||
	    n < min || n > max)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.64s\", must be a number from %" PRIu64
		    " to %" PRIu64,
		    name, value, min, max);
	*number = n;
	return LATENTD_OK;
}

enum latentd_err
number_read_real(const char *name, const char *value, double min, double max,
    double *number, struct reason *why)
{
	const size_t plain = strspn(value, "0123456789.");
	char *end;
	double n;

	n = strtod(value, &end);
	if (end == value || *end != '\0' || value[plain] != '\0' || n < min ||
	    n > max)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.64s\", must be a number from %g to %g", name,
		    value, min, max);
	*number = n;
	return LATENTD_OK;
}
