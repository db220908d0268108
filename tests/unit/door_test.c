/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "door_fixture.h"

static const struct door_options usual = {
    .max_message_bytes = 1048576, .max_connections = 64, .max_requests = 256};

static struct fixture_door x;

static void
answer_all(void)
{
	while (x.held_n > 0)
		fixture_answer(&x, 0);
}

/* A whole round trip; the door echoes. */
static void
check_served(nng_socket client, const char *text)
{
	struct fixture_call call;

	x.echo = true;
	fixture_call(&call, client, text, strlen(text));
	FIXTURE_RUN_UNTIL(&x.loop, atomic_load(&call.done));
	cr_assert(fixture_replied(&call, text, strlen(text)));
	fixture_call_end(&call);
	x.echo = false;
}

Test(door, a_request_gets_its_reply)
{
	nng_socket client;

	fixture_door_open(&x, &usual);
	client = fixture_client(x.url);
	check_served(client, "hello");
	check_served(client, "");
	check_served(client, "again");
	cr_assert_eq(x.requests_n, 3);
	nng_close(client);
	fixture_door_close(&x);
}

Test(door, the_peer_is_known_by_uid_and_connection)
{
	struct fixture_call call[3];
	nng_socket a, b;
	struct door_peer peers[3];

	fixture_door_open(&x, &usual);
	a = fixture_client(x.url);
	b = fixture_client(x.url);
	for (int i = 0; i < 3; i++) {
		fixture_call(&call[i], i == 2 ? b : a, "x", 1);
		FIXTURE_RUN_UNTIL(&x.loop, x.held_n == (size_t)i + 1);
		peers[i] = door_peer(x.held[i]);
		cr_assert(peers[i].has_uid);
		cr_assert_eq(peers[i].uid, getuid());
		cr_assert_neq(peers[i].pipe, 0);
	}
	cr_assert_eq(peers[0].pipe, peers[1].pipe);
	cr_assert_neq(peers[0].pipe, peers[2].pipe);
	answer_all();
	for (int i = 0; i < 3; i++) {
		FIXTURE_RUN_UNTIL(&x.loop, atomic_load(&call[i].done));
		fixture_call_end(&call[i]);
	}
	nng_close(a);
	nng_close(b);
	fixture_door_close(&x);
}

Test(door, peers_over_tcp_have_no_uid)
{
	struct reason why = {0};
	struct fixture_call call;
	nng_socket client;
	char url[64];
	unsigned port;

	fixture_door_open(&x, &usual);
	/* Whatever is free; others listen here too. */
	for (port = 20000 + (unsigned)getpid() % 20000;; port++) {
		snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
		if (door_listen(x.door, url, &why) == LATENTD_OK)
			break;
		cr_assert_eq(why.err, LATENTD_ERR_IO, "%s", why.text);
	}
	client = fixture_client(url);
	fixture_call(&call, client, "x", 1);
	FIXTURE_RUN_UNTIL(&x.loop, x.held_n == 1);
	cr_assert_not(door_peer(x.held[0]).has_uid);
	answer_all();
	FIXTURE_RUN_UNTIL(&x.loop, atomic_load(&call.done));
	fixture_call_end(&call);
	nng_close(client);
	fixture_door_close(&x);
}

#define MANY 100

Test(door, held_requests_do_not_hold_up_others)
{
	static struct fixture_call calls[MANY];
	nng_socket client;

	fixture_door_open(&x, &usual);
	client = fixture_client(x.url);
	for (size_t i = 0; i < MANY; i++)
		fixture_call(&calls[i], client, &i, sizeof(i));
	FIXTURE_RUN_UNTIL(&x.loop, x.held_n == MANY);
	/* Another one goes through while all these wait. */
	check_served(client, "me first");
	cr_assert_eq(x.held_n, MANY);
	/* Answered backwards, each gets its own all the same. */
	while (x.held_n > 0)
		fixture_answer(&x, x.held_n - 1);
	for (size_t i = 0; i < MANY; i++) {
		FIXTURE_RUN_UNTIL(&x.loop, atomic_load(&calls[i].done));
		cr_assert(fixture_replied(&calls[i], &i, sizeof(i)));
		fixture_call_end(&calls[i]);
	}
	nng_close(client);
	fixture_door_close(&x);
}

