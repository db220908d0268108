/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A context is a place in which one request can be: it waits for a message,
 * is held by the loop until answered, sends, waits again.  Waiting COLLECTs
 * hold contexts for long, and so do replies that their producer does not
 * read, so contexts are added while fewer than DOOR_SPARE of them listen.  At the
 * limit the connection that keeps the most of them busy loses its replies:
 * whoever sends requests without taking replies must not shut out the others.
 * It is not closed, which nng 1.5 does not survive (nng_1518.c).
 *
 * nng's callbacks run on nng's threads.  They touch only the inbox, under its
 * mutex, and their own context's aio, as nng's manual allows.
 */
#include "base/door_private.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"

static struct connection *
find_connection(struct door *d, uint32_t pipe)
{
	struct connection *c;

	HASH_FIND(hh, d->connections, &pipe, sizeof(pipe), c);
	return c;
}

static void
listen_again(struct door_request *r)
{
	r->place = LISTENING;
	nng_ctx_recv(r->ctx, r->aio);
}

static void
on_received(struct door_request *r)
{
	struct door *d = r->door;
	int rv = nng_aio_result(r->aio);
	bool closing;

	if (rv != 0) {
		uv_mutex_lock(&d->mutex);
		closing = d->closing;
		uv_mutex_unlock(&d->mutex);
		/* The message did not make it; wait for the next one. */
		if (!closing)
			listen_again(r);
		return;
	}
	r->msg = nng_aio_get_msg(r->aio);
	r->place = HELD;
	uv_mutex_lock(&d->mutex);
	TAILQ_INSERT_TAIL(&d->inbox, r, inbox_link);
	if (!d->closing)
		uv_async_send(&d->wake);
	uv_mutex_unlock(&d->mutex);
}

static void
on_sent(struct door_request *r)
{
	struct door *d = r->door;
	struct connection *c;
	int rv = nng_aio_result(r->aio);
	bool closing;

	if (rv != 0)
		nng_msg_free(nng_aio_get_msg(r->aio));
	nng_aio_set_msg(r->aio, NULL);
	uv_mutex_lock(&d->mutex);
	closing = d->closing;
	d->busy_n--;
	if ((c = find_connection(d, r->peer.pipe)) != NULL)
		c->busy_n--;
	uv_mutex_unlock(&d->mutex);
	if (closing)
		return;
	listen_again(r);
}

static void
on_aio(void *arg)
{
	struct door_request *r = arg;

	if (r->place == SENDING)
		on_sent(r);
	else
		on_received(r);
}

static void
on_pipe_added(struct door *d, nng_pipe pipe)
{
	struct connection *c = calloc(1, sizeof(*c));
	bool admitted = false;

	if (c != NULL)
		door_read_peer(d, pipe, c);
	uv_mutex_lock(&d->mutex);
	if (c != NULL && door_admits(d, c)) {
		admitted = true;
		d->pipes_n++;
		HASH_ADD(
		    hh, d->connections, peer.pipe, sizeof(c->peer.pipe), c);
	} else {
		door_refuse(d, c);
	}
	uv_mutex_unlock(&d->mutex);
	if (!admitted) {
		free(c);
		nng_pipe_close(pipe);
	}
}

static void
on_pipe_removed(struct door *d, nng_pipe pipe)
{
	struct connection *c;

	uv_mutex_lock(&d->mutex);
	c = find_connection(d, (uint32_t)nng_pipe_id(pipe));
	if (c != NULL) {
		assert(d->pipes_n > 0);
		d->pipes_n--;
		c->ended = true;
		STAILQ_INSERT_TAIL(&d->gone, c, gone_link);
		if (!d->closing)
			uv_async_send(&d->wake);
	}
	uv_mutex_unlock(&d->mutex);
}

/* Runs on an nng thread; after ADD_PRE, REM_POST always follows. */
void
door_on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	if (event == NNG_PIPE_EV_ADD_PRE)
		on_pipe_added(arg, pipe);
	else
		on_pipe_removed(arg, pipe);
}

bool
door_add_context(struct door *d)
{
	struct door_request *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return false;
	r->door = d;
	if (nng_aio_alloc(&r->aio, on_aio, r) != 0)
		goto free_request;
	if (nng_ctx_open(&r->ctx, d->socket) != 0)
		goto free_aio;
	SLIST_INSERT_HEAD(&d->all, r, all_link);
	d->contexts_n++;
	nng_ctx_recv(r->ctx, r->aio);
	return true;

free_aio:
	nng_aio_free(r->aio);
free_request:
	free(r);
	return false;
}

