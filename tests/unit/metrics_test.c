/* SPDX-License-Identifier: Apache-2.0 */
/* What Prometheus reads. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "endpoint.h"
#include "jobs_fixture.h"
#include "metrics.h"

#define S_NS UINT64_C(1000000000)
#define END ((const char *)NULL)

static struct fixture_jobs f;
static struct metrics *m;
static struct endpoint endpoints[2];

static const struct endpoint *
on_endpoint(size_t i, void *arg)
{
	cr_assert_null(arg);
	return &endpoints[i];
}

static char *
text(void)
{
	const struct metrics_input input = {.jobs = &f.jobs,
	    .jobs_max = 100,
	    .bytes_max = 5000,
	    .endpoints_n = 2,
	    .endpoint = on_endpoint};
	char *text = metrics_text(m, &input);

	cr_assert_not_null(text);
	return text;
}

/* Every line given stands in the text, as a whole line. */
static void
expect(const char *first, ...)
{
	char *all = text(), line[256];
	va_list lines;

	va_start(lines, first);
	for (const char *l = first; l != NULL;
	     l = va_arg(lines, const char *)) {
		snprintf(line, sizeof(line), "\n%s\n", l);
		cr_assert_not_null(strstr(all, line), "no %s in %s", l, all);
	}
	va_end(lines);
	free(all);
}

static void
begin(void)
{
	fixture_jobs_open(&f);
	cr_assert_not_null(m = metrics_create());
	snprintf(endpoints[0].name, sizeof(endpoints[0].name), "gpu");
	snprintf(endpoints[1].name, sizeof(endpoints[1].name), "other");
}

static void
finish(void)
{
	metrics_destroy(m);
	fixture_jobs_close(&f);
}

/* A job of ${producer} that ended well. */
static void
count_job(const char *producer, uint64_t queued_ns)
{
	struct job *job =
	    fixture_job(&f, fixture_producer(&f, producer), "k", 1, 100);

	job_move(&f.jobs, job, JOB_QUEUED);
	job_move(&f.jobs, job, JOB_ACTIVE);
	job->submitted_ns = S_NS;
	job->started_ns = S_NS + queued_ns;
	job->decoded_ns = 9 * S_NS;
	job->finished_ns = 10 * S_NS;
	job_move(&f.jobs, job, JOB_DONE);
	metrics_ended(m, job);
	job_destroy(&f.jobs, job);
}

Test(metrics, books_and_limits_are_told)
{
	struct job *job;

	begin();
	job = fixture_job(&f, fixture_producer(&f, "p"), "k", 1, 123);
	job_move(&f.jobs, job, JOB_QUEUED);
	metrics_answered(m, ANSWER_ACCEPTED);
	metrics_answered(m, ANSWER_BUSY);
	metrics_answered(m, ANSWER_BUSY);
	metrics_dropped(m);
	expect("latentd_build_info{version=\"0.1.0\"} 1",
	    "# TYPE latentd_jobs gauge", "latentd_jobs{state=\"queued\"} 1",
	    "latentd_jobs{state=\"active\"} 0", "latentd_jobs_limit 100",
	    "latentd_queue_bytes 123", "latentd_queue_limit_bytes 5000",
	    "latentd_submits_total{answer=\"accepted\"} 1",
	    "latentd_submits_total{answer=\"busy\"} 2",
	    "latentd_results_dropped_total 1", END);
	job_destroy(&f.jobs, job);
	finish();
}

Test(metrics, times_fall_into_the_bucket_of_their_bound)
{
	begin();
	count_job("p", S_NS / 10);
	count_job("p", S_NS / 10 + 1);
	count_job("p", 1000 * S_NS);
	metrics_delivered(m, UINT64_MAX);
	expect("# TYPE latentd_job_queued_seconds histogram",
	    "latentd_job_queued_seconds_bucket{le=\"0.05\"} 0",
	    "latentd_job_queued_seconds_bucket{le=\"0.1\"} 1",
	    "latentd_job_queued_seconds_bucket{le=\"0.25\"} 2",
	    "latentd_job_queued_seconds_bucket{le=\"300\"} 2",
	    "latentd_job_queued_seconds_bucket{le=\"+Inf\"} 3",
	    "latentd_job_queued_seconds_count 3",
	    "latentd_job_finish_seconds_sum 3",
	    "latentd_result_delivery_seconds_bucket{le=\"0.0005\"} 1", END);
	finish();
}

Test(metrics, attempt_is_told_by_its_phases_as_far_as_it_got)
{
	struct attempt attempt = {.started_ns = S_NS,
	    .connected_ns = 2 * S_NS,
	    .ended_ns = 20 * S_NS};

	begin();
	metrics_attempt(m, &attempt);
	attempt.uploaded_ns = 5 * S_NS;
	metrics_attempt(m, &attempt);
	attempt.answered_ns = 12 * S_NS;
	metrics_attempt(m, &attempt);
	expect("latentd_attempt_connect_seconds_sum 3",
	    "latentd_attempt_upload_seconds_sum 6",
	    "latentd_attempt_decode_seconds_sum 7",
	    "latentd_attempt_download_seconds_sum 8", END);
	finish();
}

Test(metrics, producers_and_endpoints_have_counters_of_their_own)
{
	begin();
	count_job("p", 0);
	count_job("p", 0);
	count_job("q", 0);
	endpoints[0].health = ENDPOINT_ANSWERS;
	limit_init(&endpoints[0].limit, 4);
	endpoints[0].in_flight = 3;
	endpoints[0].sent_bytes = 77;
	endpoints[0].outcomes_n[LATENTD_ERR_TIMEOUT] = 5;
	expect("latentd_producer_jobs_total{producer=\"p\",outcome=\"done\"} 2",
	    "latentd_producer_jobs_total{producer=\"q\",outcome=\"done\"} 1",
	    "latentd_producer_received_bytes_total{producer=\"p\"} 200",
	    "latentd_endpoint_attempts_total{endpoint=\"gpu\","
	    "outcome=\"timeout\"} 5",
	    "latentd_endpoint_up{endpoint=\"gpu\"} 1",
	    "latentd_endpoint_fit{endpoint=\"gpu\"} 1",
	    "latentd_endpoint_up{endpoint=\"other\"} 0",
	    "latentd_endpoint_in_flight{endpoint=\"gpu\"} 3",
	    "latentd_endpoint_limit{endpoint=\"gpu\"} 4",
	    "latentd_endpoint_sent_bytes_total{endpoint=\"gpu\"} 77", END);
	finish();
}

Test(metrics, labels_are_escaped)
{
	begin();
	snprintf(endpoints[0].name, sizeof(endpoints[0].name), "a\"b\\c\n-");
	expect("latentd_endpoint_up{endpoint=\"a\\\"b\\\\c\\n-\"} 0", END);
	finish();
}

Test(metrics, producers_without_end_share_a_counter)
{
	char name[32];

	begin();
	for (size_t i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "p%zu", i);
		count_job(name, 0);
	}
	count_job("anon-1234", 0);
	count_job("p0", 0);
	expect("latentd_producer_jobs_total{producer=\"p0\",outcome=\"done\"} "
	       "2",
	    "latentd_producer_jobs_total{producer=\"p255\",outcome=\"done\"} "
	    "1",
	    "latentd_producer_jobs_total{producer=\"other\",outcome=\"done\"} "
	    "45",
	    END);
	finish();
}
