/* SPDX-License-Identifier: Apache-2.0 */
/* One order, producers with weights, and jobs that are only class and cost. */
#ifndef UNIT_ORDER_FIXTURE_H
#define UNIT_ORDER_FIXTURE_H

#include "jobs_fixture.h"
#include "order.h"

enum { URGENT, HIGH, NORMAL, LOW };

#define SQUARE_512 ((uint64_t)512 * 512)
#define SQUARE_2048 ((uint64_t)2048 * 2048)

struct fixture_order {
	struct fixture_jobs f;
	struct order order;
	uint64_t now_ns;
	const struct producer *full; /* its jobs do not fit */
	unsigned next_key;
};

/* fixture_order_open(x, age_ms) / fixture_order_close(x): close when all jobs
 * are gone; gives the producers back. */
void fixture_order_open(struct fixture_order *x, uint64_t age_ms);
void fixture_order_close(struct fixture_order *x);

/* fixture_weighted(x, name, weight): a producer that lives until the close. */
struct producer *fixture_weighted(
    struct fixture_order *x, const char *name, unsigned weight);

/* fixture_push(x, producer, class, cost_px): push a new job.
 * fixture_push_n(...): ${n} of them. */
struct job *fixture_push(struct fixture_order *x, struct producer *producer,
    unsigned class, uint64_t cost_px);
void fixture_push_n(struct fixture_order *x, struct producer *producer,
    unsigned class, uint64_t cost_px, size_t n);

/* fixture_pop(x): the job that goes next, out of the order; or NULL.
 * fixture_serve(x): the same, done with at once: its producer, or NULL.
 * fixture_remove(x, job): it is cancelled.
 * fixture_drain(x): serve all; returns how many. */
struct job *fixture_pop(struct fixture_order *x);
struct producer *fixture_serve(struct fixture_order *x);
void fixture_remove(struct fixture_order *x, struct job *job);
size_t fixture_drain(struct fixture_order *x);

#endif
