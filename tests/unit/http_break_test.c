/* SPDX-License-Identifier: Apache-2.0 */
/* Replies that break off on purpose, and who may ask for that. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "http_fixture.h"

static void
get(int fd, const char *path)
{
	client_put_request(fd, "GET", path, "", 0);
}

/* Read ${bytes} of a body of 'b's. */
static void
expect_body_part(int fd, size_t bytes)
{
	char piece[4096];
	size_t i;

	while (bytes > 0) {
		ssize_t n = recv(fd, piece,
		    bytes < sizeof(piece) ? bytes : sizeof(piece), 0);

		cr_assert_gt(n, 0, "%s", strerror(errno));
		for (i = 0; i < (size_t)n; i++)
			cr_assert_eq(piece[i], 'b');
		bytes -= (size_t)n;
	}
}

static void
expect_head(int fd)
{
	struct reply reply;

	client_get_head(fd, &reply);
	cr_assert_eq(reply.status, 200);
	cr_assert_not_null(strcasestr(reply.head, "Content-Length: 3145728"));
}

static void
expect_reset(int fd)
{
	char byte;

	cr_assert_eq(recv(fd, &byte, 1, 0), -1);
	cr_assert_eq(errno, ECONNRESET, "%s", strerror(errno));
	close(fd);
}

static void
expect_served(void)
{
	int fd = client_dial();

	get(fd, "/next");
	client_expect_body(fd, "GET /next 0 0");
	close(fd);
}

Test(http_break, end_sends_so_much_and_closes)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/break/end");
	expect_head(fd);
	expect_body_part(fd, BREAK_BYTES);
	client_expect_end(fd);
	expect_served();
	server_finish();
	cr_assert_eq(fix.freed_n, 2);
}

Test(http_break, reset_comes_after_so_much)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/break/reset");
	expect_head(fd);
	expect_body_part(fd, BREAK_BYTES);
	expect_reset(fd);
	expect_served();
	server_finish();
	cr_assert_eq(fix.freed_n, 2);
}

Test(http_break, drop_resets_without_a_reply)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/drop");
	expect_reset(fd);
	expect_served();
	server_finish();
	cr_assert_eq(fix.gone_n, 0);
}

Test(http_break, request_that_waits_is_dropped_when_asked_for)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/later");
	server_wait(&fix.held_n, 1);
	server_order(ORDER_DROP);
	expect_reset(fd);
	expect_served();
	server_finish();
	cr_assert_eq(fix.gone_n, 0);
}

static void
on_headers(struct http_request *request, void *arg)
{
	(void)arg;
	if (strcmp(http_path(request), "/early") == 0)
		http_drop(request);
}

Test(http_break, request_is_dropped_before_its_body_is_read)
{
	int fd;

	fix.options.on_headers = on_headers;
	server_start();
	fd = client_dial();
	client_put_request(fd, "POST", "/early", "", 1000);
	expect_reset(fd);
	expect_served();
	server_finish();
}

Test(http_break, pause_ends_and_the_rest_comes)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/break/pause");
	expect_head(fd);
	expect_body_part(fd, BIG_BYTES);
	get(fd, "/next");
	client_expect_body(fd, "GET /next 0 0");
	close(fd);
	server_finish();
}

/* Nothing comes, however long one waits: what can be seen is that the reply is
 * not freed while other requests are served. */
Test(http_break, stall_ends_when_the_peer_hangs_up)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/break/stall");
	expect_head(fd);
	expect_body_part(fd, BREAK_BYTES);
	expect_served();
	cr_assert_eq(recv(fd, &(char){0}, 1, MSG_DONTWAIT), -1);
	cr_assert_eq(errno, EAGAIN);
	close(fd);
	server_wait(&fix.freed_n, 2);
	server_finish();
}

Test(http_break, stall_before_the_body_sends_the_head)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/break/at-once");
	expect_head(fd);
	expect_served();
	cr_assert_eq(recv(fd, &(char){0}, 1, MSG_DONTWAIT), -1);
	cr_assert_eq(errno, EAGAIN);
	close(fd);
	server_finish();
	cr_assert_eq(fix.freed_n, 2);
}

Test(http_break, draining_ends_stalls)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/break/stall");
	expect_head(fd);
	expect_body_part(fd, BREAK_BYTES);
	server_order(ORDER_DRAIN);
	server_wait(&fix.drained_n, 1);
	client_expect_end(fd);
	server_finish();
}

Test(http_break, closing_ends_stalls)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/break/stall");
	expect_head(fd);
	expect_body_part(fd, BREAK_BYTES);
	server_finish();
	cr_assert_eq(fix.freed_n, 1);
	close(fd);
}

Test(http_break, peer_on_loopback_is_local)
{
	int fd;

	server_start();
	fd = client_dial();
	get(fd, "/local");
	client_expect_body(fd, "yes");
	close(fd);
	server_finish();
}
