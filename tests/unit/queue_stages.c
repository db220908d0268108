/* SPDX-License-Identifier: Apache-2.0 */
#include "queue_stages.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "virtual_time.h"

static struct text
key_text(size_t key, char *room, size_t room_bytes)
{
	int n = snprintf(room, room_bytes, "k%zu", key);

	return (struct text){room, (size_t)n};
}

static size_t
producer_nr(const struct stages *s, const struct producer *producer)
{
	size_t i = 0;

	while (!producer_is(producer, &s->identities[i]))
		cr_assert_lt(++i, MODEL_PRODUCERS);
	return i;
}

static struct job *
by_id(const struct stages *s, uint64_t id)
{
	struct job *job = jobs_by_id(&s->f.jobs, id);

	cr_assert_not_null(job, "no job %llu", (unsigned long long)id);
	return job;
}

static void
kick(struct stages *s)
{
	for (size_t i = 0; i < MODEL_LANES; i++)
		s->kicked[i] = true;
}

static void
unpark(struct stages *s, struct producer *producer)
{
	bool by_timer = s->by_timer;

	s->by_timer = false;
	queue_unpark(s->queue, producer);
	s->by_timer = by_timer;
}

/* pipeline_end_job(). */
static void
end_job(struct stages *s, struct job *job)
{
	struct producer *producer = job->producer;
	bool by_timer = s->by_timer;

	deadlines_forget(s->deadlines, job);
	/* No two jobs end at the same time. */
	virtual_time_skip(1);
	job->finished_ns = uv_hrtime();
	job_move(&s->f.jobs, job, job_end_state(&job->reason));
	job_release_input(&s->f.jobs, job);
	queue_note_end(s->queue);
	producers_hold(producer);
	s->by_timer = false;
	outbox_put(s->outbox, job);
	s->by_timer = by_timer;
	unpark(s, producer);
	producers_release(&s->f.jobs.producers, producer);
	kick(s);
}

/* end_open() */
static void
end_open(struct stages *s, struct job *job, const struct reason *why)
{
	if (job->state == JOB_QUEUED)
		queue_remove(s->queue, job);
	job->reason = *why;
	end_job(s, job);
}

/* ---- what stages say ---- */

static void
on_ready(void *arg)
{
	struct stages *s = arg;

	kick(s);
	if (s->by_timer)
		model_on_awake(s->model, virtual_time_ns());
}

static void
on_expired(struct job *job, void *arg)
{
	struct stages *s = arg;
	struct reason why;

	cr_assert(s->by_timer);
	model_on_expired(s->model, job->id, virtual_time_ns());
	job_late_reason(job, &why);
	end_open(s, job, &why);
}

static void
on_available(struct producer *producer, void *arg)
{
	struct stages *s = arg;

	if (s->by_timer)
		model_on_returned(
		    s->model, producer_nr(s, producer), virtual_time_ns());
}

static void
on_dropped(const struct job *job, const char *reason, void *arg)
{
	struct stages *s = arg;

	(void)reason;
	cr_assert(s->by_timer);
	model_on_dropped(s->model, job->id, virtual_time_ns());
}

static void
on_acked(const struct job *job, void *arg)
{
	struct stages *s = arg;

	if (job->reason.err == LATENTD_OK)
		remember_put(s->remember, job, uv_hrtime());
}

static void
on_room(struct producer *producer, void *arg)
{
	struct stages *s = arg;

	unpark(s, producer);
	kick(s);
}

/* ---- opening and closing ---- */

static void
name_producers(struct stages *s, const struct model_rules *rules)
{
	for (size_t i = 0; i < MODEL_PRODUCERS; i++) {
		const char secret = (char)('a' + i);
		struct producer_rule *rule = &s->rules[i];

		snprintf(
		    rule->name, sizeof(rule->name), "p%u", rules->names[i]);
		rule->bounds = rules->bounds[i];
		producer_identity(1000,
		    (struct text){rule->name, strlen(rule->name)},
		    (struct text){&secret, 1}, &s->identities[i]);
	}
	s->f.jobs.producers.rules = s->rules;
	s->f.jobs.producers.rules_n = MODEL_PRODUCERS;
}

