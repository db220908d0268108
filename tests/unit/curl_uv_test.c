/* SPDX-License-Identifier: Apache-2.0 */
/* Against a server on the same loop that answers by path: /ok/N with N bytes,
 * /hold never, /cut with less than it promised, /close not at all. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/curl_uv.h"
#include "loop_fixture.h"

/* ---- the server ---- */

struct peer {
	uv_tcp_t tcp;
	char request[2048];
	size_t bytes;
	struct peer *next;
};

static struct fixture_loop loop;
static uv_tcp_t server;
static struct peer *peers;
static unsigned port;
static size_t held_n;

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
	else if (strncmp(p->request, "GET /cut ", 9) == 0)
		send_reply(p, 1000, 10, on_written_all);
	else if (strncmp(p->request, "GET /close ", 11) == 0)
		uv_close((uv_handle_t *)&p->tcp, NULL);
	else
		held_n++;
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
	uv_tcp_init(&loop.uv, &p->tcp);
	p->tcp.data = p;
	p->next = peers;
	peers = p;
	cr_assert_eq(uv_accept(stream, (uv_stream_t *)&p->tcp), 0);
	uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
}

static void
open_server(void)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int bytes = sizeof(at);

	fixture_loop_open(&loop);
	uv_tcp_init(&loop.uv, &server);
	cr_assert_eq(uv_tcp_bind(&server, (struct sockaddr *)&at, 0), 0);
	uv_tcp_getsockname(&server, (struct sockaddr *)&at, &bytes);
	port = ntohs(at.sin_port);
	cr_assert_eq(uv_listen((uv_stream_t *)&server, 128, on_connection), 0);
	held_n = 0;
}

static void
close_server(void)
{
	struct peer *p;

	uv_close((uv_handle_t *)&server, NULL);
	for (p = peers; p != NULL; p = p->next) {
		if (!uv_is_closing((uv_handle_t *)&p->tcp))
			uv_close((uv_handle_t *)&p->tcp, NULL);
	}
	fixture_loop_close(&loop);
	while ((p = peers) != NULL) {
		peers = p->next;
		free(p);
	}
}

/* ---- transfers ---- */

struct transfer {
	CURL *easy;
	size_t got_bytes;
	size_t done_n;
	CURLcode code;
	void (*then)(struct transfer *t);
};

static struct curl_uv *cu;
static bool starting;
static size_t done_n;

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
	done_n++;
	if (t->then != NULL)
		t->then(t);
}

static void
start(struct transfer *t, const char *path)
{
	char url[128];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
	if (t->easy == NULL)
		t->easy = curl_easy_init();
	curl_easy_setopt(t->easy, CURLOPT_URL, url);
	curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	starting = true;
	cr_assert_eq(curl_uv_start(cu, t->easy, on_done, t), 0);
	starting = false;
}

static void
open_all(unsigned max_connections)
{
	open_server();
	cu = curl_uv_open(&loop.uv, max_connections);
	cr_assert_not_null(cu);
}

static void
close_all(struct transfer *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		curl_easy_cleanup(t[i].easy);
	curl_uv_close(cu);
	close_server();
}

static void
check_one(const char *path, CURLcode code, size_t bytes)
{
	struct transfer t = {.easy = NULL};

	open_all(2);
	start(&t, path);
	FIXTURE_RUN_UNTIL(&loop, t.done_n > 0);
	cr_assert_eq(t.code, code, "%s: %s", path, curl_easy_strerror(t.code));
	cr_assert_eq(t.got_bytes, bytes);
	cr_assert_eq(t.done_n, 1);
	close_all(&t, 1);
}

Test(curl_uv, a_transfer_is_reported_once_with_all_its_bytes)
{
	check_one("/ok/12345", CURLE_OK, 12345);
}

Test(curl_uv, a_reply_shorter_than_promised_is_an_error)
{
	check_one("/cut", CURLE_PARTIAL_FILE, 10);
}

Test(curl_uv, a_connection_closed_without_a_reply_is_an_error)
{
	check_one("/close", CURLE_GOT_NOTHING, 0);
}

Test(curl_uv, a_refused_connection_is_an_error)
{
	struct transfer t = {.easy = NULL};

	open_all(2);
	/* Nobody listens there any more, and nobody else will. */
	uv_close((uv_handle_t *)&server, NULL);
	uv_run(&loop.uv, UV_RUN_NOWAIT);
	start(&t, "/ok/1");
	FIXTURE_RUN_UNTIL(&loop, t.done_n > 0);
	cr_assert_eq(t.code, CURLE_COULDNT_CONNECT);
	curl_easy_cleanup(t.easy);
	curl_uv_close(cu);
	fixture_loop_close(&loop);
}

