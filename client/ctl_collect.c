/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentctl collect: write what is finished under a producer's name.  A result
 * is acknowledged, by freeing it, only after it is written; what could not be
 * written is freed after the client is closed, and the daemon keeps it.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "ctl_save.h"
#include "ctl_wait.h"
#include "files.h"
#include "progress.h"

/* How long a result that the daemon has may take to arrive. */
#define ARRIVE_MS 5000
/* How often the daemon is asked what is left. */
#define ASK_MS 1000

struct collect {
	struct ctl *ctl;
	struct latentd_client *client;
	int64_t until_ms;
	size_t done_n;
	size_t failed_n;
	int failed_status; /* what to exit with for these */
	struct latentd_result **unwritten;
	size_t unwritten_n;
};

struct left {
	uint64_t open_n;
	uint64_t kept_n;
};

static uint64_t
count_of(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

/* The report lists every uid's; over tcp there is none. */
static bool
is_own(const json_t *producer, const char *name)
{
	const char *found =
	    json_string_value(json_object_get(producer, "name"));
	const json_t *uid = json_object_get(producer, "uid");

	if (found == NULL || strcmp(found, name) != 0)
		return false;
	return !json_is_integer(uid) ||
	    json_integer_value(uid) == (json_int_t)geteuid();
}

static void
find_left(const json_t *report, const char *name, struct left *left)
{
	const json_t *list = json_object_get(report, "producers");
	const json_t *producer;
	size_t i;

	*left = (struct left){0, 0};
	json_array_foreach(list, i, producer)
	{
		if (!is_own(producer, name))
			continue;
		left->open_n += count_of(producer, "open");
		left->kept_n += count_of(producer, "kept");
	}
}

static int
ask_left(struct collect *c, struct left *left)
{
	char *text;
	enum latentd_err err = latentd_status(c->client, ARRIVE_MS, &text);
	json_t *report;

	if (err != LATENTD_OK) {
		ctl_error("%s", latentd_client_error(c->client));
		return ctl_exit_of(err);
	}
	report = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (!json_is_object(report)) {
		json_decref(report);
		ctl_error("the daemon's report is not a JSON object");
		return CTL_FAILED;
	}
	find_left(report, latentd_client_producer(c->client), left);
	json_decref(report);
	return CTL_DONE;
}

static void
on_written(const char *name, void *arg)
{
	const struct collect *c = arg;

	progress_clear();
	printf("%s/%s\n", c->ctl->out, name);
	fflush(stdout);
}

static void
keep_unwritten(struct collect *c, struct latentd_result *result)
{
	struct latentd_result **more = realloc(c->unwritten,
	    (c->unwritten_n + 1) * sizeof(struct latentd_result *));

	if (more == NULL)
		abort();
	c->unwritten = more;
	c->unwritten[c->unwritten_n++] = result;
}

static void
take(struct collect *c)
{
	struct latentd_result *result;
	struct reason why;
	const char *key;
	enum latentd_err err;

	while (!ctl_interrupted() &&
	    latentd_collect(c->client, 0, &result) == LATENTD_OK) {
		key = latentd_result_key(result);
		err = latentd_result_error(result);
		if (err != LATENTD_OK) {
			ctl_error(
			    "%s: %s", key, latentd_result_message(result));
			c->failed_n++;
			c->failed_status =
			    ctl_job_failed(c->failed_status, err);
		} else if (ctl_save(c->ctl, result, key, on_written, c, &why) !=
		    LATENTD_OK) {
			ctl_error("%s: %s; the daemon keeps it", key, why.text);
			c->failed_n++;
			c->failed_status = CTL_FAILED;
			keep_unwritten(c, result);
			continue;
		} else {
			c->done_n++;
		}
		latentd_result_free(result);
		progress_show(c->done_n, c->failed_n);
	}
}

/* Wait for something to take until then, but not beyond --wait. */
static enum ctl_event
wait_some(struct collect *c, int64_t ms)
{
	int64_t until_ms = ctl_now_ms() + ms;
	enum ctl_event event;

	if (c->until_ms >= 0 && c->until_ms < until_ms)
		until_ms = c->until_ms;
	event = ctl_wait(c->client, until_ms, false);
	if (event == CTL_EVENT_RESULT)
		take(c);
	return event;
}

static int
out_of_time(const struct left *left)
{
	ctl_error("out of time with %ju jobs not collected",
	    (uintmax_t)(left->open_n + left->kept_n));
	return CTL_TIMEOUT;
}

static int
not_arrived(const struct collect *c, const struct left *left)
{
	ctl_error("%ju results did not arrive: does another client collect as "
		  "\"%s\"?",
	    (uintmax_t)left->kept_n, latentd_client_producer(c->client));
	return CTL_FAILED;
}

/*
 * The daemon's report says what there is to wait for: jobs that are not done,
 * with patience, and results that it keeps.  What could not be written is
 * among those and must not be waited for.
 */
static int
loop(struct collect *c)
{
	bool patient = c->ctl->all || c->ctl->wait_ms >= 0;
	int64_t arrived_ms = ctl_now_ms();
	struct left left = {0, 0};
	int status;

	take(c);
	for (;;) {
		if (ctl_interrupted())
			return CTL_INTERRUPTED;
		status = ask_left(c, &left);
		if (status != CTL_DONE)
			return status;
		left.kept_n -=
		    left.kept_n < c->unwritten_n ? left.kept_n : c->unwritten_n;
		if (left.kept_n == 0 && (left.open_n == 0 || !patient))
			return c->failed_status;
		if (left.kept_n == 0)
			arrived_ms = ctl_now_ms();
		if (c->until_ms >= 0 && ctl_now_ms() >= c->until_ms)
			return out_of_time(&left);
		if (ctl_now_ms() - arrived_ms > ARRIVE_MS)
			return not_arrived(c, &left);
		if (wait_some(c, ASK_MS) == CTL_EVENT_RESULT)
			arrived_ms = ctl_now_ms();
	}
}

int
ctl_collect(struct ctl *ctl)
{
	struct collect c = {.ctl = ctl, .until_ms = -1};
	struct reason why;
	int64_t patience_ms = ctl->timeout_ms;
	int status;

	if (files_make_directory(ctl->out, &why) != LATENTD_OK) {
		ctl_error("%s", why.text);
		return CTL_FAILED;
	}
	status = ctl_connect(ctl, "latentctl", 0, &c.client);
	if (status != CTL_DONE)
		return status;
	if (ctl->wait_ms >= 0 &&
	    (patience_ms < 0 || ctl->wait_ms < patience_ms))
		patience_ms = ctl->wait_ms;
	if (patience_ms >= 0)
		c.until_ms = ctl_now_ms() + patience_ms;
	ctl_catch_signals();
	progress_start("collect", 0, ctl->quiet);
	status = loop(&c);
	progress_end();
	latentd_client_close(c.client);
	for (size_t i = 0; i < c.unwritten_n; i++)
		latentd_result_free(c.unwritten[i]);
	free(c.unwritten);
	return status;
}
