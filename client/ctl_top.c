/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentctl top: STATUS once a second.  The daemon being away is shown and
 * waited out; whatever ends it, the terminal is as before.
 */
#include "ctl_top.h"

#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "ctl_json.h"
#include "ctl_term.h"

#define PERIOD_MS 1000
/* Keys and signals wait as long for an answer that does not come. */
#define ANSWER_MS 1000

struct state {
	const struct ctl *ctl;
	struct latentd_client *client;
	json_t *report, *earlier;
	int64_t report_ms, earlier_ms; /* when they came */
	char trouble[LATENTD_MAX_TEXT_BYTES];
};

static bool
fetch(struct state *s, int timeout_ms)
{
	char *text;
	json_t *report = NULL;

	if (latentd_status(s->client, timeout_ms, &text) == LATENTD_OK)
		report = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (!json_is_object(report)) {
		json_decref(report);
		snprintf(s->trouble, sizeof(s->trouble), "%s",
		    latentd_client_error(s->client));
		return false;
	}
	json_decref(s->earlier);
	s->earlier = s->report;
	s->earlier_ms = s->report_ms;
	s->report = report;
	s->report_ms = ctl_now_ms();
	s->trouble[0] = '\0';
	return true;
}

static void
draw(const struct state *s, bool is_screen)
{
	struct ctl_top top = {.report = s->report,
	    .earlier = s->earlier,
	    .between_ms = s->report_ms - s->earlier_ms,
	    .trouble = s->trouble[0] != '\0' ? s->trouble : NULL,
	    .columns = 80,
	    .is_screen = is_screen};
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (out == NULL)
		return;
	if (is_screen)
		ctl_term_size(&top.columns, &top.rows);
	ctl_top_draw(&top, out);
	if (fclose(out) == 0 && is_screen) {
		ctl_term_show(text, bytes);
	} else {
		fwrite(text, 1, bytes, stdout);
		putchar('\n');
		fflush(stdout);
	}
	free(text);
}

static int
show_once(struct state *s)
{
	char *text = NULL;
	enum latentd_err err;

	if (s->ctl->json) {
		err = latentd_status(s->client, ctl_answer_ms(s->ctl), &text);
		if (err != LATENTD_OK)
			return ctl_failed(s->client, err);
		puts(text);
		free(text);
		return CTL_DONE;
	}
	if (!fetch(s, ctl_answer_ms(s->ctl))) {
		ctl_error("%s", s->trouble);
		return CTL_FAILED;
	}
	draw(s, false);
	return CTL_DONE;
}

static int
show_live(struct state *s)
{
	const int64_t until_ms = s->ctl->timeout_ms < 0
	    ? INT64_MAX
	    : ctl_now_ms() + s->ctl->timeout_ms;
	bool is_screen = ctl_term_open();
	enum ctl_term_event event = CTL_TERM_TIMEOUT;
	int64_t next_ms = 0;

	while (event == CTL_TERM_TIMEOUT || event == CTL_TERM_RESIZE) {
		if (ctl_now_ms() >= until_ms)
			break;
		if (event == CTL_TERM_TIMEOUT) {
			fetch(s, ANSWER_MS);
			next_ms = ctl_now_ms() + PERIOD_MS;
		}
		if (is_screen || event == CTL_TERM_TIMEOUT)
			draw(s, is_screen);
		event = ctl_term_wait(next_ms < until_ms ? next_ms : until_ms);
	}
	ctl_term_close();
	if (event == CTL_TERM_INTERRUPT)
		return CTL_INTERRUPTED;
	return event == CTL_TERM_QUIT ? CTL_DONE : CTL_TIMEOUT;
}

int
ctl_top(struct ctl *ctl)
{
	struct state s = {.ctl = ctl};
	int status = ctl_connect(ctl, NULL, 0, &s.client);

	if (status != CTL_DONE)
		return status;
	status = ctl->once || ctl->json ? show_once(&s) : show_live(&s);
	json_decref(s.report);
	json_decref(s.earlier);
	latentd_client_close(s.client);
	return status;
}
