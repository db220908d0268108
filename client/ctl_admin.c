/* SPDX-License-Identifier: Apache-2.0 */
/* latentctl cancel, kick, purge, pause, resume, reload and drain. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "ctl_json.h"
#include "ctl_wait.h"

/* Between two looks at a drain. */
#define LOOK_MS 500
#define GONE_MS 2000u

/* ---- jobs, one after another ---- */

static bool
parse_id(const char *arg, uint64_t *id)
{
	char *end;

	errno = 0;
	*id = strtoull(arg, &end, 10);
	return arg[0] >= '0' && arg[0] <= '9' && *end == '\0' && errno == 0 &&
	    *id != 0;
}

static void
tell_json(struct latentd_client *client, const char *arg, enum latentd_err err)
{
	json_t *line =
	    json_pack("{s:s, s:b}", "job", arg, "done", err == LATENTD_OK);

	if (err != LATENTD_OK) {
		json_object_set_new(
		    line, "code", json_string(latentd_err_name(err)));
		json_object_set_new(
		    line, "message", json_string(latentd_client_error(client)));
	}
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}

static int
change_each(struct ctl *ctl, const char *producer,
    enum latentd_err (*change)(
	struct latentd_client *client, const char *arg, int timeout_ms))
{
	struct latentd_client *client;
	int status = ctl_connect(ctl, producer, 0, &client);

	if (status != CTL_DONE)
		return status;
	for (size_t i = 0; i < ctl->args_n; i++) {
		enum latentd_err err =
		    change(client, ctl->args[i], ctl_answer_ms(ctl));

		if (ctl->json)
			tell_json(client, ctl->args[i], err);
		if (err == LATENTD_OK)
			continue;
		if (!ctl->json)
			ctl_error("%s: %s", ctl->args[i],
			    latentd_client_error(client));
		status = err == LATENTD_ERR_TIMEOUT ? CTL_TIMEOUT : CTL_FAILED;
	}
	latentd_client_close(client);
	return status;
}

/* A key of the producer's, else an id. */
static enum latentd_err
cancel(struct latentd_client *client, const char *arg, int timeout_ms)
{
	enum latentd_err err = latentd_cancel_key(client, arg, timeout_ms);
	uint64_t id;

	if (err == LATENTD_ERR_NOT_FOUND && parse_id(arg, &id))
		return latentd_cancel_id(client, id, timeout_ms);
	return err;
}

int
ctl_cancel(struct ctl *ctl)
{
	return change_each(ctl, "latentctl", cancel);
}

static int
check_ids(const struct ctl *ctl)
{
	uint64_t id;

	for (size_t i = 0; i < ctl->args_n; i++) {
		if (parse_id(ctl->args[i], &id))
			continue;
		ctl_error("\"%s\" is no id; latentctl jobs --failed lists them",
		    ctl->args[i]);
		return CTL_USAGE;
	}
	return CTL_DONE;
}

static enum latentd_err
kick(struct latentd_client *client, const char *arg, int timeout_ms)
{
	uint64_t id = 0;

	parse_id(arg, &id);
	return latentd_kick(client, id, timeout_ms);
}

static enum latentd_err
purge(struct latentd_client *client, const char *arg, int timeout_ms)
{
	uint64_t id = 0;

	parse_id(arg, &id);
	return latentd_purge(client, id, timeout_ms);
}

static int
change_all(struct ctl *ctl, bool is_kick)
{
	struct latentd_client *client;
	int status = ctl_connect(ctl, NULL, 0, &client);
	enum latentd_err err;
	uint64_t n;

	if (status != CTL_DONE)
		return status;
	err = (is_kick ? latentd_kick_all : latentd_purge_all)(
	    client, ctl->producer, ctl_answer_ms(ctl), &n);
	if (ctl->json)
		printf("{\"jobs\":%" PRIu64 "}\n", n);
	else
		printf("%" PRIu64 " failed job%s %s\n", n, n == 1 ? "" : "s",
		    is_kick ? "queued again" : "given up");
	if (err != LATENTD_OK)
		status = ctl_failed(client, err);
	latentd_client_close(client);
	return status;
}

