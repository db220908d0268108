/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens the environment, and only one that can be trusted so far: of a format
 * that is known, and with a file whose pages walk.h finds sound: LMDB trusts them,
 * and reading behind the end of a mapped file is a signal and not an error.
 *
 * The lock is a file of our own: LMDB's would let two daemons write in turns.
 * It also remembers that there was a spool, so that a file that is gone is not
 * taken for a new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_private.h"

static const char lock_text[] = "latentd spool\n";

void
store_put_be(uint8_t *at, size_t bytes, uint64_t v)
{
	while (bytes-- > 0) {
		at[bytes] = (uint8_t)(v & 0xff);
		v >>= 8;
	}
}

uint64_t
store_get_be(const uint8_t *at, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

enum latentd_err
store_text(const struct store *s, const char *what, int rc, struct reason *why)
{
	enum latentd_err err = LATENTD_ERR_IO;

	if (rc == EACCES || rc == EPERM)
		err = LATENTD_ERR_DENIED;
	else if (rc == ENOENT)
		err = LATENTD_ERR_NOT_FOUND;
	else if (rc == MDB_VERSION_MISMATCH)
		err = LATENTD_ERR_VERSION;
	return reason_set(why, err, "cannot %s the spool in %s: %s", what,
	    s->dir, mdb_strerror(rc));
}

/* ---- the directory and its lock ---- */

/* Whether the lock says that there was a spool before. */
static bool
was_made(const struct store *s)
{
	char text[sizeof(lock_text)];

	return pread(s->lock_fd, text, sizeof(text), 0) ==
	    (ssize_t)sizeof(lock_text) - 1;
}

/* That a file was made is on disk only with its directory. */
static bool
sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool good = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return good;
}

static enum latentd_err
note_made(const struct store *s, struct reason *why)
{
	const size_t bytes = sizeof(lock_text) - 1;
	char parent[PATH_MAX + 16];

	if (was_made(s))
		return LATENTD_OK;
	snprintf(parent, sizeof(parent), "%s/..", s->dir);
	if (!sync_directory(s->dir) || !sync_directory(parent))
		return store_text(s, "sync the directory of", errno, why);
	if (pwrite(s->lock_fd, lock_text, bytes, 0) != (ssize_t)bytes ||
	    fdatasync(s->lock_fd) != 0)
		return store_text(s, "write the lock of", errno, why);
	return LATENTD_OK;
}

static enum latentd_err
take_lock(struct store *s, struct reason *why)
{
	char path[PATH_MAX + 16];
	const int flags = O_CLOEXEC | O_RDWR | O_CREAT;

	snprintf(path, sizeof(path), "%s/latentd.lock", s->dir);
	if (mkdir(s->dir, 0700) != 0 && errno != EEXIST)
		return store_text(s, "make the directory of", errno, why);
	if ((s->lock_fd = open(path, flags, 0600)) < 0)
		return store_text(s, "open the lock of", errno, why);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return LATENTD_OK;
	if (errno == EWOULDBLOCK)
		return reason_set(why, LATENTD_ERR_BUSY,
		    "the spool in %s is in use by another process; a spool "
		    "belongs to one latentd, and latentctl spool needs it "
		    "stopped",
		    s->dir);
	return store_text(s, "lock", errno, why);
}

/* ---- the file ---- */

static bool
data_is_empty(const struct store *s)
{
	char path[PATH_MAX + 16];
	struct stat st;

	snprintf(path, sizeof(path), "%s/data.mdb", s->dir);
	return stat(path, &st) != 0 || st.st_size == 0;
}

struct damages {
	size_t n;
	struct reason first;
};

static void
on_walk_row(enum table table, const struct walk_row *row, void *arg)
{
	(void)table;
	(void)row;
	(void)arg;
}

static void
on_damage(const char *text, void *arg)
{
	struct damages *d = arg;

	if (d->n++ == 0)
		reason_set(&d->first, LATENTD_ERR_IO, "%s", text);
}

