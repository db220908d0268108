/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is put together in a buffer on the stack and leaves with one write(),
 * so lines of several threads never mix and logging allocates nothing.  State
 * is three values set once at start.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define LINE_BYTES 1024

static const char *log_program = "latentd";
static enum log_level log_level = LOG_LEVEL_INFO;
static int log_journald;

void
log_open(const char *program, enum log_level level)
{
	log_program = program;
	log_level = level;
	log_journald = getenv("JOURNAL_STREAM") != NULL;
}

static const char *
level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error: ";
	case LOG_LEVEL_WARN:
		return "warning: ";
	case LOG_LEVEL_INFO:
		return "";
	case LOG_LEVEL_DEBUG:
		return "debug: ";
	}
	return "";
}

/* What stands before the message: for journald the level, else time and
 * program.  Return its length. */
static size_t
format_head(char *line, enum log_level level)
{
	struct timespec now;
	struct tm utc;
	char stamp[32];
	int n;

	if (log_journald) {
		n = snprintf(line, LINE_BYTES, "<%d>", (int)level);
		return n > 0 ? (size_t)n : 0;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
	n = snprintf(line, LINE_BYTES, "%s.%03ldZ %s: %s", stamp,
	    now.tv_nsec / 1000000, log_program, level_name(level));
	return n > 0 ? (size_t)n : 0;
}

static void write_line(enum log_level level, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

static void
write_line(enum log_level level, const char *fmt, va_list args)
{
	char line[LINE_BYTES];
	const int saved_errno = errno;
	size_t bytes, i, head;
	ssize_t written;
	int n;

	if (level > log_level)
		return;
	head = format_head(line, level);
	n = vsnprintf(line + head, sizeof(line) - head, fmt, args);
	bytes = head + (n > 0 ? (size_t)n : 0);
	if (bytes > sizeof(line) - 1)
		bytes = sizeof(line) - 1;
	for (i = head; i < bytes; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[bytes++] = '\n';
	do {
		written = write(STDERR_FILENO, line, bytes);
	} while (written < 0 && errno == EINTR);
	errno = saved_errno;
}

void
log_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_LEVEL_ERROR, fmt, args);
	va_end(args);
}

void
log_warn(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_LEVEL_WARN, fmt, args);
	va_end(args);
}

void
log_info(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_LEVEL_INFO, fmt, args);
	va_end(args);
}

void
log_debug(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_LEVEL_DEBUG, fmt, args);
	va_end(args);
}
