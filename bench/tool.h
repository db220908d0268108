/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_TOOL_H
#define BENCH_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdnoreturn.h>

/* What every program of the benchmarks does.  Errors go to stderr, with the
 * program's name, and end it. */

/* tool_fail(what, why): ${why} may be NULL. */
noreturn void tool_fail(const char *what, const char *why);

/* tool_check(ok, what): tool_fail(what, NULL) unless ${ok}. */
static inline void
tool_check(bool ok, const char *what)
{
	if (!ok)
		tool_fail(what, NULL);
}

/* tool_read(path, bytes): all that is in a file of at most 32 MiB, and in
 * ${*bytes} how much that is.  The caller frees it. */
void *tool_read(const char *path, size_t *bytes);

#endif
