/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file, its lock and its two roots.  A root has no checksum, so what can be
 * known of it is compared: that its transaction belongs into its page, is next
 * to the other's, and that all that it names lies in the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "walk_private.h"

#define ROOT_MAGIC 0xbeefc0deu
#define ROOT_VERSION 1u
#define ROOT_BYTES 152u /* with the head of its page */
#define KEYS_ARE_NUMBERS 8u
#define PAGE_LEAST_BYTES 512u
#define PAGE_MOST_BYTES 32768u

/* Within a root's page. */
enum {
	MAGIC_AT = 16,
	VERSION_AT = 20,
	SIZE_AT = 32,
	FREE_AT = 40,
	MAIN_AT = 88,
	LAST_PAGE_AT = 136,
	TRANSACTION_AT = 144,
};

const char *
walk_table_name(enum table table)
{
	static const char *const names[TABLES] = {
	    "meta", "jobs", "states", "bodies", "results", "known", "aside"};

	return names[table];
}

bool
walk_read(const struct walk *w, uint64_t at, void *buf, size_t bytes)
{
	uint8_t *to = buf;

	while (bytes > 0) {
		ssize_t n = pread(w->fd, to, bytes, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		to += n;
		at += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return true;
}

void
walk_tell(struct walk *w, const char *fmt, ...)
{
	char text[LATENTD_MAX_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	w->damages_n++;
	w->visitor->damage(text, w->visitor->arg);
}

struct tree
walk_tree_parse(const uint8_t *at)
{
	return (struct tree){.root = get64(at + 40),
	    .rows_n = get64(at + 32),
	    .depth = get16(at + 6),
	    .flags = get16(at + 4)};
}

/* ---- the two roots ---- */

static bool
is_page_size(uint32_t bytes)
{
	return bytes >= PAGE_LEAST_BYTES && bytes <= PAGE_MOST_BYTES &&
	    (bytes & (bytes - 1)) == 0;
}

/* Whether a tree could hang where ${t} says; empty is good. */
static bool
is_tree(const struct tree *t, uint64_t last_page)
{
	if (t->root == NO_PAGE)
		return t->depth == 0 && t->rows_n == 0;
	return t->root >= 2 && t->root <= last_page && t->depth > 0 &&
	    t->depth < TREE_DEPTH_MOST;
}

/* What is wrong with a root; NULL: nothing. */
static const char *
parse_root(const uint8_t *at, unsigned number, struct root *r)
{
	*r = (struct root){.page_bytes = get32(at + FREE_AT),
	    .size_bytes = get64(at + SIZE_AT),
	    .last_page = get64(at + LAST_PAGE_AT),
	    .transaction = get64(at + TRANSACTION_AT),
	    .free = walk_tree_parse(at + FREE_AT),
	    .main = walk_tree_parse(at + MAIN_AT)};
	if (get32(at + MAGIC_AT) != ROOT_MAGIC)
		return "does not begin as it must";
	if (get64(at) != number || (get16(at + PAGE_FLAGS_AT) & PAGE_ROOT) == 0)
		return "is another page";
	if (!is_page_size(r->page_bytes))
		return "has an impossible size of pages";
	if (r->last_page < 1 || r->last_page > UINT64_MAX / PAGE_MOST_BYTES)
		return "has an impossible number of pages";
	if (r->free.flags != KEYS_ARE_NUMBERS || r->main.flags != 0)
		return "has impossible flags";
	if (!is_tree(&r->free, r->last_page) ||
	    !is_tree(&r->main, r->last_page))
		return "names pages that there are not";
	if (r->transaction > 0 && r->transaction % 2 != number)
		return "has a transaction that belongs to the other";
	return NULL;
}

/* The second is a page behind the first; if that is damaged, nobody knows how
 * large a page is. */
static const char *
read_root(const struct walk *w, unsigned number, uint32_t page_bytes,
    struct root *r, bool *newer)
{
	uint8_t at[ROOT_BYTES];
	const char *wrong;

	if (!walk_read(w, (uint64_t)number * page_bytes, at, sizeof(at)))
		return "cannot be read";
	wrong = parse_root(at, number, r);
	*newer = get32(at + MAGIC_AT) == ROOT_MAGIC &&
	    get32(at + VERSION_AT) != ROOT_VERSION;
	if (wrong == NULL && number > 0 && r->page_bytes != page_bytes)
		return "has another size of pages";
	return wrong;
}

static const char *
read_second(const struct walk *w, bool first_good, struct root *r, bool *newer)
{
	const char *wrong = NULL;

	if (first_good)
		return read_root(w, 1, w->root.page_bytes, r, newer);
	for (uint32_t bytes = PAGE_LEAST_BYTES; bytes <= PAGE_MOST_BYTES;
	     bytes *= 2) {
		wrong = read_root(w, 1, bytes, r, newer);
		if (wrong == NULL)
			return NULL;
	}
	return wrong;
}

static void
note_trouble(struct walk *w, unsigned i, const char *wrong)
{
	snprintf(w->trouble[i], sizeof(w->trouble[i]), "root %u of two %s", i,
	    wrong);
}

static enum latentd_err
read_roots(struct walk *w, struct reason *why)
{
	struct root second;
	bool newer[2] = {false, false};
	const char *wrong[2];
	uint64_t apart;

	wrong[0] = read_root(w, 0, 0, &w->root, &newer[0]);
	wrong[1] = read_second(w, wrong[0] == NULL, &second, &newer[1]);
	if (newer[0] && newer[1])
		return reason_set(why, LATENTD_ERR_VERSION,
		    "the spool in %s was written by another version of LMDB",
		    w->dir);
	if (wrong[0] != NULL && wrong[1] != NULL)
		return reason_set(why, LATENTD_ERR_IO,
		    "the spool in %s is damaged: of data.mdb, root 0 %s and "
		    "root 1 %s; nothing can be read",
		    w->dir, wrong[0], wrong[1]);
	for (unsigned i = 0; i < 2; i++) {
		if (wrong[i] != NULL)
			note_trouble(w, i, wrong[i]);
	}
	if (wrong[0] == NULL && wrong[1] == NULL) {
		apart = w->root.transaction > second.transaction
		    ? w->root.transaction - second.transaction
		    : second.transaction - w->root.transaction;
		if (apart > 1)
			note_trouble(w, 0, "does not belong to the other");
	}
	if (wrong[0] != NULL ||
	    (wrong[1] == NULL && second.transaction > w->root.transaction))
		w->root = second;
	return LATENTD_OK;
}

/* ---- the file ---- */

static enum latentd_err
cannot(const struct walk *w, const char *what, struct reason *why)
{
	enum latentd_err err = errno == ENOENT ? LATENTD_ERR_NOT_FOUND
	    : errno == EACCES                  ? LATENTD_ERR_DENIED
					       : LATENTD_ERR_IO;

	return reason_set(why, err, "cannot %s the spool in %s: %s", what,
	    w->dir, strerror(errno));
}

static enum latentd_err
take_lock(struct walk *w, struct reason *why)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/latentd.lock", w->dir);
	w->lock_fd = open(path, O_RDONLY | O_CLOEXEC);
	/* A copy may come without it. */
	if (w->lock_fd < 0)
		return errno == ENOENT ? LATENTD_OK
				       : cannot(w, "open the lock of", why);
	if (flock(w->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return LATENTD_OK;
	if (errno != EWOULDBLOCK)
		return cannot(w, "lock", why);
	return reason_set(why, LATENTD_ERR_BUSY,
	    "the spool in %s is in use by latentd; stop it first, or ask it "
	    "with latentctl status",
	    w->dir);
}

static enum latentd_err
open_file(struct walk *w, struct reason *why)
{
	char path[PATH_MAX + 16];
	struct stat st;

	snprintf(path, sizeof(path), "%s/data.mdb", w->dir);
	w->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w->fd < 0 || fstat(w->fd, &st) != 0)
		return cannot(w, "open", why);
	if (!S_ISREG(st.st_mode))
		return reason_set(why, LATENTD_ERR_IO,
		    "the spool in %s: data.mdb is no file", w->dir);
	w->file_bytes = (uint64_t)st.st_size;
	return LATENTD_OK;
}

/* No more memory than the file could need. */
static enum latentd_err
count_pages(struct walk *w, struct reason *why)
{
	uint64_t in_file = w->file_bytes / w->root.page_bytes;

	w->pages_n = w->root.last_page + 1;
	if (w->pages_n > in_file) {
		snprintf(w->trouble[1], sizeof(w->trouble[1]),
		    "data.mdb has %llu bytes and should have %llu: it was cut",
		    (unsigned long long)w->file_bytes,
		    (unsigned long long)w->pages_n * w->root.page_bytes);
		w->pages_n = in_file;
	}
	w->seen = calloc((size_t)(w->pages_n / 8 + 1), 1);
	if (w->seen == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	w->seen[0] = 3;
	return LATENTD_OK;
}

enum latentd_err
walk_open(const char *dir, bool lock, struct walk **walk, struct reason *why)
{
	struct walk *w = calloc(1, sizeof(*w));
	enum latentd_err err = LATENTD_OK;

	*walk = NULL;
	if (w == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	w->fd = w->lock_fd = -1;
	if ((size_t)snprintf(w->dir, sizeof(w->dir), "%s", dir) >=
	    sizeof(w->dir))
		err = reason_set(why, LATENTD_ERR_INVALID,
		    "the path of a spool of %zu bytes is too long",
		    strlen(dir));
	if (err == LATENTD_OK && lock)
		err = take_lock(w, why);
	if (err == LATENTD_OK)
		err = open_file(w, why);
	if (err == LATENTD_OK)
		err = read_roots(w, why);
	if (err == LATENTD_OK)
		err = count_pages(w, why);
	if (err != LATENTD_OK) {
		walk_close(w);
		return err;
	}
	*walk = w;
	return LATENTD_OK;
}

void
walk_close(struct walk *w)
{
	if (w == NULL)
		return;
	if (w->fd >= 0)
		close(w->fd);
	if (w->lock_fd >= 0)
		close(w->lock_fd);
	free(w->seen);
	free(w);
}

size_t
walk_all(struct walk *w, const struct walk_visitor *visitor)
{
	w->visitor = visitor;
	for (int i = 0; i < 2; i++) {
		if (w->trouble[i][0] != '\0')
			walk_tell(w, "%s", w->trouble[i]);
	}
	walk_tree_all(w);
	return w->damages_n;
}

struct walk_facts
walk_facts(const struct walk *w)
{
	return (struct walk_facts){.file_bytes = w->file_bytes,
	    .size_bytes = w->root.size_bytes,
	    .used_bytes = (w->pages_n - w->free_n) * w->root.page_bytes};
}
