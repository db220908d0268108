/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentctl spool: look at a spool and save what is in it while no daemon runs.
 * It only reads, and not by LMDB, so that also a damaged spool can be looked at.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "ctl_export.h"
#include "ctl_json.h"
#include "salvage.h"

#define DEFAULT_DIR "/var/lib/latentd/spool"

/* 0 where the clock was set back since. */
static intmax_t
since_ms(uint64_t at_ms)
{
	struct timespec now;
	intmax_t now_ms;

	clock_gettime(CLOCK_REALTIME, &now);
	now_ms = (intmax_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	return now_ms > (intmax_t)at_ms ? now_ms - (intmax_t)at_ms : 0;
}

struct look {
	struct salvage *salvage;
	json_t *damages; /* with --json: sentences */
	bool read_all; /* latents and results, too */
	uint64_t states_n[JOB_STATE_COUNT];
	uint64_t latents_n;
	uint64_t results_n;
	uint64_t latent_bytes;
	uint64_t result_bytes;
	uint64_t oldest_ms; /* 0: there is none */
	json_t *producers; /* name: {"jobs", "bytes"} */
};

/* ---- damage ---- */

static void
on_damaged(const char *text, void *arg)
{
	struct look *look = arg;

	if (look->damages != NULL) {
		json_array_append_new(look->damages, json_string(text));
		return;
	}
	fputs("damaged: ", stdout);
	ctl_json_print(text);
	putchar('\n');
}

/* ---- jobs ---- */

static void
count_producer(struct look *look, const struct salvage_job *j, uint64_t bytes)
{
	char name[LATENTD_MAX_NAME_BYTES + 1];
	json_t *one;

	snprintf(name, sizeof(name), "%.*s", (int)j->job.producer.bytes,
	    j->job.producer.at);
	one = json_object_get(look->producers, name);
	if (one == NULL) {
		one = json_pack("{s:i, s:i}", "jobs", 0, "bytes", 0);
		json_object_set_new(look->producers, name, one);
	}
	json_object_set_new(
	    one, "jobs", json_integer(ctl_json_number(one, "jobs") + 1));
	json_object_set_new(one, "bytes",
	    json_integer(ctl_json_number(one, "bytes") + (json_int_t)bytes));
}

static void
on_job(const struct salvage_job *j, void *arg)
{
	struct look *look = arg;
	const bool latent = !j->state.body_gone;
	const bool result = j->state.result_bytes > 0;
	uint8_t *data;

	look->states_n[j->state.state]++;
	look->latents_n += latent;
	look->results_n += result;
	look->latent_bytes += latent ? j->job.body_bytes : 0;
	look->result_bytes += j->state.result_bytes;
	if (look->oldest_ms == 0 || j->job.submitted_at_ms < look->oldest_ms)
		look->oldest_ms = j->job.submitted_at_ms;
	count_producer(
	    look, j, (latent ? j->job.body_bytes : 0) + j->state.result_bytes);
	if (!look->read_all)
		return;
	if (latent && salvage_latent(look->salvage, j, &data))
		free(data);
	if (result && salvage_result(look->salvage, j, &data))
		free(data);
}

/* ---- what is said of it ---- */

static json_t *
about(const struct look *look, const char *dir)
{
	const struct salvage_counts c = salvage_counts(look->salvage);
	json_t *states = json_object();

	for (int i = 0; i < JOB_STATE_COUNT; i++) {
		if (look->states_n[i] > 0)
			json_object_set_new(states,
			    job_state_name((enum job_state)i),
			    json_integer((json_int_t)look->states_n[i]));
	}
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, "
			 "s:I, s:I, s:O}",
	    "path", dir, "file_bytes", (json_int_t)c.facts.file_bytes,
	    "size_bytes", (json_int_t)c.facts.size_bytes, "used_bytes",
	    (json_int_t)c.facts.used_bytes, "jobs", (json_int_t)c.jobs_n,
	    "oldest_at_ms", (json_int_t)look->oldest_ms, "states", states,
	    "latents", (json_int_t)look->latents_n, "latent_bytes",
	    (json_int_t)look->latent_bytes, "result_bytes",
	    (json_int_t)look->result_bytes, "known", (json_int_t)c.known_n,
	    "aside", (json_int_t)c.aside_n, "producers", look->producers);
}

