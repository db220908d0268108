/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_TALLY_H
#define ENDPOINT_TALLY_H

#include <jansson.h>

/*
 * What has been received: requests by path, keys by how often they came, and
 * what is in flight.  Loop thread.
 */
struct tally;

/* As many different keys are told apart; what comes after is "untracked". */
#define TALLY_KEYS_MAX 262144

struct tally *tally_create(void); /* NULL without memory */
void tally_destroy(struct tally *t);

/* tally_path(t, path): one more request for ${path}; the caller bounds how many
 * different paths there are. */
void tally_path(struct tally *t, const char *path);

/* tally_key(t, key): one more request with that Idempotency-Key, or NULL. */
void tally_key(struct tally *t, const char *key);

/* tally_begin(t) / tally_end(t): one more or less is in flight. */
void tally_begin(struct tally *t);
void tally_end(struct tally *t);

/*
 * tally_add_json(t, object): add "received" {PATH: n}, "idempotency_keys"
 * {"distinct": n, "repeated": n (requests whose key had come before),
 * "none": n, "untracked": n} and "in_flight" to ${object}.
 */
void tally_add_json(const struct tally *t, json_t *object);

#endif
