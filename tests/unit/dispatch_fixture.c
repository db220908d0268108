/* SPDX-License-Identifier: Apache-2.0 */
#include "dispatch_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "virtual_time.h"

static bool
always(const struct job *job, void *arg)
{
	(void)arg;
	return job != NULL;
}

static struct job *
on_pop(struct lane *lane, void *arg)
{
	struct job *job = order_pop(&lane->waiting, 0, always, NULL);

	(void)arg;
	cr_assert(job == NULL || job->state == JOB_QUEUED);
	return job;
}

static bool
on_start(struct attempt *attempt, void *arg)
{
	struct fixture_dispatch *x = arg;

	cr_assert_eq(attempt->job->state, JOB_ACTIVE);
	cr_assert_eq(attempt->endpoint->model, attempt->job->lane->model);
	cr_assert(attempt->endpoint->in_flight <=
	    limit_now(&attempt->endpoint->limit));
	cr_assert_neq(attempt->endpoint->fitness.state, FITNESS_STOPPED);
	x->started_n++;
	attempt->started_ns = uv_hrtime();
	if (x->refusal.reason.err != LATENTD_OK) {
		attempt->verdict = x->refusal;
		return false;
	}
	cr_assert(x->transfers_n < FIXTURE_ATTEMPTS_MAX);
	x->transfers[x->transfers_n++] = attempt;
	return true;
}

/* Take ${*n} apart from its ${i}th element, which is returned. */
static struct attempt *
take(struct attempt **list, size_t *n, size_t i)
{
	struct attempt *a;

	cr_assert(i < *n, "no attempt %zu", i);
	a = list[i];
	memmove(list + i, list + i + 1, (*n - i - 1) * sizeof(*list));
	--*n;
	return a;
}

static bool
on_abort(struct attempt *attempt, void *arg)
{
	struct fixture_dispatch *x = arg;

	for (size_t i = 0; i < x->transfers_n; i++) {
		if (x->transfers[i] != attempt)
			continue;
		take(x->transfers, &x->transfers_n, i);
		x->aborted_n++;
		return true;
	}
	return false;
}

static void
on_retry(struct job *job, void *arg)
{
	struct fixture_dispatch *x = arg;

	cr_assert(job->retry_at_ns != 0 && job->running_n == 0);
	cr_assert_eq(job->in_flight_n, 0);
	cr_assert_neq(job->reason.err, LATENTD_OK);
	job_move(&x->f.jobs, job, JOB_QUEUED);
	cr_assert(x->retries_n < FIXTURE_ATTEMPTS_MAX);
	x->retries[x->retries_n++] = job;
}

static void
on_ended(struct job *job, void *arg)
{
	struct fixture_dispatch *x = arg;
	enum job_state state = job_end_state(&job->reason);

	cr_assert_eq(job->in_flight_n, 0);
	cr_assert_eq(job->result != NULL, state == JOB_DONE);
	job_move(&x->f.jobs, job, state);
	job_release_input(&x->f.jobs, job);
	cr_assert(x->ended_n < FIXTURE_ATTEMPTS_MAX);
	x->ended[x->ended_n++] = job;
}

static bool
on_take(struct job *job, void *arg)
{
	(void)arg;
	cr_assert_eq(job->state, JOB_QUEUED);
	TAILQ_REMOVE(&job->lane->again, job, link);
	job->lane->again_n--;
	return true;
}

static void
open_with(
    struct fixture_dispatch *x, uint64_t results_max, unsigned hedge_percent)
{
	const struct dispatch_sinks sinks = {.take = on_take,
	    .pop = on_pop,
	    .start = on_start,
	    .abort = on_abort,
	    .retry = on_retry,
	    .ended = on_ended,
	    .arg = x};
	const struct dispatch_options options = {
	    .result_bytes_max = results_max,
	    .attempts_max = FIXTURE_FAILURES_MAX,
	    .hedge_percent = hedge_percent};

	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	x->d = dispatch_open(&x->f.loop.uv, &x->f.jobs, &options, &sinks);
	cr_assert_not_null(x->d);
	x->p = fixture_producer(&x->f, "p");
	producers_hold(x->p);
}

