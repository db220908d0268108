/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what the books do not keep: times, as histograms, and who did how
 * much.  Gauges are read from the books when somebody asks.
 */
#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <uv.h>

#include "endpoint.h"
#include "latentd/version.h"

#define NS_PER_S 1e9
/* Producers with counters of their own; the others share "other". */
#define PRODUCERS_COUNTED_MAX 256u

static const double bounds_s[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};
#define BOUNDS_N (sizeof(bounds_s) / sizeof(bounds_s[0]))

struct histogram {
	uint64_t n[BOUNDS_N + 1];
	double sum_s;
};

enum timed {
	TIME_QUEUED,
	TIME_CONNECT,
	TIME_UPLOAD,
	TIME_DECODE,
	TIME_DOWNLOAD,
	TIME_FINISH,
	TIME_DELIVERY,
	TIME_COUNT
};

static const struct {
	const char *name;
	const char *help;
} phases[TIME_COUNT] = {
    {"job_queued", "Time from a job's arrival to its first request."},
    {"attempt_connect", "Time until a request had its connection."},
    {"attempt_upload", "Time a request's body took to send."},
    {"attempt_decode", "Time from a request's last byte to the reply's first."},
    {"attempt_download", "Time a reply took to arrive."},
    {"job_finish", "Time from a job's last reply to its result."},
    {"result_delivery", "Time from a result to its producer's thanks."},
};

struct counted {
	char name[LATENTD_MAX_NAME_BYTES + 1];
	uint64_t jobs_n[JOB_STATE_COUNT];
	uint64_t in_bytes;
	uint64_t out_bytes;
	UT_hash_handle hh;
};

struct metrics {
	struct histogram times[TIME_COUNT];
	uint64_t answers_n[ANSWER_COUNT];
	uint64_t dropped_n;
	struct counted *producers;
};

struct metrics *
metrics_create(void)
{
	return calloc(1, sizeof(struct metrics));
}

void
metrics_destroy(struct metrics *m)
{
	struct counted *c, *next;

	if (m == NULL)
		return;
	HASH_ITER(hh, m->producers, c, next)
	{
		HASH_DEL(m->producers, c);
		free(c);
	}
	free(m);
}

static void
observe(struct metrics *m, enum timed phase, uint64_t from_ns, uint64_t to_ns)
{
	struct histogram *h = &m->times[phase];
	double s = to_ns > from_ns ? (double)(to_ns - from_ns) / NS_PER_S : 0;
	size_t i = 0;

	while (i < BOUNDS_N && s > bounds_s[i])
		i++;
	h->n[i]++;
	h->sum_s += s;
}

void
metrics_attempt(struct metrics *m, const struct attempt *a)
{
	if (a->connected_ns != 0)
		observe(m, TIME_CONNECT, a->started_ns, a->connected_ns);
	if (a->uploaded_ns != 0)
		observe(m, TIME_UPLOAD, a->connected_ns, a->uploaded_ns);
	/* An endpoint may refuse before it has heard all. */
	if (a->uploaded_ns != 0 && a->answered_ns != 0)
		observe(m, TIME_DECODE, a->uploaded_ns, a->answered_ns);
	if (a->answered_ns != 0)
		observe(m, TIME_DOWNLOAD, a->answered_ns, a->ended_ns);
}

/* Names that clients make up for one run would never end. */
static const char *
counted_name(const struct job *job)
{
	const char *name = job->producer->identity.name;

	return strncmp(name, "anon-", 5) == 0 ? "anonymous" : name;
}

static struct counted *
counted_get(struct metrics *m, const char *name)
{
	struct counted *c;

	HASH_FIND_STR(m->producers, name, c);
	if (c != NULL)
		return c;
	if (HASH_COUNT(m->producers) >= PRODUCERS_COUNTED_MAX &&
	    strcmp(name, "other") != 0)
		return counted_get(m, "other");
	if ((c = calloc(1, sizeof(*c))) == NULL)
		abort();
	snprintf(c->name, sizeof(c->name), "%s", name);
	HASH_ADD_STR(m->producers, name, c);
	return c;
}

void
metrics_ended(struct metrics *m, const struct job *job)
{
	struct counted *c = counted_get(m, counted_name(job));

	c->jobs_n[job->state]++;
	c->in_bytes += job->payload_bytes;
	c->out_bytes += job->result_bytes;
	if (job->started_ns != 0)
		observe(m, TIME_QUEUED, job->submitted_ns, job->started_ns);
	if (job->state == JOB_DONE)
		observe(m, TIME_FINISH, job->decoded_ns, job->finished_ns);
}

void
metrics_delivered(struct metrics *m, uint64_t finished_ns)
{
	observe(m, TIME_DELIVERY, finished_ns, uv_hrtime());
}

