/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a line, wherever it stands. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "config_fixture.h"
#include "fuzz.h"

#define INVALID LATENTD_ERR_INVALID
#define END ((const char *)NULL)

Test(config, a_file_that_cannot_be_read_is_an_io_error)
{
	struct config *c;
	struct reason why;

	cr_assert_eq(
	    config_read("/nonexistent/latentd.conf", &c, &why), LATENTD_ERR_IO);
	cr_assert_null(c);
	cr_assert_not_null(strstr(why.text, "/nonexistent/latentd.conf"));
	cr_assert_not_null(strstr(why.text, "No such file"));
	cr_assert(config_read("/tmp", &c, &why) != LATENTD_OK);
	cr_assert_null(c);
}

Test(config, an_empty_file_is_refused_without_a_line)
{
	struct reason why;

	cr_assert_null(fixture_config("", &why));
	cr_assert_not_null(strstr(why.text, ": no [endpoint NAME] section"));
	cr_assert_null(strstr(why.text, ":0:"));
}

Test(config, a_file_without_endpoints_is_refused)
{
	fixture_refused("", INVALID, 0, "endpoint", END);
	fixture_refused("# nothing\n\n", INVALID, 0, "endpoint", END);
	fixture_refused("[queue]\njobs = 1\n", INVALID, 0, "endpoint", END);
}

Test(config, unknown_keys_name_their_line_and_the_nearest_known_one)
{
	fixture_refused("[daemon]\nlisen = x\n", INVALID, 2, "\"lisen\"",
	    "\"listen\"", END);
	fixture_refused("# c\n\n[daemon]\ndrain_s = 1\nDrain_s = 1\n", INVALID,
	    5, "\"Drain_s\"", "\"drain_s\"", END);
	fixture_refused("[queue]\njob = 1\n", INVALID, 2, "\"jobs\"", END);
	fixture_refused(FIXTURE_ENDPOINT "paralel = 3\n", INVALID, 5,
	    "\"paralel\"", "\"parallel\"", END);
	fixture_refused(
	    FIXTURE_ENDPOINT "token = hf_abc\n", INVALID, 5, "\"token\"", END);
	/* A key of another section is not offered. */
	fixture_refused("[daemon]\njobs = 1\n", INVALID, 2, "\"jobs\"", END);
}

Test(config, a_key_that_is_near_none_is_refused_without_a_proposal)
{
	struct reason why;

	cr_assert_null(fixture_config("[daemon]\nzzzzzzzzzz = 1\n", &why));
	cr_assert_not_null(strstr(why.text, "zzzzzzzzzz"));
	cr_assert_null(strstr(why.text, "did you mean"), "%s", why.text);
}

Test(config, unknown_sections_name_their_line_and_the_nearest_known_one)
{
	fixture_refused("[deamon]\nlisten = x\n", INVALID, 1, "\"deamon\"",
	    "\"daemon\"", END);
	fixture_refused("\n[queues]\njobs = 1\n", INVALID, 2, "\"queues\"",
	    "\"queue\"", END);
	fixture_refused(
	    "[endpoint]\nmodel = x\n", INVALID, 1, "endpoint NAME", END);
	fixture_refused(
	    "[Daemon]\nlisten = x\n", INVALID, 1, "\"daemon\"", END);
}

Test(config, a_key_before_any_section_is_refused)
{
	fixture_refused(
	    "jobs = 3\n[queue]\n", INVALID, 1, "jobs", "section", END);
	fixture_refused("\n# c\nlisten = x\n" FIXTURE_ENDPOINT, INVALID, 3,
	    "listen", "section", END);
}

Test(config, a_key_twice_in_a_section_is_refused_but_listen_is_not)
{
	fixture_refused("[queue]\njobs = 1\nbytes = 1M\njobs = 1\n", INVALID, 4,
	    "\"jobs\"", "twice", END);
	fixture_refused(FIXTURE_ENDPOINT "model = flux\n", INVALID, 5,
	    "\"model\"", "twice", END);
	fixture_refused("[daemon]\n"
			"listen = ipc:///1\nlisten = ipc:///2\n"
			"listen = ipc:///3\nlisten = ipc:///4\n"
			"listen = ipc:///5\n",
	    INVALID, 6, "4", END);
}