Test(door, a_gone_connection_is_told_and_its_requests_can_be_answered)
{
	struct fixture_call call;
	nng_socket stays, leaves;
	uint32_t pipe;

	fixture_door_open(&x, &usual);
	stays = fixture_client(x.url);
	leaves = fixture_client(x.url);
	fixture_call(&call, leaves, "x", 1);
	FIXTURE_RUN_UNTIL(&x.loop, x.held_n == 1);
	pipe = door_peer(x.held[0]).pipe;
	cr_assert_eq(x.gone_n, 0);
	fixture_call_end(&call);
	nng_close(leaves);
	FIXTURE_RUN_UNTIL(&x.loop, x.gone_n == 1);
	cr_assert_eq(x.gone[0], pipe);
	cr_assert_eq(door_peer(x.held[0]).pipe, pipe);
	answer_all();
	check_served(stays, "hello");
	cr_assert_eq(x.gone_n, 1);
	nng_close(stays);
	FIXTURE_RUN_UNTIL(&x.loop, x.gone_n == 2);
	fixture_door_close(&x);
}

Test(door, a_message_beyond_the_limit_closes_its_connection_only)
{
	const struct door_options small = {.max_message_bytes = 1000,
	    .max_connections = 64,
	    .max_requests = 64};
	struct fixture_raw raw;
	nng_socket client;

	fixture_door_open(&x, &small);
	x.echo = true;
	client = fixture_client(x.url);
	check_served(client, "hello");
	fixture_raw_open(&raw, &x);
	x.echo = true;
	/* REQ's number of 4 bytes counts, too. */
	fixture_raw_put(&raw, 996);
	FIXTURE_RUN_UNTIL(&x.loop, fixture_raw_push(&raw) && x.requests_n == 2);
	cr_assert_eq(x.gone_n, 0);
	fixture_raw_put(&raw, 997);
	FIXTURE_RUN_UNTIL(&x.loop, fixture_raw_push(&raw) && x.gone_n > 0);
	fixture_raw_close(&raw);
	cr_assert_eq(x.requests_n, 2);
	check_served(client, "still here");
	nng_close(client);
	fixture_door_close(&x);
}

Test(door, a_message_of_just_the_limit_is_let_in)
{
	const struct door_options small = {.max_message_bytes = 1000,
	    .max_connections = 64,
	    .max_requests = 64};
	static char data[1000];
	struct fixture_call call;
	nng_socket client;

	fixture_door_open(&x, &small);
	client = fixture_client(x.url);
	x.echo = true;
	/* REQ puts 4 bytes in front, which count on the wire. */
	fixture_call(&call, client, data, 996);
	FIXTURE_RUN_UNTIL(&x.loop, atomic_load(&call.done));
	cr_assert(fixture_replied(&call, data, 996));
	fixture_call_end(&call);
	nng_close(client);
	fixture_door_close(&x);
}

Test(door, a_taken_message_is_the_takers)
{
	struct fixture_call call;
	nng_socket client;
	nng_msg *taken;

	fixture_door_open(&x, &usual);
	client = fixture_client(x.url);
	fixture_call(&call, client, "mine", 4);
	FIXTURE_RUN_UNTIL(&x.loop, x.held_n == 1);
	cr_assert_eq(nng_msg_len(door_message(x.held[0])), 4);
	taken = door_take_message(x.held[0]);
	cr_assert_null(door_message(x.held[0]));
	cr_assert_null(door_take_message(x.held[0]));
	cr_assert_arr_eq(nng_msg_body(taken), "mine", 4);
	cr_assert_eq(nng_msg_append(taken, "!", 1), 0);
	door_reply(x.held[0], taken);
	x.held_n = 0;
	FIXTURE_RUN_UNTIL(&x.loop, atomic_load(&call.done));
	cr_assert(fixture_replied(&call, "mine!", 5));
	fixture_call_end(&call);
	nng_close(client);
	fixture_door_close(&x);
}

Test(door, it_closes_with_requests_that_nobody_answered_or_saw)
{
	static struct fixture_call calls[11];
	struct pollfd wake;
	nng_socket client;

	fixture_door_open(&x, &usual);
	client = fixture_client(x.url);
	for (size_t i = 0; i < 11; i++) {
		fixture_call(&calls[i], client, "x", 1);
		if (i == 9)
			FIXTURE_RUN_UNTIL(&x.loop, x.held_n == 10);
	}
	/* The last one is in the inbox when the loop would wake up for it. */
	wake = (struct pollfd){uv_backend_fd(&x.loop.uv), POLLIN, 0};
	cr_assert_eq(poll(&wake, 1, -1), 1);
	fixture_door_close(&x);
	cr_assert_eq(x.requests_n, 10);
	for (size_t i = 0; i < 11; i++)
		fixture_call_end(&calls[i]);
	nng_close(client);
}