Test(curl_uv, curls_own_time_limits_work)
{
	struct transfer t[3] = {{.easy = NULL}};

	open_all(4);
	for (size_t i = 0; i < 3; i++) {
		t[i].easy = curl_easy_init();
		curl_easy_setopt(
		    t[i].easy, CURLOPT_TIMEOUT_MS, (long)(5 + 10 * i));
		start(&t[i], "/hold");
	}
	FIXTURE_RUN_UNTIL(&loop, done_n == 3);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(t[i].code, CURLE_OPERATION_TIMEDOUT);
	close_all(t, 3);
}

#define MANY 100

Test(curl_uv, a_hundred_transfers_at_once_all_get_their_own_reply)
{
	static struct transfer t[MANY];

	open_all(8);
	for (int round = 0; round < 3; round++) {
		done_n = 0;
		for (size_t i = 0; i < MANY; i++) {
			char path[32];

			snprintf(path, sizeof(path), "/ok/%zu", i * i * 37);
			t[i].done_n = t[i].got_bytes = 0;
			start(&t[i], path);
		}
		FIXTURE_RUN_UNTIL(&loop, done_n == MANY);
		for (size_t i = 0; i < MANY; i++) {
			cr_assert_eq(t[i].code, CURLE_OK);
			cr_assert_eq(t[i].done_n, 1);
			cr_assert_eq(t[i].got_bytes, i * i * 37);
		}
	}
	close_all(t, MANY);
}

Test(curl_uv, stopped_transfers_are_never_reported_and_others_go_on)
{
	static struct transfer t[MANY];
	size_t i;

	open_all(8);
	for (i = 0; i < MANY; i++)
		start(&t[i], i % 2 == 0 ? "/hold" : "/ok/300000");
	/* Before anything was sent, while connecting, and in the middle. */
	for (i = 0; i < 20; i++)
		curl_uv_stop(cu, t[i].easy);
	uv_run(&loop.uv, UV_RUN_NOWAIT);
	for (; i < 40; i++)
		curl_uv_stop(cu, t[i].easy);
	FIXTURE_RUN_UNTIL(&loop, held_n >= 30 && done_n == 30);
	for (i = 40; i < MANY; i += 2)
		curl_uv_stop(cu, t[i].easy);
	uv_run(&loop.uv, UV_RUN_NOWAIT);
	for (i = 0; i < MANY; i++) {
		cr_assert_eq(t[i].done_n, i >= 40 && i % 2 == 1, "%zu", i);
		if (t[i].done_n > 0)
			cr_assert_eq(t[i].got_bytes, 300000);
	}
	close_all(t, MANY);
}

static struct transfer next;

static void
start_next(struct transfer *t)
{
	(void)t;
	start(&next, "/ok/7");
}

Test(curl_uv, the_end_of_one_transfer_may_start_another_and_itself_again)
{
	struct transfer t = {.then = start_next};

	open_all(1);
	start(&t, "/ok/5");
	FIXTURE_RUN_UNTIL(&loop, next.done_n == 1);
	cr_assert_eq(next.got_bytes, 7);
	start(&t, "/ok/5");
	FIXTURE_RUN_UNTIL(&loop, next.done_n == 2);
	cr_assert_eq(t.done_n, 2);
	curl_easy_cleanup(next.easy);
	close_all(&t, 1);
}

static struct transfer crowd[MANY];

/* Stop every other one, also those that are over and not yet reported. */
static void
stop_others(struct transfer *t)
{
	for (size_t i = 0; i < MANY; i++) {
		if (&crowd[i] == t || crowd[i].done_n > 0)
			continue;
		crowd[i].then = NULL;
		crowd[i].done_n = 100;
		curl_uv_stop(cu, crowd[i].easy);
	}
}

Test(curl_uv, the_end_of_one_transfer_may_stop_all_others)
{
	open_all(8);
	for (size_t i = 0; i < MANY; i++) {
		crowd[i].then = stop_others;
		start(&crowd[i], i % 3 == 0 ? "/hold" : "/ok/10");
	}
	FIXTURE_RUN_UNTIL(&loop, done_n > 0);
	for (int i = 0; i < 100; i++)
		uv_run(&loop.uv, UV_RUN_NOWAIT);
	cr_assert_eq(done_n, 1);
	close_all(crowd, MANY);
}

Test(curl_uv, it_closes_without_ever_having_done_anything)
{
	open_all(1);
	close_all(NULL, 0);
	curl_uv_close(NULL);
}

Test(curl_uv, what_it_closes_does_not_wait_for_kept_connections)
{
	struct transfer t[2] = {{.easy = NULL}};

	open_all(5);
	start(&t[0], "/ok/1");
	start(&t[1], "/ok/2");
	FIXTURE_RUN_UNTIL(&loop, done_n == 2);
	close_all(t, 2);
	cr_assert_eq(done_n, 2);
}
