/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server's connections: kept alive, pipelined, waiting, drained and
 * closed; and where it listens.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "http_fixture.h"

Test(http_uv, get_is_answered_with_its_length)
{
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd, "GET /a%20b HTTP/1.1\r\nHost: test\r\n\r\n");
	client_expect_body(fd, "GET /a b 0 0");
	close(fd);
	server_finish();
	cr_assert_eq(fix.freed_n, 1);
}

Test(http_uv, head_has_the_length_and_no_body)
{
	struct reply reply;
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd, "HEAD /big HTTP/1.1\r\nHost: test\r\n\r\n");
	client_get_reply(fd, &reply, true);
	cr_assert_eq(reply.bytes, BIG_BYTES);
	free(reply.body);
	/* Had a body come, it would stand before this reply. */
	client_put(fd, "GET /next HTTP/1.1\r\nHost: test\r\n\r\n");
	client_expect_body(fd, "GET /next 0 0");
	close(fd);
	server_finish();
}

Test(http_uv, connection_serves_many_requests)
{
	char summary[64], *data = body_pattern(1000, summary, "POST /x");
	int fd, i;

	server_start();
	fd = client_dial();
	for (i = 0; i < 100; i++) {
		client_put_request(fd, "POST", "/x", "", 1000);
		client_put_bytes(fd, data, 1000);
		client_expect_body(fd, summary);
	}
	close(fd);
	server_finish();
	free(data);
	cr_assert_eq(fix.freed_n, 100);
}

Test(http_uv, pipelined_requests_are_answered_in_order)
{
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd,
	    "POST /one HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nab"
	    "GET /later HTTP/1.1\r\nHost: t\r\n\r\n"
	    "POST /three HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
	client_expect_body(fd, "POST /one 2 3105");
	server_wait(&fix.held_n, 1);
	server_order(ORDER_ANSWER);
	client_expect_body(fd, "GET /later 0 0");
	client_expect_body(fd, "POST /three 0 0");
	close(fd);
	server_finish();
}

Test(http_uv, reply_can_come_later_while_others_are_served)
{
	int slow, fast;

	server_start();
	slow = client_dial();
	client_put_request(slow, "POST", "/later", "", 3);
	client_put(slow, "abc");
	server_wait(&fix.held_n, 1);
	fast = client_dial();
	client_put(fast, "GET /fast HTTP/1.1\r\nHost: t\r\n\r\n");
	client_expect_body(fast, "GET /fast 0 0");
	server_order(ORDER_ANSWER);
	client_expect_body(slow, "POST /later 3 96354");
	close(slow);
	close(fast);
	server_finish();
}

Test(http_uv, reply_to_a_vanished_client_frees_its_body)
{
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
	server_wait(&fix.held_n, 1);
	close(fd);
	server_order(ORDER_ANSWER);
	server_wait(&fix.freed_n, 1);
	server_finish();
	cr_assert_eq(fix.gone_n, 0);
}

Test(http_uv, large_reply_is_sent_from_the_callers_memory)
{
	struct reply reply;
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd, "GET /big HTTP/1.1\r\nHost: t\r\n\r\n");
	client_get_reply(fd, &reply, false);
	cr_assert_eq(reply.bytes, BIG_BYTES);
	cr_assert_eq(memcmp(reply.body, fix.big, BIG_BYTES), 0);
	free(reply.body);
	close(fd);
	server_finish();
}

