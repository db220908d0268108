/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks and does not connect: an nng listener of old may not survive a client
 * that leaves inside the handshake.
 */
#include "unreachable.h"

#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IPC "ipc://"
#define PATH_BYTES 1024
#define GROUP_BYTES 4096

/* What keeps us from ${path}: itself, or the nearest directory above it that
 * we can see. */
static bool
find_barrier(const char *path, struct stat *st)
{
	char at[PATH_BYTES], *slash;

	if (strlen(path) >= sizeof(at))
		return false;
	strcpy(at, path);
	while (stat(at, st) != 0) {
		slash = strrchr(at, '/');
		if (errno != EACCES || slash == NULL || slash == at)
			return false;
		*slash = '\0';
	}
	return true;
}

static enum latentd_err
say_denied(const char *url, const char *path, struct reason *why)
{
	char buf[GROUP_BYTES];
	struct group entry, *group = NULL;
	struct stat st;

	if (!find_barrier(path, &st) || st.st_gid == 0 ||
	    (st.st_mode & (S_ISDIR(st.st_mode) ? S_IXGRP : S_IWGRP)) == 0)
		return reason_set(why, LATENTD_ERR_UNREACHABLE,
		    "permission denied at %.300s: only its owner may use it",
		    url);
	if (getgrgid_r(st.st_gid, &entry, buf, sizeof(buf), &group) != 0 ||
	    group == NULL)
		return reason_set(why, LATENTD_ERR_UNREACHABLE,
		    "permission denied at %.300s: this user must be in the group "
		    "of id %lu",
		    url, (unsigned long)st.st_gid);
	return reason_set(why, LATENTD_ERR_UNREACHABLE,
	    "permission denied at %.300s: this user must be in group \"%s\" "
	    "(as root: usermod -aG %s USER; then log in again)",
	    url, group->gr_name, group->gr_name);
}

enum latentd_err
unreachable_say(const char *url, struct reason *why)
{
	const char *hint = "is latentd running? set LATENTD_URL or --url";
	const char *path = url + strlen(IPC);
	struct stat st;

	if (strncmp(url, "tls+", strlen("tls+")) == 0)
		hint = "is latentd running, do both sides trust each other's "
		       "certificates, and is its name the URL's?";
	if (strncmp(url, IPC, strlen(IPC)) != 0)
		return reason_set(why, LATENTD_ERR_UNREACHABLE,
		    "no daemon answers at %.300s; %s", url, hint);
	if (access(path, R_OK | W_OK) != 0 && errno == EACCES)
		return say_denied(url, path, why);
	if (stat(path, &st) != 0)
		return reason_set(why, LATENTD_ERR_UNREACHABLE,
		    "no daemon answers at %.300s (%s); %s", url,
		    strerror(errno), hint);
	return reason_set(why, LATENTD_ERR_UNREACHABLE,
	    "no daemon answers at %.300s (%s); %s", url,
	    S_ISSOCK(st.st_mode) ? "what listened there has ended, or hangs"
				 : "it is no socket",
	    hint);
}
