/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "store.h"

/* A directory of its own, which goes with store_dir_remove(). */
struct store_dir {
	char path[64];
};

struct store_dir store_dir_make(void);
void store_dir_remove(const struct store_dir *dir);

/* store_must_open(dir, size_bytes): or the test fails. */
struct store *store_must_open(const struct store_dir *dir, uint64_t size_bytes);

/* A decode job of ${body_bytes}, whose bytes follow from its id. */
struct record_job store_sample_job(uint64_t id, size_t body_bytes);
void store_fill(uint64_t id, void *buf, size_t bytes);

/* store_add(s, id, body_bytes): one job with its body, committed. */
enum store_result store_add(struct store *s, uint64_t id, size_t body_bytes);

/* store_put_raw_state(s, id, data, bytes): what no writer would write. */
enum store_result store_put_raw_state(
    struct store *s, uint64_t id, const void *data, size_t bytes);

/* The ids of all jobs, and of damaged ones. */
struct store_seen {
	uint64_t ids[64];
	size_t n;
	uint64_t damaged[64];
	size_t damaged_n;
	struct record_state last;
};

void store_look(struct store *s, struct store_seen *seen);

#endif
