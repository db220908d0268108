/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl_json.h"

#include <stdio.h>

#include "ctl.h"

json_t *
ctl_json_load(const char *text)
{
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(root))
		return root;
	ctl_error("the daemon's answer is not a JSON object");
	json_decref(root);
	return NULL;
}

intmax_t
ctl_json_number(const json_t *object, const char *key)
{
	return (intmax_t)json_integer_value(json_object_get(object, key));
}

const char *
ctl_json_string(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s != NULL ? s : "";
}

void
ctl_json_print(const char *s)
{
	for (; *s != '\0'; s++)
		putchar((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

char *
ctl_json_duration(char text[CTL_JSON_DURATION_BYTES], intmax_t ms)
{
	intmax_t s = ms / 1000;

	if (s >= 86400)
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jd d %jd h",
		    s / 86400, s % 86400 / 3600);
	else if (s >= 3600)
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jd h %jd min",
		    s / 3600, s % 3600 / 60);
	else if (s >= 60)
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jd min %jd s", s / 60,
		    s % 60);
	else if (s >= 1)
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jd.%jd s", s,
		    ms % 1000 / 100);
	else
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jd ms", ms);
	return text;
}

char *
ctl_json_short(char text[CTL_JSON_DURATION_BYTES], intmax_t ms)
{
	intmax_t s = ms / 1000;

	if (s >= 86400)
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jdd%02jdh", s / 86400,
		    s % 86400 / 3600);
	else if (s >= 3600)
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jdh%02jdm", s / 3600,
		    s % 3600 / 60);
	else if (s >= 60)
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jdm%02jds", s / 60,
		    s % 60);
	else if (s >= 1)
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jd.%jds", s,
		    ms % 1000 / 100);
	else
		snprintf(text, CTL_JSON_DURATION_BYTES, "%jdms", ms);
	return text;
}
