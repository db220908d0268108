/* SPDX-License-Identifier: Apache-2.0 */
#include "faulty_disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int write_error, sync_error, meta_error;
static bool hold, held;

void
faulty_disk_fail(int on_write, int on_sync)
{
	pthread_mutex_lock(&mutex);
	write_error = on_write;
	sync_error = on_sync;
	pthread_mutex_unlock(&mutex);
}

void
faulty_disk_fail_meta(int on_meta)
{
	pthread_mutex_lock(&mutex);
	meta_error = on_meta;
	pthread_mutex_unlock(&mutex);
}

void
faulty_disk_hold(bool on)
{
	pthread_mutex_lock(&mutex);
	hold = on;
	held = false;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

void
faulty_disk_wait_held(void)
{
	pthread_mutex_lock(&mutex);
	while (!held)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}

static bool
is_database(int fd)
{
	static const char name[] = "/data.mdb";
	char link[64], path[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	return n > (ssize_t)sizeof(name) &&
	    memcmp(path + n - (sizeof(name) - 1), name, sizeof(name) - 1) == 0;
}

static int
error_named(const char *name)
{
	return strcmp(name, "ENOSPC") == 0 ? ENOSPC : EIO;
}

/* What the file says, if there is one. */
static void
read_orders(void)
{
	const char *path = getenv("LATENTD_FAULTY_DISK");
	FILE *file = path != NULL ? fopen(path, "re") : NULL;
	char call[16], name[16];

	if (path == NULL)
		return;
	write_error = sync_error = meta_error = 0;
	if (file == NULL)
		return;
	while (fscanf(file, "%15s %15s", call, name) == 2) {
		if (strcmp(call, "write") == 0)
			write_error = error_named(name);
		else if (strcmp(call, "meta") == 0)
			meta_error = error_named(name);
		else
			sync_error = error_named(name);
	}
	fclose(file);
}

/* LMDB's first two pages say which transaction counts. */
#define META_BYTES 8192

enum call { CALL_WRITE, CALL_META, CALL_SYNC };

/* Set errno and return true when the call on ${fd} shall fail. */
static bool
fails(int fd, enum call call)
{
	int error;

	if (!is_database(fd))
		return false;
	pthread_mutex_lock(&mutex);
	while (call == CALL_SYNC && hold) {
		held = true;
		pthread_cond_broadcast(&changed);
		pthread_cond_wait(&changed, &mutex);
	}
	read_orders();
	error = call == CALL_SYNC ? sync_error
	    : call == CALL_META   ? meta_error
				  : write_error;
	pthread_mutex_unlock(&mutex);
	if (error != 0)
		errno = error;
	return error != 0;
}

/* The function of that name behind this one. */
static void *
real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL)
		abort();
	return function;
}

#define REAL(type, name) ((type)(uintptr_t)real(name))

/* What a write gives: a disk that fills up cuts it short. */
static ssize_t
failed(void)
{
	return errno == ENOSPC ? 0 : -1;
}

typedef int statvfs_fn(int, struct statvfs *);
typedef ssize_t write_fn(int, const void *, size_t, off_t);
typedef ssize_t writev_fn(int, const struct iovec *, int);
typedef ssize_t pwritev_fn(int, const struct iovec *, int, off_t);
typedef int sync_fn(int);

EXPORT ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at);
EXPORT ssize_t
pwrite(int fd, const void *data, size_t bytes, off_t at)
{
	if (fails(fd, at < META_BYTES ? CALL_META : CALL_WRITE))
		return failed();
	return REAL(write_fn *, "pwrite")(fd, data, bytes, at);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n);
EXPORT ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	if (fails(fd, CALL_WRITE))
		return failed();
	return REAL(writev_fn *, "writev")(fd, iov, n);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at);
EXPORT ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	if (fails(fd, CALL_WRITE))
		return failed();
	return REAL(pwritev_fn *, "pwritev")(fd, iov, n, at);
}

EXPORT int fstatvfs(int fd, struct statvfs *stat);
EXPORT int
fstatvfs(int fd, struct statvfs *stat)
{
	int rv = REAL(statvfs_fn *, "fstatvfs")(fd, stat);

	if (rv == 0 && fails(fd, CALL_WRITE) && errno == ENOSPC)
		stat->f_bavail = 0;
	return rv;
}

EXPORT int fdatasync(int fd);
EXPORT int
fdatasync(int fd)
{
	return fails(fd, CALL_SYNC) ? -1 : REAL(sync_fn *, "fdatasync")(fd);
}

EXPORT int fsync(int fd);
EXPORT int
fsync(int fd)
{
	return fails(fd, CALL_SYNC) ? -1 : REAL(sync_fn *, "fsync")(fd);
}
