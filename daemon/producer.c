/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of producers.  A producer is a name that outlives connections, so
 * it is found by identity, never by connection.
 */
#include "producer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
producer_identity(uint64_t uid, struct text name, struct text secret,
    struct producer_identity *identity)
{
	assert(name.bytes <= LATENTD_MAX_NAME_BYTES &&
	    secret.bytes <= LATENTD_MAX_SECRET_BYTES);
	memset(identity, 0, sizeof(*identity));
	identity->uid = uid;
	identity->secret_bytes = (uint32_t)secret.bytes;
	if (secret.bytes > 0)
		memcpy(identity->secret, secret.at, secret.bytes);
	memcpy(identity->name, name.at, name.bytes);
}

bool
producer_is(const struct producer *p, const struct producer_identity *identity)
{
	const struct producer_identity *own = &p->identity;

	return own->uid == identity->uid &&
	    own->secret_bytes == identity->secret_bytes &&
	    memcmp(own->secret, identity->secret, own->secret_bytes) == 0 &&
	    strcmp(own->name, identity->name) == 0;
}

struct producer *
producers_find(struct producers *ps, const struct producer_identity *identity)
{
	struct producer *p;

	HASH_FIND(hh, ps->table, identity, sizeof(*identity), p);
	return p;
}

bool
producers_stranger(
    const struct producers *ps, const struct producer_identity *identity)
{
	const struct producer *p;

	HASH_FIND(hh, ps->table, identity, sizeof(*identity), p);
	if (p != NULL)
		return false;
	for (p = ps->table; p != NULL; p = p->hh.next) {
		if (p->identity.uid == identity->uid &&
		    strcmp(p->identity.name, identity->name) == 0)
			return true;
	}
	return false;
}

bool
producer_has_uid(const struct producer_identity *identity)
{
	return identity->uid < PRODUCER_SECRET_UID;
}

const struct producer_rule *
producers_rule(const struct producers *ps, struct text name)
{
	for (size_t i = 0; i < ps->rules_n; i++) {
		const struct producer_rule *rule = &ps->rules[i];

		if (strlen(rule->name) == name.bytes &&
		    memcmp(rule->name, name.at, name.bytes) == 0)
			return rule;
	}
	return NULL;
}

static struct producer_bounds
bounds_of(const struct producers *ps, const char *name)
{
	const struct producer_rule *rule =
	    producers_rule(ps, (struct text){name, strlen(name)});

	return rule != NULL ? rule->bounds : ps->bounds;
}

/* Names with a secret are bounded by themselves, the gateway is one producer;
 * what is left shares its user's bounds. */
static bool
join_user(struct producers *ps, struct producer *p)
{
	p->user = NULL;
	if (!producer_has_uid(&p->identity) &&
	    p->identity.uid != PRODUCER_NO_UID)
		return true;
	return users_join(&ps->users, p->identity.uid, &p->user);
}

void
producers_change(struct producers *ps, const struct producer_bounds *bounds,
    const struct producer_rule *rules, size_t rules_n)
{
	struct producer *p;

	ps->bounds = *bounds;
	ps->rules = rules;
	ps->rules_n = rules_n;
	for (p = ps->table; p != NULL; p = p->hh.next)
		p->bounds = bounds_of(ps, p->identity.name);
}

struct producer *
producers_get(struct producers *ps, const struct producer_identity *identity)
{
	struct producer *p = producers_find(ps, identity);

	if (p != NULL || HASH_COUNT(ps->table) >= PRODUCERS_MAX)
		return p;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return NULL;
	memcpy(&p->identity, identity, sizeof(*identity));
	if (!join_user(ps, p)) {
		free(p);
		return NULL;
	}
	p->bounds = bounds_of(ps, identity->name);
	TAILQ_INIT(&p->ready);
	LIST_INIT(&p->parked);
	TAILQ_INIT(&p->waiters);
	HASH_ADD(hh, ps->table, identity, sizeof(p->identity), p);
	return p;
}

static void
drop_idle(struct producers *ps, struct producer *p)
{
	if (p->jobs_n > 0 || p->holds_n > 0)
		return;
	assert(TAILQ_EMPTY(&p->ready) && TAILQ_EMPTY(&p->waiters) &&
	    LIST_EMPTY(&p->parked));
	HASH_DEL(ps->table, p);
	users_leave(&ps->users, p->user);
	explicit_bzero(p->identity.secret, sizeof(p->identity.secret));
	free(p);
}

void
producers_hold(struct producer *p)
{
	p->holds_n++;
}

void
producers_release(struct producers *ps, struct producer *p)
{
	assert(p->holds_n > 0);
	p->holds_n--;
	drop_idle(ps, p);
}

void
producers_forget_job(struct producers *ps, struct producer *p)
{
	assert(p->jobs_n > 0);
	p->jobs_n--;
	if (p->user != NULL)
		p->user->jobs_n--;
	drop_idle(ps, p);
}
