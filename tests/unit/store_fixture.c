/* SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "store_private.h"

struct store_dir
store_dir_make(void)
{
	struct store_dir dir;

	snprintf(dir.path, sizeof(dir.path), "/tmp/latentd-store-XXXXXX");
	cr_assert_not_null(mkdtemp(dir.path));
	return dir;
}

static int
on_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
store_dir_remove(const struct store_dir *dir)
{
	nftw(dir->path, on_entry, 8, FTW_DEPTH | FTW_PHYS);
}

struct store *
store_must_open(const struct store_dir *dir, uint64_t size_bytes)
{
	struct reason why = {.err = LATENTD_OK};
	struct store *s = NULL;

	cr_assert_eq(store_open(dir->path, size_bytes, &s, &why), LATENTD_OK,
	    "%s", why.text);
	return s;
}

void
store_fill(uint64_t id, void *buf, size_t bytes)
{
	uint8_t *at = buf;

	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(id * 31 + i + (i >> 8) * 7);
}

struct record_job
store_sample_job(uint64_t id, size_t body_bytes)
{
	return (struct record_job){.id = id,
	    .uid = 1000,
	    .producer = {"p", 1},
	    .key = {"k", 1},
	    .model = {"sdxl", 4},
	    .tensor = {LATENTD_F16, 4, {1, 4, 8, 8}},
	    .body_bytes = body_bytes,
	    .submitted_at_ms = 1};
}

enum store_result
store_add(struct store *s, uint64_t id, size_t body_bytes)
{
	struct record_job job = store_sample_job(id, body_bytes);
	uint8_t *body = malloc(body_bytes + 1);
	struct store_slice slices[2] = {{body, body_bytes / 3},
	    {body + body_bytes / 3, body_bytes - body_bytes / 3}};
	enum store_result result;
	struct reason why;

	store_fill(id, body, body_bytes);
	job.body_crc = crc32c(0, body, body_bytes);
	result = store_begin(s, &why);
	if (result == STORE_OK) {
		result = store_put_job(s, &job, &why);
		if (result == STORE_OK)
			result = store_put_body(s, id, slices, 2, &why);
		if (result == STORE_OK)
			result = store_commit(s, &why);
		else
			store_abort(s);
	}
	free(body);
	return result;
}

enum store_result
store_put_raw_state(
    struct store *s, uint64_t id, const void *data, size_t bytes)
{
	uint8_t at[STORE_ID_BYTES];
	MDB_val key = {sizeof(at), at};
	MDB_val value = {bytes, (void *)(uintptr_t)data};

	store_put_be(at, sizeof(at), id);
	return mdb_put(s->txn, s->tables[TABLE_STATES], &key, &value, 0) == 0
	    ? STORE_OK
	    : STORE_FAILED;
}

static bool
on_job(
    const struct record_job *job, const struct record_state *state, void *arg)
{
	struct store_seen *seen = arg;

	cr_assert_lt(seen->n, 64);
	seen->ids[seen->n++] = job->id;
	seen->last = *state;
	return true;
}

static bool
on_damaged(uint64_t id, const struct reason *why, void *arg)
{
	struct store_seen *seen = arg;

	cr_assert_gt(strlen(why->text), 0);
	cr_assert_lt(seen->damaged_n, 64);
	seen->damaged[seen->damaged_n++] = id;
	return true;
}

void
store_look(struct store *s, struct store_seen *seen)
{
	const struct store_visitor visitor = {on_job, on_damaged, seen};
	struct reason why;

	memset(seen, 0, sizeof(*seen));
	cr_assert_eq(
	    store_read_jobs(s, &visitor, &why), LATENTD_OK, "%s", why.text);
}