Test(config, a_section_twice_is_refused)
{
	fixture_refused("[queue]\njobs = 1\n[daemon]\ndrain_s = 1\n"
			"[queue]\nbytes = 1M\n",
	    INVALID, 5, "[queue]", "twice", END);
	fixture_refused("[queue]\njobs = 1\n[queue]\nbytes = 1M\n", INVALID, 3,
	    "twice", END);
	fixture_refused(FIXTURE_ENDPOINT FIXTURE_ENDPOINT, INVALID, 5,
	    "\"main\"", "line 1", END);
}

Test(config, an_empty_section_is_refused_at_its_own_line)
{
	fixture_refused(
	    "[daemon]\n\n" FIXTURE_ENDPOINT, INVALID, 1, "no keys", END);
	fixture_refused(FIXTURE_ENDPOINT "\n[queue]\n# nothing\n", INVALID, 6,
	    "no keys", END);
	fixture_refused("[endpoint lonely]", INVALID, 1, "no keys", END);
}

Test(config, lines_that_are_neither_section_key_nor_comment_are_refused)
{
	fixture_refused("[daemon]\nlisten\n", INVALID, 2, END);
	fixture_refused("[queue]\njobs = 1\nwhat is this\n" FIXTURE_ENDPOINT,
	    INVALID, 3, END);
	fixture_refused("[queue\njobs = 1\n" FIXTURE_ENDPOINT, INVALID, 1, END);
	fixture_refused("[queue] jobs = 1\nbytes = 1M\n" FIXTURE_ENDPOINT,
	    INVALID, 1, "alone", END);
	fixture_refused(
	    "[daemon]\ndrain_s = 1\n[queue\njobs = 1\n" FIXTURE_ENDPOINT,
	    INVALID, 3, END);
}

Test(config, indented_keys_are_keys_of_their_own)
{
	struct reason why;
	struct config *c =
	    fixture_config("  [daemon]\n"
			   "\tlisten = ipc:///tmp/1\n"
			   "    drain_s = 3\n"
			   "    listen = ipc:///tmp/2\n"
			   "  [queue]\n"
			   "  jobs = 4\n" FIXTURE_ENDPOINT "  parallel = 5\n",
		&why);

	cr_assert_not_null(c, "%s", why.text);
	cr_assert_eq(c->listen_n, 2);
	cr_assert_eq(c->drain_s, 3);
	cr_assert_eq(c->jobs, 4);
	cr_assert_eq(c->endpoints[0].parallel, 5);
	config_destroy(c);
	fixture_refused(
	    "  [queue]\n\n" FIXTURE_ENDPOINT, INVALID, 1, "no keys", END);
}

Test(config, line_ends_of_windows_and_a_byte_order_mark_do_no_harm)
{
	struct reason why;
	struct config *c = fixture_config(
	    "\xef\xbb\xbf[queue]  ; c\r\njobs = 4\r\n" FIXTURE_ENDPOINT, &why);

	cr_assert_not_null(c, "%s", why.text);
	cr_assert_eq(c->jobs, 4);
	config_destroy(c);
}

/* "[endpoint e]\nurl = http://..." with a second line of ${bytes}. */
static void
make_long(char *text, size_t bytes)
{
	size_t used = (size_t)sprintf(text, FIXTURE_ENDPOINT);
	char *line = text + used;

	used = (size_t)sprintf(line, "[endpoint e]\nmodel=sdxl\ntask=decode\n");
	line += used;
	used = (size_t)sprintf(line, "url = http://h/");
	memset(line + used, 'u', bytes - used);
	line[bytes] = '\n';
	line[bytes + 1] = '\0';
}

