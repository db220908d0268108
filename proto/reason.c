/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentences that may be shown as they are.  No state: any thread.  The text is
 * formatted into a buffer of its own first, so that an argument may point into
 * the reason that is being replaced.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "reason.h"
#include "utf8.h"

/* A control character of two bytes becomes one; and room to look ahead. */
#define RAW_BYTES (2 * LATENTD_MAX_TEXT_BYTES + 4)

static void
copy_printable(char text[LATENTD_MAX_TEXT_BYTES], const char *raw)
{
	const char *s = raw;
	size_t used = 0, n;

	while (*s != '\0' && used < LATENTD_MAX_TEXT_BYTES - 1) {
		n = utf8_bytes(s);
		if (n == 0 || utf8_is_control(s)) {
			text[used++] = '?';
			s += n == 0 ? 1 : n;
			continue;
		}
		if (used + n > LATENTD_MAX_TEXT_BYTES - 1)
			break;
		memcpy(text + used, s, n);
		used += n;
		s += n;
	}
	text[used] = '\0';
}

/* reason.h models it for the analyzer. */
#undef reason_set
enum latentd_err
reason_set(struct reason *why, enum latentd_err err, const char *fmt, ...)
{
	char raw[RAW_BYTES];
	va_list args;
	int n;

	if (why == NULL)
		return err;
	va_start(args, fmt);
	n = vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	if (n < 0)
		raw[0] = '\0';
	copy_printable(why->text, raw);
	why->err = err;
	return err;
}
