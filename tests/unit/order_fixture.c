/* SPDX-License-Identifier: Apache-2.0 */
#include "order_fixture.h"

#include <string.h>

void
fixture_order_open(struct fixture_order *x, uint64_t age_ms)
{
	memset(x, 0, sizeof(*x));
	fixture_jobs_open(&x->f);
	order_init(&x->order, age_ms);
	x->now_ns = 1;
}

void
fixture_order_close(struct fixture_order *x)
{
	struct producer *p, *next;

	order_fini(&x->order);
	for (p = x->f.jobs.producers.table; p != NULL; p = next) {
		next = p->hh.next;
		producers_release(&x->f.jobs.producers, p);
	}
	fixture_jobs_close(&x->f);
}

struct producer *
fixture_weighted(struct fixture_order *x, const char *name, unsigned weight)
{
	struct producer *p = fixture_producer(&x->f, name);

	producers_hold(p);
	p->bounds.weight = weight;
	return p;
}

struct job *
fixture_push(struct fixture_order *x, struct producer *producer, unsigned class,
    uint64_t cost_px)
{
	char key[16];
	struct job *job;

	snprintf(key, sizeof(key), "k%u", x->next_key++);
	job = fixture_job(&x->f, producer, key, 1, 0);
	job->class = class;
	job->cost_px = cost_px;
	cr_assert(order_push(&x->order, job, x->now_ns));
	return job;
}

void
fixture_push_n(struct fixture_order *x, struct producer *producer,
    unsigned class, uint64_t cost_px, size_t n)
{
	while (n-- > 0)
		fixture_push(x, producer, class, cost_px);
}

static bool
fits(const struct job *job, void *arg)
{
	const struct fixture_order *x = arg;

	return job->producer != x->full;
}

struct job *
fixture_pop(struct fixture_order *x)
{
	return order_pop(&x->order, x->now_ns, fits, x);
}

struct producer *
fixture_serve(struct fixture_order *x)
{
	struct job *job = fixture_pop(x);
	struct producer *producer;

	if (job == NULL)
		return NULL;
	producer = job->producer;
	job_destroy(&x->f.jobs, job);
	return producer;
}

void
fixture_remove(struct fixture_order *x, struct job *job)
{
	order_remove(&x->order, job);
	job_destroy(&x->f.jobs, job);
}

size_t
fixture_drain(struct fixture_order *x)
{
	size_t n = 0;

	while (fixture_serve(x) != NULL)
		n++;
	return n;
}
