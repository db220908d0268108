/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB's file, version 1 of its format, as walk.c (its two roots) and
 * walk_tree.c (the rest) read it; nobody else includes this.
 *
 * Pages are numbered from 0.  Pages 0 and 1 are roots, written in turns, the
 * one with the higher transaction counts.  Numbers are in the byte order of the
 * machine; all that latentd runs on is little-endian.
 */
#ifndef SPOOL_WALK_PRIVATE_H
#define SPOOL_WALK_PRIVATE_H

#include <limits.h>
#include <string.h>

#include "latentd/limits.h"
#include "walk.h"

#define PAGE_HEAD_BYTES 16u /* u64 number, u16 unused, u16 flags, see below */
#define PAGE_FLAGS_AT 10u
#define PAGE_LOWER_AT 12u /* u16: behind the offsets of the nodes */
#define PAGE_UPPER_AT 14u /* u16: the lowest node */
#define PAGE_COUNT_AT 12u /* u32, of large values: how many pages */

enum { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_LARGE = 4, PAGE_ROOT = 8 };

/* u32 bytes of data, u16 flags, u16 bytes of the key, key, data; in a branch,
 * the first six bytes are the number of a page. */
#define NODE_HEAD_BYTES 8u
#define NODE_KEY_MOST_BYTES 511u

enum { NODE_LARGE = 1, NODE_TREE = 2, NODE_DUPLICATES = 4 };

#define TREE_BYTES 48u
#define TREE_DEPTH_MOST 32u
#define NO_PAGE UINT64_MAX

struct tree {
	uint64_t root; /* NO_PAGE: it has no rows */
	uint64_t rows_n;
	unsigned depth;
	unsigned flags;
};

struct root {
	uint32_t page_bytes;
	uint64_t size_bytes;
	uint64_t last_page;
	uint64_t transaction;
	struct tree free; /* pages that are free, by transaction */
	struct tree main; /* the tables, by name */
};

struct walk {
	char dir[PATH_MAX];
	int lock_fd;
	int fd;
	uint64_t file_bytes;
	struct root root;
	uint64_t pages_n; /* that exist, by the root and in the file */
	uint64_t free_n;
	uint8_t *seen; /* a bit for each */
	char trouble[2][LATENTD_MAX_TEXT_BYTES]; /* with the roots, or "" */
	const struct walk_visitor *visitor;
	size_t damages_n;
};

/* walk_tree_parse(at): the 48 bytes that LMDB has of a tree. */
struct tree walk_tree_parse(const uint8_t *at);

/* walk_tell(w, fmt, ...): one damage more. */
void walk_tell(struct walk *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* walk_tree_all(w): every tree of ${w}. */
void walk_tree_all(struct walk *w);

static inline uint16_t
get16(const uint8_t *at)
{
	uint16_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static inline uint32_t
get32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static inline uint64_t
get64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

#endif
