/* SPDX-License-Identifier: Apache-2.0 */
/* A socket's way to the daemon, for as long as the socket lives. */
#ifndef CLIENT_DIAL_H
#define CLIENT_DIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "latentd/client.h"
#include "reason.h"

/* Its owner sets it to zero before dial_open(). */
struct dial {
	nng_socket socket;
	char url[LATENTD_MAX_URL_BYTES + 1];
	nng_tls_config *tls; /* NULL: without */
	nng_dialer dialer;
	nng_aio *aio; /* sleeps until the next look */
	pthread_mutex_t mutex; /* for what follows */
	bool looking; /* the aio sleeps, or what it calls runs */
	bool stopped;
	int pipe_id; /* of the connection; 0: none */
	int ended_id; /* of the latest that ended */
	uint64_t wait_ms; /* how long nng is left to itself */
	uint64_t anew_at_ms; /* on due_now_ms()'s clock */
};

/* How long nng is left to itself at first; tests shorten it. */
extern uint64_t dial_patience_ms;

/*
 * dial_open(d, socket, url, tls, flags, why):
 * Dial ${url}, with ${tls} (NULL: all defaults) where it is tls+tcp://, as
 * nng_dialer_start() does with ${flags}.  Returns an error of nng's or 0;
 * ${why->err} is OK where that error says all.
 *
 * dial_pipe(d, pipe, ev): to be called at each NNG_PIPE_EV_ADD_POST and
 * NNG_PIPE_EV_REM_POST of the socket, of which it is only told by its owner;
 * on any thread.
 *
 * dial_stop(d): dials no more; waits for what runs, so not on one of nng's
 * threads.  Before the socket is closed; dial_fini(d) after that.  Both also
 * after a failure of dial_open(), or without it.
 */
int dial_open(struct dial *d, nng_socket socket, const char *url,
    const struct latentd_tls *tls, int flags, struct reason *why);
void dial_pipe(struct dial *d, nng_pipe pipe, nng_pipe_ev ev);
void dial_stop(struct dial *d);
void dial_fini(struct dial *d);

#endif
