/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a spool's file without LMDB, which trusts what it reads: one wrong
 * number in a page can have it read or write anywhere, or never end, and most
 * of a page has no checksum.  Here each page, number and length is checked
 * before it is used, so that a damaged file is told from a good one before LMDB
 * maps it, and what is left of it can be read.
 *
 * Nobody may write the file meanwhile.  Pure but for reading it; any thread.
 */
#ifndef SPOOL_WALK_H
#define SPOOL_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"

/* The tables of store.h. */
enum table {
	TABLE_META = 0,
	TABLE_JOBS,
	TABLE_STATES,
	TABLE_BODIES,
	TABLE_RESULTS,
	TABLE_KNOWN,
	TABLE_ASIDE,
	TABLES
};

const char *walk_table_name(enum table table);

struct walk;

/* A row; the key is valid during the call. */
struct walk_row {
	const uint8_t *key;
	size_t key_bytes;
	uint64_t at; /* where its data is, for walk_read() */
	uint64_t bytes; /* all of them lie in the file */
};

struct walk_visitor {
	/* A row, in the order of keys where nothing is damaged. */
	void (*row)(enum table table, const struct walk_row *row, void *arg);
	/* Something is damaged; the sentence says what and where. */
	void (*damage)(const char *text, void *arg);
	void *arg;
};

/*
 * walk_open(dir, lock, walk, why):
 * Open ${dir}/data.mdb, with ${lock} after taking the lock of the directory if
 * it has one, and find its tables.  Fails with NOT_FOUND, DENIED, BUSY (somebody
 * has the lock), VERSION (of LMDB's format), IO (neither of the two pages that
 * everything hangs on is whole), MEMORY; each with a sentence.
 */
enum latentd_err walk_open(
    const char *dir, bool lock, struct walk **walk, struct reason *why);
void walk_close(struct walk *w);

/*
 * walk_all(w, visitor): visit every row of every table, once for each ${w}, and
 * tell what is damaged; the number of damages.  What hangs on a damaged page is
 * left out.
 */
size_t walk_all(struct walk *w, const struct walk_visitor *visitor);

/* walk_read(w, at, buf, bytes): false when the disk does not give them. */
bool walk_read(const struct walk *w, uint64_t at, void *buf, size_t bytes);

struct walk_facts {
	uint64_t file_bytes;
	uint64_t size_bytes; /* of the map */
	uint64_t used_bytes; /* of pages in use; after walk_all() */
};

struct walk_facts walk_facts(const struct walk *w);

#endif
