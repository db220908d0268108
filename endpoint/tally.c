/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths are counted in the JSON object that is shown.  Of keys only a hash is
 * kept: with as many as are told apart, the odds that any two of them share one
 * are below one in 10^8.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include <uthash.h>

#include "tally.h"

struct seen {
	uint64_t hash;
	UT_hash_handle hh;
};

struct tally {
	json_t *paths;
	struct seen *seen;
	uint64_t repeated_n;
	uint64_t none_n;
	uint64_t untracked_n;
	uint64_t in_flight_n;
};

struct tally *
tally_create(void)
{
	struct tally *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->paths = json_object();
	if (t->paths != NULL)
		return t;
	free(t);
	return NULL;
}

void
tally_destroy(struct tally *t)
{
	struct seen *seen, *next;

	if (t == NULL)
		return;
	HASH_ITER(hh, t->seen, seen, next)
	{
		HASH_DEL(t->seen, seen);
		free(seen);
	}
	json_decref(t->paths);
	free(t);
}

void
tally_path(struct tally *t, const char *path)
{
	const json_t *n = json_object_get(t->paths, path);

	json_object_set_new(
	    t->paths, path, json_integer(json_integer_value(n) + 1));
}

/* FNV-1a, 64 bits. */
static uint64_t
hash(const char *key)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *key != '\0'; key++)
		h = (h ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
	return h;
}

void
tally_key(struct tally *t, const char *key)
{
	struct seen *seen;
	uint64_t h;

	if (key == NULL) {
		t->none_n++;
		return;
	}
	h = hash(key);
	HASH_FIND(hh, t->seen, &h, sizeof(h), seen);
	if (seen != NULL) {
		t->repeated_n++;
		return;
	}
	if (HASH_COUNT(t->seen) >= TALLY_KEYS_MAX ||
	    (seen = calloc(1, sizeof(*seen))) == NULL) {
		t->untracked_n++;
		return;
	}
	seen->hash = h;
	HASH_ADD(hh, t->seen, hash, sizeof(seen->hash), seen);
}

void
tally_begin(struct tally *t)
{
	t->in_flight_n++;
}

void
tally_end(struct tally *t)
{
	assert(t->in_flight_n > 0);
	t->in_flight_n--;
}

void
tally_add_json(const struct tally *t, json_t *object)
{
	json_object_set_new(object, "received", json_deep_copy(t->paths));
	json_object_set_new(object, "idempotency_keys",
	    json_pack("{s:I, s:I, s:I, s:I}", "distinct",
		(json_int_t)HASH_COUNT(t->seen), "repeated",
		(json_int_t)t->repeated_n, "none", (json_int_t)t->none_n,
		"untracked", (json_int_t)t->untracked_n));
	json_object_set_new(
	    object, "in_flight", json_integer((json_int_t)t->in_flight_n));
}
