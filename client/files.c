/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files are read whole, because a message needs them whole, within a bound
 * that is checked before memory is taken.  They are written under a temporary
 * name in the same directory, so that nobody ever sees half of one.
 */
#include "files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_BYTES 65536u

static const char *
shown(const char *path)
{
	return strcmp(path, FILES_STANDARD) == 0 ? "standard input" : path;
}

static enum latentd_err
too_large(const char *path, size_t max_bytes, struct reason *why)
{
	return reason_set(why, LATENTD_ERR_TOO_LARGE,
	    "%s is larger than the limit of %zu bytes", shown(path), max_bytes);
}

/* Double the room of ${*data}, up to one byte more than ${max_bytes}. */
static bool
grow(uint8_t **data, size_t *room, size_t max_bytes)
{
	size_t more = *room == 0 ? FIRST_BYTES : 2 * *room;
	uint8_t *larger;

	assert(max_bytes > 0 && max_bytes < SIZE_MAX);
	if (more > max_bytes + 1)
		more = max_bytes + 1;
	larger = realloc(*data, more);
	if (larger == NULL)
		return false;
	*data = larger;
	*room = more;
	return true;
}

static enum latentd_err
read_all(int fd, const char *path, size_t room, size_t max_bytes,
    uint8_t **data, size_t *bytes, struct reason *why)
{
	size_t used = 0;
	ssize_t n;

	*data = NULL;
	if (room > 0 && (*data = malloc(room)) == NULL)
		goto no_memory;
	for (;;) {
		if (used == room && !grow(data, &room, max_bytes))
			goto no_memory;
		n = read(fd, *data + used, room - used);
		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			reason_set(why, LATENTD_ERR_IO, "cannot read %s: %s",
			    shown(path), strerror(errno));
			goto free_data;
		}
		used += (size_t)n;
		if (used > max_bytes) {
			too_large(path, max_bytes, why);
			goto free_data;
		}
	}
	*bytes = used;
	return LATENTD_OK;
no_memory:
	reason_set(
	    why, LATENTD_ERR_MEMORY, "no memory to read %s", shown(path));
free_data:
	free(*data);
	*data = NULL;
	return why->err;
}

enum latentd_err
files_read(const char *path, size_t max_bytes, uint8_t **data, size_t *bytes,
    struct reason *why)
{
	enum latentd_err err;
	size_t room = 0;
	struct stat st;
	int fd;

	if (strcmp(path, FILES_STANDARD) == 0)
		return read_all(
		    STDIN_FILENO, path, 0, max_bytes, data, bytes, why);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return reason_set(why,
		    errno == ENOENT ? LATENTD_ERR_NOT_FOUND : LATENTD_ERR_IO,
		    "cannot open %s: %s", path, strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		/* One byte more tells that it did not grow meanwhile. */
		room = (size_t)st.st_size + 1;
		if ((uint64_t)st.st_size > max_bytes) {
			close(fd);
			return too_large(path, max_bytes, why);
		}
	}
	err = read_all(fd, path, room, max_bytes, data, bytes, why);
	close(fd);
	return err;
}

static bool
write_pieces(int fd, const struct files_piece *pieces, size_t pieces_n)
{
	for (size_t i = 0; i < pieces_n; i++) {
		const uint8_t *at = pieces[i].data;
		size_t left = pieces[i].bytes;

		while (left > 0) {
			ssize_t n = write(fd, at, left);

			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return false;
			at += n;
			left -= (size_t)n;
		}
	}
	return true;
}

enum latentd_err
files_write_standard(
    const struct files_piece *pieces, size_t pieces_n, struct reason *why)
{
	if (!write_pieces(STDOUT_FILENO, pieces, pieces_n))
		return reason_set(why, LATENTD_ERR_IO,
		    "cannot write to standard output: %s", strerror(errno));
	return LATENTD_OK;
}

/* Rename without replacing; not every file system can do it in one step. */
static int
rename_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (link(from, to) != 0)
		return -1;
	unlink(from);
	return 0;
}

/* mkstemp() gives 0600; a new file should have what open() would give. */
static void
set_mode(int fd)
{
	mode_t mask = umask(0);

	umask(mask);
	(void)!fchmod(fd, 0666 & ~mask);
}

static enum latentd_err
write_failed(const char *path, struct reason *why)
{
	if (errno == EEXIST)
		return reason_set(why, LATENTD_ERR_IO,
		    "%s exists; --force replaces it", path);
	return reason_set(
	    why, LATENTD_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

enum latentd_err
files_write(const char *directory, const char *name,
    const struct files_piece *pieces, size_t pieces_n, bool replace,
    struct reason *why)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	int fd, failed;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >=
		sizeof(path) ||
	    (size_t)snprintf(temporary, sizeof(temporary),
		"%s/.latentctl-XXXXXX", directory) >= sizeof(temporary))
		return reason_set(why, LATENTD_ERR_IO,
		    "the path %s/%s is too long", directory, name);
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return write_failed(path, why);
	set_mode(fd);
	failed = write_pieces(fd, pieces, pieces_n) ? 0 : errno;
	if (close(fd) != 0 && failed == 0)
		failed = errno;
	if (failed == 0 &&
	    (replace ? rename(temporary, path) : rename_new(temporary, path)))
		failed = errno;
	if (failed == 0)
		return LATENTD_OK;
	unlink(temporary);
	errno = failed;
	return write_failed(path, why);
}

enum latentd_err
files_make_directory(const char *path, struct reason *why)
{
	char part[PATH_MAX];
	struct stat st;
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return reason_set(
		    why, LATENTD_ERR_IO, "the path %s is too long", path);
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0777) != 0 && errno != EEXIST)
			return reason_set(why, LATENTD_ERR_IO,
			    "cannot make the directory %s: %s", part,
			    strerror(errno));
	}
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return reason_set(
		    why, LATENTD_ERR_IO, "%s is not a directory", path);
	return LATENTD_OK;
}

bool
files_exists(const char *directory, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >=
	    sizeof(path))
		return false;
	return lstat(path, &st) == 0;
}

void
files_stem(const char *path, char *stem, size_t room)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	const char *dot = strrchr(name, '.');
	size_t n =
	    dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name);

	if (strcmp(path, FILES_STANDARD) == 0) {
		name = "stdin";
		n = strlen(name);
	}
	snprintf(stem, room, "%.*s", (int)n, name);
}
