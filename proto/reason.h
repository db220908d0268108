/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_REASON_H
#define PROTO_REASON_H

#include <stddef.h>

#include "latentd/errors.h"
#include "latentd/limits.h"

/*
 * Why something was refused: a code, and one sentence for a person that names
 * the field, what it was and what would be right.  Text from outside is put
 * in with reason_set() only, which escapes control characters, so that a
 * reason may go to a log, a terminal or a header as it is.
 */
struct reason {
	enum latentd_err err;
	char text[LATENTD_MAX_TEXT_BYTES];
};

/*
 * reason_set(why, err, fmt, ...):
 * Fill ${why} (which may be NULL) with ${err} and the formatted sentence, cut
 * at LATENTD_MAX_TEXT_BYTES - 1 bytes at a UTF-8 boundary; control characters
 * (below 0x20, 0x7f, U+0080 to U+009F) and what is not UTF-8 become '?'.  An
 * argument may point into ${why}.  Return ${err}, so that a check reads
 * `return reason_set(why, LATENTD_ERR_SHAPE, ...)`.
 */
enum latentd_err reason_set(struct reason *why, enum latentd_err err,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__
/* It sees one file at a time: tell it that the code given comes back. */
static inline enum latentd_err
reason_model(struct reason *why, enum latentd_err err)
{
	if (why != NULL)
		*why = (struct reason){.err = err, .text = "?"};
	return err;
}
void reason_model_use(const char *fmt, ...);
#define reason_set(why, err, ...) \
	(reason_model_use(__VA_ARGS__), reason_model(why, err))
#endif

#endif
