/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol of sd_notify(3) by hand: it is promised to stay, and it is one
 * sendto(), while libsystemd would bring four more libraries into the process.
 * The address is kept and not connected to, because a manager that starts anew
 * may bind its socket again.
 */
#include "base/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define TEXT_BYTES 512
#define WAIT_S 1

struct notify {
	int fd;
	struct sockaddr_un address;
	socklen_t address_bytes;
	bool failed; /* the last time; it was said */
};

/* '@' stands for the NUL byte before an abstract name. */
static bool
set_address(struct notify *n, const char *path)
{
	size_t bytes = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || bytes < 2 ||
	    bytes >= sizeof(n->address.sun_path))
		return false;
	n->address.sun_family = AF_UNIX;
	memcpy(n->address.sun_path, path, bytes);
	if (path[0] == '@')
		n->address.sun_path[0] = '\0';
	else
		bytes++;
	n->address_bytes =
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
	return true;
}

struct notify *
notify_open(void)
{
	const struct timeval wait = {.tv_sec = WAIT_S};
	const char *path = getenv("NOTIFY_SOCKET");
	struct notify *n;

	if (path == NULL || path[0] == '\0')
		return NULL;
	if ((n = calloc(1, sizeof(*n))) == NULL)
		return NULL;
	if (!set_address(n, path)) {
		log_warn("NOTIFY_SOCKET is \"%.200s\", but must be a path or "
			 "\"@\" and a name, of at most 107 bytes",
		    path);
		goto free_notify;
	}
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0) {
		log_warn(
		    "cannot notify the service manager: %s", strerror(errno));
		goto free_notify;
	}
	setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	return n;

free_notify:
	free(n);
	return NULL;
}

void
notify_close(struct notify *n)
{
	if (n == NULL)
		return;
	close(n->fd);
	free(n);
}

static bool send_text(struct notify *n, int flags, const char *fmt,
    va_list args) __attribute__((format(printf, 3, 0)));

static bool
send_text(struct notify *n, int flags, const char *fmt, va_list args)
{
	char text[TEXT_BYTES];
	ssize_t sent;
	int bytes;

	if (n == NULL)
		return false;
	bytes = vsnprintf(text, sizeof(text), fmt, args);
	if (bytes < 0 || (size_t)bytes >= sizeof(text))
		return false;
	do {
		sent = sendto(n->fd, text, (size_t)bytes, flags | MSG_NOSIGNAL,
		    (const struct sockaddr *)&n->address, n->address_bytes);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0 && !n->failed)
		log_warn(
		    "the service manager does not listen: %s", strerror(errno));
	n->failed = sent < 0;
	return sent >= 0;
}

bool
notify_state(struct notify *n, const char *fmt, ...)
{
	va_list args;
	bool sent;

	va_start(args, fmt);
	sent = send_text(n, 0, fmt, args);
	va_end(args);
	return sent;
}

bool
notify_hint(struct notify *n, const char *fmt, ...)
{
	va_list args;
	bool sent;

	va_start(args, fmt);
	sent = send_text(n, MSG_DONTWAIT, fmt, args);
	va_end(args);
	return sent;
}

/* A whole number above 0; 0: it is none. */
static uint64_t
read_number(const char *text)
{
	unsigned long long value;
	char *end;

	if (text == NULL || text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	value = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' ? value : 0;
}

uint64_t
notify_watchdog_us(void)
{
	const char *pid = getenv("WATCHDOG_PID");

	if (pid != NULL && read_number(pid) != (uint64_t)getpid())
		return 0;
	return read_number(getenv("WATCHDOG_USEC"));
}
