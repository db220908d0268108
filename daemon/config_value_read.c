/* SPDX-License-Identifier: Apache-2.0 */
/* What values of several keys have in common. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "config_value.h"

#define TOKEN_BYTES_MAX 4096
#define CREDENTIAL "credential:"

/* A number in ${least}..${most}; with ${units} also as 2G, 512 MiB. */
enum latentd_err
config_read_number(const char *key, const char *value, uint64_t least,
    uint64_t most, bool units, uint64_t *out, struct reason *why)
{
	static const char *const suffix[] = {"K", "M", "G", "T"};
	char *end;
	unsigned long long n;
	unsigned shift = 0;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || errno != 0)
		goto wrong;
	while (*end == ' ')
		end++;
	for (unsigned i = 0; units && *end != '\0' && i < 4; i++) {
		if (toupper((unsigned char)*end) != suffix[i][0])
			continue;
		shift = 10 * (i + 1);
		end++;
		if (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0)
			end += strlen(end);
		break;
	}
	if (*end != '\0' || n > most >> shift || n << shift < least)
		goto wrong;
	*out = n << shift;
	return LATENTD_OK;
wrong:
	return reason_set(why, LATENTD_ERR_INVALID,
	    "%s is \"%s\", but must be a whole number from %llu to %llu%s", key,
	    value, (unsigned long long)least, (unsigned long long)most,
	    units ? ", or with K, M, G, T behind it" : "");
}

enum latentd_err
config_read_url(const char *key, const char *value, const char *first,
    const char *second, char url[LATENTD_MAX_URL_BYTES], struct reason *why)
{
	size_t n = strlen(value);

	if ((strncmp(value, first, strlen(first)) != 0 &&
		strncmp(value, second, strlen(second)) != 0) ||
	    n >= LATENTD_MAX_URL_BYTES || strpbrk(value, " \t\"<>") != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", "
		    "but must begin with %s or %s and have no blanks",
		    key, value, first, second);
	memcpy(url, value, n + 1);
	return LATENTD_OK;
}

enum latentd_err
config_read_unsigned(const char *key, const char *value, uint64_t least,
    uint64_t most, unsigned *out, struct reason *why)
{
	uint64_t n = 0;
	enum latentd_err err;

	err = config_read_number(key, value, least, most, false, &n, why);
	*out = (unsigned)n;
	return err;
}

enum latentd_err
config_read_yes(
    const char *key, const char *value, bool *out, struct reason *why)
{
	*out = strcmp(value, "yes") == 0;
	if (*out || strcmp(value, "no") == 0)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "%s is \"%s\", but must be yes or no", key, value);
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

enum latentd_err
config_read_token(const char *key, const char *value,
    char path[CONFIG_PATH_BYTES], char **token, struct reason *why)
{
	char file[CONFIG_PATH_BYTES];
	enum latentd_err err;
	ssize_t n;
	int fd;

	snprintf(path, CONFIG_PATH_BYTES, "%s", value);
	err = config_resolve_path(key, value, file, why);
	if (err != LATENTD_OK)
		return err;
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return cannot_read(key, value, why);
	*token = malloc(TOKEN_BYTES_MAX + 1);
	n = *token != NULL ? read(fd, *token, TOKEN_BYTES_MAX + 1) : -1;
	close(fd);
	if (n < 0 || n > TOKEN_BYTES_MAX) {
		if (*token != NULL)
			(*token)[0] = '\0';
		return reason_set(why, LATENTD_ERR_IO, "cannot read %s %s: %s",
		    key, value,
		    n < 0 ? strerror(errno) : "over 4096 bytes is no token");
	}
	return check_token(key, value, *token, (size_t)n, why);
}
