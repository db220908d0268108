/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARN = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/*
 * log_open(program, level):
 * Log to standard error from now on, lines up to ${level}.  Under journald
 * ($JOURNAL_STREAM is set) lines begin with "<N>", else with a UTC time and
 * ${program}.  Not thread-safe; call once before threads start.
 */
void log_open(const char *program, enum log_level level);

/*
 * log_error(fmt, ...) and its siblings:
 * Write one line; bytes below 0x20 and 0x7f in the result become '?', so that
 * nothing from outside can forge a line.  Any thread; one write() per line.
 */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
