/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is put together in a buffer on the stack and leaves with one write(),
 * so lines of several threads never mix and logging allocates nothing.  What
 * is counted of each kind of line is the only state that changes by itself;
 * there is no clock: between two ticks is one period.
 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log_line.h"

/* More kinds than that between two ticks are not held back. */
#define KINDS_MAX 64u
#define EXAMPLE_BYTES 160u

/* The lines of one format string since the last tick. */
struct kind {
	const char *fmt; /* NULL: none */
	enum log_level level;
	uint64_t n;
	char last[EXAMPLE_BYTES]; /* of those that were left out */
};

static struct {
	const char *program;
	_Atomic(enum log_level) level;
	_Atomic(enum log_format) format;
	bool journald;
	unsigned repeats_n;
	pthread_mutex_t lock; /* for what follows */
	struct kind kinds[KINDS_MAX];
} state = {.program = "latentd",
    .level = LOG_LEVEL_INFO,
    .lock = PTHREAD_MUTEX_INITIALIZER};

static const struct {
	enum log_level level;
	const char *name;
} levels[] = {{LOG_LEVEL_ERROR, "error"}, {LOG_LEVEL_WARN, "warn"},
    {LOG_LEVEL_INFO, "info"}, {LOG_LEVEL_DEBUG, "debug"}};

static const char *const formats[] = {
    [LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json"};

#define N(array) (sizeof(array) / sizeof((array)[0]))

bool
log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < N(levels); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*level = levels[i].level;
			return true;
		}
	}
	return false;
}

const char *
log_level_name(enum log_level level)
{
	size_t i = 0;

	while (i < N(levels) - 1 && levels[i].level != level)
		i++;
	return levels[i].name;
}

bool
log_format_parse(const char *name, enum log_format *format)
{
	for (size_t i = 0; i < N(formats); i++) {
		if (strcmp(formats[i], name) == 0) {
			*format = (enum log_format)i;
			return true;
		}
	}
	return false;
}

const char *
log_format_name(enum log_format format)
{
	return formats[format];
}

/* Whether standard error is what $JOURNAL_STREAM names, as "device:inode": a
 * shell of a service may have sent it elsewhere. */
static bool
is_journald(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;

	return stream != NULL &&
	    sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
	    fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
	    st.st_ino == inode;
}

void
log_open(const struct log_options *options)
{
	state.program = options->program;
	state.repeats_n = options->repeats_n;
	state.journald = is_journald();
	log_change(options->level, options->format);
}

void
log_change(enum log_level level, enum log_format format)
{
	state.level = level;
	state.format = format;
}

/* ---- lines of one kind ---- */

static struct kind *
find_kind(const char *fmt)
{
	size_t i = ((uintptr_t)fmt >> 3) % KINDS_MAX;

	for (size_t n = 0; n < KINDS_MAX; n++, i = (i + 1) % KINDS_MAX) {
		if (state.kinds[i].fmt == NULL)
			state.kinds[i].fmt = fmt;
		if (state.kinds[i].fmt == fmt)
			return &state.kinds[i];
	}
	return NULL;
}

/* Count a line; false: it is one too many.  ${text} is kept then. */
static bool
may_write(enum log_level level, const char *fmt, const char *text)
{
	struct kind *kind;
	bool may = true;

	if (state.repeats_n == 0 || level == LOG_LEVEL_DEBUG)
		return true;
	pthread_mutex_lock(&state.lock);
	if ((kind = find_kind(fmt)) != NULL) {
		kind->level = level;
		may = ++kind->n <= state.repeats_n;
		if (!may)
			snprintf(kind->last, sizeof(kind->last), "%s", text);
	}
	pthread_mutex_unlock(&state.lock);
	return may;
}

/* ---- lines ---- */

static void
write_line(enum log_level level, const struct log_field *fields, size_t n,
    const char *message)
{
	const int saved_errno = errno;
	struct log_line line;
	ssize_t written;

	line.json = state.format == LOG_FORMAT_JSON;
	line.journald = state.journald;
	log_line_begin(&line, level, state.program);
	for (size_t i = 0; i < n; i++)
		log_line_field(&line, &fields[i]);
	if (message != NULL)
		log_line_message(&line, message);
	log_line_end(&line);
	do {
		written = write(STDERR_FILENO, line.at, line.n);
	} while (written < 0 && errno == EINTR);
	errno = saved_errno;
}

void
log_event(enum log_level level, const struct log_field *fields, size_t n,
    const char *message)
{
	if (level <= state.level)
		write_line(level, fields, n, message);
}

void
log_event_often(enum log_level level, const struct log_field *fields, size_t n,
    const char *message)
{
	if (level <= state.level && may_write(level, message, message))
		write_line(level, fields, n, message);
}

void
log_tick(void)
{
	struct kind *kind;
	char text[EXAMPLE_BYTES + 80];

	for (size_t i = 0; i < KINDS_MAX; i++) {
		enum log_level level = LOG_LEVEL_INFO;
		uint64_t n = 0;

		pthread_mutex_lock(&state.lock);
		kind = &state.kinds[i];
		if (kind->fmt != NULL && kind->n > state.repeats_n) {
			n = kind->n - state.repeats_n;
			level = kind->level;
			snprintf(text, sizeof(text),
			    "%" PRIu64 " more lines like the next were left "
			    "out: %s",
			    n, kind->last);
		}
		*kind = (struct kind){.fmt = NULL};
		pthread_mutex_unlock(&state.lock);
		if (n > 0)
			write_line(level, NULL, 0, text);
	}
}

static void format_line(enum log_level level, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

static void
format_line(enum log_level level, const char *fmt, va_list args)
{
	char text[LOG_LINE_BYTES];

	if (level > state.level)
		return;
	if (vsnprintf(text, sizeof(text), fmt, args) < 0)
		return;
	if (may_write(level, fmt, text))
		write_line(level, NULL, 0, text);
}

void
log_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	format_line(LOG_LEVEL_ERROR, fmt, args);
	va_end(args);
}

void
log_warn(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	format_line(LOG_LEVEL_WARN, fmt, args);
	va_end(args);
}

void
log_info(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	format_line(LOG_LEVEL_INFO, fmt, args);
	va_end(args);
}

void
log_debug(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	format_line(LOG_LEVEL_DEBUG, fmt, args);
	va_end(args);
}
