/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each call is a read transaction of its own, which ends before it returns, and
 * takes nothing on trust: records are checked by their CRC, pieces by their
 * lengths and the CRC of the whole.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store_private.h"

static enum latentd_err
begin(struct store *s, MDB_txn **txn, struct reason *why)
{
	int rc;

	if (s->env == NULL)
		return reason_set(why, LATENTD_ERR_BUSY,
		    "the spool in %s is not open", s->dir);
	rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, txn);
	if (rc == 0)
		return LATENTD_OK;
	/* What is in it may be well all the same. */
	return reason_set(why, LATENTD_ERR_BUSY,
	    "the spool in %s cannot be read now: %s", s->dir, mdb_strerror(rc));
}

/* ---- facts ---- */

/* A number in meta; 0 when it is not there. */
static int
read_number(struct store *s, MDB_txn *txn, const char *name, uint64_t *value)
{
	MDB_val key = {strlen(name), (void *)(uintptr_t)name}, data;
	int rc = mdb_get(txn, s->tables[TABLE_META], &key, &data);
	const uint8_t *at = data.mv_data;

	*value = 0;
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0 || data.mv_size > 8)
		return rc != 0 ? rc : MDB_CORRUPTED;
	for (size_t i = data.mv_size; i-- > 0;)
		*value = *value << 8 | at[i];
	return 0;
}

