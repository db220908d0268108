/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's side.  LMDB syncs the pages of a transaction before it writes
 * the page that makes them count, so a failed write or sync leaves the spool as
 * it was before, whatever became of the pages: they are free, and written anew
 * before they are used again.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "store_private.h"

/* A file system with less to give has none. */
#define FULL_BYTES (UINT64_C(64) << 10)

/* LMDB makes EIO of a write that a full disk cut short. */
static bool
disk_is_full(const struct store *s)
{
	struct statvfs stat;
	int fd;

	return s->env != NULL && mdb_env_get_fd(s->env, &fd) == 0 &&
	    fstatvfs(fd, &stat) == 0 &&
	    (uint64_t)stat.f_bavail * stat.f_frsize < FULL_BYTES;
}

static enum store_result
result_of(const struct store *s, int rc, struct reason *why)
{
	if (rc == 0)
		return STORE_OK;
	if (rc == EIO && disk_is_full(s))
		rc = ENOSPC;
	store_text(s, "write to", rc, why);
	return rc == MDB_MAP_FULL || rc == MDB_TXN_FULL ? STORE_FULL
							: STORE_FAILED;
}

enum store_result
store_begin(struct store *s, struct reason *why)
{
	assert(s->txn == NULL);
	if (s->env == NULL) {
		reason_set(
		    why, LATENTD_ERR_IO, "the spool in %s is not open", s->dir);
		return STORE_FAILED;
	}
	return result_of(s, mdb_txn_begin(s->env, NULL, 0, &s->txn), why);
}

enum store_result
store_commit(struct store *s, struct reason *why)
{
	MDB_txn *txn = s->txn;

	s->txn = NULL;
	return result_of(s, mdb_txn_commit(txn), why);
}

void
store_abort(struct store *s)
{
	mdb_txn_abort(s->txn);
	s->txn = NULL;
}

/* ---- records ---- */

static MDB_val
id_key(uint8_t at[STORE_ID_BYTES], uint64_t id)
{
	store_put_be(at, STORE_ID_BYTES, id);
	return (MDB_val){STORE_ID_BYTES, at};
}

static enum store_result
put_record(struct store *s, enum table table, MDB_val *key,
    enum record_kind kind, const void *in, struct reason *why)
{
	uint8_t buf[RECORD_MAX_BYTES];
	MDB_val data = {record_encode(kind, in, buf), buf};

	if (data.mv_size == 0) {
		reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "a record of more than %u bytes", RECORD_MAX_BYTES);
		return STORE_FULL;
	}
	return result_of(
	    s, mdb_put(s->txn, s->tables[table], key, &data, 0), why);
}

enum store_result
store_put_job(struct store *s, const struct record_job *job, struct reason *why)
{
	uint8_t at[STORE_ID_BYTES];
	MDB_val key = id_key(at, job->id);

	return put_record(s, TABLE_JOBS, &key, RECORD_JOB, job, why);
}

enum store_result
store_put_state(struct store *s, uint64_t id, const struct record_state *state,
    struct reason *why)
{
	uint8_t at[STORE_ID_BYTES];
	MDB_val key = id_key(at, id);

	return put_record(s, TABLE_STATES, &key, RECORD_STATE, state, why);
}

enum store_result
store_put_known(
    struct store *s, const struct record_known *known, struct reason *why)
{
	uint8_t at[2 * STORE_ID_BYTES];
	MDB_val key = {sizeof(at), at};

	store_put_be(at, 8, known->acked_at_ms);
	store_put_be(at + 8, 8, known->id);
	return put_record(s, TABLE_KNOWN, &key, RECORD_KNOWN, known, why);
}

static enum store_result
put_number(struct store *s, const char *name, uint64_t value, size_t bytes,
    struct reason *why)
{
	MDB_val key = {strlen(name), (void *)(uintptr_t)name};
	uint8_t at[8];
	MDB_val data = {bytes, at};

	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return result_of(
	    s, mdb_put(s->txn, s->tables[TABLE_META], &key, &data, 0), why);
}

enum store_result
store_put_instance(struct store *s, uint64_t instance, struct reason *why)
{
	enum store_result result =
	    put_number(s, "format", SPOOL_FORMAT, 4, why);

	if (result != STORE_OK)
		return result;
	return put_number(s, "instance", instance, 8, why);
}

enum store_result
store_put_next_id(struct store *s, uint64_t next_id, struct reason *why)
{
	return put_number(s, "next_id", next_id, 8, why);
}

/* ---- pieces ---- */

