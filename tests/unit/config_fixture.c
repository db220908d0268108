/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

struct fixture_file
fixture_file(const void *data, size_t bytes)
{
	struct fixture_file file = {.fd = memfd_create("fixture", MFD_CLOEXEC)};

	cr_assert(file.fd >= 0);
	cr_assert_eq(write(file.fd, data, bytes), (ssize_t)bytes);
	snprintf(file.path, sizeof(file.path), "/proc/self/fd/%d", file.fd);
	return file;
}

void
fixture_file_close(const struct fixture_file *file)
{
	close(file->fd);
}

struct config *
fixture_config(const char *text, struct reason *why)
{
	struct fixture_file file = fixture_file(text, strlen(text));
	struct config *config = (struct config *)file.path;
	enum latentd_err err;

	why->text[0] = '\0';
	err = config_read(file.path, &config, why);
	fixture_file_close(&file);
	cr_assert_eq(err == LATENTD_OK, config != NULL);
	if (err != LATENTD_OK)
		cr_assert_eq(why->err, err);
	return config;
}

void
fixture_refused(const char *text, enum latentd_err err, unsigned line, ...)
{
	struct reason why;
	struct config *config = fixture_config(text, &why);
	const char *word;
	char place[32];
	va_list words;

	cr_assert_null(config, "accepted:\n%s", text);
	cr_assert_eq(why.err, err, "%s", why.text);
	snprintf(place, sizeof(place), ":%u: ", line);
	if (line != 0)
		cr_assert_not_null(
		    strstr(why.text, place), "not %s: %s", place, why.text);
	cr_assert_eq(
	    strncmp(why.text, "/proc/self/fd/", 14), 0, "%s", why.text);
	va_start(words, line);
	while ((word = va_arg(words, const char *)) != NULL)
		cr_assert_not_null(
		    strstr(why.text, word), "no \"%s\": %s", word, why.text);
	va_end(words);
}
