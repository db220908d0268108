/* SPDX-License-Identifier: Apache-2.0 */
/* There is one terminal, so there is one progress line: static state. */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

#define COLUMNS 80

static struct {
	bool active;
	bool shown;
	const char *what;
	size_t total;
	int64_t started_ms;
	uint64_t left_ms; /* 0: not known */
} line;

void
progress_start(const char *what, size_t total, bool quiet)
{
	line.active = !quiet && isatty(STDERR_FILENO);
	line.what = what;
	line.total = total;
	line.started_ms = ctl_now_ms();
}

void
progress_expect(uint64_t left_ms)
{
	line.left_ms = left_ms;
}

/* The last column stays empty: many terminals wrap there. */
void
progress_show(size_t done, size_t failed)
{
	int64_t elapsed_ms = ctl_now_ms() - line.started_ms;
	char text[2 * COLUMNS], more[32] = "", left[48] = "";
	double rate =
	    elapsed_ms > 0 ? (double)done * 1000.0 / (double)elapsed_ms : 0.0;

	if (!line.active)
		return;
	if (failed > 0)
		snprintf(more, sizeof(more), ", %zu failed", failed);
	if (line.left_ms > 0)
		snprintf(left, sizeof(left), ", about %ju s left",
		    (uintmax_t)(line.left_ms + 999) / 1000);
	snprintf(text, sizeof(text), "%s %zu/%zu done%s, %.1f/s%s", line.what,
	    done, line.total, more, rate, left);
	fprintf(stderr, "\r%-*.*s", COLUMNS - 1, COLUMNS - 1, text);
	fflush(stderr);
	line.shown = true;
}

void
progress_clear(void)
{
	if (!line.shown)
		return;
	fprintf(stderr, "\r%-*s\r", COLUMNS - 1, "");
	line.shown = false;
}

void
progress_end(void)
{
	if (line.shown)
		fputc('\n', stderr);
	line.shown = false;
	line.active = false;
}
