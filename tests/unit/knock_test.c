/* SPDX-License-Identifier: Apache-2.0 */
/* Knocks at a real door, at a path without one, and at others that listen. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/knock.h"
#include "door_fixture.h"

static const struct door_options usual = {
    .max_message_bytes = 1048576, .max_connections = 1024, .max_requests = 256};
static const struct door_options narrow = {
    .max_message_bytes = 1048576, .max_connections = 4, .max_requests = 256};

static struct fixture_door x;
static unsigned answers_n;
static char why[128]; /* of the last answer; "": it was a good one */

static void
on_answer(const char *text, void *arg)
{
	(void)arg;
	answers_n++;
	snprintf(why, sizeof(why), "%s", text != NULL ? text : "");
}

static struct knock *
open_knock(void)
{
	const struct knock_options options = {
	    .path = x.url + strlen("ipc://"), .on_answer = on_answer};
	struct knock *k = knock_open(&x.loop.uv, &options);

	cr_assert_not_null(k);
	return k;
}

static void
knock(struct knock *k)
{
	unsigned before_n = answers_n;

	knock_start(k);
	FIXTURE_RUN_UNTIL(&x.loop, answers_n > before_n);
}

/* Somebody else than the door, at its path. */
static int
listen_instead(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(address.sun_path, x.url + strlen("ipc://"),
	    sizeof(x.url) - strlen("ipc://"));
	unlink(address.sun_path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	return fd;
}

Test(knock, a_door_answers_as_often_as_it_is_asked)
{
	struct knock *k;
	nng_socket client;
	struct fixture_call call;

	fixture_door_open(&x, &usual);
	k = open_knock();
	for (unsigned i = 0; i < 200; i++) {
		knock(k);
		cr_assert_str_eq(why, "");
	}
	knock_close(k);
	/* And it has harmed nobody: nng #1518. */
	x.echo = true;
	client = fixture_client(x.url);
	fixture_call(&call, client, "hello", 5);
	FIXTURE_RUN_UNTIL(&x.loop, atomic_load(&call.done));
	cr_assert(fixture_replied(&call, "hello", 5));
	fixture_call_end(&call);
	nng_close(client);
	fixture_door_close(&x);
}

Test(knock, a_door_that_is_full_answers_still)
{
	struct fixture_raw raw[4];
	struct knock *k;

	fixture_door_open(&x, &narrow);
	for (size_t i = 0; i < 4; i++) {
		fixture_raw_open(&raw[i], &x);
		fixture_raw_put(&raw[i], 8);
		while (!fixture_raw_push(&raw[i]))
			;
	}
	FIXTURE_RUN_UNTIL(&x.loop, x.held_n == 4);
	k = open_knock();
	for (unsigned i = 0; i < 20; i++) {
		knock(k);
		cr_assert_str_eq(why, "");
	}
	knock_close(k);
	for (size_t i = 0; i < 4; i++)
		fixture_raw_close(&raw[i]);
	fixture_door_close(&x);
}

Test(knock, where_nobody_listens_it_says_so)
{
	struct knock *k;

	fixture_door_open(&x, &usual);
	k = open_knock();
	unlink(x.url + strlen("ipc://"));
	knock(k);
	cr_assert_not_null(strstr(why, "no such file"), "%s", why);
	knock_close(k);
	fixture_door_close(&x);
}

Test(knock, one_that_says_nothing_has_failed_at_the_next)
{
	struct knock *k;
	int fd, peer;

	fixture_door_open(&x, &usual);
	fd = listen_instead();
	k = open_knock();
	answers_n = 0;
	knock_start(k);
	/* It connects: the greeting comes, and no answer goes. */
	uv_run(&x.loop.uv, UV_RUN_NOWAIT);
	peer = accept(fd, NULL, NULL);
	cr_assert_geq(peer, 0);
	cr_assert_eq(answers_n, 0);
	knock_start(k);
	cr_assert_eq(answers_n, 1);
	cr_assert_str_eq(why, "no answer");
	close(peer);
	/* One is on its way when it closes; its callback does not come. */
	knock_start(k);
	knock_close(k);
	close(fd);
	fixture_door_close(&x);
	cr_assert_eq(answers_n, 1);
}

Test(knock, another_protocol_or_a_hang_up_is_no_answer)
{
	static const char pub[8] = {0, 'S', 'P', 0, 0, 0x20, 0, 0};
	struct knock *k;
	int fd, peer;

	/* As main() does. */
	signal(SIGPIPE, SIG_IGN);
	fixture_door_open(&x, &usual);
	fd = listen_instead();
	k = open_knock();
	answers_n = 0;
	knock_start(k);
	peer = accept(fd, NULL, NULL);
	cr_assert_eq(send(peer, pub, 3, 0), 3);
	cr_assert_eq(send(peer, pub + 3, 5, 0), 5);
	FIXTURE_RUN_UNTIL(&x.loop, answers_n == 1);
	cr_assert_str_eq(why, "somebody else answers");
	close(peer);
	knock_start(k);
	peer = accept(fd, NULL, NULL);
	cr_assert_eq(send(peer, pub, 3, 0), 3);
	close(peer);
	FIXTURE_RUN_UNTIL(&x.loop, answers_n == 2);
	cr_assert_str_neq(why, "");
	knock_close(k);
	close(fd);
	fixture_door_close(&x);
}
