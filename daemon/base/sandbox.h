/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "reason.h"

/* What this process gives up for good, so that whoever takes it over can do
 * little: files elsewhere (Landlock), programs and kernel interfaces that it
 * has no use for (seccomp). */
struct sandbox {
	/* Files and directories, with all below them; those that do not exist
	 * are passed over. */
	const char *const *read;
	size_t read_n;
	const char *const *write; /* read, create, change and remove as well */
	size_t write_n;
};

/*
 * sandbox_supported(what): whether this build and kernel can; ${what} gets a
 * few words: "Landlock ABI 6, seccomp", or why not.
 */
bool sandbox_supported(struct reason *what);

/*
 * sandbox_enter(s, what):
 * Confine this thread and those it starts from now on; call it before there are
 * others.  ${s} adds to what every program needs: system libraries, name
 * resolution, certificates, /etc.  Returns whether anything is in force;
 * ${what} says what, or why not.  Never fails otherwise: what the kernel has
 * not, or something before us forbids, is left out.
 */
bool sandbox_enter(const struct sandbox *s, struct reason *what);

/* sandbox_is_on(): whether files elsewhere cannot be opened. */
bool sandbox_is_on(void);

#endif
