/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A share exists while it has jobs.  It stands in its class's ${due} tree, or,
 * when its producer has no room for results, in the producer's list of parked
 * ones.
 *
 * Why a share needs no memory of its past when it empties: it was due in some
 * round that has come, so the rounds it is ahead are none.
 */
#include "order.h"

#include <assert.h>
#include <stdlib.h>

/* A round gives a producer of weight 1 one pixel; finer, so that weights divide
 * well. */
#define ROUND_SCALE 1000u
/* Moves up a class in one step at the most, so that no step is long. */
#define AGED_MAX 64u

struct share {
	struct producer *producer;
	struct order_class *class;
	struct job_tree jobs; /* by id */
	struct job *first; /* of these */
	size_t jobs_n;
	uint64_t cost_px;
	uint64_t paid; /* the round that its past jobs have used up */
	uint64_t due; /* the round in which its first job goes */
	unsigned weight; /* its producer's when that was computed */
	uint64_t last_place; /* counts up with every push */
	bool parked;
	RB_ENTRY(share) by_due;
	LIST_ENTRY(share) of_producer; /* while parked */
	UT_hash_handle hh;
};

static int
compare_ids(const struct job *a, const struct job *b)
{
	return (a->id > b->id) - (a->id < b->id);
}

static int
compare_due(const struct share *a, const struct share *b)
{
	if (a->due != b->due)
		return a->due > b->due ? 1 : -1;
	/* Who came first; any fixed order would do. */
	return compare_ids(a->first, b->first);
}

TREE_GENERATE_STATIC(job_tree, job, in_share, compare_ids)
TREE_GENERATE_STATIC(due_tree, share, by_due, compare_due)

void
order_init(struct order *o, uint64_t age_ms)
{
	*o = (struct order){.age_ns = age_ms * 1000000u};
	for (unsigned i = 0; i < JOB_CLASSES; i++) {
		RB_INIT(&o->classes[i].due);
		TAILQ_INIT(&o->classes[i].by_age);
	}
}

void
order_change(struct order *o, uint64_t age_ms)
{
	o->age_ns = age_ms * 1000000u;
}

void
order_fini(struct order *o)
{
	assert(o->jobs_n == 0);
	for (unsigned i = 0; i < JOB_CLASSES; i++)
		assert(o->classes[i].shares == NULL);
}

/* ---- shares ---- */

static struct share *
share_find(const struct order_class *class, const struct producer *producer)
{
	struct share *s;

	HASH_FIND_PTR(class->shares, &producer, s);
	return s;
}

static struct share *
share_get(struct order_class *class, struct producer *producer)
{
	struct share *s = share_find(class, producer);

	if (s != NULL || (s = calloc(1, sizeof(*s))) == NULL)
		return s;
	s->producer = producer;
	s->class = class;
	s->paid = class->round;
	RB_INIT(&s->jobs);
	HASH_ADD_PTR(class->shares, producer, s);
	s->weight = producer->bounds.weight;
	class->weights += s->weight;
	return s;
}

static void
share_drop(struct share *s)
{
	s->class->weights -= s->weight;
	HASH_DEL(s->class->shares, s);
	free(s);
}

/* Out of the tree or the parked list, while its first job changes. */
static void
share_unlink(struct share *s)
{
	if (s->jobs_n == 0)
		return;
	if (s->parked)
		LIST_REMOVE(s, of_producer);
	else
		RB_REMOVE(due_tree, &s->class->due, s);
}

static void
share_link(struct share *s)
{
	s->first = RB_MIN(job_tree, &s->jobs);
	if (s->first == NULL) {
		share_drop(s);
		return;
	}
	s->class->weights += s->producer->bounds.weight;
	s->class->weights -= s->weight;
	s->weight = s->producer->bounds.weight;
	s->due = s->paid + s->first->cost_px * ROUND_SCALE / s->weight;
	if (s->parked)
		LIST_INSERT_HEAD(&s->producer->parked, s, of_producer);
	else
		RB_INSERT(due_tree, &s->class->due, s);
}

/* ---- jobs ---- */

bool
order_push(struct order *o, struct job *job, uint64_t now_ns)
{
	struct order_class *class = &o->classes[job->class];
	struct share *s = share_get(class, job->producer);

	if (s == NULL)
		return false;
	assert(job->share == NULL);
	share_unlink(s);
	RB_INSERT(job_tree, &s->jobs, job);
	s->jobs_n++;
	s->cost_px += job->cost_px;
	job->share = s;
	job->place = ++s->last_place;
	job->class_since_ns = now_ns;
	share_link(s);
	TAILQ_INSERT_TAIL(&class->by_age, job, by_age);
	class->jobs_n++;
	class->cost_px += job->cost_px;
	o->jobs_n++;
	return true;
}

void
order_remove(struct order *o, struct job *job)
{
	struct share *s = job->share;

	assert(s != NULL && s->class == &o->classes[job->class]);
	share_unlink(s);
	RB_REMOVE(job_tree, &s->jobs, job);
	s->jobs_n--;
	s->cost_px -= job->cost_px;
	s->class->cost_px -= job->cost_px;
	s->class->jobs_n--;
	o->jobs_n--;
	job->share = NULL;
	TAILQ_REMOVE(&s->class->by_age, job, by_age);
	share_link(s);
}

