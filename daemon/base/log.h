/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARN = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

enum log_format {
	LOG_FORMAT_TEXT = 0, /* TIME PROGRAM: sentence */
	LOG_FORMAT_JSON, /* one object a line */
};

struct log_options {
	const char *program; /* lives as long as the process */
	enum log_level level;
	enum log_format format;
	unsigned repeats_n; /* lines of one kind between two log_tick(); 0: any
	                     * number */
};

/*
 * log_open(options):
 * Log to standard error from now on.  Where journald reads it ($JOURNAL_STREAM
 * names it) lines begin with "<N>", their level, and have no time, which
 * journald adds.  Call once, before threads start.
 *
 * log_change(level, format): from now on.  Any thread.
 */
void log_open(const struct log_options *options);
void log_change(enum log_level level, enum log_format format);

/* log_level_parse(name, level): "error", "warn", "info" or "debug"; false:
 * none of these.  log_level_name(level): which. */
bool log_level_parse(const char *name, enum log_level *level);
const char *log_level_name(enum log_level level);

/* log_format_parse(name, format): "text" or "json". */
bool log_format_parse(const char *name, enum log_format *format);
const char *log_format_name(enum log_format format);

/*
 * log_error(fmt, ...) and its siblings:
 * Write one line.  Control characters and what is no UTF-8 become \xNN, so that
 * nothing from outside can forge a line or act on a terminal.  Any thread; one
 * write() per line.
 *
 * Lines with the same ${fmt} are of one kind: what goes beyond repeats_n is
 * counted, and the count is a line of its own at the next log_tick().  Debug
 * lines are not counted.
 */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What a line is about, by name: a number, or a string where there is one. */
struct log_field {
	const char *name;
	const char *string; /* NULL: the number */
	uint64_t number;
};

#define LOG_STRING(name, string) ((struct log_field){(name), (string), 0})
#define LOG_NUMBER(name, number) ((struct log_field){(name), NULL, (number)})

/*
 * log_event(level, fields, n, message):
 * Write ${n} fields as "name=value name=\"of words\": message", or as members
 * of the object; ${message} may be NULL.
 * log_event_often(): the same, but lines with the same ${message} are of one
 * kind.
 */
void log_event(enum log_level level, const struct log_field *fields, size_t n,
    const char *message);
void log_event_often(enum log_level level, const struct log_field *fields,
    size_t n, const char *message);

/* log_tick(): tell how many lines were left out since the last call, of each
 * kind, and begin to count anew. */
void log_tick(void);

#endif
