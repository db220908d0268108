/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An endpoint that answers each request from memory, so that what stands before
 * it is measured: a file holds a whole HTTP reply, and goes out to requests
 * whose head has the text named beside it.  A GET of anything is answered with
 * how many replies went out, so that nobody's jobs are counted who did not ask.
 * Bodies of requests are dropped in the kernel.
 *
 * A service time with so many at once is kept by a table of when each place is
 * free again: a place that falls free while a request waits begins it at that
 * instant, so jobs per second have an exact ceiling and nothing that wakes late
 * here lowers it.
 *
 * With a service time there is one thread, because places go to requests in the
 * order in which they came, which is the order of epoll's events.  Of threads
 * that wait for a request each, the scheduler decides which has its own first:
 * some of those that come together change places, and where that puts one behind
 * the last free place it takes a service time longer, for which nothing before
 * the endpoint is to blame.  Without a service time there are no places, and
 * each connection has a thread, so that no processor stands idle for want of one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define HEAD_BYTES_MAX 8192
#define REPLIES_MAX 8
#define PLACES_MAX 256
#define EVENTS_MAX 64

struct canned {
	const char *text; /* requests that have it in their head */
	char *bytes;
	size_t n;
};

/* A connection.  Epoll tells of changes only, so what comes while it is not
 * read is looked for when its reply is out. */
struct peer {
	int fd;
	enum { READING, SERVING, SENDING } state;
	char head[HEAD_BYTES_MAX + 1];
	size_t head_n; /* what is there of it; may have some of the body */
	size_t left_bytes; /* of the body; once the head is whole */
	bool headed;
	const struct canned *reply;
	size_t sent_n;
	struct canned count; /* a reply made for it alone */
	char count_text[128];
	uint64_t until_ns; /* SERVING */
	TAILQ_ENTRY(peer) link; /* SERVING */
};

static struct canned replies[REPLIES_MAX];
static size_t replies_n;
static atomic_ullong served_n;
static uint64_t service_ns, free_at_ns[PLACES_MAX];
static size_t places_n;
/* In the order of their ends: none is served before who came earlier. */
static TAILQ_HEAD(, peer) serving = TAILQ_HEAD_INITIALIZER(serving);

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

static const struct canned *
find_reply(const char *head)
{
	for (size_t i = 0; i < replies_n; i++) {
		if (strstr(head, replies[i].text) != NULL)
			return &replies[i];
	}
	return NULL;
}

