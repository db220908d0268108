/* SPDX-License-Identifier: Apache-2.0 */
/* latentctl status and cancel: questions with one answer. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define ANSWER_MS 10000

static int
answer_ms(const struct ctl *ctl)
{
	return ctl->timeout_ms >= 0 && ctl->timeout_ms < ANSWER_MS
	    ? (int)ctl->timeout_ms
	    : ANSWER_MS;
}

static intmax_t
number(const json_t *object, const char *key)
{
	return (intmax_t)json_integer_value(json_object_get(object, key));
}

static const char *
string(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s != NULL ? s : "";
}

/* What the daemon says goes to a terminal: no control characters. */
static void
print_safe(const char *s)
{
	for (; *s != '\0'; s++)
		putchar((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

static void
print_uptime(intmax_t s)
{
	if (s >= 86400)
		printf("%jd d %jd h", s / 86400, s % 86400 / 3600);
	else if (s >= 3600)
		printf("%jd h %jd min", s / 3600, s % 3600 / 60);
	else if (s >= 60)
		printf("%jd min %jd s", s / 60, s % 60);
	else
		printf("%jd s", s);
}

static void
print_summary(const json_t *report)
{
	const json_t *queue = json_object_get(report, "queue");
	const json_t *jobs = json_object_get(report, "jobs");
	const double mib = 1024.0 * 1024.0;

	printf("latentd ");
	print_safe(string(report, "version"));
	printf(", ");
	print_safe(string(report, "state"));
	printf(", up ");
	print_uptime(number(report, "uptime_s"));
	printf("\n\njobs   %jd queued, %jd active, %jd kept; %jd done, %jd "
	       "failed, %jd cancelled\n",
	    number(jobs, "queued"), number(jobs, "active"),
	    number(jobs, "kept"), number(jobs, "done_total"),
	    number(jobs, "failed_total"), number(jobs, "cancelled_total"));
	printf("room   %jd of %jd jobs, %.1f of %.1f MiB, results %.1f MiB\n",
	    number(queue, "jobs"), number(queue, "jobs_max"),
	    (double)number(queue, "bytes") / mib,
	    (double)number(queue, "bytes_max") / mib,
	    (double)number(queue, "result_bytes") / mib);
}

static void
print_endpoints(const json_t *report)
{
	const json_t *list = json_object_get(report, "endpoints"), *ep;
	size_t i;

	printf("\n%-20s %-14s %-7s %9s %9s %9s\n", "endpoint", "model", "task",
	    "in flight", "done", "failed");
	json_array_foreach(list, i, ep)
	{
		char flight[32];

		snprintf(flight, sizeof(flight), "%jd/%jd",
		    number(ep, "in_flight"), number(ep, "parallel"));
		printf("%-20.64s %-14.64s %-7.64s %9s %9jd %9jd\n",
		    string(ep, "name"), string(ep, "model"), string(ep, "task"),
		    flight, number(ep, "done_total"),
		    number(ep, "failed_total"));
		if (string(ep, "last_error")[0] != '\0') {
			printf("  last error: ");
			print_safe(string(ep, "last_error"));
			putchar('\n');
		}
	}
}

static void
print_producers(const json_t *report)
{
	const json_t *list = json_object_get(report, "producers"), *p;
	intmax_t total = number(report, "producers_total");
	size_t i;

	if (json_array_size(list) == 0)
		return;
	printf("\n%-34s %8s %9s %9s\n", "producer", "uid", "open", "kept");
	json_array_foreach(list, i, p)
	{
		const json_t *uid = json_object_get(p, "uid");
		char text[32] = "-";

		if (json_is_integer(uid))
			snprintf(text, sizeof(text), "%jd",
			    (intmax_t)json_integer_value(uid));
		printf("%-34.64s %8s %9jd %9jd\n", string(p, "name"), text,
		    number(p, "open"), number(p, "kept"));
	}
	if (total > (intmax_t)json_array_size(list))
		printf(
		    "and %jd more\n", total - (intmax_t)json_array_size(list));
}

static int
print_report(const char *text)
{
	json_t *report = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(report)) {
		ctl_error("the daemon's report is not a JSON object");
		json_decref(report);
		return CTL_FAILED;
	}
	print_summary(report);
	print_endpoints(report);
	print_producers(report);
	json_decref(report);
	return CTL_DONE;
}

int
ctl_status(struct ctl *ctl)
{
	struct latentd_client *client;
	int status = ctl_connect(ctl, NULL, 0, &client);
	enum latentd_err err;
	char *text;

	if (status != CTL_DONE)
		return status;
	err = latentd_status(client, answer_ms(ctl), &text);
	if (err != LATENTD_OK) {
		ctl_error("%s", latentd_client_error(client));
		status = ctl_exit_of(err);
	} else if (ctl->json) {
		puts(text);
	} else {
		status = print_report(text);
	}
	free(text);
	latentd_client_close(client);
	return status;
}

int
ctl_cancel(struct ctl *ctl)
{
	struct latentd_client *client;
	int status = ctl_connect(ctl, "latentctl", 0, &client);

	if (status != CTL_DONE)
		return status;
	for (size_t i = 0; i < ctl->args_n; i++) {
		enum latentd_err err =
		    latentd_cancel_key(client, ctl->args[i], answer_ms(ctl));

		if (err == LATENTD_OK)
			continue;
		ctl_error("%s: %s", ctl->args[i], latentd_client_error(client));
		status = err == LATENTD_ERR_TIMEOUT ? CTL_TIMEOUT : CTL_FAILED;
	}
	latentd_client_close(client);
	return status;
}
