/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets.  Names are not resolved on purpose: which interface a
 * service is reachable on must not depend on what a resolver says.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uv.h>

#include "base/listen.h"

#define BACKLOG 1024
#define HOST_BYTES 64

static enum latentd_err
address_wrong(const char *address, struct reason *why)
{
	return reason_set(why, LATENTD_ERR_INVALID,
	    "cannot listen on \"%s\": write ADDRESS:PORT with a numeric "
	    "address or localhost, such as 127.0.0.1:8377, [::1]:8377 or "
	    "0.0.0.0:0 (port 0 takes any free one)",
	    address);
}

/* Cut "host:port" into its parts; the host without brackets. */
static bool
address_split(const char *address, char host[HOST_BYTES], unsigned *port)
{
	const char *colon = strrchr(address, ':');
	size_t host_bytes;
	char *end;

	if (colon == NULL || colon[1] < '0' || colon[1] > '9')
		return false;
	errno = 0;
	*port = (unsigned)strtoul(colon + 1, &end, 10);
	if (errno != 0 || *end != '\0' || end - colon > 6 || *port > 65535)
		return false;
	host_bytes = (size_t)(colon - address);
	if (host_bytes > 2 && address[0] == '[' && colon[-1] == ']') {
		address++;
		host_bytes -= 2;
	}
	if (host_bytes == 0 || host_bytes >= HOST_BYTES)
		return false;
	memcpy(host, address, host_bytes);
	host[host_bytes] = '\0';
	return true;
}

static bool
address_parse(
    const char *address, struct sockaddr_storage *storage, socklen_t *bytes)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	char host[HOST_BYTES];
	unsigned port;

	if (!address_split(address, host, &port))
		return false;
	memset(storage, 0, sizeof(*storage));
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	if (address[0] != '[' && uv_ip4_addr(host, (int)port, &v4) == 0) {
		memcpy(storage, &v4, sizeof(v4));
		*bytes = sizeof(v4);
		return true;
	}
	if (address[0] == '[' && uv_ip6_addr(host, (int)port, &v6) == 0) {
		memcpy(storage, &v6, sizeof(v6));
		*bytes = sizeof(v6);
		return true;
	}
	return false;
}

static unsigned
bound_port(int fd)
{
	struct sockaddr_storage storage = {0};
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	socklen_t bytes = sizeof(storage);

	if (getsockname(fd, (struct sockaddr *)&storage, &bytes) != 0)
		return 0;
	if (storage.ss_family == AF_INET6) {
		memcpy(&v6, &storage, sizeof(v6));
		return ntohs(v6.sin6_port);
	}
	memcpy(&v4, &storage, sizeof(v4));
	return ntohs(v4.sin_port);
}

enum latentd_err
listen_tcp(const char *address, int *fd, unsigned *port, struct reason *why)
{
	struct sockaddr_storage storage;
	socklen_t bytes;
	const int on = 1;
	int s;

	if (!address_parse(address, &storage, &bytes))
		return address_wrong(address, why);
	s = socket(
	    storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s < 0)
		goto failed;
	/* Accepted sockets inherit TCP_NODELAY. */
	if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
	    bind(s, (const struct sockaddr *)&storage, bytes) != 0 ||
	    listen(s, BACKLOG) != 0)
		goto close_socket;
	*port = bound_port(s);
	*fd = s;
	return LATENTD_OK;

close_socket:
	reason_set(why, LATENTD_ERR_IO, "cannot listen on %s: %s", address,
	    strerror(errno));
	close(s);
	return LATENTD_ERR_IO;
failed:
	return reason_set(why, LATENTD_ERR_IO, "cannot listen on %s: %s",
	    address, strerror(errno));
}
