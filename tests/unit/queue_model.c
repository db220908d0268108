/* SPDX-License-Identifier: Apache-2.0 */
#include "queue_model.h"

#include <string.h>

#include <criterion/criterion.h>

/* order.h: at most so many move up in one step. */
#define AGED_MAX 64

void
model_init(
    struct queue_model *m, const struct model_rules *rules, uint64_t last_tag)
{
	memset(m, 0, sizeof(*m));
	m->rules = *rules;
	m->last_tag = last_tag;
}

static bool
waits(const struct model_job *job)
{
	return job->state == JOB_QUEUED && !job->asleep && !job->again;
}

/* ---- questions ---- */

struct model_job *
model_by_id(struct queue_model *m, uint64_t id)
{
	FOREACH_JOB(m, job)
	{
		if (job->id == id)
			return job;
	}
	return NULL;
}

struct model_job *
model_by_key(struct queue_model *m, size_t producer, size_t key)
{
	FOREACH_JOB(m, job)
	{
		if (job->producer == producer && job->key == key)
			return job;
	}
	return NULL;
}

size_t
model_jobs_n(const struct queue_model *m, size_t producer)
{
	size_t n = 0;

	FOREACH_CONST_JOB(m, job)
	n += job->producer == producer;
	return n;
}

uint64_t
model_results(const struct queue_model *m, size_t producer)
{
	uint64_t bytes = 0;

	FOREACH_CONST_JOB(m, job)
	{
		if (job->producer != producer)
			continue;
		bytes += job->result_bytes;
		if (job->state == JOB_ACTIVE)
			bytes += job->expected_bytes;
	}
	return bytes;
}

enum queue_room
model_room(const struct queue_model *m, size_t producer, uint64_t bytes)
{
	const struct producer_bounds *b = &m->rules.bounds[producer];
	uint64_t all_bytes = 0, own_bytes = 0;
	size_t all_n = 0;

	FOREACH_CONST_JOB(m, job)
	{
		all_n++;
		all_bytes += job->input_bytes;
		if (job->producer == producer)
			own_bytes += job->input_bytes + job->result_bytes;
	}
	if (all_n >= m->rules.jobs_max)
		return QUEUE_FULL_JOBS;
	if (model_jobs_n(m, producer) >= b->jobs_max)
		return QUEUE_FULL_PRODUCER_JOBS;
	if (all_bytes > 0 && all_bytes + bytes > m->rules.bytes_max)
		return QUEUE_FULL_BYTES;
	if (own_bytes > 0 && own_bytes + bytes > b->bytes_max)
		return QUEUE_FULL_PRODUCER_BYTES;
	return QUEUE_ROOM;
}

bool
model_stranger(const struct queue_model *m, size_t producer)
{
	bool namesake = false;

	for (size_t p = 0; p < MODEL_PRODUCERS; p++) {
		namesake |= p != producer &&
		    m->rules.names[p] == m->rules.names[producer] &&
		    model_jobs_n(m, p) > 0;
	}
	return namesake && model_jobs_n(m, producer) == 0;
}

/* ---- order ---- */

static struct model_share *
share_of(struct queue_model *m, const struct model_job *job)
{
	return &m->classes[job->lane][job->class].shares[job->producer];
}

/* The oldest of a share's jobs, or NULL. */
static struct model_job *
share_first(struct queue_model *m, size_t lane, unsigned class, size_t producer)
{
	struct model_job *first = NULL;

	FOREACH_JOB(m, job)
	{
		if (waits(job) && job->lane == lane && job->class == class &&
		    job->producer == producer &&
		    (first == NULL || job->id < first->id))
			first = job;
	}
	return first;
}

/* ${job} waits from now on. */
void
model_enter(struct queue_model *m, struct model_job *job, uint64_t now_ns)
{
	struct model_share *s = share_of(m, job);

	if (!s->there)
		*s = (struct model_share){.there = true,
		    .paid = m->classes[job->lane][job->class].round};
	job->state = JOB_QUEUED;
	job->asleep = false;
	job->retry_ns = 0;
	job->since_ns = now_ns;
	job->since_nr = ++m->last_nr;
}