/* Move up what has waited long in its class, the lowest class last, so that a
 * job moves one class at a time. */
static void
age(struct order *o, uint64_t now_ns)
{
	unsigned n = 0;

	if (o->age_ns == 0)
		return;
	for (unsigned i = 1; i < JOB_CLASSES; i++) {
		struct job *job;

		while (n < AGED_MAX &&
		    (job = TAILQ_FIRST(&o->classes[i].by_age)) != NULL &&
		    now_ns - job->class_since_ns >= o->age_ns) {
			/* Without memory for its share it waits where it is. */
			if (share_get(&o->classes[i - 1], job->producer) ==
			    NULL)
				return;
			order_remove(o, job);
			job->class --;
			order_push(o, job, now_ns);
			n++;
		}
	}
}

static struct job *
pop_class(struct order *o, struct order_class *class,
    bool (*fits)(const struct job *job, void *arg), void *arg)
{
	struct share *s;
	struct job *job;

	while ((s = RB_MIN(due_tree, &class->due)) != NULL) {
		job = s->first;
		if (!fits(job, arg)) {
			share_unlink(s);
			s->parked = true;
			share_link(s);
			continue;
		}
		if (class->round < s->due)
			class->round = s->due;
		s->paid = s->due;
		order_remove(o, job);
		return job;
	}
	return NULL;
}

struct job *
order_pop(struct order *o, uint64_t now_ns,
    bool (*fits)(const struct job *job, void *arg), void *arg)
{
	struct job *job = NULL;

	age(o, now_ns);
	for (unsigned i = 0; i < JOB_CLASSES && job == NULL; i++)
		job = pop_class(o, &o->classes[i], fits, arg);
	return job;
}

bool
order_unpark(struct producer *producer)
{
	struct share *s, *next;
	bool any = false;

	for (s = LIST_FIRST(&producer->parked); s != NULL; s = next) {
		next = LIST_NEXT(s, of_producer);
		share_unlink(s);
		s->parked = false;
		/* The rounds that it stood aside are gone. */
		if (s->paid < s->class->round)
			s->paid = s->class->round;
		share_link(s);
		any = true;
	}
	return any;
}

/* ---- rank ---- */

/* ${r}, and what waits in the classes above. */
static struct order_rank
above(const struct order *o, unsigned class, struct order_rank r)
{
	for (unsigned i = 0; i < class; i++) {
		r.jobs_n += o->classes[i].jobs_n;
		r.cost_px += o->classes[i].cost_px;
	}
	return r;
}

/*
 * ${own} goes before a job of ${producer} in its own share.  In the same
 * rounds each other weight gets its part, as far as there is that much.
 */
static struct order_rank
rank(const struct order *o, const struct producer *producer, unsigned class,
    struct order_rank own, uint64_t cost_px)
{
	const struct order_class *c = &o->classes[class];
	const struct share *s = share_find(c, producer);
	uint64_t weight = producer->bounds.weight;
	uint64_t others = c->weights - (s != NULL ? s->weight : 0);
	size_t others_n = c->jobs_n - (s != NULL ? s->jobs_n : 0);
	uint64_t others_px = c->cost_px - (s != NULL ? s->cost_px : 0);
	uint64_t turn_n = (own.jobs_n + 1) * others / weight;
	/* In floating point, for it may pass 64 bits. */
	double turn_px =
	    (double)(own.cost_px + cost_px) * (double)others / (double)weight;

	own.jobs_n += others_n < turn_n ? others_n : (size_t)turn_n;
	own.cost_px +=
	    turn_px < (double)others_px ? (uint64_t)turn_px : others_px;
	return above(o, class, own);
}

struct order_rank
order_rank(const struct order *o, const struct job *job)
{
	const struct share *s = job->share;
	const struct job *first = s->first;
	struct order_rank own = {.jobs_n = 0};

	/* Its turn is now; any other's turn is counted as if the others' of the
	 * same round came before. */
	if (job == first && RB_MIN(due_tree, &s->class->due) == s)
		return above(o, job->class, own);
	/* Not counted but bounded from above by how many came between. */
	if (job != first && job->place > first->place)
		own.jobs_n = job->place - first->place < s->jobs_n
		    ? (size_t)(job->place - first->place)
		    : s->jobs_n - 1;
	else if (job != first)
		own.jobs_n = 1;
	own.cost_px = s->cost_px / s->jobs_n * own.jobs_n;
	return rank(o, job->producer, job->class, own, job->cost_px);
}

struct order_rank
order_rank_new(const struct order *o, const struct producer *producer,
    unsigned class, uint64_t cost_px)
{
	const struct share *s = share_find(&o->classes[class], producer);
	struct order_rank own = {.jobs_n = 0};

	if (s != NULL)
		own = (struct order_rank){s->jobs_n, s->cost_px};
	return rank(o, producer, class, own, cost_px);
}
