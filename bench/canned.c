/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An endpoint that answers each request from memory, so that what stands before
 * it is measured: a file holds a whole HTTP reply, and goes out to requests
 * whose head has the text named beside it.  A GET of anything is answered with
 * how many replies went out, so that nobody's jobs are counted who did not ask.
 * A thread for each connection; bodies of requests are dropped in the kernel.
 *
 * A service time with so many at once is kept by a table of when each place is
 * free again: a place that falls free while a request waits begins it at that
 * instant, so jobs per second have an exact ceiling and nothing that wakes late
 * here lowers it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define HEAD_BYTES_MAX 8192
#define REPLIES_MAX 8
#define PLACES_MAX 256

struct canned {
	const char *text; /* requests that have it in their head */
	char *bytes;
	size_t n;
};

static struct canned replies[REPLIES_MAX];
static size_t replies_n;
static atomic_ullong served_n;
static uint64_t service_ns, free_at_ns[PLACES_MAX];
static size_t places_n;
static pthread_mutex_t places_lock = PTHREAD_MUTEX_INITIALIZER;

static void
can(char *argument)
{
	struct canned *c = &replies[replies_n];
	char *path = strchr(argument, ':');

	if (path == NULL || replies_n == REPLIES_MAX)
		tool_fail(argument, "is no TEXT:FILE, or one too many");
	*path++ = '\0';
	c->text = argument;
	c->bytes = tool_read(path, &c->n);
	replies_n++;
}

static const struct canned counts = {"GET", NULL, 0};

static const struct canned *
find_reply(const char *head)
{
	if (strncmp(head, "GET ", 4) == 0)
		return &counts;
	for (size_t i = 0; i < replies_n; i++) {
		if (strstr(head, replies[i].text) != NULL)
			return &replies[i];
	}
	return NULL;
}

/* When a request that is here now has been served. */
static uint64_t
take_place(void)
{
	struct timespec t;
	uint64_t now_ns, *first = &free_at_ns[0];

	pthread_mutex_lock(&places_lock);
	clock_gettime(CLOCK_MONOTONIC, &t);
	now_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	for (size_t i = 1; i < places_n; i++) {
		if (free_at_ns[i] < *first)
			first = &free_at_ns[i];
	}
	*first = (*first > now_ns ? *first : now_ns) + service_ns;
	now_ns = *first;
	pthread_mutex_unlock(&places_lock);
	return now_ns;
}

static void
serve_for_its_time(void)
{
	struct timespec until;
	uint64_t until_ns;

	if (service_ns == 0)
		return;
	until_ns = take_place();
	until.tv_sec = (time_t)(until_ns / 1000000000u);
	until.tv_nsec = (long)(until_ns % 1000000000u);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int
send_whole(int fd, const struct canned *c)
{
	ssize_t sent;

	for (size_t at = 0; at < c->n; at += (size_t)sent) {
		sent = send(fd, c->bytes + at, c->n - at, MSG_NOSIGNAL);
		if (sent <= 0)
			return -1;
	}
	return 0;
}

static int
send_count(int fd)
{
	char text[128], body[24];
	struct canned c = {.bytes = text};

	snprintf(body, sizeof(body), "%llu", atomic_load(&served_n));
	c.n = (size_t)snprintf(text, sizeof(text),
	    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
	    body);
	return send_whole(fd, &c);
}

/* The length of the whole head that ${text} begins with, and in ${*body_bytes}
 * what its Content-Length says; 0 when it is not there whole. */
static size_t
head_end(const char *text, size_t n, size_t *body_bytes)
{
	static const char name[] = "\r\nContent-Length:";
	const char *end = memmem(text, n, "\r\n\r\n", 4);

	if (end == NULL)
		return 0;
	*body_bytes = 0;
	for (const char *at = text; at < end; at++) {
		if (strncasecmp(at, name, sizeof(name) - 1) == 0)
			*body_bytes = strtoul(at + sizeof(name) - 1, NULL, 10);
	}
	return (size_t)(end - text) + 4;
}

/* Read one request and drop its body; the reply, or NULL at the end. */
static const struct canned *
take_request(int fd)
{
	char head[HEAD_BYTES_MAX + 1];
	size_t n = 0, end = 0, body_bytes = 0, left;
	ssize_t got;

	while (end == 0) {
		got = n < HEAD_BYTES_MAX
		    ? recv(fd, head + n, HEAD_BYTES_MAX - n, 0)
		    : 0;
		if (got <= 0)
			return NULL;
		n += (size_t)got;
		end = head_end(head, n, &body_bytes);
	}
	/* Nobody here sends two requests before the first one's reply. */
	for (left = body_bytes - (n - end); left > 0; left -= (size_t)got) {
		got = recv(fd, NULL, left, MSG_TRUNC);
		if (got <= 0)
			return NULL;
	}
	head[end] = '\0';
	return find_reply(head);
}

static void *
serve(void *arg)
{
	int fd = (int)(intptr_t)arg, one = 1;
	const struct canned *reply;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while ((reply = take_request(fd)) != NULL) {
		if (reply == &counts) {
			if (send_count(fd) != 0)
				break;
			continue;
		}
		serve_for_its_time();
		/* Counted first: who has the reply may ask at once. */
		atomic_fetch_add(&served_n, 1);
		if (send_whole(fd, reply) != 0)
			break;
	}
	close(fd);
	return NULL;
}

static int
listen_somewhere(void)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(listener, (struct sockaddr *)&address, n) != 0 ||
	    listen(listener, 1024) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &n) != 0)
		tool_fail("a port of loopback", strerror(errno));
	printf("listening on http://127.0.0.1:%u\n", ntohs(address.sin_port));
	fflush(stdout);
	return listener;
}

int
main(int argc, char **argv)
{
	int listener, fd;
	pthread_t thread;

	if (argc < 4) {
		fprintf(stderr,
		    "Usage: bench-canned SERVICE_US PLACES TEXT:FILE...\n");
		return 2;
	}
	service_ns = strtoull(argv[1], NULL, 10) * 1000u;
	places_n = strtoul(argv[2], NULL, 10);
	if (places_n == 0 || places_n > PLACES_MAX) {
		fprintf(stderr, "bench-canned: PLACES must be 1 to %d\n",
		    PLACES_MAX);
		return 2;
	}
	for (int i = 3; i < argc; i++)
		can(argv[i]);
	/* Threads inherit it: wake on time, not when it suits. */
	prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
	listener = listen_somewhere();
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (pthread_create(
			&thread, NULL, serve, (void *)(intptr_t)fd) != 0)
			close(fd);
		else
			pthread_detach(thread);
	}
	return EXIT_FAILURE;
}