Test(config, a_line_too_long_is_refused_and_never_cut)
{
	static char text[4096];
	struct reason why;
	size_t bytes;
	bool refused = false;

	for (bytes = 20; bytes < 2048; bytes++) {
		struct config *c;

		make_long(text, bytes);
		c = fixture_config(text, &why);
		if (c == NULL) {
			cr_assert_not_null(
			    strstr(why.text, ":8: "), "%s", why.text);
			refused = true;
			continue;
		}
		cr_assert_not(refused, "%zu", bytes);
		cr_assert_eq(strlen(c->endpoints[1].url), bytes - 6);
		config_destroy(c);
	}
	cr_assert(refused);
}

Test(config, endpoint_names_of_64_bytes_are_kept_whole_or_refused)
{
	char name[66] = "", text[512];
	struct reason why;

	for (size_t n = 1; n <= 65; n++) {
		struct config *c;

		memset(name, 'n', n - 1);
		name[n - 1] = 'Z';
		snprintf(text, sizeof(text),
		    "[endpoint %s]\nmodel = sdxl\ntask = decode\n"
		    "url = http://h/\n",
		    name);
		c = fixture_config(text, &why);
		if (n <= 64)
			cr_assert_not_null(c, "%zu: %s", n, why.text);
		else
			cr_assert_null(c);
		if (c != NULL)
			cr_assert_str_eq(c->endpoints[0].name, name);
		config_destroy(c);
	}
}

Test(config, endpoint_names_have_the_characters_of_names)
{
	fixture_refused(
	    "[endpoint a b]\nmodel = sdxl\n", INVALID, 1, "a b", END);
	fixture_refused("[endpoint ]\nmodel = sdxl\n", INVALID, 1, "name", END);
	fixture_refused(
	    "[endpoint ../x]\nmodel = sdxl\n", INVALID, 1, "../x", END);
	fixture_refused(
	    "[endpoint caf\xc3\xa9]\nmodel = sdxl\n", INVALID, 1, "caf", END);
}

Test(config, a_nul_byte_is_refused)
{
	static const char text[] = FIXTURE_ENDPOINT "parallel = 3\0"
						    "9\n";
	struct fixture_file file = fixture_file(text, sizeof(text) - 1);
	struct config *c;
	struct reason why;

	cr_assert_eq(config_read(file.path, &c, &why), INVALID);
	cr_assert_not_null(strstr(why.text, ":5: "), "%s", why.text);
	cr_assert_null(c);
	fixture_file_close(&file);
}

static void
check_mutated(const uint8_t *text, size_t bytes, size_t *good_n)
{
	struct fixture_file file = fixture_file(text, bytes);
	struct config *c;
	struct reason why = {.err = LATENTD_OK};
	enum latentd_err err = config_read(file.path, &c, &why);

	if (err == LATENTD_OK) {
		cr_assert(c->endpoints_n > 0 && c->listen_n > 0);
		cr_assert(c->jobs > 0 && c->bytes >= 1048576);
		++*good_n;
		config_destroy(c);
	} else {
		cr_assert_null(c);
		cr_assert_eq(strncmp(why.text, file.path, strlen(file.path)), 0,
		    "%s", why.text);
	}
	fixture_file_close(&file);
}

Test(config, mutated_files_are_read_or_refused_with_their_name)
{
	static const char valid[] =
	    "[daemon]\nlisten = ipc:///tmp/a\nevents = image\ndrain_s = 1\n"
	    "http = 127.0.0.1:1\n[queue]\nbytes = 3G\njobs = 2\nkeep_s = 3\n"
	    "[endpoint a]\nmodel = sdxl\ntask = decode\nurl = http://h/\n"
	    "parallel = 4\n# end\n";
	static uint8_t text[4096];
	struct fuzz f = {.state = 99};
	size_t good_n = 0;

	for (int i = 0; i < 20000; i++) {
		size_t bytes = sizeof(valid) - 1;

		memcpy(text, valid, bytes);
		for (size_t k = fuzz_below(&f, 4); k > 0; k--)
			bytes = fuzz_mutate(&f, text, bytes, sizeof(text));
		check_mutated(text, bytes, &good_n);
	}
	cr_assert(good_n > 4000 && good_n < 16000, "%zu", good_n);
}
