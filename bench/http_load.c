/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps a number of POST requests in flight at an HTTP server, each on a
 * connection of its own that is kept, and measures how many are answered per
 * second and how long each takes from its first byte sent to the last byte
 * received.  Bodies of replies are counted and dropped in the kernel, so that
 * this program is not what is measured.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "http_head.h"

#define IN_FLIGHT_MAX 1024

struct connection {
	int fd;
	uint64_t start_ns;
	char head[HEAD_BYTES_MAX];
	size_t head_bytes; /* read of the reply's head so far */
	size_t left_bytes; /* of its body; meant when has_head */
	int has_head;
};

struct load {
	struct sockaddr_in address;
	char head[HEAD_BYTES_MAX];
	char *body;
	size_t body_bytes;
	size_t reply_bytes; /* a reply's body must have so much */
	size_t jobs_n, sent_n, done_n;
	uint64_t *took_ns;
	int epoll;
};

static void
fail(const char *what)
{
	fprintf(stderr, "bench-http-load: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
read_body(struct load *l, const char *path)
{
	FILE *file = fopen(path, "rbe");

	l->body = malloc(1u << 24);
	if (file == NULL || l->body == NULL)
		fail(path);
	l->body_bytes = fread(l->body, 1, 1u << 24, file);
	fclose(file);
}

static void
send_request(struct load *l, struct connection *c)
{
	struct iovec parts[] = {
	    {.iov_base = l->head, .iov_len = strlen(l->head)},
	    {.iov_base = l->body, .iov_len = l->body_bytes}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	size_t left = parts[0].iov_len + parts[1].iov_len;
	ssize_t sent;

	c->head_bytes = 0;
	c->has_head = 0;
	c->start_ns = now_ns();
	l->sent_n++;
	while (left > 0) {
		sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
		if (sent < 0)
			fail("send");
		left -= (size_t)sent;
		for (size_t i = 0; i < 2; i++) {
			size_t n = (size_t)sent < parts[i].iov_len
			    ? (size_t)sent
			    : parts[i].iov_len;

			parts[i].iov_base = (char *)parts[i].iov_base + n;
			parts[i].iov_len -= n;
			sent -= (ssize_t)n;
		}
	}
}

/* The head is whole: check it and note how much of the body is to come. */
static void
begin_reply(struct load *l, struct connection *c, size_t end, size_t bytes)
{
	if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0 ||
	    bytes != l->reply_bytes || c->head_bytes - end > bytes) {
		fprintf(stderr, "bench-http-load: wrong reply:\n%.*s\n",
		    (int)(c->head_bytes < 600 ? c->head_bytes : 600), c->head);
		exit(EXIT_FAILURE);
	}
	c->has_head = 1;
	c->left_bytes = bytes - (c->head_bytes - end);
}

static void
read_reply(struct load *l, struct connection *c)
{
	size_t end, bytes;
	ssize_t n;

	for (;;) {
		if (c->has_head && c->left_bytes == 0) {
			l->took_ns[l->done_n++] = now_ns() - c->start_ns;
			if (l->sent_n < l->jobs_n)
				send_request(l, c);
			return;
		}
		if (c->has_head)
			n = recv(c->fd, NULL, c->left_bytes,
			    MSG_TRUNC | MSG_DONTWAIT);
		else
			n = recv(c->fd, c->head + c->head_bytes,
			    sizeof(c->head) - c->head_bytes, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			fail(n == 0 ? "the server closed" : "receive");
		if (c->has_head) {
			c->left_bytes -= (size_t)n;
			continue;
		}
		c->head_bytes += (size_t)n;
		end = head_end(c->head, c->head_bytes, &bytes);
		if (end > 0)
			begin_reply(l, c, end, bytes);
		else if (c->head_bytes == sizeof(c->head))
			fail("a reply's head is too long");
	}
}

static struct connection *
connection_open(struct load *l)
{
	struct connection *c = calloc(1, sizeof(*c));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
	int one = 1, buffer = 1 << 20;

	if (c == NULL)
		fail("memory");
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	if (connect(
		c->fd, (struct sockaddr *)&l->address, sizeof(l->address)) != 0)
		fail("connect");
	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
		fail("epoll");
	return c;
}

static void
report(struct load *l, uint64_t wall_ns, size_t in_flight)
{
	const size_t half = l->jobs_n / 2, most = l->jobs_n * 99 / 100;

	qsort(l->took_ns, l->jobs_n, sizeof(*l->took_ns), compare);
	printf("{\"jobs\": %zu, \"in_flight\": %zu, \"jobs_per_s\": %.1f, "
	       "\"p50_us\": %.1f, \"p99_us\": %.1f}\n",
	    l->jobs_n, in_flight, (double)l->jobs_n * 1e9 / (double)wall_ns,
	    (double)l->took_ns[half] / 1e3, (double)l->took_ns[most] / 1e3);
}

int
main(int argc, char **argv)
{
	static struct load l;
	static struct connection *connections[IN_FLIGHT_MAX];
	struct epoll_event events[64];
	size_t in_flight;
	uint64_t start_ns;
	int n;

	if (argc != 8) {
		fprintf(stderr,
		    "Usage: bench-http-load PORT TARGET ACCEPT BODY_FILE "
		    "REPLY_BYTES JOBS IN_FLIGHT\n");
		return 2;
	}
	l.address.sin_family = AF_INET;
	l.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l.address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
	read_body(&l, argv[4]);
	l.reply_bytes = strtoul(argv[5], NULL, 10);
	l.jobs_n = strtoul(argv[6], NULL, 10);
	in_flight = strtoul(argv[7], NULL, 10);
	l.took_ns = calloc(l.jobs_n + 1, sizeof(*l.took_ns));
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (in_flight == 0 || in_flight > IN_FLIGHT_MAX ||
	    l.jobs_n < in_flight || l.took_ns == NULL || l.epoll < 0)
		return 2;
	snprintf(l.head, sizeof(l.head),
	    "POST %s HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\n"
	    "Content-Type: tensor/binary\r\nContent-Length: %zu\r\n\r\n",
	    argv[2], argv[3], l.body_bytes);
	for (size_t i = 0; i < in_flight; i++)
		connections[i] = connection_open(&l);
	start_ns = now_ns();
	for (size_t i = 0; i < in_flight; i++)
		send_request(&l, connections[i]);
	while (l.done_n < l.jobs_n) {
		n = epoll_wait(l.epoll, events, 64, -1);
		for (int i = 0; i < n; i++)
			read_reply(&l, events[i].data.ptr);
	}
	report(&l, now_ns() - start_ns, in_flight);
	return EXIT_SUCCESS;
}
