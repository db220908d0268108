/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences of everything that can happen to jobs between SUBMIT and
 * acknowledgement, with the stages beside the model of queue_model.h; every
 * answer is compared.  The names of the tests are what their rules provoke.
 */
#include "fuzz.h"
#include "queue_stages.h"
#include "virtual_time.h"

#define STEPS_N 60000
#define PIPES_N 4
#define KEYS_N 40
#define TAGS_N 32
#define MS VIRTUAL_MS_NS

struct run {
	struct fuzz f;
	struct queue_model m;
	struct stages s;
	uint32_t pipes[PIPES_N];
	uint32_t last_pipe;
	uint64_t tags[TAGS_N]; /* of late */
	size_t pop_part; /* of 100 steps */
	bool floods; /* many jobs come at once, now and then */
	size_t answers_n[TAKEN + 1];
	size_t done_n, denied_n, acked_n, unknown_n, cancelled_n;
};

static size_t
below(struct run *r, size_t n)
{
	return fuzz_below(&r->f, n);
}

static uint32_t
any_pipe(struct run *r)
{
	return r->pipes[below(r, PIPES_N)];
}

/* ---- steps ---- */

static void
check_position(struct run *r, uint64_t id, size_t position)
{
	size_t least, most;

	model_position(&r->m, model_by_id(&r->m, id), &least, &most);
	cr_assert_geq(position, least);
	cr_assert_leq(position, most);
}

static struct model_job
any_job(struct run *r)
{
	struct model_job job = {.producer = below(r, MODEL_PRODUCERS),
	    .key = below(r, KEYS_N),
	    .lane = below(r, MODEL_LANES),
	    .class = (unsigned)below(r, JOB_CLASSES),
	    .cost_px = 4 * (1 + below(r, 500)),
	    .input_bytes = 1 + below(r, 1000),
	    .expected_bytes = 1 + below(r, 1000)};

	if (below(r, 3) == 0)
		job.deadline_ns =
		    virtual_time_ns() + (1 + below(r, 20000)) * MS / 4;
	if (below(r, 4) == 0)
		job.owner_pipe = any_pipe(r);
	return job;
}

static void
step_submit(struct run *r)
{
	struct model_job want = any_job(r), *known;
	struct stages_submitted a = stages_submit(&r->s, &want);
	uint64_t now_ns = virtual_time_ns(), id;
	enum queue_room room =
	    model_room(&r->m, want.producer, want.input_bytes);

	r->answers_n[a.answer]++;
	if ((known = model_by_key(&r->m, want.producer, want.key)) != NULL) {
		cr_assert_eq(a.answer, KNOWN);
		cr_assert_eq(a.id, known->id);
		cr_assert_eq(a.state, known->state);
		check_position(r, a.id, a.position);
		if (want.owner_pipe != 0 && known->owner_pipe != 0)
			model_own(&r->m, known, want.owner_pipe);
		return;
	}
	id = model_remembered(&r->m, want.producer, want.key, now_ns);
	if (id != 0) {
		cr_assert_eq(a.answer, COLLECTED);
		cr_assert_eq(a.id, id);
		return;
	}
	if (room != QUEUE_ROOM) {
		cr_assert_eq(a.answer, BUSY);
		cr_assert_eq(a.room, room);
		return;
	}
	cr_assert_eq(a.answer, TAKEN);
	known = model_submit(&r->m, &want, now_ns);
	if (want.owner_pipe != 0)
		model_own(&r->m, known, want.owner_pipe);
	cr_assert_eq(a.id, known->id);
	check_position(r, a.id, a.position);
}

static void
step_pop(struct run *r)
{
	size_t lane = below(r, MODEL_LANES);
	const struct model_job *job = model_pop(&r->m, lane, virtual_time_ns());

	cr_assert_eq(stages_pop(&r->s, lane), job != NULL ? job->id : 0);
	cr_assert(job != NULL || !model_starves(&r->m, lane));
}

/* One of the active jobs, or NULL. */
static struct model_job *
any_active(struct run *r)
{
	struct model_job *any = NULL;
	size_t n = 0;

	FOREACH_JOB(&r->m, job)
	{
		if (job->state == JOB_ACTIVE && below(r, ++n) == 0)
			any = job;
	}
	return any;
}

static void
end_active(struct run *r, struct model_job *job)
{
	uint64_t id = job->id, now_ns = virtual_time_ns(), retry_ns = 0;
	size_t bytes = 1 + below(r, (size_t)job->expected_bytes);

	switch (below(r, 8)) {
	case 0:
		model_end(&r->m, job, LATENTD_ERR_ENDPOINT, 0, now_ns);
		stages_failed(&r->s, id);
		break;
	case 1:
	case 2:
		if (below(r, 3) != 0)
			retry_ns = now_ns + below(r, 8000) * MS / 4;
		model_retry(&r->m, job, retry_ns);
		stages_retry(&r->s, id, retry_ns);
		break;
	default:
		model_end(&r->m, job, LATENTD_OK, bytes, now_ns);
		stages_done(&r->s, id, bytes);
		r->done_n++;
		break;
	}
}