void
stages_open(struct stages *s, struct queue_model *model)
{
	const struct model_rules *rules = &model->rules;
	const struct queue_options queue = {.jobs_max = rules->jobs_max,
	    .bytes_max = rules->bytes_max,
	    .on_ready = on_ready,
	    .arg = s};
	const struct outbox_options outbox = {.first_tag = model->last_tag,
	    .keep_ms = rules->keep_ns / VIRTUAL_MS_NS,
	    .on_available = on_available,
	    .on_dropped = on_dropped,
	    .on_acked = on_acked,
	    .on_room = on_room,
	    .arg = s};

	memset(s, 0, sizeof(*s));
	s->model = model;
	fixture_jobs_open(&s->f);
	name_producers(s, rules);
	s->queue = queue_open(&s->f.loop.uv, &s->f.jobs, &queue);
	s->deadlines = deadlines_open(&s->f.loop.uv, on_expired, s);
	s->outbox = outbox_open(&s->f.loop.uv, &s->f.jobs, &outbox);
	s->remember = remember_create(
	    rules->remember_ns / VIRTUAL_MS_NS, rules->keys_max);
	for (size_t i = 0; i < MODEL_LANES; i++) {
		order_init(&s->lanes[i].waiting, rules->age_ns / VIRTUAL_MS_NS);
		TAILQ_INIT(&s->lanes[i].again);
	}
}

void
stages_close(struct stages *s)
{
	cr_assert_eq(outbox_kept_n(s->outbox), 0);
	cr_assert_eq(virtual_time_timers_n(), 0, "a timer waits for nothing");
	for (size_t i = 0; i < MODEL_LANES; i++) {
		cr_assert(TAILQ_EMPTY(&s->lanes[i].again));
		order_fini(&s->lanes[i].waiting);
	}
	queue_close(s->queue);
	deadlines_close(s->deadlines);
	outbox_close(s->outbox);
	remember_destroy(s->remember);
	fixture_jobs_close(&s->f);
}

/* ---- what producers ask ---- */

static struct job *
make_job(struct stages *s, struct producer *p, const char *key,
    const struct model_job *want)
{
	struct job *job =
	    fixture_job(&s->f, p, key, 1, (size_t)want->input_bytes);

	job->lane = &s->lanes[want->lane];
	job->class = want->class;
	job->cost_px = want->cost_px;
	job->expect.max_bytes = want->expected_bytes;
	job->submitted_ns = uv_hrtime();
	job->deadline_ns = want->deadline_ns;
	cr_assert(queue_push(s->queue, job));
	deadlines_watch(s->deadlines, job);
	if (want->owner_pipe != 0)
		job_own(&s->f.jobs, job, want->owner_pipe);
	return job;
}

static struct stages_submitted
submit_to(struct stages *s, struct producer *p, const struct model_job *want)
{
	char room[24];
	struct text key = key_text(want->key, room, sizeof(room));
	struct job *job = jobs_by_key(p, key);
	struct stages_submitted a = {.answer = KNOWN};

	if (job != NULL) {
		a.id = job->id;
		a.state = job->state;
		a.position = queue_position(job);
		if (want->owner_pipe != 0 && job->owner_pipe != 0)
			job_own(&s->f.jobs, job, want->owner_pipe);
		return a;
	}
	a.answer = COLLECTED;
	a.id = remember_find(s->remember, &p->identity, key, uv_hrtime());
	if (a.id != 0)
		return a;
	a.answer = BUSY;
	a.room = queue_room(s->queue, p, want->input_bytes);
	if (a.room != QUEUE_ROOM)
		return a;
	job = make_job(s, p, key.at, want);
	a.answer = TAKEN;
	a.id = job->id;
	a.position = queue_position(job);
	return a;
}

