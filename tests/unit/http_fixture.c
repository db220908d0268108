/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's loop runs in a thread of its own, the test is the client.
 * Nothing waits for time; a client that gets no answer fails after PATIENCE_S.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <uv.h>

#include "http_fixture.h"

struct fixture fix;

/* ---- the server ---- */

static void
on_freed(void *arg)
{
	fix.freed_n++;
	free(arg);
}

static void
reply_text(struct http_request *request, unsigned status, const char *text)
{
	static const char *const headers[] = {"Content-Type", "text/plain"};
	char *copy = strdup(text);

	http_reply(
	    request, status, headers, 1, copy, strlen(copy), on_freed, copy);
}

struct listing {
	char text[512];
};

static bool
on_query(const char *key, const char *value, void *arg)
{
	struct listing *listing = arg;
	size_t used = strlen(listing->text);

	snprintf(listing->text + used, sizeof(listing->text) - used, "%s=%s;",
	    key, value != NULL ? value : "(null)");
	return strcmp(key, "last") != 0;
}

/* "METHOD PATH bytes sum": enough to see that a body came whole. */
static void
reply_echo(struct http_request *request)
{
	char text[256];
	size_t bytes, i;
	const unsigned char *body = http_body(request, &bytes);
	unsigned sum = 0;

	for (i = 0; i < bytes; i++)
		sum = sum * 31 + body[i];
	snprintf(text, sizeof(text), "%s %s %zu %u", http_method(request),
	    http_path(request), bytes, sum);
	reply_text(request, 200, text);
}

static void
reply_broken(struct http_request *request, const char *how)
{
	char *copy = malloc(BIG_BYTES);

	memcpy(copy, fix.big, BIG_BYTES);
	if (strcmp(how, "end") == 0)
		http_break(request, HTTP_BREAK_END, BREAK_BYTES, 0);
	else if (strcmp(how, "reset") == 0)
		http_break(request, HTTP_BREAK_RESET, BREAK_BYTES, 0);
	else if (strcmp(how, "stall") == 0)
		http_break(request, HTTP_BREAK_STALL, BREAK_BYTES, 0);
	else if (strcmp(how, "pause") == 0)
		http_break(request, HTTP_BREAK_STALL, BREAK_BYTES, 20);
	else
		http_break(request, HTTP_BREAK_STALL, 0, 0);
	http_reply(request, 200, NULL, 0, copy, BIG_BYTES, on_freed, copy);
}

static void
on_request(struct http_request *request, void *arg)
{
	const char *path = http_path(request), *header;
	struct listing listing = {""};

	cr_assert_eq(arg, &fix);
	if (strcmp(path, "/later") == 0) {
		fix.held = request;
		fix.held_n++;
	} else if (strcmp(path, "/big") == 0) {
		http_reply(
		    request, 200, NULL, 0, fix.big, BIG_BYTES, NULL, NULL);
	} else if (strncmp(path, "/break/", 7) == 0) {
		reply_broken(request, path + 7);
	} else if (strcmp(path, "/drop") == 0) {
		http_drop(request);
	} else if (strcmp(path, "/local") == 0) {
		reply_text(request, 200, http_is_local(request) ? "yes" : "no");
	} else if (strcmp(path, "/query") == 0) {
		http_query_each(request, on_query, &listing);
		reply_text(request, 200, listing.text);
	} else if (strcmp(path, "/header") == 0) {
		header = http_header(request, "x-NAME");
		reply_text(request, 404, header != NULL ? header : "(null)");
	} else {
		reply_echo(request);
	}
}

static void
on_gone(struct http_request *request, void *arg)
{
	(void)arg;
	if (request == fix.held)
		fix.held = NULL;
	fix.gone_n++;
}

static void
on_drained(void *arg)
{
	(void)arg;
	fix.drained_n++;
}

static void
on_closed(void *arg)
{
	(void)arg;
	fix.closed_n++;
	uv_close((uv_handle_t *)&fix.async, NULL);
}

static void
on_order(uv_async_t *async)
{
	int order = atomic_exchange(&fix.order, ORDER_NONE);

	(void)async;
	if ((order == ORDER_ANSWER || order == ORDER_DROP) &&
	    fix.held != NULL) {
		struct http_request *held = fix.held;

		fix.held = NULL;
		if (order == ORDER_ANSWER)
			reply_echo(held);
		else
			http_drop(held);
	} else if (order == ORDER_DRAIN) {
		http_server_drain(fix.server, on_drained, NULL);
	} else if (order == ORDER_CLOSE) {
		http_server_close(fix.server, on_closed, NULL);
	}
}

static void
serve(void *arg)
{
	(void)arg;
	uv_loop_init(&fix.loop);
	uv_async_init(&fix.loop, &fix.async, on_order);
	fix.err =
	    http_server_open(&fix.loop, &fix.options, &fix.server, &fix.why);
	if (fix.err == LATENTD_OK)
		fix.port = http_server_port(fix.server);
	else
		uv_close((uv_handle_t *)&fix.async, NULL);
	uv_sem_post(&fix.opened);
	uv_run(&fix.loop, UV_RUN_DEFAULT);
	uv_loop_close(&fix.loop);
}