void
fixture_dispatch_open(struct fixture_dispatch *x, uint64_t results_max)
{
	open_with(x, results_max, 0);
}

void
fixture_hedging_open(struct fixture_dispatch *x, unsigned percent)
{
	open_with(x, UINT64_MAX / 2, percent);
}

void
fixture_dispatch_close(struct fixture_dispatch *x)
{
	cr_assert_eq(x->transfers_n + x->finishes_n + x->retries_n, 0);
	for (size_t i = 0; i < x->ended_n; i++)
		job_destroy(&x->f.jobs, x->ended[i]);
	for (size_t i = 0; i < dispatch_endpoints_n(x->d); i++) {
		const struct endpoint *ep = dispatch_endpoint(x->d, i);

		cr_assert_eq(ep->in_flight, 0);
		cr_assert_eq(ep->in_flight_px, 0);
		cr_assert_eq(ep->fitness.trials_n, 0);
	}
	dispatch_close(x->d);
	producers_release(&x->f.jobs.producers, x->p);
	fixture_jobs_close(&x->f);
}

static void
on_endpoint_gone(const struct endpoint *ep, void *arg)
{
	size_t *n = arg;

	cr_assert_not_null(ep);
	(*n)++;
}

size_t
fixture_configure(struct fixture_dispatch *x)
{
	struct endpoint *fresh[FIXTURE_ENDPOINTS_MAX];
	size_t gone_n = 0;

	for (size_t i = 0; i < x->endpoints_n; i++) {
		fresh[i] = endpoint_create(&x->endpoints[i]);
		cr_assert_not_null(fresh[i]);
	}
	cr_assert(dispatch_endpoints(
	    x->d, fresh, x->endpoints_n, on_endpoint_gone, &gone_n));
	return gone_n;
}

struct endpoint *
fixture_endpoint(struct fixture_dispatch *x, const char *name,
    const char *model, enum latentd_task task, unsigned parallel)
{
	struct config_endpoint *config = &x->endpoints[x->endpoints_n];

	cr_assert_lt(x->endpoints_n, FIXTURE_ENDPOINTS_MAX);
	*config =
	    (struct config_endpoint){.model = model_find(model, strlen(model)),
		.task = task,
		.parallel = parallel,
		.weight = 1};
	snprintf(config->name, sizeof(config->name), "%s", name);
	x->endpoints_n++;
	cr_assert_eq(fixture_configure(x), 0);
	return dispatch_endpoint(x->d, x->endpoints_n - 1);
}

struct job *
fixture_submit(struct fixture_dispatch *x, const char *model, size_t parts_n)
{
	char key[16];
	struct job *job;

	snprintf(key, sizeof(key), "k%u", x->next_key++);
	job = fixture_job(&x->f, x->p, key, parts_n, 8 * parts_n);
	job->lane = dispatch_lane(
	    x->d, model_find(model, strlen(model)), LATENTD_DECODE);
	cr_assert_not_null(job->lane);
	job->expect.max_bytes = 10;
	job_move(&x->f.jobs, job, JOB_QUEUED);
	cr_assert(order_push(&job->lane->waiting, job, 0));
	dispatch_kick(x->d);
	return job;
}

void
fixture_turn(struct fixture_dispatch *x)
{
	/* A kick may follow from a kick, but never without end. */
	for (int i = 0; uv_loop_alive(&x->f.loop.uv) != 0; i++) {
		cr_assert(i < 100);
		uv_run(&x->f.loop.uv, UV_RUN_NOWAIT);
	}
}

void
fixture_transferred(struct fixture_dispatch *x, size_t i)
{
	struct attempt *a = take(x->transfers, &x->transfers_n, i);

	a->ended_ns = uv_hrtime();
	a->answered_ns = a->ended_ns;
	a->verdict.http_status = 200;
	endpoint_end(a->endpoint, a);
	dispatch_kick(x->d);
	x->finishes[x->finishes_n++] = a;
}

