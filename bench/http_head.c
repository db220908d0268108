/* SPDX-License-Identifier: Apache-2.0 */
#include "http_head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

size_t
head_end(const char *text, size_t n, size_t *body_bytes)
{
	static const char name[] = "\r\nContent-Length:";
	const char *end = memmem(text, n, "\r\n\r\n", 4);

	if (end == NULL)
		return 0;
	*body_bytes = 0;
	for (const char *at = text; at < end; at++) {
		if (strncasecmp(at, name, sizeof(name) - 1) == 0)
			*body_bytes = strtoul(at + sizeof(name) - 1, NULL, 10);
	}
	return (size_t)(end - text) + 4;
}