/* ${job} does not wait any more; its state was changed. */
/* ${job} was tried before and may be again. */
void
model_enter_again(struct queue_model *m, struct model_job *job)
{
	job->asleep = false;
	job->retry_ns = 0;
	job->again = true;
	job->since_nr = ++m->last_nr;
}

static void
leave(struct queue_model *m, const struct model_job *job, unsigned class)
{
	if (share_first(m, job->lane, class, job->producer) == NULL)
		m->classes[job->lane][class].shares[job->producer].there =
		    false;
}

void
model_unpark(struct queue_model *m, size_t producer)
{
	for (size_t lane = 0; lane < MODEL_LANES; lane++) {
		for (unsigned c = 0; c < JOB_CLASSES; c++) {
			struct model_class *class = &m->classes[lane][c];
			struct model_share *s = &class->shares[producer];

			if (!s->there || !s->parked)
				continue;
			s->parked = false;
			if (s->paid < class->round)
				s->paid = class->round;
		}
	}
}

/* The longest in its class. */
static struct model_job *
oldest(struct queue_model *m, size_t lane, unsigned class)
{
	struct model_job *old = NULL;

	FOREACH_JOB(m, job)
	{
		if (waits(job) && job->lane == lane && job->class == class &&
		    (old == NULL || job->since_nr < old->since_nr))
			old = job;
	}
	return old;
}

static void
age(struct queue_model *m, size_t lane, uint64_t now_ns)
{
	unsigned left_n = m->rules.age_ns != 0 ? AGED_MAX : 0;

	for (unsigned c = 1; c < JOB_CLASSES; c++) {
		struct model_job *job;

		while (left_n > 0 && (job = oldest(m, lane, c)) != NULL &&
		    job->since_ns + m->rules.age_ns <= now_ns) {
			job->class --;
			leave(m, job, c);
			model_enter(m, job, now_ns);
			m->aged_n++;
			m->aged_most_n += --left_n == 0;
		}
	}
}

static bool
result_fits(const struct queue_model *m, const struct model_job *job)
{
	uint64_t bytes = model_results(m, job->producer);

	return bytes == 0 ||
	    bytes + job->expected_bytes <=
	    m->rules.bounds[job->producer].bytes_max;
}

/* The round in which it can pay for ${job}; weights divide costs here. */
static uint64_t
due(const struct queue_model *m, const struct model_share *s,
    const struct model_job *job)
{
	unsigned weight = m->rules.bounds[job->producer].weight;

	cr_assert_eq(job->cost_px % weight, 0);
	return s->paid + job->cost_px / weight;
}

/* The job of a class whose round comes first, or NULL. */
static struct model_job *
first_due(struct queue_model *m, size_t lane, unsigned class)
{
	struct model_job *best = NULL;
	uint64_t best_due = 0;

	for (size_t p = 0; p < MODEL_PRODUCERS; p++) {
		const struct model_share *s =
		    &m->classes[lane][class].shares[p];
		struct model_job *job;

		if (!s->there || s->parked)
			continue;
		job = share_first(m, lane, class, p);
		cr_assert_not_null(job);
		if (best == NULL || due(m, s, job) < best_due ||
		    (due(m, s, job) == best_due && job->id < best->id)) {
			best = job;
			best_due = due(m, s, job);
		}
	}
	return best;
}

static struct model_job *
next_job(struct queue_model *m, size_t lane)
{
	struct model_job *job;

	for (unsigned c = 0; c < JOB_CLASSES; c++) {
		while ((job = first_due(m, lane, c)) != NULL) {
			if (result_fits(m, job))
				return job;
			share_of(m, job)->parked = true;
			m->parked_n++;
		}
	}
	return NULL;
}