static const struct canned *
make_count(struct peer *p)
{
	char body[24];

	snprintf(body, sizeof(body), "%llu", atomic_load(&served_n));
	p->count.bytes = p->count_text;
	p->count.n = (size_t)snprintf(p->count_text, sizeof(p->count_text),
	    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
	    body);
	return &p->count;
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* When a request that is here now has been served. */
static uint64_t
take_place(void)
{
	const uint64_t begin_ns = now_ns();
	uint64_t *first = &free_at_ns[0];

	for (size_t i = 1; i < places_n; i++) {
		if (free_at_ns[i] < *first)
			first = &free_at_ns[i];
	}
	*first = (*first > begin_ns ? *first : begin_ns) + service_ns;
	return *first;
}

/* ---- a connection: each step returns whether it goes on at once ---- */

static void
drop(struct peer *p)
{
	if (p->state == SERVING)
		TAILQ_REMOVE(&serving, p, link);
	close(p->fd);
	free(p);
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

/* Of what cannot be had now, epoll tells when it can. */
static bool
is_later(ssize_t done)
{
	return done < 0 && errno == EAGAIN;
}

static bool
read_head(struct peer *p, bool *ended)
{
	size_t end, body_bytes;
	ssize_t got = p->head_n < HEAD_BYTES_MAX
	    ? recv(p->fd, p->head + p->head_n, HEAD_BYTES_MAX - p->head_n, 0)
	    : 0;

	*ended = got <= 0 && !is_later(got);
	if (got <= 0)
		return false;
	p->head_n += (size_t)got;
	end = head_end(p->head, p->head_n, &body_bytes);
	if (end == 0)
		return true;
	p->headed = true;
	/* Nobody here sends two requests before the first one's reply. */
	p->left_bytes = body_bytes - (p->head_n - end);
	p->head[end] = '\0';
	return true;
}

static bool
read_body(struct peer *p, bool *ended)
{
	ssize_t got = recv(p->fd, NULL, p->left_bytes, MSG_TRUNC);

	*ended = got <= 0 && !is_later(got);
	if (got <= 0)
		return false;
	p->left_bytes -= (size_t)got;
	return true;
}

/* The request is there whole. */
static bool
begin(struct peer *p, bool *ended)
{
	const bool asks = strncmp(p->head, "GET ", 4) == 0;

	p->reply = asks ? make_count(p) : find_reply(p->head);
	*ended = p->reply == NULL;
	if (*ended)
		return false;
	p->sent_n = 0;
	p->state = SENDING;
	if (asks)
		return true;
	if (service_ns > 0) {
		p->state = SERVING;
		p->until_ns = take_place();
		TAILQ_INSERT_TAIL(&serving, p, link);
		return false;
	}
	atomic_fetch_add(&served_n, 1);
	return true;
}

static bool
read_on(struct peer *p, bool *ended)
{
	if (!p->headed)
		return read_head(p, ended);
	if (p->left_bytes > 0)
		return read_body(p, ended);
	return begin(p, ended);
}

static bool
send_on(struct peer *p, bool *ended)
{
	const struct canned *c = p->reply;
	ssize_t sent =
	    send(p->fd, c->bytes + p->sent_n, c->n - p->sent_n, MSG_NOSIGNAL);

	*ended = sent < 0 && !is_later(sent);
	if (sent < 0)
		return false;
	p->sent_n += (size_t)sent;
	if (p->sent_n == c->n) {
		p->state = READING;
		p->head_n = 0;
		p->headed = false;
	}
	return true;
}

static void
go_on(struct peer *p)
{
	bool more = true, ended = false;

	while (more)
		more = p->state == READING ? read_on(p, &ended)
		    : p->state == SENDING  ? send_on(p, &ended)
					   : false;
	if (ended)
		drop(p);
}

/* ---- the loop ---- */

/* The first whose time is over gets its reply.  One at a time: a request that
 * comes meanwhile has its place to take. */
static void
end_service(void)
{
	struct peer *p = TAILQ_FIRST(&serving);

	if (p == NULL || p->until_ns > now_ns())
		return;
	TAILQ_REMOVE(&serving, p, link);
	p->state = SENDING;
	/* Counted first: who has the reply may ask at once. */
	atomic_fetch_add(&served_n, 1);
	go_on(p);
}

static int
wait_events(int epoll, struct epoll_event *events)
{
	const struct peer *p = TAILQ_FIRST(&serving);
	const uint64_t now = now_ns();
	struct timespec left = {0, 0};

	if (p != NULL && p->until_ns > now) {
		left.tv_sec = (time_t)((p->until_ns - now) / 1000000000u);
		left.tv_nsec = (long)((p->until_ns - now) % 1000000000u);
	}
	return epoll_pwait2(
	    epoll, events, EVENTS_MAX, p != NULL ? &left : NULL, NULL);
}

static struct peer *
take_peer(int listener, int flags)
{
	int fd = accept4(listener, NULL, NULL, flags | SOCK_CLOEXEC), one = 1;
	struct peer *p;

	if (fd < 0)
		return NULL;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		tool_fail("a connection", "no memory");
	p->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return p;
}

static void
add_peer(int epoll, int listener)
{
	struct peer *p = take_peer(listener, SOCK_NONBLOCK);
	struct epoll_event event = {
	    .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = p};

	if (p != NULL && epoll_ctl(epoll, EPOLL_CTL_ADD, p->fd, &event) != 0)
		tool_fail("epoll_ctl", strerror(errno));
}

static noreturn void
run_in_order(int listener)
{
	struct epoll_event events[EVENTS_MAX], event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC), n;

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0)
		tool_fail("epoll", strerror(errno));
	for (;;) {
		n = wait_events(epoll, events);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				add_peer(epoll, listener);
			else
				go_on(events[i].data.ptr);
		}
		end_service();
	}
}

/* Nothing is ever later where reading and sending wait. */
static void *
serve(void *peer)
{
	go_on(peer);
	return NULL;
}

static noreturn void
run_threads(int listener)
{
	struct peer *p;
	pthread_t thread;

	for (;;) {
		p = take_peer(listener, 0);
		if (p == NULL)
			continue;
		if (pthread_create(&thread, NULL, serve, p) != 0)
			drop(p);
		else
			pthread_detach(thread);
	}
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
	/* Wake on time, not when it suits. */
	prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
	if (service_ns > 0)
		run_in_order(listen_somewhere());
	run_threads(listen_somewhere());
}
