/* SPDX-License-Identifier: Apache-2.0 */
/* Files that exist only as long as the test: memfds and their names. */
#ifndef UNIT_CONFIG_FIXTURE_H
#define UNIT_CONFIG_FIXTURE_H

#include <stddef.h>

#include "config.h"

struct fixture_file {
	int fd;
	char path[32];
};

/* fixture_file(data, bytes): a file that holds ${data}. */
struct fixture_file fixture_file(const void *data, size_t bytes);
void fixture_file_close(const struct fixture_file *file);

/* fixture_config(text, why): config_read() of ${text}; NULL if refused. */
struct config *fixture_config(const char *text, struct reason *why);

/* fixture_refused(text, err, line, words...): config_read() refuses ${text}
 * with ${err} at ${line} (0: no line), and its sentence has all ${words}, which
 * end with NULL. */
void fixture_refused(
    const char *text, enum latentd_err err, unsigned line, ...);

/* A complete endpoint, to be put behind what a test is about. */
#define FIXTURE_ENDPOINT    \
	"[endpoint main]\n" \
	"model = sdxl\n"    \
	"task = decode\n"   \
	"url = http://127.0.0.1:8000/sdxl\n"
#define FIXTURE_ENDPOINT_LINES 4u

#endif
