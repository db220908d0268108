/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are refused early, given up, or take too long. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "http_fixture.h"

#define HOLD_MAX ((size_t)100000)

static atomic_int hangup_n, end_n, whole_n, held_bytes;
static char user;

static void
on_hangup(struct http_request *request, void *arg)
{
	(void)arg;
	cr_assert_eq(request, fix.held);
	hangup_n++;
}

static void
refuse(struct http_request *request, unsigned status)
{
	http_reply(request, status, NULL, 0, "refused", 7, NULL, NULL);
}

static void
on_headers(struct http_request *request, void *arg)
{
	(void)arg;
	http_set_user(request, &user);
	if (strcmp(http_path(request), "/no") == 0)
		refuse(request, 403);
}

static bool
on_hold(struct http_request *request, size_t bytes, void *arg)
{
	(void)arg;
	held_bytes += (int)bytes;
	if ((size_t)held_bytes <= HOLD_MAX)
		return true;
	refuse(request, 503);
	return false;
}

static void
on_end(void *ended, bool whole, void *arg)
{
	(void)arg;
	cr_assert_eq(ended, &user);
	end_n++;
	whole_n += whole;
}

static void
start(void)
{
	fix.options.on_headers = on_headers;
	fix.options.on_hold = on_hold;
	fix.options.on_hangup = on_hangup;
	fix.options.on_end = on_end;
	server_start();
}

static void
expect_refused(int fd, int status)
{
	struct reply reply;

	client_get_reply(fd, &reply, false);
	cr_assert_eq(reply.status, status);
	cr_assert_str_eq(reply.body, "refused");
	free(reply.body);
}

Test(http_exchange, hangup_of_a_waiting_client_is_told_once)
{
	int fd;

	start();
	fd = client_dial();
	client_put(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
	server_wait(&fix.held_n, 1);
	close(fd);
	server_wait(&hangup_n, 1);
	server_order(ORDER_ANSWER);
	server_wait(&end_n, 1);
	server_finish();
	cr_assert_eq(hangup_n, 1);
	cr_assert_eq(fix.gone_n, 0);
}

Test(http_exchange, client_that_will_send_no_more_counts_as_hung_up)
{
	int fd;

	start();
	fd = client_dial();
	client_put(fd,
	    "GET /x HTTP/1.1\r\nHost: t\r\n\r\n"
	    "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
	shutdown(fd, SHUT_WR);
	server_wait(&hangup_n, 1);
	server_order(ORDER_ANSWER);
	client_expect_body(fd, "GET /x 0 0");
	client_expect_body(fd, "GET /later 0 0");
	close(fd);
	server_finish();
	cr_assert_eq(hangup_n, 1);
}

Test(http_exchange, patient_client_does_not_hang_up)
{
	int fd;

	start();
	fd = client_dial();
	for (int i = 1; i <= 3; i++) {
		client_put(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
		server_wait(&fix.held_n, i);
		server_order(ORDER_ANSWER);
		client_expect_body(fd, "GET /later 0 0");
	}
	close(fd);
	server_finish();
	cr_assert_eq(hangup_n, 0);
	cr_assert_eq(whole_n, 3);
}

Test(http_exchange, request_refused_by_its_headers_has_its_body_dropped)
{
	char *data = calloc(1, MAX_BODY);
	int fd;

	start();
	fd = client_dial();
	client_put_request(fd, "POST", "/no", "", MAX_BODY);
	client_put_bytes(fd, data, MAX_BODY);
	expect_refused(fd, 403);
	client_put(fd, "GET /y HTTP/1.1\r\nHost: t\r\n\r\n");
	client_expect_body(fd, "GET /y 0 0");
	close(fd);
	server_finish();
	free(data);
	cr_assert_eq(held_bytes, 0);
	cr_assert_eq(whole_n, 2);
}

Test(http_exchange, body_that_may_not_be_held_is_refused)
{
	char *data = calloc(1, 2 * HOLD_MAX);
	int fd;

	start();
	fd = client_dial();
	client_put_request(fd, "POST", "/x", "", 2 * HOLD_MAX);
	client_put_bytes(fd, data, 2 * HOLD_MAX);
	expect_refused(fd, 503);
	held_bytes = 0;
	client_put(fd,
	    "PUT /x HTTP/1.1\r\nHost: t\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n30d40\r\n");
	client_put_bytes(fd, data, 2 * HOLD_MAX);
	client_put(fd, "\r\n0\r\n\r\n");
	expect_refused(fd, 503);
	held_bytes = 0;
	client_put_request(
	    fd, "POST", "/x", "Expect: 100-continue\r\n", 2 * HOLD_MAX);
	expect_refused(fd, 503);
	client_expect_end(fd);
	server_finish();
	free(data);
}

Test(http_exchange, request_that_never_comes_whole_ends_without_an_answer)
{
	int fd;

	start();
	fd = client_dial();
	client_put_request(fd, "POST", "/x", "", 1000);
	client_put(fd, "half");
	server_wait(&held_bytes, 1000);
	close(fd);
	server_wait(&end_n, 1);
	server_finish();
	cr_assert_eq(end_n, 1);
	cr_assert_eq(whole_n, 0);
	cr_assert_eq(fix.gone_n, 0);
}

Test(http_exchange, half_of_a_chunk_from_a_peer_that_is_gone_ends_soon)
{
	int fd;

	start();
	fd = client_dial();
	client_put(fd,
	    "PUT /x HTTP/1.1\r\nHost: t\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n2ba\r\nhalf");
	close(fd);
	server_wait(&end_n, 1);
	server_finish();
	cr_assert_eq(whole_n, 0);
}

/* Send byte after byte, none of which comes late, until the end comes. */
static void
trickle(int fd)
{
	struct pollfd end = {.fd = fd, .events = POLLIN};
	char byte;

	do {
		if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
			break;
	} while (poll(&end, 1, 50) == 0);
	cr_assert(recv(fd, &byte, 1, 0) == 0 || errno == ECONNRESET);
	close(fd);
}

Test(http_exchange, trickling_head_is_cut_off)
{
	int fd;

	fix.options.exchange_timeout_s = 1;
	start();
	fd = client_dial();
	client_put(fd, "GET /");
	trickle(fd);
	server_finish();
	cr_assert_eq(end_n, 0);
}

Test(http_exchange, trickling_body_is_cut_off)
{
	int fd;

	fix.options.exchange_timeout_s = 1;
	start();
	fd = client_dial();
	client_put_request(fd, "POST", "/x", "", HOLD_MAX);
	trickle(fd);
	server_wait(&end_n, 1);
	server_finish();
	cr_assert_eq(whole_n, 0);
}

Test(http_exchange, waiting_for_an_answer_is_not_bounded)
{
	struct pollfd end;
	int fd, other;

	fix.options.exchange_timeout_s = 1;
	start();
	fd = client_dial();
	client_put(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
	server_wait(&fix.held_n, 1);
	/* Another one, which begins later, is over first. */
	other = client_dial();
	client_put(other, "GET /");
	trickle(other);
	end = (struct pollfd){.fd = fd, .events = POLLIN};
	cr_assert_eq(poll(&end, 1, 0), 0);
	server_order(ORDER_ANSWER);
	client_expect_body(fd, "GET /later 0 0");
	close(fd);
	server_finish();
	cr_assert_eq(hangup_n, 0);
}
