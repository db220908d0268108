/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every entry is on two lists: the bucket that its digest chooses, where it is
 * found, and the order of use, whose head leaves first.  The digest only
 * spreads and pre-selects; what decides is the key itself, in full.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "cache.h"

#define BUCKETS 1024u

struct entry {
	LIST_ENTRY(entry) in_bucket;
	TAILQ_ENTRY(entry) in_order;
	uint64_t digest;
	unsigned char *key; /* head, then body */
	size_t head_bytes;
	size_t body_bytes;
	size_t bytes; /* what the entry costs */
	struct reply *reply;
};

LIST_HEAD(bucket, entry);
TAILQ_HEAD(order, entry);

struct cache {
	struct bucket buckets[BUCKETS];
	struct order order;
	size_t bytes;
	size_t max_bytes;
};

/* Eight bytes at a time; requests are large and differ early. */
static uint64_t
mix(uint64_t value, const void *data, size_t bytes)
{
	const unsigned char *at = data;
	uint64_t word = 0;

	for (; bytes >= sizeof(word); bytes -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		at += sizeof(word);
		value = (value ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		value ^= value >> 32;
	}
	word = 0;
	if (bytes > 0)
		memcpy(&word, at, bytes);
	value = (value ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return value ^ (value >> 32);
}

static uint64_t
digest_of(const struct cache_key *key)
{
	return mix(mix(key->head_bytes, key->head, key->head_bytes), key->body,
	    key->body_bytes);
}

static bool
entry_is(const struct entry *entry, const struct cache_key *key)
{
	return entry->head_bytes == key->head_bytes &&
	    entry->body_bytes == key->body_bytes &&
	    memcmp(entry->key, key->head, key->head_bytes) == 0 &&
	    memcmp(entry->key + key->head_bytes, key->body, key->body_bytes) ==
	    0;
}

static struct entry *
entry_find(struct cache *cache, const struct cache_key *key, uint64_t digest)
{
	struct entry *entry;

	LIST_FOREACH(entry, &cache->buckets[digest % BUCKETS], in_bucket)
	{
		if (entry->digest == digest && entry_is(entry, key))
			return entry;
	}
	return NULL;
}

static void
entry_link(struct cache *cache, struct entry *entry)
{
	LIST_INSERT_HEAD(
	    &cache->buckets[entry->digest % BUCKETS], entry, in_bucket);
	TAILQ_INSERT_TAIL(&cache->order, entry, in_order);
	cache->bytes += entry->bytes;
}

static void
entry_drop(struct cache *cache, struct entry *entry)
{
	LIST_REMOVE(entry, in_bucket);
	TAILQ_REMOVE(&cache->order, entry, in_order);
	cache->bytes -= entry->bytes;
	reply_drop(entry->reply);
	free(entry->key);
	free(entry);
}

static void
cache_trim(struct cache *cache, size_t to_bytes)
{
	struct entry *entry, *next;

	for (entry = TAILQ_FIRST(&cache->order);
	     entry != NULL && cache->bytes > to_bytes; entry = next) {
		next = TAILQ_NEXT(entry, in_order);
		entry_drop(cache, entry);
	}
}

struct reply *
cache_find(struct cache *cache, const struct cache_key *key)
{
	struct entry *entry = entry_find(cache, key, digest_of(key));

	if (entry == NULL)
		return NULL;
	TAILQ_REMOVE(&cache->order, entry, in_order);
	TAILQ_INSERT_TAIL(&cache->order, entry, in_order);
	return reply_hold(entry->reply);
}

static struct entry *
entry_create(const struct cache_key *key, uint64_t digest)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	entry->key = malloc(key->head_bytes + key->body_bytes + 1);
	if (entry->key == NULL) {
		free(entry);
		return NULL;
	}
	memcpy(entry->key, key->head, key->head_bytes);
	memcpy(entry->key + key->head_bytes, key->body, key->body_bytes);
	entry->head_bytes = key->head_bytes;
	entry->body_bytes = key->body_bytes;
	entry->digest = digest;
	return entry;
}

void
cache_add(struct cache *cache, const struct cache_key *key, struct reply *reply)
{
	const size_t bytes = sizeof(struct entry) + key->head_bytes +
	    key->body_bytes + reply->body.bytes;
	const uint64_t digest = digest_of(key);
	struct entry *entry;

	if (bytes > cache->max_bytes || entry_find(cache, key, digest) != NULL)
		return;
	cache_trim(cache, cache->max_bytes - bytes);
	entry = entry_create(key, digest);
	if (entry == NULL)
		return;
	entry->bytes = bytes;
	entry->reply = reply_hold(reply);
	entry_link(cache, entry);
}

size_t
cache_bytes(const struct cache *cache)
{
	return cache->bytes;
}

struct cache *
cache_create(size_t max_bytes)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	size_t i;

	if (cache == NULL)
		return NULL;
	cache->max_bytes = max_bytes;
	TAILQ_INIT(&cache->order);
	for (i = 0; i < BUCKETS; i++)
		LIST_INIT(&cache->buckets[i]);
	return cache;
}

void
cache_destroy(struct cache *cache)
{
	if (cache == NULL)
		return;
	cache_trim(cache, 0);
	free(cache);
}
