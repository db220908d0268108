/* SPDX-License-Identifier: Apache-2.0 */
/* latentctl jobs and why. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "ctl_json.h"

#define COLUMNS 80

/* ---- jobs ---- */

static void
print_head(void)
{
	printf("%8s %-9s %-20s %-14s %-6s %6s %5s\n", "ID", "STATE", "PRODUCER",
	    "MODEL", "TASK", "SINCE", "TRIES");
}

/* The reason under its job, in one line. */
static void
print_reason(const json_t *job)
{
	char line[COLUMNS - 9];
	size_t n;

	snprintf(line, sizeof(line), "%s", ctl_json_string(job, "reason"));
	n = strlen(line);
	/* Not half a letter at the end. */
	while (n > 0 && n == sizeof(line) - 1 && (line[n - 1] & 0xc0) == 0x80)
		line[--n] = '\0';
	if (n == sizeof(line) - 1 && (line[n - 1] & 0x80) != 0)
		line[--n] = '\0';
	if (n == 0)
		return;
	printf("%8s ", "");
	ctl_json_print(line);
	putchar('\n');
}

static void
print_job(const json_t *job)
{
	char since[CTL_JSON_DURATION_BYTES];
	bool buried = json_is_true(json_object_get(job, "buried"));

	printf("%8jd %-9.9s %-20.20s %-14.14s %-6.6s %6s %5jd\n",
	    ctl_json_number(job, "id"),
	    buried ? "buried" : ctl_json_string(job, "state"),
	    ctl_json_string(job, "producer"), ctl_json_string(job, "model"),
	    ctl_json_string(job, "task"),
	    ctl_json_short(since, ctl_json_number(job, "since_ms")),
	    ctl_json_number(job, "requests"));
	print_reason(job);
}

/* What is printed as it comes: a page, and the next. */
struct listing {
	const struct ctl *ctl;
	size_t printed_n;
};

static void
print_page(struct listing *l, const json_t *jobs)
{
	const json_t *job;
	size_t i;

	json_array_foreach(jobs, i, job)
	{
		if (l->ctl->json) {
			fputs(l->printed_n == 0 ? "[\n" : ",\n", stdout);
			json_dumpf(job, stdout, JSON_COMPACT);
		} else {
			if (l->printed_n == 0)
				print_head();
			print_job(job);
		}
		l->printed_n++;
	}
}

/* ${after} becomes where the next page begins; 0 after the last. */
static int
list_page(struct listing *l, struct latentd_client *client, uint64_t *after)
{
	const struct latentd_jobs_query query = {.state = l->ctl->state,
	    .producer = l->ctl->producer,
	    .after = *after};
	enum latentd_err err;
	json_t *page;
	uint64_t next;
	char *text;

	err = latentd_jobs(client, &query, ctl_answer_ms(l->ctl), &text);
	if (err != LATENTD_OK)
		return ctl_failed(client, err);
	page = ctl_json_load(text);
	free(text);
	if (page == NULL)
		return CTL_FAILED;
	print_page(l, json_object_get(page, "jobs"));
	next = (uint64_t)ctl_json_number(page, "next");
	*after = next > *after ? next : 0;
	json_decref(page);
	return CTL_DONE;
}

int
ctl_jobs(struct ctl *ctl)
{
	struct listing l = {.ctl = ctl};
	struct latentd_client *client;
	int status = ctl_connect(ctl, NULL, 0, &client);
	uint64_t after = 0;

	if (status != CTL_DONE)
		return status;
	do
		status = list_page(&l, client, &after);
	while (status == CTL_DONE && after != 0);
	latentd_client_close(client);
	if (ctl->json)
		puts(l.printed_n == 0 ? "[]" : "\n]");
	else if (l.printed_n == 0 && status == CTL_DONE)
		ctl_note(ctl, "no such jobs");
	return status;
}

/* ---- why ---- */

static void
print_title(const json_t *job)
{
	char age[CTL_JSON_DURATION_BYTES], since[CTL_JSON_DURATION_BYTES];
	const json_t *uid = json_object_get(job, "uid");

	printf("job %jd: %s %s %s, %s since %s\n", ctl_json_number(job, "id"),
	    ctl_json_string(job, "model"), ctl_json_string(job, "task"),
	    ctl_json_string(job, "output"), ctl_json_string(job, "state"),
	    ctl_json_duration(since, ctl_json_number(job, "since_ms")));
	printf("  producer %s", ctl_json_string(job, "producer"));
	if (json_is_integer(uid))
		printf(" (uid %jd)", (intmax_t)json_integer_value(uid));
	printf(", key %s, submitted %s ago\n", ctl_json_string(job, "key"),
	    ctl_json_duration(age, ctl_json_number(job, "age_ms")));
}

