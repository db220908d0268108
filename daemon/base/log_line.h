/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of the log while it is put together; for log.c.  Everything fits:
 * what is too long is cut, and a JSON object is still closed.
 */
#ifndef BASE_LOG_LINE_H
#define BASE_LOG_LINE_H

#include "base/log.h"

#define LOG_LINE_BYTES 4096u

struct log_line {
	char at[LOG_LINE_BYTES];
	size_t n;
	bool json;
	bool journald;
	bool begun; /* something stands in it that a separator must follow */
};

/* log_line_begin(line, level, program): what stands before the message; the
 * caller has set json and journald.
 * log_line_field(line, field), log_line_message(line, text): what it says.
 * log_line_end(line): the newline; ${line->n} bytes are to be written. */
void log_line_begin(
    struct log_line *line, enum log_level level, const char *program);
void log_line_field(struct log_line *line, const struct log_field *field);
void log_line_message(struct log_line *line, const char *text);
void log_line_end(struct log_line *line);

#endif
