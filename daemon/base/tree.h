/* SPDX-License-Identifier: Apache-2.0 */
/* Red-black trees: libbsd's <bsd/sys/tree.h>. */
#ifndef BASE_TREE_H
#define BASE_TREE_H

#include <bsd/sys/tree.h>

/* RB_GENERATE_STATIC, which needs BSD's __unused, for Linux. */
#define TREE_GENERATE_STATIC(name, type, field, compare) \
	RB_GENERATE_INTERNAL(                            \
	    name, type, field, compare, __attribute__((unused)) static)

#endif