static struct connection *
busiest(struct door *d)
{
	struct connection *c, *most = NULL;

	for (c = d->connections; c != NULL; c = c->hh.next) {
		if (most == NULL || c->busy_n > most->busy_n)
			most = c;
	}
	assert(most != NULL);
	return most;
}

/* Free the contexts that the busiest connection keeps. */
static void
shed(struct door *d)
{
	struct door_request *r;
	struct connection *most;
	unsigned busy_n;

	uv_mutex_lock(&d->mutex);
	most = busiest(d);
	busy_n = most->busy_n;
	uv_mutex_unlock(&d->mutex);
	if (!most->shed)
		log_warn("a connection (uid %lld) has %u requests open and "
			 "loses their replies",
		    most->peer.has_uid ? (long long)most->peer.uid : -1,
		    busy_n);
	most->shed = true;
	/* Those that wait are answered, too. */
	d->options.on_gone(most->peer.pipe, d->options.arg);
	SLIST_FOREACH(r, &d->all, all_link)
	{
		if (r->peer.pipe == most->peer.pipe && r->place == SENDING)
			nng_aio_cancel(r->aio);
	}
}

static void
keep_listening(struct door *d, unsigned busy_n)
{
	if (d->contexts_n - busy_n >= DOOR_SPARE)
		return;
	if (d->contexts_n < d->options.max_requests)
		door_add_context(d);
	else
		shed(d);
}

/*
 * Hand on a request, unless the end of its connection overtook it: then there
 * is nobody to answer, and what it would lease or wait for would be lost.
 */
static void
take_in(struct door *d, struct door_request *r)
{
	struct connection *c;
	unsigned busy_n = 0;

	uv_mutex_lock(&d->mutex);
	c = find_connection(d, (uint32_t)nng_pipe_id(nng_msg_get_pipe(r->msg)));
	if (c != NULL) {
		r->peer = c->peer;
		c->busy_n++;
		busy_n = ++d->busy_n;
	}
	uv_mutex_unlock(&d->mutex);
	if (c == NULL) {
		nng_msg_free(r->msg);
		r->msg = NULL;
		listen_again(r);
		return;
	}
	keep_listening(d, busy_n);
	d->options.on_request(r, d->options.arg);
}

static void
let_go(struct door *d, struct connection *c)
{
	uv_mutex_lock(&d->mutex);
	HASH_DEL(d->connections, c);
	uv_mutex_unlock(&d->mutex);
	d->options.on_gone(c->peer.pipe, d->options.arg);
	free(c);
}

void
door_on_wake(uv_async_t *wake)
{
	struct door *d = wake->data;
	TAILQ_HEAD(, door_request) arrived = TAILQ_HEAD_INITIALIZER(arrived);
	struct gone_list gone = STAILQ_HEAD_INITIALIZER(gone);
	struct door_request *r;
	struct connection *c;

	if (d->closing) {
		door_on_closed(d);
		return;
	}
	uv_mutex_lock(&d->mutex);
	TAILQ_CONCAT(&arrived, &d->inbox, inbox_link);
	STAILQ_CONCAT(&gone, &d->gone);
	uv_mutex_unlock(&d->mutex);
	/* Requests first: one that precedes the end of its connection must
	 * find that end still ahead of it. */
	while ((r = TAILQ_FIRST(&arrived)) != NULL) {
		TAILQ_REMOVE(&arrived, r, inbox_link);
		take_in(d, r);
	}
	while ((c = STAILQ_FIRST(&gone)) != NULL) {
		STAILQ_REMOVE_HEAD(&gone, gone_link);
		let_go(d, c);
	}
	door_tell_refused(d);
}

nng_msg *
door_message(const struct door_request *r)
{
	return r->msg;
}

nng_msg *
door_take_message(struct door_request *r)
{
	nng_msg *msg = r->msg;

	r->msg = NULL;
	return msg;
}

struct door_peer
door_peer(const struct door_request *r)
{
	return r->peer;
}

void
door_reply(struct door_request *r, nng_msg *msg)
{
	assert(r->place == HELD);
	if (r->msg != NULL) {
		nng_msg_free(r->msg);
		r->msg = NULL;
	}
	r->place = SENDING;
	nng_aio_set_msg(r->aio, msg);
	nng_ctx_send(r->ctx, r->aio);
}