static void
step_end(struct run *r)
{
	struct model_job *job = any_active(r);

	if (job != NULL)
		end_active(r, job);
}

static void
compare_delivery(
    struct run *r, const struct job *job, const struct model_job *want)
{
	cr_assert_eq(job != NULL, want != NULL);
	if (job == NULL)
		return;
	cr_assert_eq(job->id, want->id);
	cr_assert_eq(job->tag, want->tag);
	cr_assert_eq(job->state, want->state);
	cr_assert_eq(job->reason.err, want->err);
	cr_assert_eq(job->result_bytes, want->result_bytes);
	cr_assert_eq(job->result != NULL, want->result_bytes > 0);
	r->tags[below(r, TAGS_N)] = job->tag;
}

static void
collect(struct run *r, size_t producer, const uint64_t *acks, size_t acks_n)
{
	const struct job *job = NULL;
	bool stranger = model_stranger(&r->m, producer), acked[4] = {false};
	uint64_t now_ns = virtual_time_ns();
	uint32_t pipe = any_pipe(r);

	cr_assert_eq(
	    !stages_collect(&r->s, producer, acks, acks_n, acked, pipe, &job),
	    stranger);
	r->denied_n += stranger;
	if (stranger)
		return;
	for (size_t i = 0; i < acks_n; i++) {
		cr_assert_eq(
		    acked[i], model_ack(&r->m, producer, acks[i], now_ns));
		*(acked[i] ? &r->acked_n : &r->unknown_n) += 1;
	}
	compare_delivery(r, job, model_take(&r->m, producer, pipe, now_ns));
}

/* With tags of its own, of others, of old deliveries, and of none. */
static void
step_collect(struct run *r)
{
	uint64_t acks[4];
	size_t n = below(r, 4), producer = below(r, MODEL_PRODUCERS);

	for (size_t i = 0; i < n; i++)
		acks[i] = r->tags[below(r, TAGS_N)];
	if (n > 0 && below(r, 8) == 0)
		acks[0] = r->m.last_tag + 1 + below(r, 2);
	FOREACH_CONST_JOB(&r->m, job)
	{
		if (n > 0 && job->leased && job->producer == producer &&
		    below(r, 2) == 0)
			acks[0] = job->tag;
	}
	collect(r, producer, acks, n);
}

static void
step_cancel(struct run *r)
{
	size_t producer = below(r, MODEL_PRODUCERS), key = below(r, KEYS_N);
	struct model_job *job = model_by_key(&r->m, producer, key);
	enum job_state state = JOB_NEW;

	FOREACH_JOB(&r->m, open)
	{
		if (model_is_open(open) && below(r, 20) == 0)
			job = open;
	}
	if (job != NULL) {
		producer = job->producer;
		key = job->key;
	}
	cr_assert_eq(stages_cancel(&r->s, producer, key, &state), job != NULL);
	if (job == NULL)
		return;
	cr_assert_eq(state, job->state);
	if (!model_is_open(job))
		return;
	r->cancelled_n++;
	model_end(&r->m, job, LATENTD_ERR_CANCELLED, 0, virtual_time_ns() - 1);
}

static void
step_gone(struct run *r)
{
	size_t i = below(r, PIPES_N);
	uint64_t now_ns = virtual_time_ns();

	stages_gone(&r->s, r->pipes[i]);
	model_gone(&r->m, r->pipes[i], now_ns);
	r->pipes[i] = ++r->last_pipe;
}

/* To the very moment at which a job that waits has its age, or just before. */
static void
step_to_age(struct run *r)
{
	uint64_t now_ns = virtual_time_ns(), at_ns = 0;

	FOREACH_CONST_JOB(&r->m, job)
	{
		uint64_t aged_ns = job->since_ns + r->m.rules.age_ns;

		if (job->state == JOB_QUEUED && !job->asleep && !job->again &&
		    aged_ns > now_ns && (at_ns == 0 || below(r, 4) == 0))
			at_ns = aged_ns;
	}
	if (at_ns != 0)
		stages_advance(&r->s, at_ns - now_ns - below(r, 2));
	step_pop(r);
}

static void
step_time(struct run *r)
{
	static const uint64_t most_ms[] = {1, 2, 2, 20, 300, 300, 2000, 5000};
	uint64_t ns = 1 + below(r, (size_t)(most_ms[below(r, 8)] * MS));

	/* Seldom long enough for leases, more seldom for retention. */
	if (below(r, 100) == 0)
		ns = (1 + below(r, 130000)) * MS;
	if (below(r, 1000) == 0)
		ns = (1 + below(r, 400000)) * MS;
	stages_advance(&r->s, ns);
}

static void
step(struct run *r)
{
	size_t i = below(r, 100);

	for (size_t k = r->floods && below(r, 500) == 0 ? 400 : 0; k > 0; k--)
		step_submit(r);
	if (i < r->pop_part)
		step_pop(r);
	else if (i < 45)
		step_end(r);
	else if (i < 70)
		step_submit(r);
	else if (i < 85)
		step_collect(r);
	else if (i < 88)
		step_cancel(r);
	else if (i < 89)
		step_gone(r);
	else if (i < 98)
		step_time(r);
	else
		step_to_age(r);
	stages_compare(&r->s);
}