void
fixture_finished(struct fixture_dispatch *x, size_t i, uint8_t byte)
{
	struct attempt *a = take(x->finishes, &x->finishes_n, i);
	uint8_t file[3] = {byte, byte, byte};

	a->reply = buffer_create(3);
	a->file_bytes = malloc(sizeof(*a->file_bytes));
	cr_assert(a->reply != NULL && a->file_bytes != NULL);
	cr_assert(buffer_append(a->reply, file, 3));
	a->file_bytes[0] = 3;
	a->files_n = 1;
	x->verdicts_n++;
	dispatch_verdict(x->d, a);
}

void
fixture_done(struct fixture_dispatch *x, size_t i, uint8_t byte)
{
	fixture_transferred(x, i);
	fixture_finished(x, x->finishes_n - 1, byte);
}

void
fixture_failed(struct fixture_dispatch *x, size_t i, enum fate fate)
{
	static const struct {
		long http_status;
		enum latentd_err err;
	} replies[FATE_COUNT] = {[FATE_JOB] = {400, LATENTD_ERR_REFUSED},
	    [FATE_AGAIN] = {500, LATENTD_ERR_ENDPOINT},
	    [FATE_LATE] = {0, LATENTD_ERR_TIMEOUT},
	    [FATE_LOAD] = {429, LATENTD_ERR_ENDPOINT},
	    [FATE_COLD] = {503, LATENTD_ERR_ENDPOINT},
	    [FATE_AWAY] = {0, LATENTD_ERR_UNREACHABLE},
	    [FATE_STOP] = {401, LATENTD_ERR_DENIED},
	    [FATE_OURS] = {200, LATENTD_ERR_MEMORY}};
	struct attempt *a = take(x->transfers, &x->transfers_n, i);

	a->ended_ns = uv_hrtime();
	a->verdict.fate = fate;
	a->verdict.http_status = replies[fate].http_status;
	reason_set(&a->verdict.reason, replies[fate].err, "part %zu", a->part);
	endpoint_end(a->endpoint, a);
	x->verdicts_n++;
	dispatch_verdict(x->d, a);
}

void
fixture_spoilt(struct fixture_dispatch *x, size_t i)
{
	struct attempt *a = take(x->finishes, &x->finishes_n, i);

	a->verdict.fate = FATE_AGAIN;
	reason_set(&a->verdict.reason, LATENTD_ERR_ENDPOINT, "garbage");
	x->verdicts_n++;
	dispatch_verdict(x->d, a);
}

void
fixture_requeue(struct fixture_dispatch *x)
{
	for (size_t i = 0; i < x->retries_n; i++) {
		struct job *job = x->retries[i];

		job->retry_at_ns = 0;
		TAILQ_INSERT_TAIL(&job->lane->again, job, link);
		job->lane->again_n++;
	}
	x->retries_n = 0;
	dispatch_kick(x->d);
}

void
fixture_pass(struct fixture_dispatch *x, uint64_t ms)
{
	virtual_time_advance(ms * VIRTUAL_MS_NS);
	fixture_turn(x);
}

void
fixture_finish_all(struct fixture_dispatch *x)
{
	fixture_turn(x);
	for (unsigned i = 0; x->ended_n < x->f.jobs.n; i++) {
		cr_assert(i < 10000, "%zu of %zu jobs have ended", x->ended_n,
		    x->f.jobs.n);
		while (x->transfers_n > 0)
			fixture_transferred(x, 0);
		while (x->finishes_n > 0)
			fixture_finished(x, 0, 'z');
		fixture_requeue(x);
		fixture_pass(x, 60000);
	}
	fixture_turn(x);
}

void
fixture_cancel(struct fixture_dispatch *x, struct job *job)
{
	struct reason why;

	reason_set(&why, LATENTD_ERR_CANCELLED, "never mind");
	dispatch_cancel(x->d, job, &why);
}
