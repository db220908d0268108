/* SPDX-License-Identifier: Apache-2.0 */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX ((size_t)1 << 25)

noreturn void
tool_fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, what,
	    why == NULL ? "" : ": ", why == NULL ? "" : why);
	exit(EXIT_FAILURE);
}

void *
tool_read(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "rbe");
	char *data = malloc(FILE_BYTES_MAX + 1);

	if (file == NULL || data == NULL)
		tool_fail(path, "cannot be read");
	*bytes = fread(data, 1, FILE_BYTES_MAX + 1, file);
	if (ferror(file) || *bytes > FILE_BYTES_MAX)
		tool_fail(path, "cannot be read whole, or has over 32 MiB");
	fclose(file);
	return data;
}
