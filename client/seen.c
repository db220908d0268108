/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two tables: keys whose results still exist, bounded by the results
 * themselves, and keys of freed results, of which the oldest give way.
 */
#include "seen.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
seen_init(struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
}

static void
clear(struct seen_key **table)
{
	struct seen_key *entry, *next;

	HASH_ITER(hh, *table, entry, next)
	{
		HASH_DEL(*table, entry);
		free(entry);
	}
}

void
seen_fini(struct seen *seen)
{
	clear(&seen->keys);
	clear(&seen->freed);
}

enum seen_state
seen_get(const struct seen *seen, const char *key, uint64_t kicks)
{
	struct seen_key *entry;

	HASH_FIND_STR(seen->keys, key, entry);
	if (entry == NULL)
		HASH_FIND_STR(seen->freed, key, entry);
	return entry == NULL || entry->kicks < kicks ? SEEN_NOT : entry->state;
}

static bool
is_newer(const struct seen *seen, const char *key, uint64_t kicks)
{
	return seen_get(seen, key, kicks + 1) != SEEN_NOT;
}

static struct seen_key *
take(struct seen *seen, const char *key)
{
	struct seen_key *entry;

	HASH_FIND_STR(seen->keys, key, entry);
	if (entry != NULL) {
		HASH_DEL(seen->keys, entry);
		return entry;
	}
	HASH_FIND_STR(seen->freed, key, entry);
	if (entry != NULL)
		HASH_DEL(seen->freed, entry);
	return entry;
}

static void
forget_oldest(struct seen *seen)
{
	struct seen_key *oldest = seen->freed;

	if (HASH_COUNT(seen->freed) <= SEEN_FREED_MAX)
		return;
	HASH_DEL(seen->freed, oldest);
	free(oldest);
}

void
seen_put(
    struct seen *seen, const char *key, uint64_t kicks, enum seen_state state)
{
	struct seen_key *entry;

	if (state != SEEN_NOT && is_newer(seen, key, kicks))
		return;
	entry = take(seen, key);
	if (state == SEEN_NOT) {
		free(entry);
		return;
	}
	if (entry == NULL)
		entry = calloc(1, sizeof(*entry));
	if (entry == NULL)
		return;
	assert(strlen(key) < sizeof(entry->key));
	strcpy(entry->key, key);
	entry->state = state;
	entry->kicks = kicks;
	if (state == SEEN_FREED) {
		HASH_ADD_STR(seen->freed, key, entry);
		forget_oldest(seen);
	} else {
		HASH_ADD_STR(seen->keys, key, entry);
	}
}
