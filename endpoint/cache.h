/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_CACHE_H
#define ENDPOINT_CACHE_H

#include <stddef.h>

#include "reply.h"

/*
 * Finished replies by request, so that a benchmark that sends the same latents
 * again and again is not limited by this program's own computing.  Bounded in
 * bytes; the least recently used go first.  Loop thread.
 */
struct cache;

/* What makes two requests the same: both parts byte for byte. */
struct cache_key {
	const void *head; /* target and headers that matter */
	size_t head_bytes;
	const void *body;
	size_t body_bytes;
};

/* cache_create(max_bytes): NULL when memory is out. */
struct cache *cache_create(size_t max_bytes);
void cache_destroy(struct cache *cache);

/* cache_find(cache, key): the reply, to be dropped by the caller, or NULL. */
struct reply *cache_find(struct cache *cache, const struct cache_key *key);

/* cache_add(cache, key, reply): keep ${reply}, copying ${key}, if it fits; no
 * memory means it is not kept. */
void cache_add(
    struct cache *cache, const struct cache_key *key, struct reply *reply);

/* cache_bytes(cache): bytes of keys and replies now. */
size_t cache_bytes(const struct cache *cache);

#endif
