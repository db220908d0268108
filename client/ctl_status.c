/* SPDX-License-Identifier: Apache-2.0 */
/* latentctl status: the daemon's report for people. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "ctl_json.h"

static void
print_paused(const json_t *report)
{
	const json_t *paused = json_object_get(report, "paused");
	bool in = json_is_true(json_object_get(paused, "in"));
	bool out = json_is_true(json_object_get(paused, "out"));

	if (in || out)
		printf(", paused: %s", !out ? "in" : in ? "in and out" : "out");
}

static void
print_summary(const json_t *report)
{
	const json_t *queue = json_object_get(report, "queue");
	const json_t *jobs = json_object_get(report, "jobs");
	const double mib = 1024.0 * 1024.0;
	char up[CTL_JSON_DURATION_BYTES];

	printf("latentd ");
	ctl_json_print(ctl_json_string(report, "version"));
	printf(", ");
	ctl_json_print(ctl_json_string(report, "state"));
	printf(", up ");
	ctl_json_duration(up, ctl_json_number(report, "uptime_s") * 1000);
	printf("%s", up);
	print_paused(report);
	printf(
	    "\n\njobs   %jd queued, %jd active, %jd kept, %jd buried; %jd done, %jd "
	    "failed, %jd cancelled, %jd expired\n",
	    ctl_json_number(jobs, "queued"), ctl_json_number(jobs, "active"),
	    ctl_json_number(jobs, "kept"), ctl_json_number(jobs, "buried"),
	    ctl_json_number(jobs, "done_total"),
	    ctl_json_number(jobs, "failed_total"),
	    ctl_json_number(jobs, "cancelled_total"),
	    ctl_json_number(jobs, "expired_total"));
	printf("room   %jd of %jd jobs, %.1f of %.1f MiB, results %.1f MiB\n",
	    ctl_json_number(queue, "jobs"), ctl_json_number(queue, "jobs_max"),
	    (double)ctl_json_number(queue, "bytes") / mib,
	    (double)ctl_json_number(queue, "bytes_max") / mib,
	    (double)ctl_json_number(queue, "result_bytes") / mib);
}

/* Where the jobs survive, and what is wrong with it. */
static void
print_spool(const json_t *report)
{
	const json_t *spool = json_object_get(report, "spool");
	const double mib = 1024.0 * 1024.0;

	if (!json_is_object(spool))
		return;
	printf("spool  ");
	ctl_json_print(ctl_json_string(spool, "path"));
	printf(", %.1f of %.1f MiB, durability ",
	    (double)ctl_json_number(spool, "bytes") / mib,
	    (double)ctl_json_number(spool, "bytes_max") / mib);
	ctl_json_print(ctl_json_string(spool, "durability"));
	if (ctl_json_number(spool, "aside") > 0)
		printf(", %jd damaged jobs set aside",
		    ctl_json_number(spool, "aside"));
	putchar('\n');
	if (ctl_json_string(spool, "failure")[0] == '\0')
		return;
	printf("  STOPPED: ");
	ctl_json_print(ctl_json_string(spool, "failure"));
	printf("\n  new jobs are refused; when the disk is well again, run "
	       "latentctl resume in\n");
}

static void
print_endpoints(const json_t *report)
{
	const json_t *list = json_object_get(report, "endpoints"), *ep;
	size_t i;

	printf("\n%-20s %-14s %-7s %-7s %9s %8s %8s\n", "endpoint", "model",
	    "task", "state", "in flight", "done", "failed");
	json_array_foreach(list, i, ep)
	{
		char flight[32];

		snprintf(flight, sizeof(flight), "%jd/%jd",
		    ctl_json_number(ep, "in_flight"),
		    ctl_json_number(ep, "parallel"));
		printf("%-20.64s %-14.64s %-7.64s %-7.16s %9s %8jd %8jd\n",
		    ctl_json_string(ep, "name"), ctl_json_string(ep, "model"),
		    ctl_json_string(ep, "task"), ctl_json_string(ep, "state"),
		    flight, ctl_json_number(ep, "done_total"),
		    ctl_json_number(ep, "failed_total"));
		if (ctl_json_string(ep, "last_error")[0] != '\0') {
			printf("  last error: ");
			ctl_json_print(ctl_json_string(ep, "last_error"));
			putchar('\n');
		}
	}
}

static void
print_producers(const json_t *report)
{
	const json_t *list = json_object_get(report, "producers"), *p;
	intmax_t total = ctl_json_number(report, "producers_total");
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
		printf("%-34.64s %8s %9jd %9jd\n", ctl_json_string(p, "name"),
		    text, ctl_json_number(p, "open"),
		    ctl_json_number(p, "kept"));
	}
	if (total > (intmax_t)json_array_size(list))
		printf(
		    "and %jd more\n", total - (intmax_t)json_array_size(list));
}

static int
print_report(const char *text)
{
	json_t *report = ctl_json_load(text);

	if (report == NULL)
		return CTL_FAILED;
	print_summary(report);
	print_spool(report);
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
	err = latentd_status(client, ctl_answer_ms(ctl), &text);
	if (err != LATENTD_OK) {
		status = ctl_failed(client, err);
	} else if (ctl->json) {
		puts(text);
	} else {
		status = print_report(text);
	}
	free(text);
	latentd_client_close(client);
	return status;
}
