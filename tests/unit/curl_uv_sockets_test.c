/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of polls when descriptors are closed, and used again at once. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "curl_uv_fixture.h"

/* ---- how often polls are changed ---- */

static size_t changes_n;

/* Before libc's, for libuv. */
__attribute__((visibility("default"))) int
epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	changes_n++;
	return (int)syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

static void
run_once(struct transfer *t, const char *path)
{
	t->done_n = t->got_bytes = 0;
	fixture_start(t, path);
	FIXTURE_RUN_UNTIL(&fix.loop, t->done_n > 0);
	cr_assert_eq(
	    t->code, CURLE_OK, "%s: %s", path, curl_easy_strerror(t->code));
	cr_assert_eq(t->got_bytes, 10);
}

Test(curl_uv_sockets, a_connection_that_is_used_again_stays_polled)
{
	struct transfer t = {.easy = NULL};

	fixture_open(4);
	/* The second transfer begins to poll what the first has left. */
	run_once(&t, "/ok/10");
	run_once(&t, "/ok/10");
	changes_n = 0;
	for (int i = 0; i < 20; i++)
		run_once(&t, "/ok/10");
	cr_assert_eq(fix.accepted_n, 1);
	cr_assert_leq(changes_n, 20, "%zu changes", changes_n);
	fixture_close(&t, 1);
}

/* ---- who keeps the loop alive, and who wakes it ---- */

Test(curl_uv_sockets, a_transfer_keeps_the_loop_alive_an_idle_connection_not)
{
	struct transfer t = {.easy = NULL};

	fixture_open(4);
	uv_unref((uv_handle_t *)&fix.server);
	for (size_t i = 1; i <= 3; i++) {
		fixture_start(&t, "/ok/300000");
		uv_run(&fix.loop.uv, UV_RUN_DEFAULT);
		cr_assert_eq(t.done_n, i, "the loop ended too early");
		cr_assert_eq(t.code, CURLE_OK);
	}
	cr_assert_eq(fix.accepted_n, 1);
	fixture_close(&t, 1);
}

static bool
is_quiet(void)
{
	struct pollfd fd = {
	    .fd = uv_backend_fd(&fix.loop.uv), .events = POLLIN};

	for (int i = 0; i < 20; i++)
		uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
	return poll(&fd, 1, 0) == 0;
}

static void
check_end_while_idle(const char *path, size_t rounds)
{
	struct transfer t = {.easy = NULL};

	fixture_open(4);
	for (size_t i = 1; i <= rounds; i++) {
		run_once(&t, "/ok/10");
		run_once(&t, "/ok/10");
		run_once(&t, path);
		cr_assert_eq(fix.accepted_n, i);
		cr_assert(is_quiet(), "an idle connection wakes the loop");
	}
	fixture_close(&t, 1);
}

Test(curl_uv_sockets, an_idle_connection_that_its_peer_closes_is_quiet)
{
	check_end_while_idle("/bye/10", 20);
}

/* Once: curl (7.88) takes a connection that was reset for a good one. */
Test(curl_uv_sockets, an_idle_connection_that_its_peer_resets_is_quiet)
{
	check_end_while_idle("/reset/10", 1);
}

/* ---- connections that are never made ---- */

#define FILLERS 3

/* Somebody at ${address} who does not accept: others wait for a connection. */
struct full {
	int listener, fillers[FILLERS];
};

static void
full_open(struct full *f, uint32_t address)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(address),
	    .sin_port = htons((uint16_t)fix.port)};

	f->listener = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(bind(f->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(listen(f->listener, 0), 0);
	for (size_t i = 0; i < FILLERS; i++) {
		f->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		/* The last of them is not taken either. */
		(void)connect(
		    f->fillers[i], (struct sockaddr *)&at, sizeof(at));
	}
}

static void
full_close(struct full *f)
{
	close(f->listener);
	for (size_t i = 0; i < FILLERS; i++)
		close(f->fillers[i]);
}

static void
run_to_full(struct transfer *t)
{
	curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, 20L);
	t->host = "127.0.0.2";
	t->done_n = 0;
	fixture_start(t, "/ok/10");
	FIXTURE_RUN_UNTIL(&fix.loop, t->done_n > 0);
	cr_assert_eq(t->code, CURLE_OPERATION_TIMEDOUT);
}

Test(curl_uv_sockets, of_connections_that_time_out_nothing_is_left)
{
	struct transfer t[2] = {
	    {.easy = curl_easy_init()}, {.easy = curl_easy_init()}};
	struct full full;

	fixture_open(4);
	full_open(&full, INADDR_LOOPBACK + 1);
	for (int i = 0; i < 5; i++) {
		run_to_full(&t[0]);
		/* Takes the descriptor. */
		run_once(&t[1], "/ok/10");
	}
	fixture_start(&t[0], "/ok/10");
	uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
	curl_uv_stop(fix.cu, t[0].easy);
	cr_assert(is_quiet());
	fixture_close(t, 2);
	full_close(&full);
}

static struct curl_slist *
resolve(struct transfer *t, const char *addresses)
{
	struct curl_slist *list;
	char text[128];

	snprintf(text, sizeof(text), "%s:%u:%s", t->host, fix.port, addresses);
	list = curl_slist_append(NULL, text);
	cr_assert_not_null(list);
	curl_easy_setopt(t->easy, CURLOPT_RESOLVE, list);
	return list;
}

static curl_socket_t last_ipv4;

static int
note_ipv4(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	int domain = 0;
	socklen_t bytes = sizeof(domain);

	(void)arg;
	(void)purpose;
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes);
	if (domain == AF_INET)
		last_ipv4 = fd;
	return CURL_SOCKOPT_OK;
}

