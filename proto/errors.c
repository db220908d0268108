/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names and texts of the error table.  Constant data: any thread.
 */
#include <stddef.h>

#include "latentd/errors.h"

static const struct {
	const char *name;
	const char *text;
} errors[] = {
#define ERROR_ENTRY(e, name, text) [LATENTD_ERR_##e] = {name, text},
    LATENTD_ERROR_TABLE(ERROR_ENTRY)
#undef ERROR_ENTRY
};

_Static_assert(sizeof(errors) / sizeof(errors[0]) == LATENTD_ERR_COUNT,
    "every error has a name");

/* The enum's values are all at least 0, but its type may be signed. */
static int
known(enum latentd_err err)
{
	return (size_t)err < (size_t)LATENTD_ERR_COUNT;
}

__attribute__((visibility("default"))) const char *
latentd_err_name(enum latentd_err err)
{
	return known(err) ? errors[err].name : "unknown";
}

__attribute__((visibility("default"))) const char *
latentd_err_text(enum latentd_err err)
{
	return known(err) ? errors[err].text : "unknown error";
}