/* Break a sentence into indented lines. */
static void
print_wrapped(const char *text)
{
	while (*text != '\0') {
		size_t n = strlen(text), line = COLUMNS - 3;
		char part[COLUMNS];

		if (n > line) {
			for (n = line; n > 0 && text[n] != ' '; n--)
				;
			if (n == 0)
				n = line;
		}
		memcpy(part, text, n < line ? n : line);
		part[n < line ? n : line] = '\0';
		fputs("  ", stdout);
		ctl_json_print(part);
		putchar('\n');
		text += n;
		text += strspn(text, " ");
	}
}

static void
print_attempts(const json_t *list)
{
	const json_t *a;
	size_t i;

	if (json_array_size(list) > 0)
		printf("  %-24s %6s %-12s %9s %9s\n", "LATEST TRIES AT", "HTTP",
		    "OUTCOME", "TOOK", "AGO");
	json_array_foreach(list, i, a)
	{
		char took[CTL_JSON_DURATION_BYTES];
		char ago[CTL_JSON_DURATION_BYTES];

		printf("  %-24.24s %6jd %-12.12s %9s %9s\n",
		    ctl_json_string(a, "endpoint"),
		    ctl_json_number(a, "http_status"),
		    ctl_json_string(a, "code"),
		    ctl_json_short(took, ctl_json_number(a, "took_ms")),
		    ctl_json_short(ago, ctl_json_number(a, "ago_ms")));
	}
}

static void
print_endpoints(const json_t *list)
{
	const json_t *ep;
	size_t i;

	json_array_foreach(list, i, ep)
	{
		const char *state = ctl_json_string(ep, "state");
		bool fit = strcmp(state, "fit") == 0;

		printf("  endpoint %.40s: %.16s, %jd of %jd requests in "
		       "flight%s\n",
		    ctl_json_string(ep, "name"), state,
		    ctl_json_number(ep, "in_flight"),
		    ctl_json_number(ep, "parallel"),
		    fit && json_is_true(json_object_get(ep, "full")) ? ", full"
								     : "");
	}
}

static int
print_why(const struct ctl *ctl, const char *text)
{
	json_t *job;

	if (ctl->json) {
		puts(text);
		return CTL_DONE;
	}
	if ((job = ctl_json_load(text)) == NULL)
		return CTL_FAILED;
	print_title(job);
	print_wrapped(ctl_json_string(job, "why"));
	print_endpoints(json_object_get(job, "endpoints"));
	print_attempts(json_object_get(job, "attempts"));
	json_decref(job);
	return CTL_DONE;
}

/* A key of the producer's, else an id. */
static enum latentd_err
ask_why(const struct ctl *ctl, struct latentd_client *client, const char *arg,
    char **text)
{
	enum latentd_err err =
	    latentd_why(client, 0, arg, ctl_answer_ms(ctl), text);
	uint64_t id;
	char *end;

	if (err != LATENTD_ERR_NOT_FOUND || arg[0] < '0' || arg[0] > '9')
		return err;
	errno = 0;
	id = strtoull(arg, &end, 10);
	if (*end != '\0' || errno != 0 || id == 0)
		return err;
	return latentd_why(client, id, NULL, ctl_answer_ms(ctl), text);
}

int
ctl_why(struct ctl *ctl)
{
	struct latentd_client *client;
	int status = ctl_connect(ctl, "latentctl", 0, &client);

	if (status != CTL_DONE)
		return status;
	for (size_t i = 0; i < ctl->args_n; i++) {
		enum latentd_err err;
		char *text;

		err = ask_why(ctl, client, ctl->args[i], &text);
		if (err != LATENTD_OK) {
			ctl_error("%s: %s", ctl->args[i],
			    latentd_client_error(client));
			status = ctl_exit_of(err);
		} else if (print_why(ctl, text) != CTL_DONE) {
			status = CTL_FAILED;
		}
		free(text);
	}
	latentd_client_close(client);
	return status;
}