/* Pages that LMDB keeps for later; its table 0 lists them by transaction. */
static int
count_free(MDB_txn *txn, uint64_t *pages_n)
{
	MDB_val key, data;
	MDB_cursor *cursor;
	size_t n;
	int rc = mdb_cursor_open(txn, 0, &cursor);

	*pages_n = 0;
	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
		if (data.mv_size < sizeof(n))
			break;
		memcpy(&n, data.mv_data, sizeof(n));
		*pages_n += n;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
count_rows(struct store *s, MDB_txn *txn, enum table table, uint64_t *n)
{
	MDB_stat stat;
	int rc = mdb_stat(txn, s->tables[table], &stat);

	*n = rc == 0 ? stat.ms_entries : 0;
	return rc;
}

static int
read_facts(struct store *s, MDB_txn *txn, struct store_facts *facts)
{
	uint64_t free_n = 0;
	MDB_envinfo info;
	MDB_stat stat;
	int rc;

	memset(facts, 0, sizeof(*facts));
	memset(&info, 0, sizeof(info));
	memset(&stat, 0, sizeof(stat));
	if ((rc = read_number(s, txn, "format", &facts->format)) != 0 ||
	    (rc = read_number(s, txn, "instance", &facts->instance)) != 0 ||
	    (rc = read_number(s, txn, "next_id", &facts->next_id)) != 0 ||
	    (rc = count_rows(s, txn, TABLE_JOBS, &facts->jobs_n)) != 0 ||
	    (rc = count_rows(s, txn, TABLE_KNOWN, &facts->known_n)) != 0 ||
	    (rc = count_rows(s, txn, TABLE_ASIDE, &facts->aside_n)) != 0 ||
	    (rc = count_free(txn, &free_n)) != 0 ||
	    (rc = mdb_env_info(s->env, &info)) != 0 ||
	    (rc = mdb_env_stat(s->env, &stat)) != 0)
		return rc;
	facts->size_bytes = info.me_mapsize;
	facts->used_bytes = info.me_last_pgno + 1;
	if (facts->used_bytes > free_n)
		facts->used_bytes -= free_n;
	facts->used_bytes *= stat.ms_psize;
	return 0;
}

enum latentd_err
store_read_facts(struct store *s, struct store_facts *facts, struct reason *why)
{
	MDB_txn *txn;
	enum latentd_err err = begin(s, &txn, why);
	int rc;

	if (err != LATENTD_OK)
		return err;
	rc = read_facts(s, txn, facts);
	mdb_txn_abort(txn);
	return rc == 0 ? LATENTD_OK : store_text(s, "read", rc, why);
}

/* ---- jobs ---- */

static bool
has_pieces(struct store *s, MDB_txn *txn, enum table table, uint64_t id)
{
	uint8_t at[STORE_PIECE_KEY_BYTES];
	MDB_val key = {sizeof(at), at}, data;

	store_put_be(at, 8, id);
	store_put_be(at + 8, 4, 0);
	return mdb_get(txn, s->tables[table], &key, &data) == 0;
}

/* A job's state, or that of a new one; false: damaged, and its latent gone. */
static bool
read_state(struct store *s, MDB_txn *txn, uint64_t id,
    struct message_scratch *scratch, struct record_state *state,
    struct reason *why)
{
	uint8_t at[STORE_ID_BYTES];
	MDB_val key = {sizeof(at), at}, data;
	union record_any any;
	int rc;

	*state = (struct record_state){.state = JOB_QUEUED};
	store_put_be(at, sizeof(at), id);
	rc = mdb_get(txn, s->tables[TABLE_STATES], &key, &data);
	if (rc == MDB_NOTFOUND)
		return true;
	if (rc != 0) {
		store_text(s, "read a state in", rc, why);
	} else if (record_decode(RECORD_STATE, data.mv_data, data.mv_size,
		       scratch, &any, why) == LATENTD_OK) {
		*state = any.state;
		return true;
	}
	return has_pieces(s, txn, TABLE_BODIES, id);
}

static bool
visit(struct store *s, MDB_txn *txn, const MDB_val *key, const MDB_val *data,
    const struct store_visitor *v)
{
	struct message_scratch scratch;
	struct record_state state;
	union record_any any;
	struct reason why;
	uint64_t id;

	if (key->mv_size != STORE_ID_BYTES)
		return true;
	id = store_get_be(key->mv_data, STORE_ID_BYTES);
	if (record_decode(RECORD_JOB, data->mv_data, data->mv_size, &scratch,
		&any, &why) != LATENTD_OK)
		return v->damaged(id, &why, v->arg);
	if (any.job.id != id) {
		reason_set(&why, LATENTD_ERR_IO,
		    "the record of job %llu stands in its place",
		    (unsigned long long)any.job.id);
		return v->damaged(id, &why, v->arg);
	}
	if (!read_state(s, txn, id, &scratch, &state, &why))
		return v->damaged(id, &why, v->arg);
	return v->job(&any.job, &state, v->arg);
}

static int
visit_all(struct store *s, MDB_txn *txn, const struct store_visitor *v)
{
	MDB_val key, data;
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, s->tables[TABLE_JOBS], &cursor);

	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
		if (!visit(s, txn, &key, &data, v))
			break;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

enum latentd_err
store_read_jobs(
    struct store *s, const struct store_visitor *visitor, struct reason *why)
{
	MDB_txn *txn;
	enum latentd_err err = begin(s, &txn, why);
	int rc;

	if (err != LATENTD_OK)
		return err;
	rc = visit_all(s, txn, visitor);
	mdb_txn_abort(txn);
	return rc == 0 ? LATENTD_OK : store_text(s, "read", rc, why);
}

enum latentd_err
store_read_job(struct store *s, uint64_t id,
    const struct store_visitor *visitor, struct reason *why)
{
	uint8_t at[STORE_ID_BYTES];
	MDB_val key = {sizeof(at), at}, data;
	MDB_txn *txn;
	enum latentd_err err = begin(s, &txn, why);
	int rc;

	if (err != LATENTD_OK)
		return err;
	store_put_be(at, sizeof(at), id);
	rc = mdb_get(txn, s->tables[TABLE_JOBS], &key, &data);
	if (rc == 0)
		visit(s, txn, &key, &data, visitor);
	mdb_txn_abort(txn);
	if (rc == MDB_NOTFOUND)
		return reason_set(why, LATENTD_ERR_NOT_FOUND,
		    "the spool in %s has no job with id %llu", s->dir,
		    (unsigned long long)id);
	return rc == 0 ? LATENTD_OK : store_text(s, "read", rc, why);
}

/* ---- keys ---- */

enum latentd_err
store_read_known(struct store *s,
    void (*on_known)(const struct record_known *known, void *arg), void *arg,
    struct reason *why)
{
	struct message_scratch scratch;
	union record_any any;
	MDB_val key, data;
	MDB_cursor *cursor;
	MDB_txn *txn;
	enum latentd_err err = begin(s, &txn, why);
	int rc;

	if (err != LATENTD_OK)
		return err;
	if ((rc = mdb_cursor_open(txn, s->tables[TABLE_KNOWN], &cursor)) != 0) {
		mdb_txn_abort(txn);
		return store_text(s, "read", rc, why);
	}
	while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
		if (record_decode(RECORD_KNOWN, data.mv_data, data.mv_size,
			&scratch, &any, NULL) == LATENTD_OK)
			on_known(&any.known, arg);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	return rc == MDB_NOTFOUND ? LATENTD_OK : store_text(s, "read", rc, why);
}

/* ---- pieces ---- */

/* How long piece ${i} of ${bytes} in all is. */
static size_t
piece_bytes(size_t bytes, size_t i)
{
	size_t left_bytes = bytes - i * STORE_PIECE_BYTES;

	return left_bytes < STORE_PIECE_BYTES ? left_bytes : STORE_PIECE_BYTES;
}

static enum latentd_err
read_pieces(struct store *s, MDB_txn *txn, enum table table, uint64_t id,
    uint8_t *buf, size_t bytes, struct reason *why)
{
	const char *what = table == TABLE_BODIES ? "latent" : "result";
	size_t n = (bytes + STORE_PIECE_BYTES - 1) / STORE_PIECE_BYTES;
	uint8_t at[STORE_PIECE_KEY_BYTES];
	MDB_val key = {sizeof(at), at}, data;
	int rc;

	store_put_be(at, 8, id);
	for (size_t i = 0; i < n; i++) {
		store_put_be(at + 8, 4, i);
		rc = mdb_get(txn, s->tables[table], &key, &data);
		if (rc != 0)
			return reason_set(why, LATENTD_ERR_IO,
			    "the %s of job %llu in the spool: piece %zu of "
			    "%zu cannot be read: %s",
			    what, (unsigned long long)id, i + 1, n,
			    mdb_strerror(rc));
		if (data.mv_size != piece_bytes(bytes, i))
			return reason_set(why, LATENTD_ERR_IO,
			    "the %s of job %llu in the spool: piece %zu of "
			    "%zu has %zu bytes and should have %zu",
			    what, (unsigned long long)id, i + 1, n,
			    data.mv_size, piece_bytes(bytes, i));
		memcpy(buf + i * STORE_PIECE_BYTES, data.mv_data, data.mv_size);
	}
	return LATENTD_OK;
}

static enum latentd_err
read_checked(struct store *s, enum table table, uint64_t id, void *buf,
    size_t bytes, uint32_t crc, struct reason *why)
{
	MDB_txn *txn;
	enum latentd_err err = begin(s, &txn, why);
	uint32_t found;

	if (err != LATENTD_OK)
		return err;
	err = read_pieces(s, txn, table, id, buf, bytes, why);
	mdb_txn_abort(txn);
	if (err != LATENTD_OK)
		return err;
	found = crc32c(0, buf, bytes);
	if (found == crc)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_IO,
	    "the %s of job %llu in the spool is damaged: its CRC32C is %08x "
	    "and not %08x",
	    table == TABLE_BODIES ? "latent" : "result", (unsigned long long)id,
	    found, crc);
}

enum latentd_err
store_read_body(struct store *s, uint64_t id, void *buf, size_t bytes,
    uint32_t crc, struct reason *why)
{
	return read_checked(s, TABLE_BODIES, id, buf, bytes, crc, why);
}

enum latentd_err
store_read_result(struct store *s, uint64_t id, void *buf, size_t bytes,
    uint32_t crc, struct reason *why)
{
	return read_checked(s, TABLE_RESULTS, id, buf, bytes, crc, why);
}