static bool
is_polled(int fd)
{
	struct epoll_event event = {.events = 0};
	int added =
	    epoll_ctl(uv_backend_fd(&fix.loop.uv), EPOLL_CTL_ADD, fd, &event);

	return added != 0 && errno == EEXIST;
}

/*
 * At half of the limit curl (7.88) gives up the first address, whose descriptor
 * it closes without a word, and begins with both the second and the other
 * family: in one step, so that the second gets the same descriptor.  Curl 8
 * begins with the other family, and tells.
 */
Test(curl_uv_sockets, who_gets_the_descriptor_of_a_failed_attempt_is_polled)
{
	struct transfer t = {.host = "several", .easy = curl_easy_init()};
	struct curl_slist *list;
	struct full full;

	if (curl_version_info(CURLVERSION_NOW)->version_num >= 0x080000) {
		curl_easy_cleanup(t.easy);
		cr_skip("this curl tells");
	}
	fixture_open(4);
	full_open(&full, INADDR_LOOPBACK + 1);
	list = resolve(&t, "127.0.0.2,127.0.0.1,[::ffff:127.0.0.2]");
	curl_easy_setopt(t.easy, CURLOPT_SOCKOPTFUNCTION, note_ipv4);
	curl_easy_setopt(t.easy, CURLOPT_CONNECTTIMEOUT_MS, 1000L);
	curl_easy_setopt(t.easy, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, 500L);
	fixture_start(&t, "/ok/10");
	FIXTURE_RUN_UNTIL(&fix.loop, fix.accepted_n == 1);
	cr_assert(is_polled(last_ipv4));
	FIXTURE_RUN_UNTIL(&fix.loop, t.done_n > 0);
	cr_assert_eq(t.code, CURLE_OK);
	fixture_close(&t, 1);
	curl_slist_free_all(list);
	full_close(&full);
}

Test(curl_uv_sockets, of_two_attempts_at_once_the_slower_leaves_nothing)
{
	struct transfer t[20] = {{.easy = NULL}};
	struct curl_slist *lists[20];
	struct full full;

	fixture_open(20);
	full_open(&full, INADDR_LOOPBACK + 1);
	for (size_t i = 0; i < 20; i++) {
		t[i].host = "two";
		t[i].easy = curl_easy_init();
		lists[i] = resolve(&t[i], "127.0.0.2,[::ffff:127.0.0.1]");
		curl_easy_setopt(
		    t[i].easy, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, 1L);
		fixture_start(&t[i], "/ok/10");
	}
	FIXTURE_RUN_UNTIL(&fix.loop, fix.done_n == 20);
	for (size_t i = 0; i < 20; i++)
		cr_assert_eq(t[i].code, CURLE_OK);
	fixture_close(t, 20);
	for (size_t i = 0; i < 20; i++)
		curl_slist_free_all(lists[i]);
	full_close(&full);
}

/* ---- descriptors that come and go ---- */

#define NAMES 5

Test(curl_uv_sockets, the_descriptor_of_a_connection_that_made_room_is_free)
{
	static const char *const hosts[NAMES] = {
	    "127.0.0.1", "2130706433", "0x7f000001", "127.1", "127.0.1"};
	struct transfer t[NAMES] = {{.easy = NULL}};

	fixture_open(1);
	for (int round = 0; round < 20; round++) {
		fix.done_n = 0;
		for (size_t i = 0; i < NAMES; i++) {
			t[i].host = hosts[i];
			t[i].done_n = t[i].got_bytes = 0;
			fixture_start(&t[i], "/ok/10");
		}
		FIXTURE_RUN_UNTIL(&fix.loop, fix.done_n == NAMES);
		for (size_t i = 0; i < NAMES; i++)
			cr_assert_eq(t[i].got_bytes, 10);
	}
	cr_assert_gt(fix.accepted_n, NAMES);
	fixture_close(t, NAMES);
}

#define MANY 24

Test(curl_uv_sockets, names_that_are_looked_up_and_given_up_leave_nothing)
{
	struct transfer t[MANY] = {{.easy = NULL}};
	size_t i, least;

	fixture_open(4);
	for (i = 0; i < MANY; i++) {
		t[i].host = "localhost";
		t[i].easy = curl_easy_init();
		curl_easy_setopt(t[i].easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
		curl_easy_setopt(t[i].easy, CURLOPT_QUICK_EXIT, 1L);
		fixture_start(&t[i], "/ok/10");
		if (i % 3 == 1)
			curl_uv_stop(fix.cu, t[i].easy);
	}
	uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
	least = MANY / 3;
	for (i = 2; i < MANY; i += 3) {
		if (t[i].done_n == 0)
			curl_uv_stop(fix.cu, t[i].easy);
		else
			least++;
	}
	FIXTURE_RUN_UNTIL(&fix.loop, fix.done_n == least);
	for (i = 0; i < MANY; i += 3)
		cr_assert_eq(t[i].got_bytes, 10);
	fixture_close(t, MANY);
}

/* ---- the end, at any time ---- */

Test(curl_uv_sockets, it_closes_after_a_stop_at_any_moment)
{
	for (int turns = 0; turns < 12; turns++) {
		struct transfer t[2] = {{.easy = NULL}};

		fixture_open(4);
		fixture_start(&t[0], "/ok/300000");
		for (int i = 0; i < turns; i++)
			uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
		fixture_start(&t[1], "/ok/300000");
		for (int i = 0; i < turns; i++)
			uv_run(&fix.loop.uv, UV_RUN_NOWAIT);
		for (int i = 0; i < 2; i++) {
			if (t[i].done_n == 0)
				curl_uv_stop(fix.cu, t[i].easy);
		}
		fixture_close(t, 2);
	}
}
