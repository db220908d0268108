/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "base/log.h"
#include "base/log_line.h"

#define KEPT_BYTES 65536u

/* Standard error goes to a file from here on; these processes are forked for
 * one test each. */
static FILE *file;
static char kept[KEPT_BYTES];

static void
open_log(enum log_level level, enum log_format format, unsigned repeats_n)
{
	const struct log_options options = {.program = "prog",
	    .level = level,
	    .format = format,
	    .repeats_n = repeats_n};

	file = tmpfile();
	cr_assert_not_null(file);
	cr_assert_geq(dup2(fileno(file), STDERR_FILENO), 0);
	log_open(&options);
}

/* Everything logged so far. */
static const char *
logged(void)
{
	ssize_t n = pread(fileno(file), kept, sizeof(kept) - 1, 0);

	cr_assert_geq(n, 0);
	kept[n] = '\0';
	return kept;
}

static size_t
lines_n(void)
{
	size_t n = 0;

	for (const char *at = logged(); (at = strchr(at, '\n')) != NULL; at++)
		n++;
	return n;
}

/* Behind the time and the program. */
static const char *
text_of(const char *line)
{
	const char *at = strstr(line, " prog: ");

	cr_assert_not_null(at, "%s", line);
	return at + 7;
}

static json_t *
object(void)
{
	json_t *o = json_loads(logged(), JSON_REJECT_DUPLICATES, NULL);

	cr_assert_not_null(o, "%s", kept);
	return o;
}

Test(log, a_line_says_time_program_level_and_sentence)
{
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, 0);
	log_warn("it is %d", 7);
	cr_assert_str_eq(text_of(logged()), "warning: it is 7\n");
	cr_assert_eq(strlen("2026-11-23T03:15:18.123Z") + strlen(" prog: ") +
		strlen("warning: it is 7\n"),
	    strlen(kept));
}

Test(log, levels_beyond_the_one_set_are_silent)
{
	open_log(LOG_LEVEL_WARN, LOG_FORMAT_TEXT, 0);
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("d");
	cr_assert_eq(lines_n(), 2);
	log_change(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	log_info("i");
	log_debug("d");
	cr_assert_eq(lines_n(), 4);
}

Test(log, control_characters_and_broken_utf8_are_escaped)
{
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, 0);
	log_info("%s", "a\nb\x1b[31m \xc2\x9b \xff \xe2\x82 \xc3\xa9\x7f");
	cr_assert_str_eq(text_of(logged()),
	    "a\\x0ab\\x1b[31m \\xc2\\x9b \\xff \\xe2\\x82 \xc3\xa9\\x7f\n");
}

Test(log, fields_are_quoted_where_they_would_be_misread)
{
	const struct log_field fields[] = {LOG_NUMBER("job", UINT64_MAX),
	    LOG_STRING("plain", "a-b.c"), LOG_STRING("words", "a \"b\" c\\"),
	    LOG_STRING("empty", ""), LOG_STRING("pair", "k=v")};

	open_log(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, 0);
	log_event(LOG_LEVEL_INFO, fields, 5, "happened");
	cr_assert_str_eq(text_of(logged()),
	    "job=18446744073709551615 plain=a-b.c words=\"a \\\"b\\\" c\\\\\" "
	    "empty=\"\" pair=\"k=v\": happened\n");
}

Test(log, json_lines_are_objects_whatever_they_say)
{
	const struct log_field fields[] = {LOG_NUMBER("job", 12),
	    LOG_STRING("key", "a\"\\\n\x01\xff\xc2\x85\xc3\xa9")};
	json_t *o;

	open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON, 0);
	log_event(LOG_LEVEL_ERROR, fields, 2, "bad \"end\"");
	o = object();
	cr_assert_eq(json_integer_value(json_object_get(o, "job")), 12);
	cr_assert_str_eq(json_string_value(json_object_get(o, "key")),
	    "a\"\\\n\x01\xef\xbf\xbd\xc2\x85\xc3\xa9");
	cr_assert_str_eq(
	    json_string_value(json_object_get(o, "level")), "error");
	cr_assert_str_eq(
	    json_string_value(json_object_get(o, "message")), "bad \"end\"");
	cr_assert_not_null(json_object_get(o, "time"));
	json_decref(o);
}