void
server_start(void)
{
	if (fix.options.listen == NULL)
		fix.options.listen = "127.0.0.1:0";
	if (fix.options.max_connections == 0)
		fix.options.max_connections = 512;
	fix.options.max_body_bytes = MAX_BODY;
	if (fix.options.idle_timeout_s == 0)
		fix.options.idle_timeout_s = PATIENCE_S;
	fix.options.on_request = on_request;
	fix.options.on_gone = on_gone;
	fix.options.arg = &fix;
	fix.big = calloc(1, BIG_BYTES);
	memset(fix.big, 'b', BIG_BYTES);
	uv_sem_init(&fix.opened, 0);
	uv_thread_create(&fix.thread, serve, NULL);
	uv_sem_wait(&fix.opened);
}

void
server_order(enum order what)
{
	fix.order = what;
	uv_async_send(&fix.async);
}

void
server_finish(void)
{
	if (fix.err == LATENTD_OK && fix.closed_n == 0)
		server_order(ORDER_CLOSE);
	uv_thread_join(&fix.thread);
	uv_sem_destroy(&fix.opened);
	free(fix.big);
	if (fix.err == LATENTD_OK)
		cr_assert_eq(fix.closed_n, 1);
}

/* The server thread counts; a barrier that is a round trip would hide bugs. */
void
server_wait(atomic_int *count, int least)
{
	const uint64_t end = uv_hrtime() + UINT64_C(1000000000) * PATIENCE_S;

	while (*count < least) {
		cr_assert_lt(uv_hrtime(), end, "waited in vain");
		sched_yield();
	}
}

/* ---- the client ---- */

int
client_dial(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	to.sin_port = htons((uint16_t)fix.port);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

void
client_put_bytes(int fd, const char *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL);

		cr_assert_gt(n, 0, "send: %s", strerror(errno));
		data += n;
		bytes -= (size_t)n;
	}
}

void
client_put(int fd, const char *text)
{
	client_put_bytes(fd, text, strlen(text));
}

void
client_put_request(int fd, const char *method, const char *path,
    const char *extra, size_t body_bytes)
{
	char text[512];

	snprintf(text, sizeof(text),
	    "%s %s HTTP/1.1\r\nHost: test\r\n%sContent-Length: %zu\r\n\r\n",
	    method, path, extra, body_bytes);
	client_put(fd, text);
}

/* The head of a reply, byte by byte so that nothing of the body is taken. */
void
client_get_head(int fd, struct reply *reply)
{
	size_t n = 0;

	memset(reply, 0, sizeof(*reply));
	while (n < 4 || memcmp(reply->head + n - 4, "\r\n\r\n", 4) != 0) {
		cr_assert_lt(n, sizeof(reply->head) - 1);
		cr_assert_eq(recv(fd, reply->head + n, 1, 0), 1,
		    "no head, got \"%s\"", reply->head);
		n++;
	}
	cr_assert_eq(sscanf(reply->head, "HTTP/1.1 %d", &reply->status), 1);
	reply->closes = strcasestr(reply->head, "Connection: close") != NULL;
}

void
client_get_reply(int fd, struct reply *reply, bool head_only)
{
	const char *length;
	size_t got = 0;

	client_get_head(fd, reply);
	length = strcasestr(reply->head, "Content-Length: ");
	cr_assert_not_null(length);
	reply->bytes = strtoull(length + 16, NULL, 10);
	reply->body = calloc(1, reply->bytes + 1);
	while (!head_only && got < reply->bytes) {
		ssize_t n = recv(fd, reply->body + got, reply->bytes - got, 0);

		cr_assert_gt(n, 0, "reply ends after %zu bytes", got);
		got += (size_t)n;
	}
}

void
client_expect_body(int fd, const char *text)
{
	struct reply reply;

	client_get_reply(fd, &reply, false);
	cr_assert_str_eq(reply.body, text);
	cr_assert_eq(reply.status, 200);
	free(reply.body);
}

void
client_expect_status(int fd, int status)
{
	struct reply reply;

	client_get_reply(fd, &reply, false);
	cr_assert_eq(reply.status, status);
	free(reply.body);
}

void
client_expect_end(int fd)
{
	char byte;

	cr_assert_eq(recv(fd, &byte, 1, 0), 0);
	close(fd);
}

char *
body_pattern(size_t bytes, char *summary, const char *request)
{
	char *data = malloc(bytes);
	unsigned sum = 0;
	size_t i;

	for (i = 0; i < bytes; i++) {
		data[i] = (char)(i * 7 + i / 251);
		sum = sum * 31 + (unsigned char)data[i];
	}
	sprintf(summary, "%s %zu %u", request, bytes, sum);
	return data;
}