int
ctl_kick(struct ctl *ctl)
{
	if (ctl->all)
		return change_all(ctl, true);
	return check_ids(ctl) == CTL_DONE ? change_each(ctl, NULL, kick)
					  : CTL_USAGE;
}

int
ctl_purge(struct ctl *ctl)
{
	if (ctl->all)
		return change_all(ctl, false);
	return check_ids(ctl) == CTL_DONE ? change_each(ctl, NULL, purge)
					  : CTL_USAGE;
}

/* ---- pausing ---- */

static json_t *
load_report(const struct ctl *ctl, struct latentd_client *client, int *status)
{
	char *text;
	json_t *report = NULL;
	enum latentd_err err =
	    latentd_status(client, ctl_answer_ms(ctl), &text);

	if (err != LATENTD_OK)
		*status = ctl_failed(client, err);
	else if ((report = ctl_json_load(text)) == NULL)
		*status = CTL_FAILED;
	free(text);
	return report;
}

static int
print_paused(const struct ctl *ctl, struct latentd_client *client)
{
	int status = CTL_DONE;
	json_t *report = load_report(ctl, client, &status);
	const json_t *paused = json_object_get(report, "paused");
	bool in = json_is_true(json_object_get(paused, "in"));
	bool out = json_is_true(json_object_get(paused, "out"));

	if (report == NULL)
		return status;
	if (ctl->json)
		printf("{\"in\":%s,\"out\":%s}\n", in ? "true" : "false",
		    out ? "true" : "false");
	else
		printf("jobs are %s, requests are %s\n",
		    in ? "not taken" : "taken", out ? "not made" : "made");
	json_decref(report);
	return CTL_DONE;
}

static bool
parse_side(const char *arg, enum latentd_side *side)
{
	static const char *const names[] = {[LATENTD_SIDE_BOTH] = "both",
	    [LATENTD_SIDE_IN] = "in",
	    [LATENTD_SIDE_OUT] = "out"};

	for (int i = 0; i < 3; i++) {
		if (strcmp(arg, names[i]) != 0)
			continue;
		*side = (enum latentd_side)i;
		return true;
	}
	ctl_error(
	    "\"%s\" is no side of the daemon; it can be in, out or both", arg);
	return false;
}

static int
set_paused(struct ctl *ctl, bool paused)
{
	struct latentd_client *client;
	enum latentd_side sides[3];
	enum latentd_err err = LATENTD_OK;
	int status;

	if (ctl->args_n > 3) {
		ctl_error("there are not more sides than in and out");
		return CTL_USAGE;
	}
	for (size_t i = 0; i < ctl->args_n; i++) {
		if (!parse_side(ctl->args[i], &sides[i]))
			return CTL_USAGE;
	}
	if ((status = ctl_connect(ctl, NULL, 0, &client)) != CTL_DONE)
		return status;
	for (size_t i = 0; i < ctl->args_n && err == LATENTD_OK; i++)
		err = (paused ? latentd_pause : latentd_resume)(
		    client, sides[i], ctl_answer_ms(ctl));
	if (err != LATENTD_OK)
		status = ctl_failed(client, err);
	else
		status = print_paused(ctl, client);
	latentd_client_close(client);
	return status;
}

int
ctl_pause(struct ctl *ctl)
{
	return set_paused(ctl, true);
}

int
ctl_resume(struct ctl *ctl)
{
	return set_paused(ctl, false);
}

/* ---- reloading ---- */

