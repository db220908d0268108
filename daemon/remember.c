/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash for finding and a list by age for forgetting; what is too old goes
 * when something is put or looked for, so there is no timer.
 */
#include "remember.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Zero-filled, so that it compares by memcmp. */
struct name {
	struct producer_identity identity;
	char key[LATENTD_MAX_NAME_BYTES + 1];
};

struct entry {
	struct name name;
	uint64_t id;
	uint64_t since_ns;
	TAILQ_ENTRY(entry) by_age;
	UT_hash_handle hh;
};

struct remember {
	struct entry *entries;
	TAILQ_HEAD(, entry) by_age;
	uint64_t keep_ns;
	size_t keys_max;
};

struct remember *
remember_create(uint64_t keep_ms, size_t keys_max)
{
	struct remember *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	TAILQ_INIT(&r->by_age);
	r->keep_ns = keep_ms * 1000000u;
	r->keys_max = keys_max;
	return r;
}

static void
drop(struct remember *r, struct entry *e)
{
	assert(r->entries != NULL);
	TAILQ_REMOVE(&r->by_age, e, by_age);
	HASH_DEL(r->entries, e);
	explicit_bzero(e, sizeof(*e));
	free(e);
}

void
remember_destroy(struct remember *r)
{
	struct entry *e;

	if (r == NULL)
		return;
	while ((e = TAILQ_FIRST(&r->by_age)) != NULL)
		drop(r, e);
	free(r);
}

void
remember_change(struct remember *r, uint64_t keep_ms, size_t keys_max)
{
	r->keep_ns = keep_ms * 1000000u;
	r->keys_max = keys_max;
	while (HASH_COUNT(r->entries) > keys_max)
		drop(r, TAILQ_FIRST(&r->by_age));
}

static void
forget_old(struct remember *r, uint64_t now_ns)
{
	struct entry *e;

	while ((e = TAILQ_FIRST(&r->by_age)) != NULL &&
	    now_ns - e->since_ns >= r->keep_ns)
		drop(r, e);
}

static void
name_set(struct name *name, const struct producer_identity *identity,
    struct text key)
{
	memset(name, 0, sizeof(*name));
	memcpy(&name->identity, identity, sizeof(*identity));
	memcpy(name->key, key.at, key.bytes);
}

void
remember_put(struct remember *r, const struct job *job, uint64_t now_ns)
{
	forget_old(r, now_ns);
	remember_add(r, &job->producer->identity,
	    (struct text){job->key, strlen(job->key)}, job->id, now_ns);
}

void
remember_add(struct remember *r, const struct producer_identity *identity,
    struct text key, uint64_t id, uint64_t since_ns)
{
	struct entry *e, *old;

	if (r->keep_ns == 0 || r->keys_max == 0 ||
	    (e = calloc(1, sizeof(*e))) == NULL)
		return;
	name_set(&e->name, identity, key);
	e->id = id;
	e->since_ns = since_ns;
	HASH_FIND(hh, r->entries, &e->name, sizeof(e->name), old);
	if (old != NULL)
		drop(r, old);
	if (HASH_COUNT(r->entries) >= r->keys_max)
		drop(r, TAILQ_FIRST(&r->by_age));
	HASH_ADD(hh, r->entries, name, sizeof(e->name), e);
	TAILQ_INSERT_TAIL(&r->by_age, e, by_age);
}

uint64_t
remember_find(struct remember *r, const struct producer_identity *identity,
    struct text key, uint64_t now_ns)
{
	struct entry *e;
	struct name name;

	forget_old(r, now_ns);
	name_set(&name, identity, key);
	HASH_FIND(hh, r->entries, &name, sizeof(name), e);
	return e != NULL ? e->id : 0;
}