/* LMDB trusts its pages, so it is shown none that it must not. */
static enum latentd_err
check_pages(const struct store *s, struct reason *why)
{
	struct damages damages = {.n = 0};
	const struct walk_visitor visitor = {on_walk_row, on_damage, &damages};
	struct walk *w;
	enum latentd_err err = walk_open(s->dir, false, &w, why);

	if (err != LATENTD_OK)
		return err;
	walk_all(w, &visitor);
	walk_close(w);
	if (damages.n == 0)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_IO,
	    "the spool in %s is damaged (%zu times, first: %s); latentctl "
	    "spool export %s saves what can be read, and when the directory "
	    "is moved away latentd makes a new one",
	    s->dir, damages.n, damages.first.text, s->dir);
}

/* Open, and where need be make, the tables. */
static int
open_tables(struct store *s)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

	if (rc != 0)
		return rc;
	for (enum table i = 0; rc == 0 && i < TABLES; i++)
		rc = mdb_dbi_open(
		    txn, walk_table_name(i), MDB_CREATE, &s->tables[i]);
	if (rc == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return rc;
}

static int
open_env(struct store *s)
{
	int rc = mdb_env_create(&s->env);

	if (rc != 0) {
		s->env = NULL;
		return rc;
	}
	rc = mdb_env_set_mapsize(s->env, (size_t)s->size_bytes);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(s->env, TABLES);
	if (rc == 0)
		rc = mdb_env_open(s->env, s->dir, MDB_NOTLS, 0600);
	return rc;
}

static void
close_env(struct store *s)
{
	if (s->env != NULL)
		mdb_env_close(s->env);
	s->env = NULL;
}

/* A spool that was just made gets its format and instance. */
static enum latentd_err
check_format(struct store *s, struct reason *why)
{
	struct store_facts facts;
	enum latentd_err err = store_read_facts(s, &facts, why);
	uint64_t instance;

	if (err != LATENTD_OK)
		return err;
	if (facts.format > SPOOL_FORMAT)
		return reason_set(why, LATENTD_ERR_VERSION,
		    "the spool in %s has format %llu, from a newer latentd; "
		    "this one knows up to %u: use the newer one, or another "
		    "path",
		    s->dir, (unsigned long long)facts.format, SPOOL_FORMAT);
	if (facts.format != 0)
		return LATENTD_OK;
	if (facts.jobs_n > 0)
		return reason_set(why, LATENTD_ERR_IO,
		    "the spool in %s is damaged: it does not say its format",
		    s->dir);
	if (getrandom(&instance, sizeof(instance), 0) !=
	    (ssize_t)sizeof(instance))
		abort();
	if (store_begin(s, why) != STORE_OK)
		return why->err;
	if (store_put_instance(s, instance, why) != STORE_OK) {
		store_abort(s);
		return why->err;
	}
	return store_commit(s, why) == STORE_OK ? LATENTD_OK : why->err;
}

static enum latentd_err
open_all(struct store *s, struct reason *why)
{
	enum latentd_err err;
	int rc;

	if (data_is_empty(s) && was_made(s))
		return reason_set(why, LATENTD_ERR_IO,
		    "the spool in %s is damaged: data.mdb is %s", s->dir,
		    "missing or empty");
	if (!data_is_empty(s) && (err = check_pages(s, why)) != LATENTD_OK)
		return err;
	if ((rc = open_env(s)) != 0)
		return store_text(s, "open", rc, why);
	if ((rc = open_tables(s)) != 0)
		return store_text(s, "open the tables of", rc, why);
	err = check_format(s, why);
	if (err == LATENTD_OK)
		err = note_made(s, why);
	return err;
}

enum latentd_err
store_open(const char *dir, uint64_t size_bytes, struct store **store,
    struct reason *why)
{
	struct store *s = calloc(1, sizeof(*s));
	enum latentd_err err;

	*store = NULL;
	if (s == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	s->size_bytes = size_bytes / 65536 * 65536;
	s->lock_fd = -1;
	err = take_lock(s, why);
	if (err == LATENTD_OK)
		err = open_all(s, why);
	if (err != LATENTD_OK) {
		store_close(s);
		return err;
	}
	*store = s;
	return LATENTD_OK;
}

enum latentd_err
store_reopen(struct store *s, struct reason *why)
{
	enum latentd_err err;

	close_env(s);
	err = open_all(s, why);
	if (err != LATENTD_OK)
		close_env(s);
	return err;
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	close_env(s);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	free(s);
}