/* Everything comes to its end, and all of it is collected. */
static void
drain(struct run *r)
{
	for (size_t i = 0; r->s.f.jobs.n > 0; i++) {
		struct model_job *job;

		cr_assert_lt(i, 20000, "%zu jobs are stuck", r->s.f.jobs.n);
		for (size_t k = 0; k < 4; k++)
			step_pop(r);
		while ((job = any_active(r)) != NULL)
			end_active(r, job);
		for (size_t p = 0; p < MODEL_PRODUCERS; p++) {
			uint64_t tag = 0;

			FOREACH_CONST_JOB(&r->m, leased)
			{
				if (leased->leased && leased->producer == p)
					tag = leased->tag;
			}
			collect(r, p, &tag, 1);
		}
		stages_advance(&r->s, 500 * MS);
		stages_compare(&r->s);
	}
}

static void
run(struct run *r, uint64_t seed, const struct model_rules *rules)
{
	r->f.state = seed;
	model_init(&r->m, rules, 1000 * seed);
	stages_open(&r->s, &r->m);
	for (size_t i = 0; i < PIPES_N; i++)
		r->pipes[i] = ++r->last_pipe;
	for (int i = 0; i < STEPS_N; i++)
		step(r);
	drain(r);
	stages_close(&r->s);
	/* It was not a walk through one room. */
	cr_assert(r->answers_n[KNOWN] > 100 && r->answers_n[TAKEN] > 1000);
	cr_assert(r->done_n > 500 && r->acked_n > 500 && r->unknown_n > 100);
	cr_assert(r->cancelled_n > 100 && r->m.expired_n > 100);
	cr_assert(r->denied_n > 0 && r->m.redelivered_n > 100);
}

static const struct model_rules usual = {.jobs_max = 100,
    .bytes_max = 40000,
    .age_ns = 400 * MS,
    .keep_ns = 300000 * MS,
    .lease_ns = OUTBOX_LEASE_MS * MS,
    .remember_ns = 60000 * MS,
    .keys_max = 50,
    .bounds = {{25, 8000, 1}, {25, 8000, 2}, {25, 8000, 4}, {25, 8000, 1},
	{10, 2000, 2}, {10, 2000, 2}},
    /* The last two differ in their secrets only. */
    .names = {0, 1, 2, 3, 4, 4}};

Test(queue_model, usual_rules)
{
	static struct run r = {.pop_part = 25};

	run(&r, 1, &usual);
	cr_assert_gt(r.answers_n[COLLECTED], 100);
	cr_assert_gt(r.answers_n[BUSY], 10);
	cr_assert_gt(r.m.again_n, 500);
	cr_assert_gt(r.m.aged_n, 500);
	cr_assert_gt(r.m.parked_n, 10);
}

Test(queue_model, a_long_queue_and_nothing_ages)
{
	static struct run r = {.pop_part = 14};
	struct model_rules rules = usual;

	rules.age_ns = 0;
	rules.bytes_max = 1000000;
	run(&r, 2, &rules);
	cr_assert_eq(r.m.aged_n, 0);
	cr_assert_gt(r.answers_n[BUSY], 100);
}

Test(queue_model, more_jobs_age_than_one_step_moves)
{
	static struct run r = {.pop_part = 10, .floods = true};
	struct model_rules rules = usual;

	rules.jobs_max = MODEL_JOBS;
	rules.bytes_max = 1000000;
	rules.age_ns = 100 * MS;
	for (size_t i = 0; i < MODEL_PRODUCERS; i++)
		rules.bounds[i] = (struct producer_bounds){50, 50000, 1};
	run(&r, 6, &rules);
	cr_assert_gt(r.m.aged_most_n, 0);
}

Test(queue_model, hardly_any_room_for_results)
{
	static struct run r = {.pop_part = 25};
	struct model_rules rules = usual;

	for (size_t i = 0; i < MODEL_PRODUCERS; i++)
		rules.bounds[i].bytes_max = i < 4 ? 600 + 700 * i : 900;
	run(&r, 3, &rules);
	cr_assert_gt(r.m.parked_n, 500);
	cr_assert_gt(r.answers_n[BUSY], 500);
}

Test(queue_model, results_are_soon_dropped_and_keys_soon_forgotten)
{
	static struct run r = {.pop_part = 25};
	struct model_rules rules = usual;

	rules.keep_ns = 3000 * MS;
	rules.remember_ns = 500 * MS;
	rules.keys_max = 3;
	run(&r, 4, &rules);
	cr_assert_gt(r.m.dropped_n, 500);
}

Test(queue_model, few_jobs_and_long_ages)
{
	static struct run r = {.pop_part = 20};
	struct model_rules rules = usual;

	rules.jobs_max = 20;
	rules.bytes_max = 5000;
	rules.age_ns = 5000 * MS;
	run(&r, 5, &rules);
	cr_assert_gt(r.m.aged_n, 20);
	cr_assert_gt(r.answers_n[BUSY], 500);
}
