/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PNG_PLAN_H
#define BASE_PNG_PLAN_H

#include <stdbool.h>

#include "base/png_rows.h"

/* How to write a picture. */
struct png_plan {
	/* With png_deflate when 0, else with libdeflate at this level. */
	int level;
	/* Of each row the filter of its own that png_rows_try finds best, and
	 * else one for all. */
	bool each_row;
	enum png_filter filter;
};

/*
 * png_plan(rows, plan):
 * Choose from a sample of ${rows}: png_deflate with the filter that makes it
 * smallest, unless searching for repetitions makes it distinctly smaller.
 * False when memory is out.
 */
bool png_plan(struct png_rows *rows, struct png_plan *plan);

#endif