void
metrics_dropped(struct metrics *m)
{
	m->dropped_n++;
}

void
metrics_answered(struct metrics *m, enum metrics_answer answer)
{
	m->answers_n[answer]++;
}

/* ---- the text ---- */

static void
head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP latentd_%s %s\n# TYPE latentd_%s %s\n", name, help,
	    name, type);
}

/* name{key="value": the first label, its value escaped; the caller goes on. */
static void
label(FILE *out, const char *name, const char *key, const char *value)
{
	fprintf(out, "latentd_%s{%s=\"", name, key);
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '"' || *value == '\\')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static void
number(FILE *out, const char *name, const char *type, const char *help,
    uint64_t value)
{
	head(out, name, type, help);
	fprintf(out, "latentd_%s %" PRIu64 "\n", name, value);
}

static void
histogram(FILE *out, const struct histogram *h, enum timed phase)
{
	char name[64];
	uint64_t n = 0;

	snprintf(name, sizeof(name), "%s_seconds", phases[phase].name);
	head(out, name, "histogram", phases[phase].help);
	for (size_t i = 0; i < BOUNDS_N; i++) {
		n += h->n[i];
		fprintf(out, "latentd_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
		    bounds_s[i], n);
	}
	n += h->n[BOUNDS_N];
	fprintf(out,
	    "latentd_%s_bucket{le=\"+Inf\"} %" PRIu64 "\nlatentd_%s_sum %.9g\n"
	    "latentd_%s_count %" PRIu64 "\n",
	    name, n, name, h->sum_s, name, n);
}

static void
books(FILE *out, const struct metrics *m, const struct metrics_input *in)
{
	static const char *const answers[] = {"accepted", "busy"};
	const struct jobs *jobs = in->jobs;

	head(out, "jobs", "gauge", "Jobs held now, by state.");
	for (int s = JOB_QUEUED; s < JOB_STATE_COUNT; s++)
		fprintf(out, "latentd_jobs{state=\"%s\"} %zu\n",
		    job_state_name((enum job_state)s), jobs->state_n[s]);
	number(out, "jobs_limit", "gauge",
	    "Jobs that may be held at the most, of any state.", in->jobs_max);
	number(out, "queue_bytes", "gauge", "Bytes of latents held.",
	    jobs->input_bytes);
	number(out, "queue_limit_bytes", "gauge",
	    "Bytes of latents that may be held at the most.", in->bytes_max);
	number(out, "result_bytes", "gauge",
	    "Bytes of results that are not yet acknowledged.",
	    jobs->result_bytes);
	head(
	    out, "jobs_ended_total", "counter", "Jobs that ended, by outcome.");
	for (int s = JOB_DONE; s < JOB_STATE_COUNT; s++)
		fprintf(out,
		    "latentd_jobs_ended_total{outcome=\"%s\"} %" PRIu64 "\n",
		    job_state_name((enum job_state)s), jobs->ended_n[s]);
	head(out, "submits_total", "counter",
	    "Requests for a new job that were well formed, by answer.");
	for (int a = 0; a < ANSWER_COUNT; a++)
		fprintf(out,
		    "latentd_submits_total{answer=\"%s\"} %" PRIu64 "\n",
		    answers[a], m->answers_n[a]);
	number(out, "results_dropped_total", "counter",
	    "Results given up because nobody collected them.", m->dropped_n);
}

static void
connections(FILE *out, const struct metrics_input *in)
{
	number(out, "connections", "gauge", "Connections of producers now.",
	    in->connections_n);
	number(out, "connections_refused_total", "counter",
	    "Connections that were closed at once.", in->refused_n);
	number(out, "proofs_denied_total", "counter",
	    "Wrong proofs of who a producer is.", in->denied_n);
}

static void
producer_bytes(FILE *out, const struct metrics *m, const char *name,
    const char *help, bool in)
{
	const struct counted *c;

	head(out, name, "counter", help);
	for (c = m->producers; c != NULL; c = c->hh.next) {
		label(out, name, "producer", c->name);
		fprintf(
		    out, "} %" PRIu64 "\n", in ? c->in_bytes : c->out_bytes);
	}
}

static void
producers(FILE *out, const struct metrics *m)
{
	const struct counted *c;

	head(out, "producer_jobs_total", "counter",
	    "Jobs that ended, by producer and outcome.");
	for (c = m->producers; c != NULL; c = c->hh.next) {
		for (int s = JOB_DONE; s < JOB_STATE_COUNT; s++) {
			label(out, "producer_jobs_total", "producer", c->name);
			fprintf(out, ",outcome=\"%s\"} %" PRIu64 "\n",
			    job_state_name((enum job_state)s), c->jobs_n[s]);
		}
	}
	producer_bytes(out, m, "producer_received_bytes_total",
	    "Bytes of payload that came from a producer.", true);
	producer_bytes(out, m, "producer_result_bytes_total",
	    "Bytes of results made for a producer.", false);
}

