/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl_top.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_json.h"

#define MIB (1024.0 * 1024.0)
#define LINE_BYTES 512
#define PRODUCERS_MAX 256

struct drawing {
	const struct ctl_top *top;
	FILE *out;
	int used;
};

static bool
is_full(const struct drawing *d)
{
	return d->top->rows > 0 && d->used >= d->top->rows;
}

/* One line, cut to the width; what is not ASCII becomes '?'. */
static void
put_line(struct drawing *d, const char *style, const char *text)
{
	if (is_full(d))
		return;
	d->used++;
	if (d->top->is_screen && style != NULL)
		fputs(style, d->out);
	for (int i = 0; text[i] != '\0' && i < d->top->columns; i++)
		fputc(text[i] < ' ' || text[i] > '~' ? '?' : text[i], d->out);
	if (d->top->is_screen && style != NULL)
		fputs("\033[0m", d->out);
	fputc('\n', d->out);
}

static void line(struct drawing *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void
line(struct drawing *d, const char *fmt, ...)
{
	char text[LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_line(d, NULL, text);
}

static void
head(struct drawing *d, const char *text)
{
	put_line(d, NULL, "");
	put_line(d, "\033[1m", text);
}

static bool
is_true(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

/* ---- the daemon ---- */

static void
draw_state(struct drawing *d)
{
	const json_t *report = d->top->report;
	const json_t *paused = json_object_get(report, "paused");
	const json_t *drain = json_object_get(report, "drain");
	bool in = is_true(paused, "in"), out = is_true(paused, "out");
	char up[CTL_JSON_DURATION_BYTES], left[CTL_JSON_DURATION_BYTES];

	ctl_json_duration(up, ctl_json_number(report, "uptime_s") * 1000);
	line(d, "latentd %s, %s, up %s%s%s", ctl_json_string(report, "version"),
	    ctl_json_string(report, "state"), up, in || out ? ", PAUSED: " : "",
	    in && out ? "in and out"
		: in  ? "in"
		: out ? "out"
		      : "");
	if (json_is_object(drain))
		line(d,
		    "drain  %jd jobs to finish, %jd results to collect, at "
		    "most %s",
		    ctl_json_number(drain, "jobs"),
		    ctl_json_number(drain, "results"),
		    ctl_json_duration(left, ctl_json_number(drain, "left_ms")));
}

static void
draw_jobs(struct drawing *d)
{
	const json_t *jobs = json_object_get(d->top->report, "jobs");
	const json_t *queue = json_object_get(d->top->report, "queue");

	line(d,
	    "jobs   %jd queued, %jd active, %jd kept, %jd buried; %jd done, "
	    "%jd failed",
	    ctl_json_number(jobs, "queued"), ctl_json_number(jobs, "active"),
	    ctl_json_number(jobs, "kept"), ctl_json_number(jobs, "buried"),
	    ctl_json_number(jobs, "done_total"),
	    ctl_json_number(jobs, "failed_total"));
	line(d, "room   %jd of %jd jobs, %.1f of %.1f MiB, results %.1f MiB",
	    ctl_json_number(queue, "jobs"), ctl_json_number(queue, "jobs_max"),
	    (double)ctl_json_number(queue, "bytes") / MIB,
	    (double)ctl_json_number(queue, "bytes_max") / MIB,
	    (double)ctl_json_number(queue, "result_bytes") / MIB);
}

/* ---- lanes ---- */

static void
draw_lanes(struct drawing *d)
{
	const json_t *list = json_object_get(d->top->report, "lanes"), *lane;
	size_t i;

	head(d, "MODEL          TASK     WAITING     WAIT  DONE/S       DONE");
	json_array_foreach(list, i, lane)
	{
		intmax_t wait_ms = ctl_json_number(lane, "wait_ms");
		char wait[CTL_JSON_DURATION_BYTES] = "-";

		if (wait_ms > 0)
			ctl_json_short(wait, wait_ms);
		line(d, "%-14.14s %-6.6s %9jd %8s %7.2f %10jd",
		    ctl_json_string(lane, "model"),
		    ctl_json_string(lane, "task"),
		    ctl_json_number(lane, "waiting"), wait,
		    json_real_value(json_object_get(lane, "done_per_s")),
		    ctl_json_number(lane, "done_total"));
	}
}

/* ---- endpoints ---- */

static const json_t *
find_named(const json_t *list, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		if (strcmp(ctl_json_string(item, "name"), name) == 0)
			return item;
	}
	return NULL;
}

/* Requests that succeeded since the picture before. */
static void
format_rate(const struct ctl_top *top, const json_t *ep, char text[16])
{
	const json_t *before =
	    find_named(json_object_get(top->earlier, "endpoints"),
		ctl_json_string(ep, "name"));
	intmax_t done_n = ctl_json_number(ep, "done_total") -
	    ctl_json_number(before, "done_total");

	snprintf(text, 16, "-");
	if (before != NULL && top->between_ms > 0 && done_n >= 0)
		snprintf(text, 16, "%.1f",
		    (double)done_n * 1000 / (double)top->between_ms);
}

static void
draw_endpoints(struct drawing *d)
{
	const json_t *list = json_object_get(d->top->report, "endpoints"), *ep;
	size_t i;

	head(d,
	    "ENDPOINT             MODEL          TASK       BUSY  DONE/S     "
	    "  DONE   FAILED");
	json_array_foreach(list, i, ep)
	{
		const char *error = ctl_json_string(ep, "last_error");
		char busy[32], rate[16];

		snprintf(busy, sizeof(busy), "%jd/%jd",
		    ctl_json_number(ep, "in_flight"),
		    ctl_json_number(ep, "parallel"));
		format_rate(d->top, ep, rate);
		line(d, "%-20.20s %-14.14s %-6.6s %8s %7s %10jd %8jd",
		    ctl_json_string(ep, "name"), ctl_json_string(ep, "model"),
		    ctl_json_string(ep, "task"), busy, rate,
		    ctl_json_number(ep, "done_total"),
		    ctl_json_number(ep, "failed_total"));
		if (error[0] != '\0')
			line(d, "  %s: %.300s", ctl_json_string(ep, "state"),
			    error);
	}
}

/* ---- producers ---- */

/* Who has most to do first, then who has most to collect. */
static int
compare_producers(const void *left, const void *right)
{
	const json_t *a = *(json_t *const *)left, *b = *(json_t *const *)right;
	intmax_t open = ctl_json_number(b, "open") - ctl_json_number(a, "open");
	intmax_t kept = ctl_json_number(b, "kept") - ctl_json_number(a, "kept");

	if (open == 0 && kept == 0)
		return strcmp(
		    ctl_json_string(a, "name"), ctl_json_string(b, "name"));
	return open != 0 ? (open > 0) - (open < 0) : (kept > 0) - (kept < 0);
}

static void
draw_producers(struct drawing *d)
{
	const json_t *list = json_object_get(d->top->report, "producers"), *p;
	const json_t *sorted[PRODUCERS_MAX];
	intmax_t total = ctl_json_number(d->top->report, "producers_total");
	size_t n = 0, i;

	json_array_foreach(list, i, p)
	{
		if (n < PRODUCERS_MAX)
			sorted[n++] = p;
	}
	if (n == 0)
		return;
	qsort(sorted, n, sizeof(sorted[0]), compare_producers);
	head(d,
	    "PRODUCER                       UID   QUEUED   ACTIVE     KEPT   "
	    "FAILED");
	for (i = 0; i < n; i++) {
		const json_t *uid = json_object_get(sorted[i], "uid");
		char text[24] = "-";

		if (d->top->rows > 0 && d->used + 1 >= d->top->rows &&
		    i + 1 < n)
			break;
		if (json_is_integer(uid))
			snprintf(text, sizeof(text), "%jd",
			    (intmax_t)json_integer_value(uid));
		line(d, "%-24.24s %9s %8jd %8jd %8jd %8jd",
		    ctl_json_string(sorted[i], "name"), text,
		    ctl_json_number(sorted[i], "queued"),
		    ctl_json_number(sorted[i], "active"),
		    ctl_json_number(sorted[i], "kept"),
		    ctl_json_number(sorted[i], "failed"));
	}
	if (total > (intmax_t)i)
		line(d, "and %jd more", total - (intmax_t)i);
}

void
ctl_top_draw(const struct ctl_top *top, FILE *out)
{
	struct drawing d = {.top = top, .out = out};

	if (top->trouble != NULL)
		line(&d, "%s", top->trouble);
	if (top->report == NULL)
		return;
	draw_state(&d);
	draw_jobs(&d);
	draw_lanes(&d);
	draw_endpoints(&d);
	draw_producers(&d);
}
