/* SPDX-License-Identifier: Apache-2.0 */
/* Paths, their locks, and nng #1518. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "door_fixture.h"

static const struct door_options usual = {
    .max_message_bytes = 1048576, .max_connections = 64, .max_requests = 256};

static struct fixture_door x;

static void
check_served(nng_socket client)
{
	struct fixture_call call;

	x.echo = true;
	fixture_call(&call, client, "hello", 5);
	FIXTURE_RUN_UNTIL(&x.loop, atomic_load(&call.done));
	cr_assert(fixture_replied(&call, "hello", 5));
	fixture_call_end(&call);
}

Test(door, addresses_that_are_none_are_refused)
{
	static const char *const urls[] = {"", "/run/x.sock", "inproc://x",
	    "ws://127.0.0.1:1", "tcp://127.0.0.1:notaport", "IPC:///tmp/x"};
	struct reason why;

	fixture_door_open(&x, &usual);
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		why.text[0] = '\0';
		cr_assert_neq(door_listen(x.door, urls[i], &why), LATENTD_OK,
		    "%s", urls[i]);
		cr_assert_not_null(strstr(why.text, urls[i]), "%s", why.text);
	}
	fixture_door_close(&x);
}

Test(door, a_path_that_cannot_be_is_an_io_error_that_names_it)
{
	struct reason why;

	fixture_door_open(&x, &usual);
	cr_assert_eq(door_listen(x.door, "ipc:///nonexistent/dir/sock", &why),
	    LATENTD_ERR_IO);
	cr_assert_not_null(strstr(why.text, "/nonexistent/dir/sock"));
	cr_assert_not_null(strstr(why.text, "No such file"), "%s", why.text);
	fixture_door_close(&x);
}

Test(door, the_socket_is_for_owner_and_group)
{
	struct stat st;

	fixture_door_open(&x, &usual);
	cr_assert_eq(stat(x.url + 6, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0660);
	fixture_door_close(&x);
}

static void
on_nothing(struct door_request *request, void *arg)
{
	(void)request;
	cr_assert_fail("a request came to %p", arg);
}

static void
on_nobody(uint32_t pipe, void *arg)
{
	(void)pipe;
	cr_assert_fail("a connection left %p", arg);
}

Test(door, a_second_door_on_the_path_is_refused_and_does_no_harm)
{
	struct door_options options = usual;
	struct door *second;
	struct reason why = {0};
	nng_socket before, after;

	fixture_door_open(&x, &usual);
	before = fixture_client(x.url);
	options.on_request = on_nothing;
	options.on_gone = on_nobody;
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(
		    door_open(&x.loop.uv, &options, &second, &why), LATENTD_OK);
		cr_assert_eq(door_listen(second, x.url, &why), LATENTD_ERR_IO);
		cr_assert_not_null(
		    strstr(why.text, "another latentd"), "%s", why.text);
		cr_assert_not_null(strstr(why.text, x.url + 6), "%s", why.text);
		door_close(second);
	}
	check_served(before);
	after = fixture_client(x.url);
	check_served(after);
	nng_close(before);
	nng_close(after);
	fixture_door_close(&x);
}

Test(door, a_closed_door_leaves_its_path_to_the_next)
{
	struct door_options options = usual;
	struct door *second = NULL;
	struct reason why = {0};
	nng_socket client;

	options.on_request = on_nothing;
	options.on_gone = on_nobody;
	fixture_door_open(&x, &usual);
	client = fixture_client(x.url);
	check_served(client);
	nng_close(client);
	door_close(x.door);
	cr_assert_eq(
	    door_open(&x.loop.uv, &options, &second, &why), LATENTD_OK);
	/* The first one closes in its own time. */
	FIXTURE_RUN_UNTIL(
	    &x.loop, door_listen(second, x.url, &why) == LATENTD_OK);
	x.door = second;
	fixture_door_close(&x);
}

Test(door, a_socket_file_that_a_crash_left_behind_is_no_obstacle)
{
	struct door_options options = usual;
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct reason why = {0};
	nng_socket client;
	char url[128];
	int fd;

	fixture_door_open(&x, &usual);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/stale", x.directory);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	close(fd);
	snprintf(url, sizeof(url), "ipc://%s", at.sun_path);
	cr_assert_eq(
	    door_listen(x.door, url, &why), LATENTD_OK, "%s", why.text);
	client = fixture_client(url);
	check_served(client);
	nng_close(client);
	(void)options;
	snprintf(url, sizeof(url), "%s.lock", at.sun_path);
	cr_assert_eq(unlink(url), 0);
	unlink(at.sun_path);
	fixture_door_close(&x);
}

/* connect() and close() without a byte, as a client that dies does. */
static void
knock_and_run(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0);
	strcpy(at.sun_path, path);
	/* A full backlog is as good as a connection here. */
	(void)connect(fd, (struct sockaddr *)&at, sizeof(at));
	close(fd);
}

Test(door, clients_that_hang_up_in_the_handshake_do_not_lock_others_out)
{
	nng_socket before, after;

	fixture_door_open(&x, &usual);
	before = fixture_client(x.url);
	check_served(before);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 100; i++)
			knock_and_run(x.url + 6);
		check_served(before);
		after = fixture_client(x.url);
		check_served(after);
		nng_close(after);
	}
	nng_close(before);
	fixture_door_close(&x);
}

Test(door, garbage_and_half_handshakes_do_not_lock_others_out)
{
	static const char *const greetings[] = {"", "\0SP",
	    "GET / HTTP/1.1\r\n",
	    "\0SP\0\0\x30\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff"};
	static const size_t bytes[] = {0, 3, 16, 17};
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	nng_socket client;
	int fds[40];

	fixture_door_open(&x, &usual);
	strcpy(at.sun_path, x.url + 6);
	for (size_t i = 0; i < 40; i++) {
		fds[i] = socket(
		    AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		cr_assert(fds[i] >= 0);
		if (connect(fds[i], (struct sockaddr *)&at, sizeof(at)) == 0)
			send(fds[i], greetings[i % 4], bytes[i % 4],
			    MSG_NOSIGNAL);
	}
	client = fixture_client(x.url);
	check_served(client);
	for (size_t i = 0; i < 40; i++)
		close(fds[i]);
	check_served(client);
	nng_close(client);
	fixture_door_close(&x);
}