/* Of those tried before the one that may be again since the longest. */
static struct model_job *
pop_again(struct queue_model *m, size_t lane, uint64_t now_ns)
{
	struct model_job *first = NULL;

	FOREACH_JOB(m, job)
	{
		if (job->again && job->lane == lane && result_fits(m, job) &&
		    (job->deadline_ns == 0 || job->deadline_ns > now_ns) &&
		    (first == NULL || job->since_nr < first->since_nr))
			first = job;
	}
	if (first != NULL) {
		first->again = false;
		first->state = JOB_ACTIVE;
		m->again_n++;
	}
	return first;
}

struct model_job *
model_pop(struct queue_model *m, size_t lane, uint64_t now_ns)
{
	struct model_job *job = pop_again(m, lane, now_ns);

	if (job != NULL)
		return job;
	for (;;) {
		age(m, lane, now_ns);
		if ((job = next_job(m, lane)) == NULL)
			return NULL;
		share_of(m, job)->paid = due(m, share_of(m, job), job);
		if (m->classes[lane][job->class].round < share_of(m, job)->paid)
			m->classes[lane][job->class].round =
			    share_of(m, job)->paid;
		job->state = JOB_ACTIVE;
		leave(m, job, job->class);
		if (job->deadline_ns == 0 || job->deadline_ns > now_ns)
			return job;
		m->expired_n++;
		model_end(m, job, LATENTD_ERR_EXPIRED, 0, now_ns++);
	}
}

/* ---- a job's life ---- */

struct model_job *
model_submit(
    struct queue_model *m, const struct model_job *job, uint64_t now_ns)
{
	struct model_job *place = m->jobs;

	while (place->id != 0)
		cr_assert_lt(++place, m->jobs + MODEL_JOBS);
	*place = *job;
	place->id = ++m->last_id;
	model_enter(m, place, now_ns);
	return place;
}

void
model_own(struct queue_model *m, struct model_job *job, uint32_t pipe)
{
	job->owner_pipe = pipe;
	job->owned_nr = ++m->last_nr;
}

void
model_retry(struct queue_model *m, struct model_job *job, uint64_t retry_ns)
{
	cr_assert_eq(job->state, JOB_ACTIVE);
	job->state = JOB_QUEUED;
	if (retry_ns == 0) {
		model_enter_again(m, job);
	} else {
		job->asleep = true;
		job->retry_ns = retry_ns;
		job->since_nr = ++m->last_nr;
	}
	model_unpark(m, job->producer);
}

void
model_end(struct queue_model *m, struct model_job *job, enum latentd_err err,
    uint64_t result_bytes, uint64_t now_ns)
{
	bool waited = waits(job);

	cr_assert(model_is_open(job));
	job->state = err == LATENTD_OK     ? JOB_DONE
	    : err == LATENTD_ERR_CANCELLED ? JOB_CANCELLED
	    : err == LATENTD_ERR_EXPIRED   ? JOB_EXPIRED
					   : JOB_FAILED;
	if (waited)
		leave(m, job, job->class);
	job->asleep = job->again = false;
	job->err = err;
	job->input_bytes = 0;
	job->result_bytes = result_bytes;
	job->owner_pipe = 0;
	job->kept_ns = now_ns;
	job->ended_nr = ++m->last_nr;
	model_unpark(m, job->producer);
}

void
model_position(const struct queue_model *m, const struct model_job *job,
    size_t *least, size_t *most)
{
	struct queue_model *same = (struct queue_model *)(uintptr_t)m;
	size_t own_n = 0;

	*least = *most = 0;
	if (!waits(job))
		return;
	FOREACH_CONST_JOB(m, other)
	{
		if (!waits(other) || other->lane != job->lane)
			continue;
		*least += other->class < job->class;
		own_n += other->class == job->class;
	}
	*most = *least + own_n - 1;
	if (first_due(same, job->lane, job->class) == job)
		*most = *least;
}

bool
model_starves(const struct queue_model *m, size_t lane)
{
	FOREACH_CONST_JOB(m, job)
	{
		if (waits(job) && job->lane == lane &&
		    model_results(m, job->producer) == 0)
			return true;
	}
	return false;
}
