/* SPDX-License-Identifier: Apache-2.0 */
/* One line on a terminal that says how far a command is. */
#ifndef CLIENT_PROGRESS_H
#define CLIENT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* progress_start(what, total, quiet): nothing is shown where standard error is
 * no terminal, or with ${quiet}. */
void progress_start(const char *what, size_t total, bool quiet);
void progress_show(size_t done, size_t failed);

/* progress_expect(left_ms): how long it still takes, about; 0: not known.
 * Shown with the next progress_show(). */
void progress_expect(uint64_t left_ms);

/* progress_clear(): make room for another line.  progress_end(): leave the
 * last state standing. */
void progress_clear(void);
void progress_end(void);

#endif
