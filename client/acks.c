/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of the tags to acknowledge, each with the COLLECT on which it rides.
 * There are as many as results come between two COLLECTs, a few.
 */
#include "acks.h"

#include <assert.h>
#include <stdlib.h>

void
acks_add(struct latentd_client *c, uint64_t tag, uint64_t instance)
{
	if (instance != c->instance)
		return;
	if (c->acks_n == c->acks_room) {
		size_t room = c->acks_room == 0 ? 64 : 2 * c->acks_room;
		struct ack *acks = realloc(c->acks, room * sizeof(*acks));

		assert(acks != NULL);
		c->acks = acks;
		c->acks_room = room;
	}
	c->acks[c->acks_n++] = (struct ack){.tag = tag};
	c->acks_idle_n++;
}

size_t
acks_load(struct latentd_client *c, const struct channel *ch,
    uint64_t tags[LATENTD_MAX_ACKS])
{
	size_t n = 0;

	for (size_t i = 0; i < c->acks_n && n < LATENTD_MAX_ACKS; i++) {
		if (c->acks[i].on != NULL)
			continue;
		c->acks[i].on = ch;
		tags[n++] = c->acks[i].tag;
	}
	c->acks_idle_n -= n;
	return n;
}

void
acks_arrived(struct latentd_client *c, const struct channel *ch)
{
	size_t kept_n = 0;

	for (size_t i = 0; i < c->acks_n; i++) {
		if (c->acks[i].on != ch)
			c->acks[kept_n++] = c->acks[i];
	}
	c->acks_n = kept_n;
}

void
acks_lost(struct latentd_client *c, const struct channel *ch)
{
	for (size_t i = 0; i < c->acks_n; i++) {
		if (c->acks[i].on != ch)
			continue;
		c->acks[i].on = NULL;
		c->acks_idle_n++;
	}
}

void
acks_forget(struct latentd_client *c)
{
	c->acks_n = c->acks_idle_n = 0;
}
