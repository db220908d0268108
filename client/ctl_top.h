/* SPDX-License-Identifier: Apache-2.0 */
/* The picture that latentctl top shows. */
#ifndef CLIENT_CTL_TOP_H
#define CLIENT_CTL_TOP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

struct ctl_top {
	const json_t *report; /* NULL: none came yet */
	const json_t *earlier; /* the one before it; NULL: none */
	int64_t between_ms; /* the two */
	const char *trouble; /* why there is no newer one; NULL: there is */
	int columns;
	int rows; /* at most so many lines; 0: as many as there are */
	bool is_screen; /* heads may stand out */
};

/* ctl_top_draw(top, out): write the picture, every line at most ${columns} wide,
 * in ASCII. */
void ctl_top_draw(const struct ctl_top *top, FILE *out);

#endif
