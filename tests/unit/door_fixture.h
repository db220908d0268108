/* SPDX-License-Identifier: Apache-2.0 */
/* A door on a loop, and nng REQ clients that knock at it from outside. */
#ifndef UNIT_DOOR_FIXTURE_H
#define UNIT_DOOR_FIXTURE_H

#include <stdatomic.h>
#include <stdbool.h>

#include <nng/nng.h>

#include "base/door.h"
#include "loop_fixture.h"

#define FIXTURE_HELD_MAX 512

struct fixture_door {
	struct fixture_loop loop;
	struct door *door;
	char directory[32];
	char url[96];
	/* Requests not answered yet, in order of coming. */
	struct door_request *held[FIXTURE_HELD_MAX];
	size_t held_n;
	size_t requests_n;
	uint32_t gone[FIXTURE_HELD_MAX];
	size_t gone_n;
	bool echo; /* answer at once with what came */
	bool answer_gone; /* answer what is held of a gone connection */
};

/* fixture_door_open(x, options): a door in a directory of its own that listens
 * on x->url; options' callbacks are the fixture's. */
void fixture_door_open(
    struct fixture_door *x, const struct door_options *options);

/* fixture_door_close(x): close the door and the loop, remove the directory. */
void fixture_door_close(struct fixture_door *x);

/* fixture_answer(x, i): echo the message of the ${i}th held request. */
void fixture_answer(struct fixture_door *x, size_t i);

/* fixture_was_gone(x, pipe): whether on_gone(pipe) came. */
bool fixture_was_gone(const struct fixture_door *x, uint32_t pipe);

/* One request of a client; ${done} turns true when the reply is there. */
struct fixture_call {
	nng_ctx ctx;
	nng_aio *aio;
	atomic_bool sent;
	atomic_bool done;
	int rv;
	nng_msg *reply;
};

/*
 * A client that speaks SP itself, so that it can die or stop reading whenever
 * it likes: requests are put together in ${at} and sent by fixture_raw_push().
 */
struct fixture_raw {
	int fd; /* non-blocking */
	unsigned char *at;
	size_t bytes, sent_bytes;
	uint32_t requests_n;
};

/* fixture_raw_open(raw, x): connect; the greeting is put, not yet sent. */
void fixture_raw_open(struct fixture_raw *raw, const struct fixture_door *x);
void fixture_raw_close(struct fixture_raw *raw);

/* fixture_raw_put(raw, bytes): put one more request of ${bytes} bytes. */
void fixture_raw_put(struct fixture_raw *raw, size_t bytes);

/* fixture_raw_push(raw): send what the socket takes; true when nothing is
 * left, or when the other side hung up. */
bool fixture_raw_push(struct fixture_raw *raw);

/* fixture_client(url): a connected REQ socket. */
nng_socket fixture_client(const char *url);

/* fixture_call(call, client, data, bytes): send a request. */
void fixture_call(struct fixture_call *call, nng_socket client,
    const void *data, size_t bytes);

/* fixture_call_end(call): forget it, answered or not. */
void fixture_call_end(struct fixture_call *call);

/* fixture_replied(call, data, bytes): whether just that came back. */
bool fixture_replied(
    const struct fixture_call *call, const void *data, size_t bytes);

#endif
