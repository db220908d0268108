/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spool on disk: an LMDB environment in a directory of its own, with the
 * tables below.  latentd writes it; salvage.h
 * reads it for latentctl while no latentd runs.
 *
 *   table    key                          value
 *   meta     name                         format, u32; instance, next_id, u64
 *   jobs     id                           RECORD_JOB
 *   states   id                           RECORD_STATE
 *   bodies   id, number of the piece u32  payload and metadata, in pieces
 *   results  id, number of the piece u32  files or tensor, in pieces
 *   known    acked_at_ms u64, id          RECORD_KNOWN
 *   aside    id                           a RECORD_JOB that cannot be read
 *
 * Numbers in keys are big-endian, so that the order of keys is that of time;
 * ids are u64; numbers in meta are little-endian.  A job is there iff it has a
 * row in jobs; one without a row in states is queued and was never tried.
 * Pieces have STORE_PIECE_BYTES but for the last: with LMDB's header that fills
 * 16 pages, so that a fragmented file has room for them for long.
 * RECORD_JOB has the CRC of the body, RECORD_STATE that of the result.
 *
 * Threads: one writer at a time, between store_begin() and store_commit() or
 * store_abort(); store_read_*() from any thread, each call a short transaction
 * of its own, because a long one would keep pages from being used again.
 */
#ifndef SPOOL_STORE_H
#define SPOOL_STORE_H

#include "record.h"

#define STORE_PIECE_BYTES 65520u
#define STORE_LEAST_BYTES (UINT64_C(16) << 20)

struct store;

enum store_result {
	STORE_OK = 0,
	STORE_FULL, /* the map has no room; the transaction must be aborted */
	STORE_FAILED, /* the disk or the database says no; the same */
};

/* One stretch of a body that is written in several. */
struct store_slice {
	const void *at;
	size_t bytes;
};

/*
 * store_open(dir, size_bytes, store, why):
 * Open the spool in ${dir} for writing, or make it; the directory too, but not
 * the one above it.  ${size_bytes} is the map's size and the bound of the file;
 * what is there already counts if it is more.
 * Takes the lock of the directory, so that two never have it open; the kernel
 * gives it back however a process ends.  BUSY when somebody has it,
 * VERSION for a newer format, NOT_FOUND, DENIED or IO otherwise, each with a
 * sentence that names the directory.
 */
enum latentd_err store_open(const char *dir, uint64_t size_bytes,
    struct store **store, struct reason *why);

/* store_close(s): no transaction may be open; NULL is a no-op. */
void store_close(struct store *s);

/*
 * store_reopen(s, why): give the environment up and open it anew, after a
 * failure; no call may be in progress.  On failure ${s} can only be closed or
 * reopened.
 */
enum latentd_err store_reopen(struct store *s, struct reason *why);

/* ---- reading ---- */

struct store_facts {
	uint64_t instance;
	uint64_t next_id; /* no job had this id, nor a higher one */
	uint64_t format;
	uint64_t size_bytes; /* of the map */
	uint64_t used_bytes; /* of it: pages in use, the tables' own too */
	uint64_t jobs_n;
	uint64_t known_n;
	uint64_t aside_n;
};

enum latentd_err store_read_facts(
    struct store *s, struct store_facts *facts, struct reason *why);

struct store_visitor {
	/* A job, in the order in which they were accepted.  What is pointed to
	 * is valid during the call.  False: enough. */
	bool (*job)(const struct record_job *job,
	    const struct record_state *state, void *arg);
	/* A job whose record cannot be read, or whose state cannot and whose
	 * latent is gone. */
	bool (*damaged)(uint64_t id, const struct reason *why, void *arg);
	void *arg;
};

/*
 * store_read_jobs(s, visitor, why): visit every job.  A job whose state is
 * damaged and whose latent is there is visited as queued.
 * store_read_job(s, id, visitor, why): one of them; NOT_FOUND.
 * store_read_known(s, on_known, arg, why): every key, the oldest first; damaged
 * ones are passed over.
 */
enum latentd_err store_read_jobs(
    struct store *s, const struct store_visitor *visitor, struct reason *why);
enum latentd_err store_read_job(struct store *s, uint64_t id,
    const struct store_visitor *visitor, struct reason *why);
enum latentd_err store_read_known(struct store *s,
    void (*on_known)(const struct record_known *known, void *arg), void *arg,
    struct reason *why);

/*
 * store_read_body(s, id, buf, bytes, crc, why) / store_read_result(...):
 * Copy what RECORD_JOB or RECORD_STATE promises into ${buf}.  IO when it is not
 * there, not so long, or has another CRC.
 *
 * All of them give BUSY when nothing can be read now, which says nothing of what
 * is there: another time, after store_reopen().
 */
enum latentd_err store_read_body(struct store *s, uint64_t id, void *buf,
    size_t bytes, uint32_t crc, struct reason *why);
enum latentd_err store_read_result(struct store *s, uint64_t id, void *buf,
    size_t bytes, uint32_t crc, struct reason *why);

/* ---- writing ---- */

/*
 * store_begin(s, why), then any of the store_put_*() and store_delete_*(), then
 * store_commit(s, why), after which all is on disk, or store_abort(s).  What
 * gives FULL or FAILED says why and spoils the transaction: abort it.  After a
 * failed commit nothing of it is there and no transaction is open.
 */
enum store_result store_begin(struct store *s, struct reason *why);
enum store_result store_commit(struct store *s, struct reason *why);
void store_abort(struct store *s);

enum store_result store_put_job(
    struct store *s, const struct record_job *job, struct reason *why);
enum store_result store_put_state(struct store *s, uint64_t id,
    const struct record_state *state, struct reason *why);
/* Instead of what is there; the slices go behind each other. */
enum store_result store_put_body(struct store *s, uint64_t id,
    const struct store_slice *slices, size_t slices_n, struct reason *why);
enum store_result store_put_result(struct store *s, uint64_t id,
    const struct store_slice *slices, size_t slices_n, struct reason *why);
enum store_result store_put_known(
    struct store *s, const struct record_known *known, struct reason *why);
enum store_result store_put_instance(
    struct store *s, uint64_t instance, struct reason *why);
enum store_result store_put_next_id(
    struct store *s, uint64_t next_id, struct reason *why);

/* What is not there needs no deleting. */
enum store_result store_delete_job(
    struct store *s, uint64_t id, struct reason *why);
enum store_result store_delete_body(
    struct store *s, uint64_t id, struct reason *why);
enum store_result store_delete_result(
    struct store *s, uint64_t id, struct reason *why);

/* store_trim_known(s, before_ms, most_n, why): forget keys that are older, and
 * the oldest beyond ${most_n}. */
enum store_result store_trim_known(
    struct store *s, uint64_t before_ms, uint64_t most_n, struct reason *why);

/* store_set_aside(s, id, why): move a job's record to aside, for a person to
 * look at; its pieces stay. */
enum store_result store_set_aside(
    struct store *s, uint64_t id, struct reason *why);

#endif