int
ctl_reload(struct ctl *ctl)
{
	struct latentd_client *client;
	int status = ctl_connect(ctl, NULL, 0, &client);
	enum latentd_err err;
	json_t *line;

	if (status != CTL_DONE)
		return status;
	err = latentd_reload(client, ctl_answer_ms(ctl));
	if (ctl->json) {
		line = json_pack("{s:b}", "reloaded", err == LATENTD_OK);
		if (err != LATENTD_OK)
			json_object_set_new(line, "message",
			    json_string(latentd_client_error(client)));
		json_dumpf(line, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(line);
	}
	if (err != LATENTD_OK)
		status = ctl_failed(client, err);
	else if (!ctl->json)
		puts("the configuration was taken over");
	/* Not this command line is wrong. */
	if (err == LATENTD_ERR_INVALID)
		status = CTL_FAILED;
	latentd_client_close(client);
	return status;
}

/* ---- draining ---- */

/* What was said last, so that only changes are. */
struct drained {
	char instance[32];
	intmax_t jobs_n;
	intmax_t results_n;
};

/* Whether the drain of that instance goes on. */
static bool
tell_drain(const struct ctl *ctl, const char *text, struct drained *last)
{
	json_t *report = ctl_json_load(text);
	const json_t *drain = json_object_get(report, "drain");
	const char *instance = ctl_json_string(report, "instance");
	intmax_t jobs_n = ctl_json_number(drain, "jobs");
	intmax_t results_n = ctl_json_number(drain, "results");
	char left[CTL_JSON_DURATION_BYTES];
	bool goes_on = json_is_object(drain) &&
	    (last->instance[0] == '\0' ||
		strcmp(instance, last->instance) == 0);

	if (goes_on &&
	    (jobs_n != last->jobs_n || results_n != last->results_n)) {
		snprintf(
		    last->instance, sizeof(last->instance), "%s", instance);
		last->jobs_n = jobs_n;
		last->results_n = results_n;
		ctl_json_duration(left, ctl_json_number(drain, "left_ms"));
		if (ctl->json)
			json_dumpf(drain, stdout, JSON_COMPACT);
		else
			printf("%jd jobs to finish, %jd results to collect, at "
			       "most %s",
			    jobs_n, results_n, left);
		putchar('\n');
		fflush(stdout);
	}
	json_decref(report);
	return goes_on;
}

/* A daemon that does not answer may be busy or gone; a new connection tells. */
static bool
is_gone(const struct ctl *ctl)
{
	struct latentd_client_options options = {
	    .url = ctl->url, .connect_timeout_ms = GONE_MS};
	struct latentd_client *client;

	if (latentd_client_open(&client, &options) != LATENTD_OK)
		return true;
	latentd_client_close(client);
	return false;
}

static int
follow_drain(const struct ctl *ctl, struct latentd_client *client)
{
	const int64_t until_ms =
	    ctl->timeout_ms < 0 ? -1 : ctl_now_ms() + ctl->timeout_ms;
	struct drained last = {.jobs_n = -1};
	char *text;

	ctl_catch_signals();
	for (;;) {
		bool goes_on = false;
		enum latentd_err err = latentd_status(client, 1000, &text);

		if (err == LATENTD_OK)
			goes_on = tell_drain(ctl, text, &last);
		else
			goes_on = !is_gone(ctl);
		free(text);
		if (!goes_on)
			return CTL_DONE;
		if (until_ms >= 0 && ctl_now_ms() >= until_ms) {
			ctl_error("the daemon has not ended in time");
			return CTL_TIMEOUT;
		}
		if (ctl_wait(client, ctl_now_ms() + LOOK_MS, false) ==
		    CTL_EVENT_INTERRUPT) {
			ctl_note(ctl, "the daemon goes on draining");
			return CTL_INTERRUPTED;
		}
	}
}

int
ctl_drain(struct ctl *ctl)
{
	struct latentd_client *client;
	int status = ctl_connect(ctl, NULL, 0, &client);
	enum latentd_err err;

	if (status != CTL_DONE)
		return status;
	err = latentd_drain(client, ctl_answer_ms(ctl));
	if (err != LATENTD_OK)
		status = ctl_failed(client, err);
	else if (!ctl->no_wait)
		status = follow_drain(ctl, client);
	latentd_client_close(client);
	if (status == CTL_DONE && !ctl->no_wait && !ctl->json)
		puts("the daemon has ended");
	return status;
}
