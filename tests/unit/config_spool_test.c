/* SPDX-License-Identifier: Apache-2.0 */
/* Where jobs survive: [spool]. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "config_fixture.h"

static struct config *
accepted(const char *text)
{
	struct reason why;
	struct config *config = fixture_config(text, &why);

	cr_assert_not_null(config, "%s", why.text);
	return config;
}

static void
refused(const char *text, const char *line, const char *part)
{
	struct reason why;

	cr_assert_null(fixture_config(text, &why), "%s", text);
	cr_assert(strstr(why.text, line) != NULL, "%s", why.text);
	cr_assert(strstr(why.text, part) != NULL, "%s", why.text);
}

Test(config_spool, there_is_none_unless_it_is_configured)
{
	struct config *c = accepted(FIXTURE_ENDPOINT);

	cr_assert_str_eq(c->spool_path, "");
	cr_assert_not(c->spool_durable);
	config_destroy(c);
}

Test(config_spool, a_path_is_enough)
{
	struct config *c = accepted(
	    "[spool]\npath = /var/lib/latentd/spool\n" FIXTURE_ENDPOINT);

	cr_assert_str_eq(c->spool_path, "/var/lib/latentd/spool");
	cr_assert_eq(c->spool_bytes, UINT64_C(16) << 30);
	cr_assert(c->spool_durable);
	/* What producers share is the spool then. */
	cr_assert_eq(c->producer.bytes_max, UINT64_C(4) << 30);
	config_destroy(c);
}

Test(config_spool, a_slash_at_the_end_names_the_same_directory)
{
	struct config *c =
	    accepted("[spool]\npath = /s/spool//\n" FIXTURE_ENDPOINT);

	cr_assert_str_eq(c->spool_path, "/s/spool");
	config_destroy(c);
	c = accepted("[spool]\npath = /\n" FIXTURE_ENDPOINT);
	cr_assert_str_eq(c->spool_path, "/");
	config_destroy(c);
}

Test(config_spool, its_size_and_durability_are_read)
{
	struct config *c = accepted("[spool]\npath = /s\nsize = 64 MiB\n"
				    "durability = none\n" FIXTURE_ENDPOINT);

	cr_assert_eq(c->spool_bytes, 64 << 20);
	cr_assert_not(c->spool_durable);
	config_destroy(c);
	c = accepted("[spool]\npath = /s\ndurability = spooled\n"
		     "[queue]\nproducer_bytes = 5M\n" FIXTURE_ENDPOINT);
	cr_assert(c->spool_durable);
	cr_assert_eq(c->producer.bytes_max, 5 << 20);
	config_destroy(c);
}

Test(config_spool, what_is_wrong_is_named_with_its_line)
{
	refused("[spool]\npath = spool\n" FIXTURE_ENDPOINT,
	    ":2:", "must be an absolute path");
	refused(
	    "[spool]\npath = /s\nsize = 1M\n" FIXTURE_ENDPOINT, ":3:", "size");
	refused("[spool]\npath = /s\nsize = lots\n" FIXTURE_ENDPOINT,
	    ":3:", "size");
	refused("[spool]\npath = /s\ndurability = synced\n" FIXTURE_ENDPOINT,
	    ":3:", "must be none or spooled");
	refused(
	    "[spool]\nsize = 1G\n" FIXTURE_ENDPOINT, ":1:", "has no \"path\"");
	refused("[spool]\ndurability = spooled\n" FIXTURE_ENDPOINT,
	    ":1:", "has no \"path\"");
	refused("[spool]\npath = /s\n[spool]\npath = /t\n" FIXTURE_ENDPOINT,
	    ":3:", "appears twice");
	refused("[spool]\npaht = /s\n" FIXTURE_ENDPOINT,
	    ":2:", "did you mean \"path\"");
}
