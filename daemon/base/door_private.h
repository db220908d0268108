/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What door.c (requests and connections) and door_open.c (opening and closing)
 * share.
 */
#ifndef BASE_DOOR_PRIVATE_H
#define BASE_DOOR_PRIVATE_H

#include <sys/queue.h>

#include <uthash.h>

#include "base/door.h"

/* Contexts that shall always listen. */
#define DOOR_SPARE 8u
#define DOOR_LOCKS_MAX 8u
#define DOOR_LISTENERS_MAX 8u

enum place { LISTENING, HELD, SENDING };

struct door_request {
	struct door *door;
	nng_ctx ctx;
	nng_aio *aio;
	nng_msg *msg;
	_Atomic(enum place) place; /* written by whoever has the request */
	struct door_peer peer;
	TAILQ_ENTRY(door_request) inbox_link;
	SLIST_ENTRY(door_request) all_link;
};

/*
 * A connection: in ${connections} from before its first request until the
 * loop has seen its end, then in ${gone} in between.  The peer is asked for at
 * the beginning, because nng forgets it with the connection, while a request
 * may still be on its way to the loop.
 */
struct connection {
	struct door_peer peer;
	uint16_t family; /* nng's, of ${address}; 0: none */
	uint8_t address[16]; /* without a uid: where it comes from, cut to what
	                      * counts as one */
	bool ended; /* is in ${gone} */
	unsigned busy_n; /* requests whose replies are not on their way */
	bool shed; /* loop thread: it was said so */
	UT_hash_handle hh;
	STAILQ_ENTRY(connection) gone_link;
};

struct door {
	struct door_options options;
	nng_socket socket;
	uv_async_t wake;
	uv_mutex_t mutex;
	/* Under the mutex: */
	TAILQ_HEAD(, door_request) inbox;
	struct connection *connections; /* by peer.pipe; uthash */
	STAILQ_HEAD(gone_list, connection) gone;
	unsigned pipes_n; /* connections that have not ended */
	uint64_t refused_n; /* turned away so far */
	struct connection refused; /* the latest of them */
	int beyond[DOOR_LISTENERS_MAX]; /* listeners' ids */
	size_t beyond_n;
	unsigned busy_n; /* contexts that do not listen */
	bool closing;
	bool closed; /* nng is done with it */
	bool abandoned; /* waited for nng in vain */
	/* Loop thread only: */
	SLIST_HEAD(, door_request) all;
	unsigned contexts_n;
	uint64_t refused_told_n; /* ${refused_n} when the log had it */
	uint64_t refused_told_ns;
	int locks[DOOR_LOCKS_MAX];
	size_t locks_n;
	uv_thread_t closer;
	uv_timer_t patience;
	unsigned handles_n; /* open uv handles, while closing */
};

/* door_add_context(d): one more context that listens; false: no memory. */
bool door_add_context(struct door *d);

/* door_on_closed(d): woken while closing; the rest, if nng is done. */
void door_on_closed(struct door *d);

/*
 * For door_limit.c, on nng's threads, with the mutex held but for the first.
 * door_read_peer(d, pipe, c): who ${c} is.
 * door_admits(d, c): whether there is room for one more such connection.
 * door_refuse(d, c): count it.
 * door_tell_refused(d): log it, now and then; loop thread, without the mutex.
 */
void door_read_peer(struct door *d, nng_pipe pipe, struct connection *c);
bool door_admits(const struct door *d, const struct connection *c);
void door_refuse(struct door *d, const struct connection *c);
void door_tell_refused(struct door *d);

/* uv's and nng's callbacks. */
void door_on_wake(uv_async_t *wake);
void door_on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg);

#endif
