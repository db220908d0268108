/* SPDX-License-Identifier: Apache-2.0 */
#include "door_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nng/protocol/reqrep0/req.h>

static void
on_request(struct door_request *request, void *arg)
{
	struct fixture_door *x = arg;

	cr_assert_not_null(door_message(request));
	cr_assert(x->held_n < FIXTURE_HELD_MAX);
	x->requests_n++;
	x->held[x->held_n++] = request;
	if (x->echo)
		fixture_answer(x, x->held_n - 1);
}

static void
on_gone(uint32_t pipe, void *arg)
{
	struct fixture_door *x = arg;

	cr_assert(pipe != 0 && x->gone_n < FIXTURE_HELD_MAX);
	x->gone[x->gone_n++] = pipe;
	/* As publish does with those that wait. */
	for (size_t i = x->held_n; x->answer_gone && i-- > 0;) {
		if (door_peer(x->held[i]).pipe == pipe)
			fixture_answer(x, i);
	}
}

void
fixture_door_open(struct fixture_door *x, const struct door_options *options)
{
	struct door_options mine = *options;
	struct reason why = {0};

	memset(x, 0, sizeof(*x));
	fixture_loop_open(&x->loop);
	mine.on_request = on_request;
	mine.on_gone = on_gone;
	mine.arg = x;
	cr_assert_eq(door_open(&x->loop.uv, &mine, &x->door, &why), LATENTD_OK,
	    "%s", why.text);
	strcpy(x->directory, "/tmp/unit-door-XXXXXX");
	cr_assert_not_null(mkdtemp(x->directory));
	snprintf(x->url, sizeof(x->url), "ipc://%s/sock", x->directory);
	cr_assert_eq(
	    door_listen(x->door, x->url, &why), LATENTD_OK, "%s", why.text);
}

void
fixture_door_close(struct fixture_door *x)
{
	char path[128];

	door_close(x->door);
	fixture_loop_close(&x->loop);
	snprintf(path, sizeof(path), "%s.lock", x->url + 6);
	unlink(path);
	unlink(x->url + 6);
	cr_assert_eq(rmdir(x->directory), 0, "%s is not empty", x->directory);
}

void
fixture_answer(struct fixture_door *x, size_t i)
{
	struct door_request *request;

	cr_assert(i < x->held_n);
	request = x->held[i];
	memmove(x->held + i, x->held + i + 1,
	    (x->held_n - i - 1) * sizeof(*x->held));
	x->held_n--;
	door_reply(request, door_take_message(request));
}

bool
fixture_was_gone(const struct fixture_door *x, uint32_t pipe)
{
	for (size_t i = 0; i < x->gone_n; i++) {
		if (x->gone[i] == pipe)
			return true;
	}
	return false;
}

/* ---- clients ---- */

void
fixture_raw_open(struct fixture_raw *raw, const struct fixture_door *x)
{
	static const unsigned char greeting[8] = {0, 'S', 'P', 0, 0, 0x30};
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	*raw = (struct fixture_raw){
	    .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	cr_assert(raw->fd >= 0);
	cr_assert(strlen(x->url + 6) < sizeof(at.sun_path));
	strcpy(at.sun_path, x->url + 6);
	cr_assert_eq(connect(raw->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(fcntl(raw->fd, F_SETFL, O_NONBLOCK), 0);
	cr_assert_not_null(raw->at = malloc(sizeof(greeting)));
	memcpy(raw->at, greeting, sizeof(greeting));
	raw->bytes = sizeof(greeting);
}

void
fixture_raw_close(struct fixture_raw *raw)
{
	close(raw->fd);
	free(raw->at);
}

void
fixture_raw_put(struct fixture_raw *raw, size_t bytes)
{
	/* 1, the length in 8 bytes, the request's number, the body. */
	size_t all_bytes = 1 + 8 + 4 + bytes;
	uint32_t id = UINT32_C(0x80000000) | ++raw->requests_n;
	unsigned char *at;

	raw->at = realloc(raw->at, raw->bytes + all_bytes);
	cr_assert_not_null(raw->at);
	at = raw->at + raw->bytes;
	memset(at, 'r', all_bytes);
	*at++ = 1;
	for (int i = 0; i < 8; i++)
		*at++ = (unsigned char)((4 + bytes) >> 8 * (7 - i) & 0xff);
	for (int i = 0; i < 4; i++)
		*at++ = (unsigned char)(id >> 8 * (3 - i) & 0xff);
	raw->bytes += all_bytes;
}

bool
fixture_raw_push(struct fixture_raw *raw)
{
	while (raw->sent_bytes < raw->bytes) {
		ssize_t n = send(raw->fd, raw->at + raw->sent_bytes,
		    raw->bytes - raw->sent_bytes, MSG_NOSIGNAL);

		if (n < 0)
			return errno != EAGAIN;
		raw->sent_bytes += (size_t)n;
	}
	return true;
}

nng_socket
fixture_client(const char *url)
{
	nng_socket client;

	cr_assert_eq(nng_req0_open(&client), 0);
	/* Each request is sent once; what gets lost stays lost. */
	cr_assert_eq(
	    nng_socket_set_ms(client, "req:resend-time", NNG_DURATION_INFINITE),
	    0);
	cr_assert_eq(nng_dial(client, url, NULL, 0), 0);
	return client;
}

/* Runs on a thread of nng's. */
static void
on_aio(void *arg)
{
	struct fixture_call *call = arg;

	call->rv = nng_aio_result(call->aio);
	if (call->rv == 0 && !atomic_load(&call->sent)) {
		atomic_store(&call->sent, true);
		nng_ctx_recv(call->ctx, call->aio);
		return;
	}
	call->reply = nng_aio_get_msg(call->aio);
	atomic_store(&call->done, true);
}

void
fixture_call(struct fixture_call *call, nng_socket client, const void *data,
    size_t bytes)
{
	nng_msg *msg;

	memset(call, 0, sizeof(*call));
	cr_assert_eq(nng_ctx_open(&call->ctx, client), 0);
	cr_assert_eq(nng_aio_alloc(&call->aio, on_aio, call), 0);
	cr_assert_eq(nng_msg_alloc(&msg, 0), 0);
	if (bytes > 0)
		cr_assert_eq(nng_msg_append(msg, data, bytes), 0);
	nng_aio_set_msg(call->aio, msg);
	nng_ctx_send(call->ctx, call->aio);
}

void
fixture_call_end(struct fixture_call *call)
{
	nng_aio_stop(call->aio);
	/* What was sent belongs to nng, what was not comes back. */
	if (call->reply != NULL)
		nng_msg_free(call->reply);
	nng_aio_free(call->aio);
	cr_assert_eq(nng_ctx_close(call->ctx), 0);
}

bool
fixture_replied(const struct fixture_call *call, const void *data, size_t bytes)
{
	return atomic_load(&call->done) && call->rv == 0 &&
	    nng_msg_len(call->reply) == bytes &&
	    memcmp(nng_msg_body(call->reply), data, bytes) == 0;
}