static void
attempts(FILE *out, const struct endpoint *ep)
{
	for (int e = 0; e < LATENTD_ERR_COUNT; e++) {
		if (e != LATENTD_OK && ep->outcomes_n[e] == 0)
			continue;
		label(out, "endpoint_attempts_total", "endpoint", ep->name);
		fprintf(out, ",outcome=\"%s\"} %" PRIu64 "\n",
		    latentd_err_name((enum latentd_err)e), ep->outcomes_n[e]);
	}
}

static uint64_t
endpoint_value(const struct endpoint *ep, int what)
{
	switch (what) {
	case 0:
		return ep->health == ENDPOINT_ANSWERS;
	case 1:
		return ep->fitness.state == FITNESS_FIT;
	case 2:
		return ep->in_flight;
	case 3:
		return limit_now(&ep->limit);
	case 4:
		return ep->sent_bytes;
	default:
		return ep->received_bytes;
	}
}

static void
endpoints(FILE *out, const struct metrics_input *in)
{
	static const char *const names[][3] = {
	    {"endpoint_up", "gauge",
		"1 if its latest request or probe was answered, else 0."},
	    {"endpoint_fit", "gauge",
		"1 if it gets more than a trial at a time, else 0."},
	    {"endpoint_in_flight", "gauge", "Requests in flight now."},
	    {"endpoint_limit", "gauge",
		"Requests that may be in flight at the most."},
	    {"endpoint_sent_bytes_total", "counter", "Bytes of bodies sent."},
	    {"endpoint_received_bytes_total", "counter",
		"Bytes of bodies received."}};

	head(out, "endpoint_attempts_total", "counter",
	    "Requests that ended, by endpoint and outcome.");
	for (size_t i = 0; i < in->endpoints_n; i++)
		attempts(out, in->endpoint(i, in->arg));
	for (int what = 0; what < 6; what++) {
		head(out, names[what][0], names[what][1], names[what][2]);
		for (size_t i = 0; i < in->endpoints_n; i++) {
			const struct endpoint *ep = in->endpoint(i, in->arg);

			label(out, names[what][0], "endpoint", ep->name);
			fprintf(
			    out, "} %" PRIu64 "\n", endpoint_value(ep, what));
		}
	}
}

static void
spool(FILE *out, const struct metrics_input *in)
{
	const struct spool_counts *c = in->spool;

	if (c == NULL)
		return;
	number(out, "spool_size_bytes", "gauge",
	    "Size of the spool's map, the bound of its file.", c->size_bytes);
	number(out, "spool_used_bytes", "gauge",
	    "Bytes of it in use, the tables' own too.", c->used_bytes);
	number(out, "spool_jobs_bytes", "gauge",
	    "Bytes of latents and results in it.", in->jobs->stored_bytes);
	number(out, "spool_jobs_limit_bytes", "gauge",
	    "Bytes of latents and results that may be in it at the most.",
	    in->jobs->stored_max);
	number(out, "spool_commits_total", "counter", "Transactions written.",
	    c->commits_n);
	number(out, "spool_changes_total", "counter",
	    "Changes of jobs in these transactions.", c->written_n);
	number(out, "spool_errors_total", "counter",
	    "Transactions that failed.", c->errors_n);
	number(out, "spool_failed", "gauge",
	    "1 if nothing is written until an operator resumes, else 0.",
	    c->failed);
	number(out, "spool_aside", "gauge",
	    "Jobs whose records are damaged and were set aside.", c->aside_n);
	number(out, "spool_lost_total", "counter",
	    "Latents and results that could not be read back.", c->lost_n);
}

char *
metrics_text(const struct metrics *m, const struct metrics_input *in)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (out == NULL)
		return NULL;
	head(out, "build_info", "gauge", "Version of this daemon; always 1.");
	fprintf(out, "latentd_build_info{version=\"%s\"} 1\n", LATENTD_VERSION);
	head(out, "config_last_reload_successful", "gauge",
	    "1 if the last configuration was taken over, else 0.");
	fprintf(
	    out, "latentd_config_last_reload_successful %d\n", in->reloaded);
	books(out, m, in);
	connections(out, in);
	spool(out, in);
	producers(out, m);
	endpoints(out, in);
	for (int p = 0; p < TIME_COUNT; p++)
		histogram(out, &m->times[p], (enum timed)p);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