Test(http_uv, close_with_a_request_pending_reports_it_gone_once)
{
	int pending, sending;

	server_start();
	pending = client_dial();
	client_put(pending, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
	server_wait(&fix.held_n, 1);
	sending = client_dial();
	client_put_request(sending, "POST", "/x", "", 1000);
	client_put(sending, "half");
	server_order(ORDER_CLOSE);
	client_expect_end(pending);
	server_finish();
	close(sending);
	cr_assert_eq(fix.gone_n, 1);
	cr_assert_null(fix.held);
}

Test(http_uv, drain_answers_what_is_pending_and_accepts_no_more)
{
	struct reply reply;
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
	server_wait(&fix.held_n, 1);
	server_order(ORDER_DRAIN);
	for (int other = client_dial(); other >= 0; other = client_dial())
		close(other);
	cr_assert_eq(fix.drained_n, 0);
	server_order(ORDER_ANSWER);
	client_get_reply(fd, &reply, false);
	cr_assert_str_eq(reply.body, "GET /later 0 0");
	cr_assert(reply.closes);
	free(reply.body);
	client_expect_end(fd);
	server_wait(&fix.drained_n, 1);
	server_finish();
	cr_assert_eq(fix.gone_n, 0);
}

Test(http_uv, drain_without_requests_calls_back)
{
	server_start();
	server_order(ORDER_DRAIN);
	server_wait(&fix.drained_n, 1);
	server_finish();
}

Test(http_uv, silent_connection_is_closed_after_the_idle_timeout)
{
	int fd;

	fix.options.idle_timeout_s = 1;
	server_start();
	fd = client_dial();
	client_put(fd, "GET /half HTTP/1.1\r\nHo");
	client_expect_end(fd);
	server_finish();
}

Test(http_uv, connection_beyond_the_limit_waits_for_another_to_close)
{
	int first, second;

	fix.options.max_connections = 1;
	server_start();
	first = client_dial();
	client_put(first, "GET /first HTTP/1.1\r\nHost: t\r\n\r\n");
	client_expect_body(first, "GET /first 0 0");
	second = client_dial();
	client_put(second, "GET /second HTTP/1.1\r\nHost: t\r\n\r\n");
	close(first);
	client_expect_body(second, "GET /second 0 0");
	close(second);
	server_finish();
}

Test(http_uv, many_clients_are_served_at_the_same_time)
{
	int fds[200];
	size_t i;

	server_start();
	for (i = 0; i < 200; i++) {
		fds[i] = client_dial();
		cr_assert_geq(fds[i], 0);
		client_put_request(fds[i], "POST", "/x", "", 3);
	}
	for (i = 0; i < 200; i++)
		client_put(fds[199 - i], "abc");
	for (i = 0; i < 200; i++)
		client_expect_body(fds[i], "POST /x 3 96354");
	for (i = 0; i < 200; i++)
		close(fds[i]);
	server_finish();
	cr_assert_eq(fix.freed_n, 200);
}

static void
expect_refused(const char *address, enum latentd_err err)
{
	memset(&fix.options, 0, sizeof(fix.options));
	fix.options.listen = address;
	server_start();
	cr_assert_eq(fix.err, err, "%s: %s", address, fix.why.text);
	cr_assert_not_null(strstr(fix.why.text, address), "%s", fix.why.text);
	server_finish();
}

Test(http_uv, address_that_is_not_numeric_is_refused_with_a_sentence)
{
	expect_refused("example.org:80", LATENTD_ERR_INVALID);
	expect_refused("127.0.0.1", LATENTD_ERR_INVALID);
	expect_refused("127.0.0.1:", LATENTD_ERR_INVALID);
	expect_refused("127.0.0.1:65536", LATENTD_ERR_INVALID);
	expect_refused("127.0.0.1:+80", LATENTD_ERR_INVALID);
	expect_refused("127.0.0.1:80x", LATENTD_ERR_INVALID);
	expect_refused("::1:80", LATENTD_ERR_INVALID);
	expect_refused("[127.0.0.1]:80", LATENTD_ERR_INVALID);
	expect_refused(":80", LATENTD_ERR_INVALID);
}

Test(http_uv, localhost_is_loopback)
{
	int fd;

	fix.options.listen = "localhost:0";
	server_start();
	cr_assert_eq(fix.err, LATENTD_OK, "%s", fix.why.text);
	fd = client_dial();
	client_put(fd, "GET /y HTTP/1.1\r\nHost: t\r\n\r\n");
	client_expect_body(fd, "GET /y 0 0");
	close(fd);
	server_finish();
}

Test(http_uv, address_in_use_is_an_io_error)
{
	struct http_options options;
	struct http_server *second = NULL;
	struct reason why;
	char address[32];
	uv_loop_t loop;

	server_start();
	options = fix.options;
	snprintf(address, sizeof(address), "127.0.0.1:%u", fix.port);
	options.listen = address;
	uv_loop_init(&loop);
	cr_assert_eq(
	    http_server_open(&loop, &options, &second, &why), LATENTD_ERR_IO);
	cr_assert_null(second);
	cr_assert_not_null(strstr(why.text, address));
	cr_assert_eq(uv_loop_close(&loop), 0);
	server_finish();
}