Test(log, a_line_that_is_too_long_is_cut_and_still_an_object)
{
	static char text[2 * LOG_LINE_BYTES];
	const struct log_field fields[] = {
	    LOG_STRING("key", text), LOG_STRING("more", text)};
	json_t *o;

	open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON, 0);
	memset(text, '"', sizeof(text) - 1);
	log_event(LOG_LEVEL_INFO, fields, 2, text);
	o = object();
	cr_assert_gt(
	    json_string_length(json_object_get(o, "key")), LOG_LINE_BYTES / 3);
	cr_assert_eq(json_string_length(json_object_get(o, "message")), 0);
	cr_assert_leq(strlen(kept), LOG_LINE_BYTES);
	json_decref(o);
}

Test(log, lines_of_one_kind_are_held_back_and_counted)
{
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, 3);
	for (int i = 0; i < 10; i++)
		log_info("line %d", i);
	log_warn("of another kind");
	cr_assert_eq(lines_n(), 4);
	log_tick();
	cr_assert_eq(lines_n(), 5);
	cr_assert_not_null(strstr(logged(),
	    " prog: 7 more lines like the next were left out: line 9\n"));
	log_tick();
	cr_assert_eq(lines_n(), 5, "nothing was left out since");
	log_info("line %d", 10);
	cr_assert_eq(lines_n(), 6, "a tick begins to count anew");
}

static void
log_often(size_t n, enum log_level level)
{
	const struct log_field job = LOG_NUMBER("job", 1);

	for (size_t i = 0; i < n; i++) {
		if (level == LOG_LEVEL_DEBUG)
			log_debug("a detail");
		else
			log_event(level, &job, 1, NULL);
	}
}

Test(log, a_job_s_line_and_debug_lines_are_never_held_back)
{
	open_log(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, 3);
	log_often(50, LOG_LEVEL_INFO);
	log_often(50, LOG_LEVEL_DEBUG);
	log_tick();
	cr_assert_eq(lines_n(), 100);
}

Test(log, events_that_come_often_are_held_back)
{
	const struct log_field job = LOG_NUMBER("job", 1);

	open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON, 2);
	for (int i = 0; i < 5; i++)
		log_event_often(LOG_LEVEL_WARN, &job, 1, "tried again");
	cr_assert_eq(lines_n(), 2);
	log_tick();
	cr_assert_eq(lines_n(), 3);
}

Test(log, more_kinds_than_are_counted_are_all_written)
{
	static char kinds[200][4];

	open_log(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, 1);
	for (size_t i = 0; i < 200; i++) {
		snprintf(kinds[i], sizeof(kinds[i]), "%zu", i);
		log_event_often(LOG_LEVEL_INFO, NULL, 0, kinds[i]);
	}
	cr_assert_eq(lines_n(), 200);
}

static void
set_journal_stream(bool ours)
{
	struct stat st;
	char value[64];

	cr_assert_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(value, sizeof(value), "%ju:%ju", (uintmax_t)st.st_dev,
	    (uintmax_t)st.st_ino + !ours);
	setenv("JOURNAL_STREAM", value, 1);
	log_open(&(const struct log_options){
	    .program = "prog", .level = LOG_LEVEL_INFO});
}

Test(log, journald_gets_levels_and_no_time)
{
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, 0);
	set_journal_stream(true);
	log_error("e");
	log_info("i");
	cr_assert_str_eq(logged(), "<3>e\n<6>i\n");
}

Test(log, journald_that_reads_something_else_changes_nothing)
{
	open_log(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, 0);
	set_journal_stream(false);
	log_error("e");
	cr_assert_str_eq(text_of(logged()), "error: e\n");
}

Test(log, names_of_levels_and_formats_are_read_and_told)
{
	enum log_level level;
	enum log_format format;

	cr_assert(log_level_parse("debug", &level));
	cr_assert_str_eq(log_level_name(level), "debug");
	cr_assert_not(log_level_parse("loud", &level));
	cr_assert(log_format_parse("json", &format));
	cr_assert_str_eq(log_format_name(format), "json");
	cr_assert_not(log_format_parse("xml", &format));
}
