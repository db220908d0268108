/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that the configuration names: tokens, secrets, certificates and
 * keys.  They are read whole, on whatever thread reads the configuration, and
 * no error has anything of what is in them.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "config_value.h"

#define TOKEN_BYTES_MAX 4096u
#define CREDENTIAL "credential:"

enum latentd_err
config_resolve_path(const char *key, const char *value,
    char path[CONFIG_PATH_BYTES], struct reason *why)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	const char *name = value + strlen(CREDENTIAL);
	int n;

	if (strncmp(value, CREDENTIAL, strlen(CREDENTIAL)) != 0) {
		snprintf(path, CONFIG_PATH_BYTES, "%s", value);
		return LATENTD_OK;
	}
	if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", but behind credential: there must be "
		    "the name of one",
		    key, value);
	if (directory == NULL || directory[0] != '/')
		return reason_set(why, LATENTD_ERR_IO,
		    "%s is \"%.200s\", but there are no credentials: systemd "
		    "gives them to a unit with LoadCredential=; to check by "
		    "hand, set CREDENTIALS_DIRECTORY to a directory with a "
		    "file %.100s",
		    key, value, name);
	n = snprintf(path, CONFIG_PATH_BYTES, "%s/%s", directory, name);
	if (n < 0 || (size_t)n >= CONFIG_PATH_BYTES)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s: the path of its credential is too long", key);
	return LATENTD_OK;
}

/* What errno says, and for what else it may stand. */
static enum latentd_err
cannot_read(const char *key, const char *value, struct reason *why)
{
	const bool kept_out = errno == EACCES && sandbox_is_on();

	return reason_set(why, LATENTD_ERR_IO, "cannot read %s %s: %s%s", key,
	    value, strerror(errno),
	    kept_out ? "; in the sandbox only /etc and the directories named "
		       "at the start can be read: start again"
		     : "");
}

/* Others on this machine must not read what is secret. */
static enum latentd_err
check_mode(const char *key, const char *value, int fd, struct reason *why)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return cannot_read(key, value, why);
	if ((st.st_mode & (S_IROTH | S_IWOTH)) != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s %s is open to everybody (mode %03o); chmod o-rw %s",
		    key, value, (unsigned)st.st_mode & 0777u, value);
	return LATENTD_OK;
}

/* Up to ${most} + 1 bytes, and a NUL behind them. */
static enum latentd_err
read_content(const char *key, const char *value, int fd, size_t most,
    char **content, size_t *bytes, struct reason *why)
{
	ssize_t n;

	if ((*content = malloc(most + 2)) == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	n = read(fd, *content, most + 1);
	*bytes = n > 0 ? (size_t)n : 0;
	(*content)[*bytes] = '\0';
	if (n < 0)
		cannot_read(key, value, why);
	else if (*bytes > most)
		reason_set(why, LATENTD_ERR_INVALID,
		    "%s %s has more than %zu bytes", key, value, most);
	else
		return LATENTD_OK;
	explicit_bzero(*content, *bytes);
	free(*content);
	*content = NULL;
	return why->err;
}

enum latentd_err
config_read_file(const char *key, const char *value, bool secret, size_t most,
    char **content, size_t *bytes, struct reason *why)
{
	char file[CONFIG_PATH_BYTES];
	enum latentd_err err;
	int fd;

	*content = NULL;
	err = config_resolve_path(key, value, file, why);
	if (err != LATENTD_OK)
		return err;
	/* A FIFO that nobody writes must not hold us up. */
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return cannot_read(key, value, why);
	if (secret)
		err = check_mode(key, value, fd, why);
	if (err == LATENTD_OK)
		err = read_content(key, value, fd, most, content, bytes, why);
	close(fd);
	return err;
}

/* A token goes into a header: one line of printable ASCII. */
static enum latentd_err
check_token(const char *key, const char *path, char *token, size_t bytes,
    struct reason *why)
{
	while (
	    bytes > 0 && (token[bytes - 1] == '\n' || token[bytes - 1] == '\r'))
		bytes--;
	token[bytes] = '\0';
	for (size_t i = 0; i < bytes; i++) {
		if (token[i] <= ' ' || token[i] > '~')
			return reason_set(why, LATENTD_ERR_INVALID,
			    "%s %s must hold one line of printable "
			    "ASCII without blanks",
			    key, path);
	}
	if (bytes == 0)
		return reason_set(
		    why, LATENTD_ERR_INVALID, "%s %s is empty", key, path);
	return LATENTD_OK;
}

enum latentd_err
config_read_token(const char *key, const char *value,
    char path[CONFIG_PATH_BYTES], char **token, struct reason *why)
{
	enum latentd_err err;
	size_t bytes;

	snprintf(path, CONFIG_PATH_BYTES, "%s", value);
	err = config_read_file(
	    key, value, false, TOKEN_BYTES_MAX, token, &bytes, why);
	if (err != LATENTD_OK)
		return err;
	assert(*token != NULL);
	return check_token(key, value, *token, bytes, why);
}