struct stages_submitted
stages_submit(struct stages *s, const struct model_job *want)
{
	struct producers *ps = &s->f.jobs.producers;
	struct producer *p = producers_get(ps, &s->identities[want->producer]);
	struct stages_submitted a;

	producers_hold(p);
	a = submit_to(s, p, want);
	producers_release(ps, p);
	return a;
}

bool
stages_cancel(
    struct stages *s, size_t producer, size_t key, enum job_state *state)
{
	const struct producer *p =
	    producers_find(&s->f.jobs.producers, &s->identities[producer]);
	struct reason why;
	struct job *job;
	char room[24];

	if (p == NULL ||
	    (job = jobs_by_key(p, key_text(key, room, sizeof(room)))) == NULL)
		return false;
	*state = job->state;
	reason_set(&why, LATENTD_ERR_CANCELLED, "cancelled");
	if (job->state == JOB_QUEUED || job->state == JOB_ACTIVE)
		end_open(s, job, &why);
	return true;
}

void
stages_gone(struct stages *s, uint32_t pipe)
{
	struct job *job, *next;
	struct reason why;

	outbox_release(s->outbox, pipe);
	reason_set(&why, LATENTD_ERR_CANCELLED, "disconnected");
	for (job = TAILQ_FIRST(&s->f.jobs.owned); job != NULL; job = next) {
		next = TAILQ_NEXT(job, owned_link);
		if (job->owner_pipe == pipe)
			end_open(s, job, &why);
	}
}

bool
stages_collect(struct stages *s, size_t producer, const uint64_t *acks,
    size_t acks_n, bool *acked, uint32_t pipe, const struct job **job)
{
	struct producers *ps = &s->f.jobs.producers;
	struct producer *p;

	if (producers_stranger(ps, &s->identities[producer]))
		return false;
	p = producers_get(ps, &s->identities[producer]);
	producers_hold(p);
	for (size_t i = 0; i < acks_n; i++)
		acked[i] = outbox_ack(s->outbox, p, acks[i]);
	*job = outbox_take(s->outbox, p, pipe);
	producers_release(ps, p);
	return true;
}

/* ---- what dispatch does ---- */

static struct job *
pop_again(struct stages *s, size_t lane)
{
	struct job *job;

	TAILQ_FOREACH(job, &s->lanes[lane].again, link)
	{
		if (!job_is_late(job) && queue_take(s->queue, job))
			return job;
	}
	return NULL;
}

uint64_t
stages_pop(struct stages *s, size_t lane)
{
	bool kicked = s->kicked[lane];
	uint64_t now_ns = uv_hrtime();
	struct job *job;

	if ((job = pop_again(s, lane)) != NULL) {
		cr_assert(kicked, "a job may go again, and nobody was told");
		job_move(&s->f.jobs, job, JOB_ACTIVE);
		return job->id;
	}
	s->kicked[lane] = false;
	while ((job = queue_pop(s->queue, &s->lanes[lane])) != NULL) {
		/* Or it has left a share that is parked just now, by age. */
		cr_assert(kicked || job->class_since_ns == now_ns,
		    "a job may go, and nobody was told");
		s->kicked[lane] = true;
		if (!job_is_late(job))
			break;
		job_late_reason(job, &job->reason);
		end_job(s, job);
	}
	if (job == NULL)
		return 0;
	job_move(&s->f.jobs, job, JOB_ACTIVE);
	return job->id;
}

void
stages_done(struct stages *s, uint64_t id, size_t result_bytes)
{
	struct job *job = by_id(s, id);
	struct part *part = &job->parts[0];
	uint8_t *bytes = calloc(1, result_bytes);

	part->reply = buffer_create(result_bytes);
	part->file_bytes = calloc(1, sizeof(*part->file_bytes));
	cr_assert(part->reply != NULL && part->file_bytes != NULL);
	cr_assert(buffer_append(part->reply, bytes, result_bytes));
	free(bytes);
	part->file_bytes[0] = result_bytes;
	part->files_n = 1;
	job->done_n = 1;
	job->reason = (struct reason){.err = LATENTD_OK};
	cr_assert_eq(job_gather(&s->f.jobs, job), LATENTD_OK);
	end_job(s, job);
}

