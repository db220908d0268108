/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options, and what to say of wrong ones.  Pure but for that. */
#include "ctl_parse.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define SECONDS_MAX 31536000.0

bool
ctl_parse_choice(const char *option, const char *value,
    const char *const *names, size_t names_n, size_t *choice)
{
	char all[128] = "";
	size_t n = 0;

	for (*choice = 0; *choice < names_n; ++*choice) {
		if (strcmp(value, names[*choice]) == 0)
			return true;
	}
	for (size_t i = 0; i < names_n; i++)
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s",
		    i == 0                 ? ""
			: i + 1 == names_n ? " or "
					   : ", ",
		    names[i]);
	ctl_error("--%s is \"%s\"; it can be %s", option, value, all);
	return false;
}

bool
ctl_parse_pixels(const char *option, const char *value, uint32_t *px)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 ||
	    n == 0 || n > LATENTD_MAX_SIDE_PX) {
		ctl_error("--%s is \"%s\"; it must be 1 to %u pixels", option,
		    value, LATENTD_MAX_SIDE_PX);
		return false;
	}
	*px = (uint32_t)n;
	return true;
}

bool
ctl_parse_seconds(const char *option, const char *value, int64_t *ms)
{
	char *end;
	double s = strtod(value, &end);

	if (end == value || *end != '\0' || !isfinite(s) || s < 0 ||
	    s > SECONDS_MAX) {
		ctl_error("--%s is \"%s\"; it must be a number of seconds",
		    option, value);
		return false;
	}
	*ms = (int64_t)(s * 1000);
	return true;
}

bool
ctl_parse_deadline(const char *value, uint64_t *ms)
{
	int64_t given_ms;

	if (!ctl_parse_seconds("deadline", value, &given_ms))
		return false;
	if (given_ms < 1 || given_ms > (int64_t)LATENTD_MAX_DEADLINE_MS) {
		ctl_error("--deadline is \"%s\"; it must be 0.001 to %u "
			  "seconds",
		    value, LATENTD_MAX_DEADLINE_MS / 1000);
		return false;
	}
	*ms = (uint64_t)given_ms;
	return true;
}

/* 1 is the shortest that the library knows, and at once. */
bool
ctl_parse_busy_timeout(const char *value, uint32_t *ms)
{
	int64_t given_ms;

	if (!ctl_parse_seconds("busy-timeout", value, &given_ms))
		return false;
	if (given_ms > UINT32_MAX)
		given_ms = UINT32_MAX;
	*ms = given_ms == 0 ? 1 : (uint32_t)given_ms;
	return true;
}

bool
ctl_parse_priority(const char *value, enum latentd_priority *priority)
{
	static const char *const names[] = {"urgent", "high", "normal", "low"};
	static const enum latentd_priority priorities[] = {
	    LATENTD_URGENT, LATENTD_HIGH, LATENTD_NORMAL, LATENTD_LOW};
	size_t i;

	if (!ctl_parse_choice("priority", value, names, 4, &i))
		return false;
	*priority = priorities[i];
	return true;
}
