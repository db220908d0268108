/* SPDX-License-Identifier: Apache-2.0 */
/* A terminal on which a picture is drawn again and again. */
#ifndef CLIENT_CTL_TERM_H
#define CLIENT_CTL_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ctl_term_event {
	CTL_TERM_TIMEOUT,
	CTL_TERM_QUIT, /* q was pressed, or the terminal is gone */
	CTL_TERM_RESIZE,
	CTL_TERM_INTERRUPT,
};

/*
 * ctl_term_open():
 * From now on signals are events; where standard output is a terminal it shows
 * another screen without a cursor, and where standard input is one, keys come
 * at once and unseen.  True when there is a screen to draw on.
 * ctl_term_close(): as it was before.  Also done at the exit of the process.
 */
bool ctl_term_open(void);
void ctl_term_close(void);

/* ctl_term_size(columns, rows): of the screen now; 80 × 24 if unknown. */
void ctl_term_size(int *columns, int *rows);

/* ctl_term_show(text, bytes): replace the picture by ${text}, whose lines fit
 * the screen and end with '\n'. */
void ctl_term_show(const char *text, size_t bytes);

/* ctl_term_wait(until_ms): wait for an event, at most until ${until_ms} on
 * ctl_now_ms()'s clock. */
enum ctl_term_event ctl_term_wait(int64_t until_ms);

#endif
