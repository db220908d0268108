/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_REMEMBER_H
#define DAEMON_REMEMBER_H

#include "job.h"

/*
 * The keys of jobs whose results were acknowledged: a SUBMIT that the transport
 * sends again after that must not become a second job.
 */
struct remember;

/* remember_create(keep_ms, keys_max): what is older, or too much, is forgotten,
 * the oldest first.  NULL when memory is out. */
struct remember *remember_create(uint64_t keep_ms, size_t keys_max);
void remember_destroy(struct remember *r);

/* remember_change(r, keep_ms, keys_max): for keys that are there already too. */
void remember_change(struct remember *r, uint64_t keep_ms, size_t keys_max);

/* remember_put(r, job, now_ns): ${job} is about to be destroyed. */
void remember_put(struct remember *r, const struct job *job, uint64_t now_ns);

/* remember_add(r, identity, key, id, since_ns): one from before a restart, the
 * oldest first. */
void remember_add(struct remember *r, const struct producer_identity *identity,
    struct text key, uint64_t id, uint64_t since_ns);

/* remember_find(r, identity, key, now_ns): the id of that job, or 0. */
uint64_t remember_find(struct remember *r,
    const struct producer_identity *identity, struct text key, uint64_t now_ns);

#endif