static double
mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void
print_stat(const struct look *look, const char *dir)
{
	const struct salvage_counts c = salvage_counts(look->salvage);
	char age[CTL_JSON_DURATION_BYTES];
	const char *name;
	json_t *one;

	printf("spool      %s\n", dir);
	printf("file       %.1f MiB of %.1f MiB, %.1f MiB in use\n",
	    mib(c.facts.file_bytes), mib(c.facts.size_bytes),
	    mib(c.facts.used_bytes));
	printf("jobs       %ju", (uintmax_t)c.jobs_n);
	for (int i = 0; i < JOB_STATE_COUNT; i++) {
		if (look->states_n[i] > 0)
			printf(", %ju %s", (uintmax_t)look->states_n[i],
			    job_state_name((enum job_state)i));
	}
	if (look->oldest_ms > 0)
		printf("; the oldest is %s old",
		    ctl_json_duration(age, since_ms(look->oldest_ms)));
	printf("\nlatents    %ju, %.1f MiB\n", (uintmax_t)look->latents_n,
	    mib(look->latent_bytes));
	printf("results    %ju, %.1f MiB\n", (uintmax_t)look->results_n,
	    mib(look->result_bytes));
	printf("keys       %ju of jobs that were collected\n",
	    (uintmax_t)c.known_n);
	if (c.aside_n > 0)
		printf("set aside  %ju jobs whose records were damaged\n",
		    (uintmax_t)c.aside_n);
	json_object_foreach(look->producers, name, one)
	    printf("producer   %s: %jd jobs, %.1f MiB\n", name,
		ctl_json_number(one, "jobs"),
		mib((uint64_t)ctl_json_number(one, "bytes")));
}

static void
print_json(json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(object);
}

/* ---- the three commands ---- */

static int
check(const struct ctl *ctl, struct look *look, const char *dir)
{
	uint64_t damages_n;
	json_t *object;

	look->read_all = true;
	salvage_jobs(look->salvage, on_job, look);
	salvage_rest(look->salvage);
	damages_n = salvage_counts(look->salvage).damages_n;
	if (ctl->json) {
		object = about(look, dir);
		json_object_set(object, "damages", look->damages);
		print_json(object);
	} else {
		printf("%s: %ju jobs, %ju latents, %ju results, %ju keys: %s",
		    dir, (uintmax_t)salvage_counts(look->salvage).jobs_n,
		    (uintmax_t)look->latents_n, (uintmax_t)look->results_n,
		    (uintmax_t)salvage_counts(look->salvage).known_n,
		    damages_n == 0 ? "all whole\n" : "");
		if (damages_n > 0)
			printf("%ju damages\n", (uintmax_t)damages_n);
	}
	return damages_n == 0 ? CTL_DONE : CTL_FAILED;
}

static int
print_about(const struct ctl *ctl, struct look *look, const char *dir)
{
	json_t *object;

	salvage_jobs(look->salvage, on_job, look);
	if (ctl->json) {
		object = about(look, dir);
		json_object_set(object, "damages", look->damages);
		print_json(object);
	} else {
		print_stat(look, dir);
	}
	return salvage_counts(look->salvage).damages_n == 0 ? CTL_DONE
							    : CTL_FAILED;
}

static int export(const struct ctl *ctl, struct look *look, const char *dir)
{
	(void)dir;
	return ctl_export(ctl, look->salvage);
}

static const struct {
	const char *name;
	int (*run)(const struct ctl *ctl, struct look *look, const char *dir);
} actions[] = {{"check", check}, {"stat", print_about}, {"export", export}};

int
ctl_spool(struct ctl *ctl)
{
	const char *dir = ctl->args_n > 1 ? ctl->args[1] : DEFAULT_DIR;
	struct look look = {.producers = json_object()};
	struct reason why;
	int status = CTL_FAILED;

	if (ctl->json)
		look.damages = json_array();
	if (salvage_open(dir, on_damaged, &look, &look.salvage, &why) !=
	    LATENTD_OK) {
		ctl_error("%s", why.text);
		status = why.err == LATENTD_ERR_BUSY ? CTL_BUSY : CTL_FAILED;
	} else {
		for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]);
		     i++) {
			if (strcmp(ctl->args[0], actions[i].name) == 0)
				status = actions[i].run(ctl, &look, dir);
		}
		salvage_close(look.salvage);
	}
	json_decref(look.damages);
	json_decref(look.producers);
	return status;
}
