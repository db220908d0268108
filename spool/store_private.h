/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What store.c (opening), store_read.c and store_write.c share, and nobody else
 * includes.
 */
#ifndef SPOOL_STORE_PRIVATE_H
#define SPOOL_STORE_PRIVATE_H

#include <limits.h>

#include <lmdb.h>

#include "store.h"
#include "walk.h"

#define STORE_ID_BYTES 8u
#define STORE_PIECE_KEY_BYTES 12u

struct store {
	char dir[PATH_MAX];
	uint64_t size_bytes;
	int lock_fd;
	MDB_env *env; /* NULL: could not be reopened */
	MDB_dbi tables[TABLES];
	MDB_txn *txn; /* the writer's */
};

/* store_put_be(at, bytes, v): a number in a key.  store_get_be(at, bytes). */
void store_put_be(uint8_t *at, size_t bytes, uint64_t v);
uint64_t store_get_be(const uint8_t *at, size_t bytes);

/* store_text(s, what, rc, why): IO, "cannot WHAT the spool in DIR: ...". */
enum latentd_err store_text(
    const struct store *s, const char *what, int rc, struct reason *why);

#endif
