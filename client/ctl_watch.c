/* SPDX-License-Identifier: Apache-2.0 */
/* latentctl watch: the daemon's events as lines. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "ctl_json.h"
#include "ctl_wait.h"
#include "message.h"

/* Where the daemon says that it sends events. */
static int
ask_url(struct ctl *ctl, char url[LATENTD_MAX_URL_BYTES + 1])
{
	struct latentd_client *client;
	int status = ctl_connect(ctl, NULL, 0, &client);
	enum latentd_err err;
	json_t *report;
	char *text;

	if (status != CTL_DONE)
		return status;
	err = latentd_status(client, ctl_answer_ms(ctl), &text);
	report = err == LATENTD_OK ? ctl_json_load(text) : NULL;
	snprintf(url, LATENTD_MAX_URL_BYTES + 1, "%s",
	    ctl_json_string(json_object_get(report, "events"), "url"));
	if (err != LATENTD_OK) {
		status = ctl_failed(client, err);
	} else if (url[0] == '\0') {
		ctl_error("the daemon sends no events: set events = state in "
			  "[daemon] of its configuration and start it again");
		status = CTL_FAILED;
	}
	json_decref(report);
	free(text);
	latentd_client_close(client);
	return status;
}

static void
print_json(const struct latentd_event *e, const struct timespec *now)
{
	/* Milliseconds are enough to read. */
	const long ms = now->tv_nsec / 1000000;
	json_t *line = json_pack("{s:f, s:I, s:s, s:s, s:s, s:s}", "time",
	    (double)now->tv_sec + (double)ms / 1000.0, "id", (json_int_t)e->id,
	    "producer", e->producer, "model", e->model, "task",
	    task_name(e->task), "state", e->state);

	if (e->output != LATENTD_OUT_NONE)
		json_object_set_new(
		    line, "output", json_string(output_name(e->output)));
	if (e->data != NULL)
		json_object_set_new(
		    line, "bytes", json_integer((json_int_t)e->data_bytes));
	json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(13));
	putchar('\n');
	json_decref(line);
}

static void
print_line(const struct latentd_event *e, const struct timespec *now)
{
	struct tm local;
	char clock[16];

	localtime_r(&now->tv_sec, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	printf("%s job %" PRIu64 " %s: %s %s for %s", clock, e->id, e->state,
	    e->model, task_name(e->task), e->producer);
	if (e->data != NULL)
		printf(
		    ", %s of %zu bytes", output_name(e->output), e->data_bytes);
	putchar('\n');
}

/* Print what is there; false when no more can be. */
static bool
print_events(const struct ctl *ctl, struct latentd_watch *watch, int *status)
{
	const struct latentd_event *event;
	struct timespec now;
	enum latentd_err err;

	while ((err = latentd_watch_next(watch, 0, &event)) == LATENTD_OK) {
		clock_gettime(CLOCK_REALTIME, &now);
		if (ctl->json)
			print_json(event, &now);
		else
			print_line(event, &now);
		if (ctl_interrupted())
			break;
	}
	if (fflush(stdout) != 0) {
		ctl_error(
		    "cannot write to standard output: %s", strerror(errno));
		*status = CTL_FAILED;
		return false;
	}
	if (err == LATENTD_OK || err == LATENTD_ERR_TIMEOUT)
		return true;
	*status = ctl_failed(NULL, err);
	return false;
}

static int
follow(const struct ctl *ctl, struct latentd_watch *watch)
{
	const int64_t until_ms =
	    ctl->timeout_ms < 0 ? -1 : ctl_now_ms() + ctl->timeout_ms;
	struct pollfd fds[2] = {
	    {.fd = latentd_watch_fd(watch), .events = POLLIN},
	    {.fd = ctl_signal_fd(), .events = POLLIN},
	};
	int status = CTL_DONE;

	while (print_events(ctl, watch, &status)) {
		int64_t left_ms = until_ms < 0 ? -1 : until_ms - ctl_now_ms();

		if (ctl_interrupted())
			return CTL_INTERRUPTED;
		if (until_ms >= 0 && left_ms <= 0)
			return CTL_TIMEOUT;
		poll(fds, 2, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
	}
	return status;
}

int
ctl_watch(struct ctl *ctl)
{
	char url[LATENTD_MAX_URL_BYTES + 1] = "";
	struct latentd_watch *watch;
	enum latentd_err err;
	int status;

	if (ctl->events == NULL && (status = ask_url(ctl, url)) != CTL_DONE)
		return status;
	ctl_catch_signals();
	err = latentd_watch_open_tls(
	    &watch, ctl->events != NULL ? ctl->events : url, &ctl->tls);
	if (err != LATENTD_OK)
		return ctl_failed(NULL, err);
	ctl_note(
	    ctl, "listening at %s", ctl->events != NULL ? ctl->events : url);
	status = follow(ctl, watch);
	latentd_watch_close(watch);
	return status;
}
