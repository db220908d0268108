/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two forms of a line.  Strings stop short of the end of the buffer by
 * what closing them takes, so that nothing else needs a check.
 */
#include "base/log_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "utf8.h"

/* A field's name, a number or quotes, and the end of the object. */
#define CLOSING_BYTES 128u

static void
put(struct log_line *line, const char *text, size_t n)
{
	if (n > LOG_LINE_BYTES - line->n)
		n = LOG_LINE_BYTES - line->n;
	memcpy(line->at + line->n, text, n);
	line->n += n;
}

static void
put_text(struct log_line *line, const char *text)
{
	put(line, text, strlen(text));
}

static size_t
put_escaped(struct log_line *line, const char *s)
{
	size_t n = utf8_bytes(s);
	char out[8];

	if (n == 0 && line->json) {
		/* JSON has no bytes: what stands for one that is unknown. */
		put_text(line, "\\ufffd");
		return 1;
	}
	if (line->json) {
		snprintf(out, sizeof(out), "\\u%04x",
		    n == 1 ? (unsigned char)s[0] : (unsigned char)s[1]);
		put_text(line, out);
		return n;
	}
	for (size_t i = 0; i < (n > 0 ? n : 1); i++) {
		snprintf(out, sizeof(out), "\\x%02x", (unsigned char)s[i]);
		put_text(line, out);
	}
	return n > 0 ? n : 1;
}

/* ${quoted}: within double quotes. */
static void
put_string(struct log_line *line, const char *s, bool quoted)
{
	while (*s != '\0' && line->n < LOG_LINE_BYTES - CLOSING_BYTES) {
		size_t n = utf8_bytes(s);

		if (n == 0 || utf8_is_control(s)) {
			s += put_escaped(line, s);
			continue;
		}
		if (quoted && (*s == '"' || *s == '\\'))
			put(line, "\\", 1);
		put(line, s, n);
		s += n;
	}
}

static void
put_time(struct log_line *line)
{
	struct timespec now;
	struct tm utc;
	char day[32], stamp[48];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(stamp, sizeof(stamp), "%s.%03ldZ", day, now.tv_nsec / 1000000);
	put_text(line, stamp);
}

void
log_line_begin(struct log_line *line, enum log_level level, const char *program)
{
	char head[16];

	line->n = 0;
	line->begun = false;
	if (line->journald) {
		snprintf(head, sizeof(head), "<%d>", (int)level);
		put_text(line, head);
	}
	if (line->json) {
		put_text(line, "{");
		if (!line->journald) {
			put_text(line, "\"time\":\"");
			put_time(line);
			put_text(line, "\",");
		}
		put_text(line, "\"level\":\"");
		put_text(line, log_level_name(level));
		put_text(line, "\"");
		line->begun = true;
		return;
	}
	if (line->journald)
		return;
	put_time(line);
	put_text(line, " ");
	put_text(line, program);
	put_text(line, ": ");
	if (level != LOG_LEVEL_INFO) {
		put_text(line,
		    level == LOG_LEVEL_WARN ? "warning"
					    : log_level_name(level));
		put_text(line, ": ");
	}
}

static bool
needs_quotes(const char *s)
{
	return *s == '\0' || strpbrk(s, " \"=\\") != NULL;
}

void
log_line_field(struct log_line *line, const struct log_field *field)
{
	bool quotes = line->json ||
	    (field->string != NULL && needs_quotes(field->string));
	char number[24];

	if (line->begun)
		put_text(line, line->json ? "," : " ");
	line->begun = true;
	put_text(line, line->json ? "\"" : "");
	put_text(line, field->name);
	put_text(line, line->json ? "\":" : "=");
	if (field->string == NULL) {
		snprintf(number, sizeof(number), "%" PRIu64, field->number);
		put_text(line, number);
		return;
	}
	put_text(line, quotes ? "\"" : "");
	put_string(line, field->string, quotes);
	put_text(line, quotes ? "\"" : "");
}

void
log_line_message(struct log_line *line, const char *text)
{
	if (line->json) {
		const struct log_field message = LOG_STRING("message", text);

		log_line_field(line, &message);
		return;
	}
	if (line->begun)
		put_text(line, ": ");
	put_string(line, text, false);
}

void
log_line_end(struct log_line *line)
{
	put_text(line, line->json ? "}\n" : "\n");
}
