/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_UTF8_H
#define PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * utf8_bytes(s): length of the UTF-8 character at ${s}, which is not at the end
 * of its string (RFC 3629: no overlong forms, no surrogates, nothing above
 * U+10FFFF); 0: there is none.  Nothing behind the string's NUL is read.
 * utf8_is_control(s): whether a terminal would act on it: C0, DEL or, in UTF-8,
 * C1 (U+0080..U+009F).
 */
size_t utf8_bytes(const char *s);
bool utf8_is_control(const char *s);

#endif
