/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producers' door: an nng REP socket with many contexts on a uv loop.
 * nng's threads link what arrives into an inbox and wake the loop; everything
 * below is called on, and calls back on, the loop thread.
 */
#ifndef BASE_DOOR_H
#define BASE_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nng/nng.h>
#include <uv.h>

#include "base/tls.h"
#include "latentd/errors.h"
#include "reason.h"

struct door;
struct door_request;

/* Who sent a request, as the kernel and nng know it. */
struct door_peer {
	bool has_uid; /* ipc only */
	uint64_t uid;
	bool beyond; /* came where other machines' may come, too */
	uint32_t pipe; /* the connection; never 0 */
};

struct door_options {
	size_t max_message_bytes; /* longer ones close the connection */
	unsigned max_connections; /* further ones are closed at once */
	unsigned reserved_connections; /* of these, for root and ${own_uid}, on
	                                * ipc, alone */
	unsigned max_user_connections; /* of one uid or, without uids, of one
	                                * address (IPv6: of one /64); 0: any
	                                * number.  Not of root and ${own_uid} */
	uint64_t own_uid; /* whom the daemon runs as */
	unsigned max_requests; /* unanswered at the same time; beyond it the
	                        * connection with the most loses its replies */
	/* on_request(request, arg): answer it once, now or later. */
	void (*on_request)(struct door_request *request, void *arg);
	/* on_gone(pipe, arg): a connection ended; replies to its requests go
	 * nowhere, but must be given all the same. */
	void (*on_gone)(uint32_t pipe, void *arg);
	void *arg;
};

/*
 * door_open(loop, options, door, why):
 * Create the socket; nothing listens yet.  MEMORY or INTERNAL on failure.
 */
enum latentd_err door_open(uv_loop_t *loop, const struct door_options *options,
    struct door **door, struct reason *why);

/*
 * door_listen(door, url, why):
 * Listen on ${url} (ipc:// with mode 0660, tcp://).  An ipc path is locked
 * first (PATH.lock), because with nng 1.5.2 the mere attempt of a second
 * daemon to listen there would end the first one's listener (nng #1518).
 * Fails with INVALID (not such a URL) or IO (in use, no permission).
 */
enum latentd_err door_listen(
    struct door *door, const char *url, struct reason *why);

/*
 * door_listen_at(door, url, tls, beyond, why):
 * The same, also on tls+tcp:// with ${tls}, which is not used else; ${beyond}
 * says of every peer that comes there whether it may be on another machine.
 */
enum latentd_err door_listen_at(struct door *door, const char *url,
    const struct tls_pem *tls, bool beyond, struct reason *why);

/* door_change(door, max_user_connections): from now on; who has more keeps
 * them. */
void door_change(struct door *door, unsigned max_user_connections);

/* door_refused_n(door): connections closed at once so far.
 * door_connections_n(door): those that are open. */
uint64_t door_refused_n(struct door *door);
unsigned door_connections_n(struct door *door);

/*
 * door_close(door): close the socket and free ${door} when its last uv handle
 * is closed.  No callback comes any more; unanswered requests are invalid.
 * Another thread waits for nng, up to five seconds; a door that is not closed
 * by then is left to it, and the loop can end.
 */
void door_close(struct door *door);

/* The message: borrowed, or taken over for good (then NULL to others). */
nng_msg *door_message(const struct door_request *request);
nng_msg *door_take_message(struct door_request *request);
struct door_peer door_peer(const struct door_request *request);

/* door_reply(request, msg): send ${msg}, which is taken, and free the request.
 * A vanished peer is not an error: nng reports none. */
void door_reply(struct door_request *request, nng_msg *msg);

#endif
