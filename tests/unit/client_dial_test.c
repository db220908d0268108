/* SPDX-License-Identifier: Apache-2.0 */
/*
 * liblatentd: a dialer that gave up.  The kernel's EPIPE for a connection that
 * began is this program's: its getsockopt() stands before libc's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/reqrep0/req.h>

#include "../support/client_setup.h"
#include "dial.h"

#define SHORT_MS 20

static atomic_int broken_n; /* connections that are to begin with EPIPE */

__attribute__((visibility("default"))) int
getsockopt(int fd, int level, int name, void *value, socklen_t *bytes)
{
	int n = atomic_load(&broken_n);

	if (level == SOL_SOCKET && name == SO_ERROR && n > 0 &&
	    atomic_compare_exchange_strong(&broken_n, &n, n - 1)) {
		*(int *)value = EPIPE;
		return 0;
	}
	return (int)syscall(SYS_getsockopt, fd, level, name, value, bytes);
}

static void
setup_tcp(void)
{
	dial_patience_ms = SHORT_MS;
	fake_open_tcp(&daemon_, 7);
}

static void
teardown_tcp(void)
{
	cr_assert_eq(atomic_load(&broken_n), 0);
	fake_close(&daemon_);
}

TestSuite(client_dial, .init = setup_tcp, .fini = teardown_tcp);

Test(client_dial, a_client_connects_when_its_dialers_gave_up)
{
	struct latentd_client *client;

	atomic_store(&broken_n, 3);
	client = open_named();
	submit_accepted(client, "k");
	latentd_client_close(client);
}

Test(client_dial, a_client_connects_again_when_its_dialers_gave_up)
{
	struct latentd_client *client = open_named();

	submit_accepted(client, "k");
	atomic_store(&broken_n, 2);
	fake_reopen(&daemon_, 8);
	fake_welcome(&daemon_, fake_take(&daemon_, MESSAGE_HELLO));
	fake_accept(&daemon_, fake_take(&daemon_, MESSAGE_SUBMIT), 9);
	latentd_client_close(client);
}

/* Who sends events, at ${url}; if that is empty, at one to be told. */
static nng_socket
open_events(char url[static 64])
{
	nng_listener listener;
	nng_sockaddr at;
	nng_socket socket;

	cr_assert_eq(nng_pub0_open(&socket), 0);
	cr_assert_eq(
	    nng_listen(socket, url[0] != '\0' ? url : "tcp://127.0.0.1:0",
		&listener, 0),
	    0);
	cr_assert_eq(nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &at), 0);
	snprintf(url, 64, "tcp://127.0.0.1:%d", ntohs(at.s_in.sa_port));
	return socket;
}

static void
publish(nng_socket socket, uint64_t id)
{
	struct message_event in = {.id = id,
	    .producer = {"p", 1},
	    .model = {"m", 1},
	    .task = LATENTD_DECODE,
	    .state = JOB_DONE,
	    .output = LATENTD_OUT_PNG};
	uint8_t front[MESSAGE_FRONT_BYTES];
	size_t bytes =
	    message_encode(MESSAGE_EVENT, &in, 0, front, sizeof(front));

	cr_assert_gt(bytes, 0);
	cr_assert_eq(nng_send(socket, front, bytes, 0), 0);
}

/* Whether somebody listens is not told to who publishes. */
static void
publish_until_heard(nng_socket socket, struct latentd_watch *watch, uint64_t id)
{
	const struct latentd_event *event;
	enum latentd_err err;

	do {
		publish(socket, id);
		err = latentd_watch_next(watch, SHORT_MS, &event);
	} while (err == LATENTD_ERR_TIMEOUT ||
	    (err == LATENTD_OK && event->id != id));
	cr_assert_eq(err, LATENTD_OK);
}

Test(client_dial, a_watch_hears_again_when_its_dialers_gave_up)
{
	char url[64] = "";
	nng_socket events = open_events(url);
	struct latentd_watch *watch;

	cr_assert_eq(latentd_watch_open(&watch, url), LATENTD_OK);
	publish_until_heard(events, watch, 5);
	atomic_store(&broken_n, 2);
	nng_close(events);
	events = open_events(url);
	publish_until_heard(events, watch, 6);
	latentd_watch_close(watch);
	nng_close(events);
}

struct dialling {
	struct dial dial;
	sem_t connected;
};

static void
on_pipe(nng_pipe pipe, nng_pipe_ev ev, void *arg)
{
	struct dialling *d = arg;

	dial_pipe(&d->dial, pipe, ev);
	if (ev == NNG_PIPE_EV_ADD_POST)
		sem_post(&d->connected);
}

static nng_socket
dial_with(struct dialling *d, const char *url)
{
	struct reason why;
	nng_socket socket;

	memset(d, 0, sizeof(*d));
	sem_init(&d->connected, 0, 0);
	cr_assert_eq(nng_req0_open(&socket), 0);
	cr_assert_eq(
	    nng_pipe_notify(socket, NNG_PIPE_EV_ADD_POST, on_pipe, d), 0);
	cr_assert_eq(
	    nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, on_pipe, d), 0);
	cr_assert_eq(
	    dial_open(&d->dial, socket, url, NULL, NNG_FLAG_NONBLOCK, &why), 0);
	return socket;
}

static void
hang_up(struct dialling *d, nng_socket socket)
{
	dial_stop(&d->dial);
	nng_close(socket);
	dial_fini(&d->dial);
	sem_destroy(&d->connected);
}

Test(client_dial, a_dialer_that_connects_is_kept)
{
	struct dialling d;
	nng_socket socket;
	int id;

	dial_patience_ms = 500;
	socket = dial_with(&d, daemon_.url);
	cr_assert_eq(sem_wait(&d.connected), 0);
	id = nng_dialer_id(d.dial.dialer);
	/* It looks once more, and then no more. */
	nng_aio_wait(d.dial.aio);
	cr_assert_eq(nng_dialer_id(d.dial.dialer), id);
	hang_up(&d, socket);
}

Test(client_dial, nobody_waits_for_a_dialer_that_is_given_time)
{
	struct dialling d;
	nng_socket socket;

	/* Longer than this test may take. */
	dial_patience_ms = 3600000;
	fake_close(&daemon_);
	socket = dial_with(&d, daemon_.url);
	hang_up(&d, socket);
	fake_open_tcp(&daemon_, 7);
}
