/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keys were delivered already, so that a result which the daemon sends
 * twice reaches the application once.  Called with the client's mutex held.
 */
#ifndef CLIENT_SEEN_H
#define CLIENT_SEEN_H

#include <stdbool.h>
#include <stdint.h>

#include <uthash.h>

#include "latentd/limits.h"

/* How many keys of freed results are remembered. */
#define SEEN_FREED_MAX 4096u

enum seen_state {
	SEEN_NOT = 0,
	SEEN_READY, /* waits for latentd_collect() */
	SEEN_HELD, /* the application has it */
	SEEN_FREED, /* the application has freed it */
};

struct seen_key {
	char key[LATENTD_MAX_NAME_BYTES + 1];
	enum seen_state state;
	uint64_t kicks; /* of that result */
	UT_hash_handle hh;
};

struct seen {
	struct seen_key *keys;
	struct seen_key *freed; /* the table's order is the order of freeing */
};

void seen_init(struct seen *seen);
void seen_fini(struct seen *seen);

/* seen_get(seen, key, kicks): what became of the result of ${key} after so many
 * kicks, or of a later one; NOT when those seen are older. */
enum seen_state seen_get(
    const struct seen *seen, const char *key, uint64_t kicks);

/* seen_put(seen, key, kicks, state): remember; NOT forgets.  What is about an
 * older result than the latest changes nothing.  When memory is out the key
 * stays forgotten, and a second delivery would be given. */
void seen_put(
    struct seen *seen, const char *key, uint64_t kicks, enum seen_state state);

#endif
