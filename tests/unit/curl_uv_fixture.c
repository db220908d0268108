/* SPDX-License-Identifier: Apache-2.0 */
#include "curl_uv_fixture.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct curl_fixture fix;

/* ---- the server ---- */

struct peer {
	uv_tcp_t tcp;
	char request[2048];
	size_t bytes;
	struct peer *next;
};

static struct peer *peers;

static void
on_written(uv_write_t *write, int status)
{
	(void)status;
	free(write->data);
	free(write);
}

static void
on_written_all(uv_write_t *write, int status)
{
	uv_handle_t *handle = (uv_handle_t *)write->handle;

	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
	on_written(write, status);
}

static void
on_written_reset(uv_write_t *write, int status)
{
	if (!uv_is_closing((uv_handle_t *)write->handle))
		uv_tcp_close_reset((uv_tcp_t *)write->handle, NULL);
	on_written(write, status);
}

static void
send_reply(struct peer *p, size_t promised, size_t sent, uv_write_cb done)
{
	char *text = calloc(1, sent + 128);
	uv_write_t *write = malloc(sizeof(*write));
	size_t head = (size_t)sprintf(
	    text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", promised);
	uv_buf_t buf;

	cr_assert(text != NULL && write != NULL);
	memset(text + head, 'x', sent);
	write->data = text;
	buf = uv_buf_init(text, (unsigned)(head + sent));
	cr_assert_eq(uv_write(write, (uv_stream_t *)&p->tcp, &buf, 1, done), 0);
}

static void
answer(struct peer *p)
{
	size_t n;

	if (sscanf(p->request, "GET /ok/%zu ", &n) == 1)
		send_reply(p, n, n, on_written);
	else if (sscanf(p->request, "GET /bye/%zu ", &n) == 1)
		send_reply(p, n, n, on_written_all);
	else if (sscanf(p->request, "GET /reset/%zu ", &n) == 1)
		send_reply(p, n, n, on_written_reset);
	else if (strncmp(p->request, "GET /cut ", 9) == 0)
		send_reply(p, 1000, 10, on_written_all);
	else if (strncmp(p->request, "GET /close ", 11) == 0)
		uv_close((uv_handle_t *)&p->tcp, NULL);
	else
		fix.held_n++;
	p->bytes = 0;
}

static void
on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
	struct peer *p = handle->data;

	(void)hint;
	*buf = uv_buf_init(p->request + p->bytes,
	    (unsigned)(sizeof(p->request) - 1 - p->bytes));
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct peer *p = stream->data;

	(void)buf;
	if (n < 0) {
		uv_close((uv_handle_t *)stream, NULL);
		return;
	}
	p->bytes += (size_t)n;
	p->request[p->bytes] = '\0';
	if (strstr(p->request, "\r\n\r\n") != NULL)
		answer(p);
}

static void
on_connection(uv_stream_t *stream, int status)
{
	struct peer *p = calloc(1, sizeof(*p));

	cr_assert(status == 0 && p != NULL);
	uv_tcp_init(&fix.loop.uv, &p->tcp);
	p->tcp.data = p;
	p->next = peers;
	peers = p;
	fix.accepted_n++;
	cr_assert_eq(uv_accept(stream, (uv_stream_t *)&p->tcp), 0);
	uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
	if (!uv_has_ref((uv_handle_t *)stream))
		uv_unref((uv_handle_t *)&p->tcp);
}

static void
open_server(void)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int bytes = sizeof(at);

	fixture_loop_open(&fix.loop);
	uv_tcp_init(&fix.loop.uv, &fix.server);
	cr_assert_eq(uv_tcp_bind(&fix.server, (struct sockaddr *)&at, 0), 0);
	uv_tcp_getsockname(&fix.server, (struct sockaddr *)&at, &bytes);
	fix.port = ntohs(at.sin_port);
	cr_assert_eq(
	    uv_listen((uv_stream_t *)&fix.server, 128, on_connection), 0);
}

static void
close_server(void)
{
	struct peer *p;

	uv_close((uv_handle_t *)&fix.server, NULL);
	for (p = peers; p != NULL; p = p->next) {
		if (!uv_is_closing((uv_handle_t *)&p->tcp))
			uv_close((uv_handle_t *)&p->tcp, NULL);
	}
	fixture_loop_close(&fix.loop);
	while ((p = peers) != NULL) {
		peers = p->next;
		free(p);
	}
}

/* ---- transfers ---- */

static bool starting;

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	(void)data;
	t->got_bytes += size * n;
	return size * n;
}

static void
on_done(CURL *easy, CURLcode code, void *arg)
{
	struct transfer *t = arg;

	cr_assert_not(starting, "called from inside of start");
	cr_assert_eq(easy, t->easy);
	t->done_n++;
	t->code = code;
	fix.done_n++;
	if (t->then != NULL)
		t->then(t);
}

void
fixture_start(struct transfer *t, const char *path)
{
	char url[128];

	snprintf(url, sizeof(url), "http://%s:%u%s",
	    t->host != NULL ? t->host : "127.0.0.1", fix.port, path);
	if (t->easy == NULL)
		t->easy = curl_easy_init();
	curl_easy_setopt(t->easy, CURLOPT_URL, url);
	curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	starting = true;
	cr_assert_eq(curl_uv_start(fix.cu, t->easy, on_done, t), 0);
	starting = false;
}

void
fixture_open(unsigned max_connections)
{
	open_server();
	fix.cu = curl_uv_open(&fix.loop.uv, max_connections);
	cr_assert_not_null(fix.cu);
}

void
fixture_close(struct transfer *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		curl_easy_cleanup(t[i].easy);
	curl_uv_close(fix.cu);
	close_server();
}
