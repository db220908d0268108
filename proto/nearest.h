/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_NEAREST_H
#define PROTO_NEAREST_H

#include <stddef.h>

/*
 * nearest_name(word, names, n): of ${names}, the one that ${word} was most
 * likely meant to be (fewest letters changed, added, dropped), or NULL when
 * none is near: more than a third of its letters differ.
 */
const char *nearest_name(const char *word, const char *const *names, size_t n);

#endif
