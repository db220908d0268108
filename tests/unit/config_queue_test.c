/* SPDX-License-Identifier: Apache-2.0 */
/* What the operator grants producers: [queue] and [producer NAME]. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "config_fixture.h"

#define INVALID LATENTD_ERR_INVALID
#define END ((const char *)NULL)

static struct config *
accepted(const char *text)
{
	struct reason why;
	struct config *config = fixture_config(text, &why);

	cr_assert_not_null(config, "%s", why.text);
	return config;
}

Test(config_queue, a_producer_may_hold_a_quarter_unless_told_otherwise)
{
	struct config *c =
	    accepted("[queue]\njobs = 10\nbytes = 8M\n" FIXTURE_ENDPOINT);

	cr_assert_eq(c->producer.jobs_max, 3);
	cr_assert_eq(c->producer.bytes_max, 2 << 20);
	cr_assert_eq(c->producer.weight, 1);
	cr_assert_eq(c->remember_s, 600);
	cr_assert_eq(c->age_s, 60);
	cr_assert_eq(c->producers_n, 0);
	config_destroy(c);
}

Test(config_queue, one_job_at_least_fits_where_the_queue_is_tiny)
{
	struct config *c = accepted("[queue]\njobs = 1\n" FIXTURE_ENDPOINT);

	cr_assert_eq(c->producer.jobs_max, 1);
	config_destroy(c);
}

Test(config_queue, producers_take_what_they_do_not_say_from_the_queue)
{
	struct config *c = accepted("[producer farm]\nweight = 4\n"
				    "[producer b]\njobs = 7\nbytes = 3M\n"
				    "[queue]\nproducer_jobs = 5\n"
				    "producer_bytes = 1M\nremember_s = 0\n"
				    "age_s = 0\n" FIXTURE_ENDPOINT);

	cr_assert_eq(c->producers_n, 2);
	cr_assert_str_eq(c->producers[0].name, "farm");
	cr_assert_eq(c->producers[0].bounds.weight, 4);
	cr_assert_eq(c->producers[0].bounds.jobs_max, 5);
	cr_assert_eq(c->producers[0].bounds.bytes_max, 1 << 20);
	cr_assert_str_eq(c->producers[1].name, "b");
	cr_assert_eq(c->producers[1].bounds.weight, 1);
	cr_assert_eq(c->producers[1].bounds.jobs_max, 7);
	cr_assert_eq(c->producers[1].bounds.bytes_max, 3 << 20);
	cr_assert_eq(c->remember_s, 0);
	cr_assert_eq(c->age_s, 0);
	config_destroy(c);
}

Test(config_queue, values_out_of_range_are_refused_at_their_line)
{
	static const char *const lines[][2] = {{"[producer p]\nweight", "0"},
	    {"[producer p]\nweight", "1001"}, {"[producer p]\nweight", "half"},
	    {"[producer p]\njobs", "0"}, {"[producer p]\nbytes", "1K"},
	    {"[queue]\nproducer_jobs", "0"}, {"[queue]\nproducer_bytes", "0"},
	    {"[queue]\nremember_s", "-1"}, {"[queue]\nremember_s", "2592001"},
	    {"[queue]\nage_s", "86401"}};
	char text[256];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(text, sizeof(text), "%s = %s\n" FIXTURE_ENDPOINT,
		    lines[i][0], lines[i][1]);
		fixture_refused(text, INVALID, 2, strchr(lines[i][0], '\n') + 1,
		    lines[i][1], END);
	}
}

Test(config_queue, producers_have_names_once_and_keys_of_their_own)
{
	char text[8192] = "[producer p]\nweight = 1\n[producer p]\n";

	fixture_refused(text, INVALID, 3, "[producer p]", "twice", END);
	fixture_refused(
	    "[producer a b]\nweight = 1\n", INVALID, 1, "a b", "producer", END);
	fixture_refused(
	    "[producer ]\nweight = 1\n", INVALID, 1, "1 to 64", END);
	fixture_refused("[producer p]\nweighty = 1\n", INVALID, 2, "weighty",
	    "\"weight\"", END);
	fixture_refused(
	    "[producer p]\nparallel = 1\n", INVALID, 2, "parallel", END);
	text[0] = '\0';
	for (unsigned i = 0; i < 257; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    "[producer p%u]\nweight=1\n", i);
	fixture_refused(text, INVALID, 513, "256 producers", END);
}

Test(config_queue, what_is_printed_reads_back_the_same)
{
	struct config *c = accepted("[producer farm]\nweight = 4\n"
				    "[queue]\nage_s = 7\n" FIXTURE_ENDPOINT);
	char *first, *second;
	size_t bytes;
	FILE *out = open_memstream(&first, &bytes);

	config_print(c, out);
	fclose(out);
	config_destroy(c);
	cr_assert_not_null(strstr(first, "[producer farm]\nweight = 4\n"));
	c = accepted(first);
	out = open_memstream(&second, &bytes);
	config_print(c, out);
	fclose(out);
	cr_assert_str_eq(first, second);
	config_destroy(c);
	free(first);
	free(second);
}
