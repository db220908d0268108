/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentences that may be shown as they are.  No state: any thread.  The text is
 * formatted into a buffer of its own first, so that an argument may point into
 * the reason that is being replaced.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "reason.h"

/* A control character of two bytes becomes one; and room to look ahead. */
#define RAW_BYTES (2 * LATENTD_MAX_TEXT_BYTES + 4)

/*
 * Length of the UTF-8 character at ${s} (RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF), or 0.  A string's NUL ends every
 * comparison early, so nothing behind it is read.
 */
static size_t
utf8_bytes(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* Terminals act on C0, DEL and, in UTF-8, on C1 (U+0080..U+009F). */
static int
is_control(const unsigned char *s)
{
	return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

static void
copy_printable(char text[LATENTD_MAX_TEXT_BYTES], const char *raw)
{
	const unsigned char *s = (const unsigned char *)raw;
	size_t used = 0, n;

	while (*s != '\0' && used < LATENTD_MAX_TEXT_BYTES - 1) {
		n = utf8_bytes(s);
		if (n == 0 || is_control(s)) {
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