/* Delete what ${table} has under ${id}, in pieces or not. */
static int
delete_pieces(struct store *s, enum table table, uint64_t id)
{
	uint8_t at[STORE_PIECE_KEY_BYTES];
	MDB_val key = {sizeof(at), at}, data;
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(s->txn, s->tables[table], &cursor);

	if (rc != 0)
		return rc;
	store_put_be(at, 8, id);
	store_put_be(at + 8, 4, 0);
	rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
	while (rc == 0 && key.mv_size == STORE_PIECE_KEY_BYTES &&
	    store_get_be(key.mv_data, 8) == id) {
		if ((rc = mdb_cursor_del(cursor, 0)) == 0)
			rc = mdb_cursor_get(
			    cursor, &key, &data, MDB_GET_CURRENT);
		/* Behind the last row of a page, or of all. */
		if (rc == EINVAL || rc == MDB_NOTFOUND)
			rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

struct slices {
	const struct store_slice *at;
	size_t n;
	size_t offset; /* into the first */
};

/* Copy the next ${bytes} of ${from}. */
static void
take(struct slices *from, uint8_t *to, size_t bytes)
{
	while (bytes > 0) {
		size_t left_bytes = from->at->bytes - from->offset;
		size_t n = left_bytes < bytes ? left_bytes : bytes;

		if (n > 0)
			memcpy(to, (const uint8_t *)from->at->at + from->offset,
			    n);
		to += n;
		bytes -= n;
		from->offset += n;
		if (from->offset == from->at->bytes) {
			from->at++;
			from->n--;
			from->offset = 0;
		}
	}
}

static enum store_result
put_pieces(struct store *s, enum table table, uint64_t id,
    const struct store_slice *slices, size_t slices_n, struct reason *why)
{
	struct slices from = {slices, slices_n, 0};
	uint8_t at[STORE_PIECE_KEY_BYTES];
	MDB_val key = {sizeof(at), at}, data;
	size_t bytes = 0;
	uint64_t i;
	int rc = delete_pieces(s, table, id);

	for (size_t k = 0; k < slices_n; k++)
		bytes += slices[k].bytes;
	store_put_be(at, 8, id);
	for (i = 0; rc == 0 && bytes > 0; i++) {
		store_put_be(at + 8, 4, i);
		data.mv_size =
		    bytes < STORE_PIECE_BYTES ? bytes : STORE_PIECE_BYTES;
		rc =
		    mdb_put(s->txn, s->tables[table], &key, &data, MDB_RESERVE);
		if (rc == 0) {
			take(&from, data.mv_data, data.mv_size);
			bytes -= data.mv_size;
		}
	}
	return result_of(s, rc, why);
}

enum store_result
store_put_body(struct store *s, uint64_t id, const struct store_slice *slices,
    size_t slices_n, struct reason *why)
{
	return put_pieces(s, TABLE_BODIES, id, slices, slices_n, why);
}

enum store_result
store_put_result(struct store *s, uint64_t id, const struct store_slice *slices,
    size_t slices_n, struct reason *why)
{
	return put_pieces(s, TABLE_RESULTS, id, slices, slices_n, why);
}

enum store_result
store_delete_body(struct store *s, uint64_t id, struct reason *why)
{
	return result_of(s, delete_pieces(s, TABLE_BODIES, id), why);
}

enum store_result
store_delete_result(struct store *s, uint64_t id, struct reason *why)
{
	return result_of(s, delete_pieces(s, TABLE_RESULTS, id), why);
}

/* ---- whole jobs ---- */

static int
delete_row(struct store *s, enum table table, MDB_val *key)
{
	int rc = mdb_del(s->txn, s->tables[table], key, NULL);

	return rc == MDB_NOTFOUND ? 0 : rc;
}

enum store_result
store_delete_job(struct store *s, uint64_t id, struct reason *why)
{
	uint8_t at[STORE_ID_BYTES];
	MDB_val key = id_key(at, id);
	int rc;

	if ((rc = delete_row(s, TABLE_JOBS, &key)) == 0 &&
	    (rc = delete_row(s, TABLE_STATES, &key)) == 0 &&
	    (rc = delete_pieces(s, TABLE_BODIES, id)) == 0)
		rc = delete_pieces(s, TABLE_RESULTS, id);
	return result_of(s, rc, why);
}

static bool
is_old(struct store *s, const MDB_val *key, uint64_t before_ms, uint64_t most_n)
{
	MDB_stat stat;

	return key->mv_size != 2 * (size_t)STORE_ID_BYTES ||
	    store_get_be(key->mv_data, 8) < before_ms ||
	    (mdb_stat(s->txn, s->tables[TABLE_KNOWN], &stat) == 0 &&
		stat.ms_entries > most_n);
}

enum store_result
store_trim_known(
    struct store *s, uint64_t before_ms, uint64_t most_n, struct reason *why)
{
	MDB_val key, data;
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(s->txn, s->tables[TABLE_KNOWN], &cursor);

	if (rc != 0)
		return result_of(s, rc, why);
	while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST)) == 0 &&
	    is_old(s, &key, before_ms, most_n)) {
		if ((rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
	}
	mdb_cursor_close(cursor);
	return result_of(s, rc == MDB_NOTFOUND ? 0 : rc, why);
}

enum store_result
store_set_aside(struct store *s, uint64_t id, struct reason *why)
{
	uint8_t at[STORE_ID_BYTES], copy[RECORD_MAX_BYTES];
	MDB_val key = id_key(at, id), data;
	int rc = mdb_get(s->txn, s->tables[TABLE_JOBS], &key, &data);

	if (rc == MDB_NOTFOUND)
		return STORE_OK;
	if (rc == 0) {
		/* The map may move on below a value that is being put. */
		if (data.mv_size > sizeof(copy))
			data.mv_size = sizeof(copy);
		memcpy(copy, data.mv_data, data.mv_size);
		data.mv_data = copy;
		rc = mdb_put(s->txn, s->tables[TABLE_ASIDE], &key, &data, 0);
	}
	if (rc == 0)
		rc = delete_row(s, TABLE_JOBS, &key);
	return result_of(s, rc, why);
}