void
stages_failed(struct stages *s, uint64_t id)
{
	struct job *job = by_id(s, id);

	reason_set(&job->reason, LATENTD_ERR_ENDPOINT, "it kept failing");
	end_job(s, job);
}

void
stages_retry(struct stages *s, uint64_t id, uint64_t retry_ns)
{
	struct job *job = by_id(s, id);

	job->retry_at_ns = retry_ns;
	cr_assert(queue_push(s->queue, job));
	/* As dispatch_verdict() does. */
	kick(s);
}

void
stages_advance(struct stages *s, uint64_t ns)
{
	s->by_timer = true;
	virtual_time_advance(ns);
	s->by_timer = false;
	model_check_time(s->model, virtual_time_ns());
}

/* ---- comparing ---- */

struct sums {
	size_t jobs_n, open_n, waiting_n[MODEL_LANES], again_n[MODEL_LANES];
	size_t state_n[JOB_STATE_COUNT];
	uint64_t input_bytes, result_bytes, expected_bytes;
};

static void
add(struct sums *sums, const struct model_job *job)
{
	sums->jobs_n++;
	sums->state_n[job->state]++;
	sums->open_n += model_is_open(job);
	sums->waiting_n[job->lane] +=
	    job->state == JOB_QUEUED && !job->asleep && !job->again;
	sums->again_n[job->lane] += job->again;
	sums->input_bytes += job->input_bytes;
	sums->result_bytes += job->result_bytes;
	if (job->state == JOB_ACTIVE)
		sums->expected_bytes += job->expected_bytes;
}

static void
compare_producer(
    const struct producer *p, const struct sums *sums, size_t producer)
{
	if (p == NULL) {
		cr_assert_eq(
		    sums->jobs_n, 0, "producer %zu is not there", producer);
		return;
	}
	cr_assert_gt(p->jobs_n, 0, "producer %zu is still there", producer);
	cr_assert_eq(p->jobs_n, sums->jobs_n);
	cr_assert_eq(p->open_n, sums->open_n);
	cr_assert_eq(p->input_bytes, sums->input_bytes);
	cr_assert_eq(p->result_bytes, sums->result_bytes);
	cr_assert_eq(p->expected_bytes, sums->expected_bytes);
}

void
stages_compare(struct stages *s)
{
	struct jobs *jobs = &s->f.jobs;
	struct sums all = {.jobs_n = 0};
	struct sums of[MODEL_PRODUCERS] = {{.jobs_n = 0}};

	FOREACH_CONST_JOB(s->model, job)
	{
		add(&all, job);
		add(&of[job->producer], job);
	}
	cr_assert_eq(jobs->n, all.jobs_n);
	for (size_t i = 0; i < JOB_STATE_COUNT; i++)
		cr_assert_eq(jobs->state_n[i], all.state_n[i], "state %zu", i);
	cr_assert_eq(jobs->input_bytes, all.input_bytes);
	cr_assert_eq(jobs->result_bytes, all.result_bytes);
	cr_assert_eq(jobs->expected_bytes, all.expected_bytes);
	cr_assert_eq(outbox_kept_n(s->outbox), all.jobs_n - all.open_n);
	for (size_t i = 0; i < MODEL_LANES; i++) {
		cr_assert_eq(s->lanes[i].waiting.jobs_n, all.waiting_n[i]);
		cr_assert_eq(s->lanes[i].again_n, all.again_n[i]);
	}
	for (size_t i = 0; i < MODEL_PRODUCERS; i++)
		compare_producer(
		    producers_find(&jobs->producers, &s->identities[i]), &of[i],
		    i);
}
