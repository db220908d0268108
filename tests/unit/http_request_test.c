/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as they arrive: bodies in every form, limits, queries, headers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "http_fixture.h"

Test(http_request, large_body_arrives_whole)
{
	char summary[64], *data = body_pattern(BIG_BYTES, summary, "POST /x");
	int fd;

	server_start();
	fd = client_dial();
	client_put_request(fd, "POST", "/x", "", BIG_BYTES);
	client_put_bytes(fd, data, BIG_BYTES);
	client_expect_body(fd, summary);
	close(fd);
	server_finish();
	free(data);
}

Test(http_request, chunked_body_arrives_whole)
{
	const size_t bytes = 1000000;
	char summary[64], *data = body_pattern(bytes, summary, "PUT /x");
	char size[32];
	size_t at, n;
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd,
	    "PUT /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (at = 0; at < bytes; at += n) {
		n = at % 7919 + 1;
		if (n > bytes - at)
			n = bytes - at;
		snprintf(size, sizeof(size), "%zx\r\n", n);
		client_put(fd, size);
		client_put_bytes(fd, data + at, n);
		client_put(fd, "\r\n");
	}
	client_put(fd, "0\r\n\r\n");
	client_expect_body(fd, summary);
	close(fd);
	server_finish();
	free(data);
}

Test(http_request, request_in_single_bytes_is_understood)
{
	static const char text[] =
	    "POST /slow HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc";
	size_t i;
	int fd;

	server_start();
	fd = client_dial();
	for (i = 0; i < sizeof(text) - 1; i++)
		client_put_bytes(fd, text + i, 1);
	client_expect_body(fd, "POST /slow 3 96354");
	close(fd);
	server_finish();
}

Test(http_request, expect_100_continue_is_answered_before_the_body)
{
	struct reply interim;
	int fd;

	server_start();
	fd = client_dial();
	client_put_request(fd, "POST", "/x", "Expect: 100-continue\r\n", 3);
	client_get_head(fd, &interim);
	cr_assert_eq(interim.status, 100);
	client_put(fd, "abc");
	client_expect_body(fd, "POST /x 3 96354");
	close(fd);
	server_finish();
}

Test(http_request, too_large_body_is_refused_instead_of_100_continue)
{
	struct reply reply;
	int fd;

	server_start();
	fd = client_dial();
	client_put_request(
	    fd, "POST", "/x", "Expect: 100-continue\r\n", MAX_BODY + 1);
	client_get_reply(fd, &reply, false);
	cr_assert_eq(reply.status, 413);
	cr_assert_not_null(strstr(reply.body, "\"error\""));
	cr_assert_not_null(strstr(reply.body, "4194304"));
	free(reply.body);
	client_expect_end(fd);
	server_finish();
}

Test(http_request, client_that_sends_a_too_large_body_still_gets_413)
{
	char *data = calloc(1, MAX_BODY + 1);
	int fd;

	server_start();
	fd = client_dial();
	client_put_request(fd, "POST", "/x", "", MAX_BODY + 1);
	client_put_bytes(fd, data, MAX_BODY + 1);
	client_expect_status(fd, 413);
	/* It was read to its end, so the connection can go on. */
	client_put(fd, "GET /y HTTP/1.1\r\nHost: t\r\n\r\n");
	client_expect_body(fd, "GET /y 0 0");
	close(fd);
	server_finish();
	free(data);
}

Test(http_request, absurd_length_is_refused_without_reading)
{
	int fd;

	server_start();
	fd = client_dial();
	client_put_request(fd, "POST", "/x", "", SIZE_MAX / 4);
	client_expect_status(fd, 413);
	client_expect_end(fd);
	server_finish();
}

Test(http_request, too_large_chunked_body_gets_413)
{
	char *data = calloc(1, MAX_BODY);
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd,
	    "PUT /x HTTP/1.1\r\nHost: t\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n400000\r\n");
	client_put_bytes(fd, data, MAX_BODY);
	client_put(fd, "\r\n1\r\nx\r\n0\r\n\r\n");
	client_expect_status(fd, 413);
	close(fd);
	server_finish();
	free(data);
}

Test(http_request, body_of_exactly_the_limit_is_served)
{
	char summary[64], *data = body_pattern(MAX_BODY, summary, "POST /x");
	int fd;

	server_start();
	fd = client_dial();
	client_put_request(fd, "POST", "/x", "", MAX_BODY);
	client_put_bytes(fd, data, MAX_BODY);
	client_expect_body(fd, summary);
	close(fd);
	server_finish();
	free(data);
}

Test(http_request, query_is_decoded_in_order_until_the_callback_stops)
{
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd,
	    "GET /query?shape=1&shape=4&a=%41+b&flag&empty=&last=z&no=1 "
	    "HTTP/1.1\r\nHost: t\r\n\r\n");
	client_expect_body(
	    fd, "shape=1;shape=4;a=A b;flag=(null);empty=;last=z;");
	close(fd);
	server_finish();
}

Test(http_request, header_is_found_in_any_letter_case)
{
	struct reply reply;
	int fd;

	server_start();
	fd = client_dial();
	client_put(
	    fd, "GET /header HTTP/1.1\r\nHost: t\r\nX-name: v 1\r\n\r\n");
	client_get_reply(fd, &reply, false);
	cr_assert_eq(reply.status, 404);
	cr_assert_str_eq(reply.body, "v 1");
	free(reply.body);
	close(fd);
	server_finish();
}

Test(http_request, garbage_gets_400_or_is_hung_up_on)
{
	char text[4096];
	size_t n = 0;
	ssize_t got;
	int fd;

	server_start();
	fd = client_dial();
	client_put(fd, "\x16\x03\x01 nonsense\r\n\r\n");
	/* Versions of libmicrohttpd differ in which of the two they do. */
	while ((got = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	cr_assert(got == 0 || errno == ECONNRESET, "%s", strerror(errno));
	cr_assert(n == 0 || strncmp(text, "HTTP/1.1 400 ", 13) == 0 ||
		strncmp(text, "HTTP/1.0 400 ", 13) == 0,
	    "%s", text);
	close(fd);
	/* And the server goes on. */
	fd = client_dial();
	client_put(fd, "GET /y HTTP/1.1\r\nHost: t\r\n\r\n");
	client_expect_body(fd, "GET /y 0 0");
	close(fd);
	server_finish();
}
