/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One REQ socket with a fixed set of contexts ("channels"), so that nothing is
 * opened or closed while it lives: nng 1.5.2 has races there.  REQ resends by
 * itself after a lost connection, which the daemon's keys make harmless.
 *
 * session_pump() is the only sender.  One thread at a time runs it, and it
 * looks at the whole state again after every nng call, so the order of sends is
 * the order of the decisions, and no decision is missed: whoever changes the
 * state while another thread pumps has changed it before that thread looks
 * again.
 */
#include "session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <nng/protocol/reqrep0/req.h>

#include "acks.h"
#include "dial.h"
#include "due.h"
#include "identity.h"
#include "missing.h"
#include "reply.h"
#include "timer.h"

#define RECONNECT_MIN_MS 50
#define RECONNECT_MAX_MS 2000
#define RESEND_MS 60000

/*
 * The request is sent: wait for the reply.  nng 1.5.2 frees a context that is
 * in use when its socket is closed after the socket, so the socket is closed
 * only when no thread is in here.
 */
static void
receive(struct latentd_client *c, struct channel *ch)
{
	pthread_mutex_lock(&c->mutex);
	if (c->closed) {
		ch->busy = false;
		pthread_mutex_unlock(&c->mutex);
		return;
	}
	ch->receiving = true;
	c->receivers++;
	pthread_mutex_unlock(&c->mutex);
	nng_ctx_recv(ch->ctx, ch->aio);
	pthread_mutex_lock(&c->mutex);
	c->receivers--;
	/* Aborting did nothing while nng had no part in it. */
	ch->abort_due = ch->withdrawn;
	session_pump(c);
	if (c->closed)
		pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mutex);
}

static void
on_channel(void *arg)
{
	struct channel *ch = arg;
	struct latentd_client *c = ch->client;
	int rv = nng_aio_result(ch->aio);
	nng_msg *msg;

	if (rv == 0 && !ch->receiving) {
		receive(c, ch);
		return;
	}
	msg = nng_aio_get_msg(ch->aio);
	nng_aio_set_msg(ch->aio, NULL);
	if (rv != 0 && ch->receiving)
		msg = NULL;
	pthread_mutex_lock(&c->mutex);
	ch->busy = false;
	if (rv == 0 && !c->closed) {
		reply_take(c, ch, msg);
		msg = NULL;
	} else if (!c->closed) {
		reply_lost(c, ch, rv);
	}
	session_pump(c);
	pthread_mutex_unlock(&c->mutex);
	nng_msg_free(msg);
}

/*
 * REQ would send these again as they are, with what remained of their deadline
 * when they were first sent.
 */
static void
withdraw_dated(struct latentd_client *c)
{
	for (size_t i = CHANNEL_SUBMIT; i < CHANNELS; i++) {
		struct channel *ch = &c->channels[i];

		if (ch->busy && ch->job->options.deadline_at_ms != 0)
			ch->withdrawn = ch->abort_due = true;
	}
}

/* nng reports a lost connection before it dials again. */
static void
on_pipe(nng_pipe pipe, nng_pipe_ev ev, void *arg)
{
	struct latentd_client *c = arg;

	dial_pipe(&c->dial, pipe, ev);
	pthread_mutex_lock(&c->mutex);
	if (ev == NNG_PIPE_EV_ADD_POST) {
		c->pipe_id = nng_pipe_id(pipe);
		/* A new connection may lead to a new daemon: ask. */
		c->hello_wanted = true;
		identity_renew(c);
	} else {
		if (c->pipe_id == nng_pipe_id(pipe))
			c->pipe_id = 0;
		c->refused_until_ms = 0;
		withdraw_dated(c);
	}
	session_pump(c);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mutex);
}

static int
open_channels(struct latentd_client *c)
{
	int rv = 0;

	for (size_t i = 0; i < CHANNELS && rv == 0; i++) {
		struct channel *ch = &c->channels[i];

		ch->client = c;
		rv = nng_aio_alloc(&ch->aio, on_channel, ch);
		if (rv == 0)
			rv = nng_ctx_open(&ch->ctx, c->socket);
	}
	if (rv == 0)
		rv = timer_open_all(c);
	return rv;
}

static int
set_options(nng_socket s)
{
	int rv = nng_socket_set_size(s, NNG_OPT_RECVMAXSZ,
	    (size_t)LATENTD_MAX_BODY_BYTES + MESSAGE_FRONT_BYTES);

	if (rv == 0)
		rv = nng_socket_set_ms(s, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS);
	if (rv == 0)
		rv = nng_socket_set_ms(s, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS);
	if (rv == 0)
		rv = nng_socket_set_ms(s, NNG_OPT_REQ_RESENDTIME, RESEND_MS);
	return rv;
}

enum latentd_err
session_open(
    struct latentd_client *c, const struct latentd_tls *tls, struct reason *why)
{
	int rv = nng_req0_open(&c->socket);

	if (rv != 0)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "cannot open a socket: %s", nng_strerror(rv));
	c->socket_open = true;
	rv = set_options(c->socket);
	if (rv == 0)
		rv = open_channels(c);
	if (rv == 0)
		rv = nng_pipe_notify(
		    c->socket, NNG_PIPE_EV_ADD_POST, on_pipe, c);
	if (rv == 0)
		rv = nng_pipe_notify(
		    c->socket, NNG_PIPE_EV_REM_POST, on_pipe, c);
	if (rv != 0)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "cannot set up a socket: %s", nng_strerror(rv));
	rv =
	    dial_open(&c->dial, c->socket, c->url, tls, NNG_FLAG_NONBLOCK, why);
	if (rv != 0 && why->err == LATENTD_OK)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "cannot use the URL %s: %s; use ipc:///PATH, "
		    "tcp://HOST:PORT or tls+tcp://HOST:PORT",
		    c->url, nng_strerror(rv));
	return rv == 0 ? LATENTD_OK : why->err;
}

void
session_close(struct latentd_client *c)
{
	dial_stop(&c->dial);
	if (c->socket_open) {
		nng_pipe_notify(c->socket, NNG_PIPE_EV_ADD_POST, NULL, NULL);
		nng_pipe_notify(c->socket, NNG_PIPE_EV_REM_POST, NULL, NULL);
		nng_close(c->socket);
	}
	for (size_t i = 0; i < CHANNELS; i++)
		nng_aio_free(c->channels[i].aio);
	timer_close_all(c);
	dial_fini(&c->dial);
}

/* Make nng forget a request that was withdrawn. */
static bool
start_abort(struct latentd_client *c)
{
	for (size_t i = 0; i < CHANNELS; i++) {
		struct channel *ch = &c->channels[i];

		if (!ch->abort_due)
			continue;
		ch->abort_due = false;
		pthread_mutex_unlock(&c->mutex);
		nng_aio_cancel(ch->aio);
		pthread_mutex_lock(&c->mutex);
		return true;
	}
	return false;
}

/* Take an idle channel for a request. */
static struct channel *
claim(struct latentd_client *c, struct channel *ch, enum message_type request)
{
	assert(!ch->busy);
	ch->busy = true;
	ch->receiving = false;
	ch->request = request;
	ch->job = NULL;
	ch->ticket = 0;
	ch->wait_ms = 0;
	ch->started_at = ++c->serial;
	ch->withdrawn = ch->abort_due = false;
	return ch;
}

/* Send ${msg}; NULL when memory was out, which is like a lost reply. */
static bool
start(struct latentd_client *c, struct channel *ch, nng_msg *msg)
{
	if (msg == NULL) {
		ch->busy = false;
		reply_lost(c, ch, NNG_ENOMEM);
		return true;
	}
	pthread_mutex_unlock(&c->mutex);
	nng_aio_set_msg(ch->aio, msg);
	nng_ctx_send(ch->ctx, ch->aio);
	pthread_mutex_lock(&c->mutex);
	return true;
}

/* A message without a body. */
static nng_msg *
small_message(enum message_type type, const void *in)
{
	uint8_t front[MESSAGE_FRONT_BYTES];
	size_t bytes = message_encode(type, in, 0, front, sizeof(front));
	nng_msg *msg = NULL;

	assert(bytes > 0);
	if (nng_msg_alloc(&msg, bytes) != 0)
		return NULL;
	memcpy(nng_msg_body(msg), front, bytes);
	return msg;
}

static struct text
as_text(const char *s)
{
	return (struct text){s, strlen(s)};
}

static bool
start_hello(struct latentd_client *c)
{
	struct channel *ch = &c->channels[CHANNEL_HELLO];
	struct message_hello in = {.producer = as_text(c->producer),
	    .secret = identity_token(c),
	    .software = as_text(c->software)};
	bool whole;

	if (!c->hello_wanted || ch->busy || c->hello_timer.armed)
		return false;
	c->hello_wanted = false;
	claim(c, ch, MESSAGE_HELLO);
	whole = identity_hello(c, &in);
	return start(c, ch, whole ? small_message(MESSAGE_HELLO, &in) : NULL);
}

static nng_msg *
cancel_message(struct latentd_client *c, const char *key)
{
	struct message_cancel in = {
	    as_text(c->producer), identity_token(c), as_text(key), 0};

	return small_message(MESSAGE_CANCEL, &in);
}

static bool
start_cancel(struct latentd_client *c)
{
	struct channel *ch = &c->channels[CHANNEL_CANCEL];
	struct job *job;

	if (ch->busy || !c->welcome)
		return false;
	job = jobs_first_cancel(&c->jobs);
	if (job == NULL)
		return false;
	claim(c, ch, MESSAGE_CANCEL)->ticket = job->ticket;
	job_cancel_sent(&c->jobs, job);
	return start(c, ch, cancel_message(c, job->key));
}

/* The first from ${i} up to ${end} that has nothing to do; or NULL. */
static struct channel *
idle_channel(struct latentd_client *c, size_t i, size_t end)
{
	while (i < end && c->channels[i].busy)
		i++;
	return i < end ? &c->channels[i] : NULL;
}

/*
 * The message given to nng is a copy, and the original stays with the job until
 * its result is here.  A job that is SENDING is not freed, so that the copy is
 * made without holding the application up.  Without a connection nothing is
 * sent: what remains of a deadline is not known before there is one.
 */
static bool
start_submit(struct latentd_client *c)
{
	struct job *job = jobs_first(&c->jobs);
	uint64_t deadline_at_ms;
	struct channel *ch;
	nng_msg *msg = NULL, *original;

	if (job == NULL || c->busy_timer.armed || !c->welcome ||
	    c->pipe_id == 0)
		return false;
	ch = idle_channel(c, CHANNEL_SUBMIT, CHANNELS);
	if (ch == NULL || c->jobs.stage_n[STAGE_SENDING] >= c->window)
		return false;
	claim(c, ch, MESSAGE_SUBMIT)->job = job;
	job_move(&c->jobs, job, STAGE_SENDING);
	original = job->msg;
	job->msg = NULL;
	deadline_at_ms = job->options.deadline_at_ms;
	pthread_mutex_unlock(&c->mutex);
	if (nng_msg_dup(&msg, original) != 0)
		msg = NULL;
	else if (deadline_at_ms != 0)
		due_redate(msg, deadline_at_ms);
	pthread_mutex_lock(&c->mutex);
	if (job->finished)
		nng_msg_free(original);
	else
		job->msg = original;
	return start(c, ch, msg);
}

/* COLLECTs that wait for a result. */
static size_t
fetches_n(const struct latentd_client *c)
{
	size_t n = 0;

	for (size_t i = CHANNEL_COLLECT; i < CHANNEL_SUBMIT; i++)
		n += c->channels[i].busy && c->channels[i].wait_ms > 0;
	return n;
}

/*
 * A COLLECT that is out when a result is made has not to be waited for; so one
 * goes out with a SUBMIT, and as many as there are jobs and room for what they
 * may bring.  Who runs one job after the other acknowledges with the COLLECT
 * for the next; under a name of its own a client that has no job may take the
 * results of another, and does not.
 */
static bool
is_fetch_due(const struct latentd_client *c)
{
	size_t out_n = fetches_n(c);
	size_t pending_n = c->jobs.n - c->jobs.stage_n[STAGE_WAITING];
	bool room, wanted = out_n < pending_n;

	if (c->anonymous)
		wanted |=
		    out_n == pending_n && c->acks_idle_n > 0 && !c->closing;
	else if (out_n == 0)
		wanted |= c->hungry || c->collectors > c->ready_n;
	room = c->runners > 0 || c->ready_n + out_n < READY_MAX_N;
	if (out_n > 0)
		room &= c->large_bytes > 0 &&
		    c->ready_bytes + out_n * c->large_bytes < READY_MAX_BYTES;
	else if (c->runners == 0)
		room &= c->ready_bytes < READY_MAX_BYTES;
	return c->collecting && room && wanted && (c->anonymous || !c->closing);
}

static nng_msg *
collect_message(struct latentd_client *c, struct channel *ch, uint64_t wait_ms)
{
	uint64_t tags[LATENTD_MAX_ACKS];
	struct message_collect in = {
	    as_text(c->producer), identity_token(c), tags, 0, wait_ms};

	ch->wait_ms = wait_ms;
	in.acks_n = acks_load(c, ch, tags);
	return small_message(MESSAGE_COLLECT, &in);
}

/*
 * Acknowledgements ride on a COLLECT that fetches, or else go by one of their
 * own; while all that there may be are out, they wait, but at the end, when
 * those may wait for long, another channel takes them.
 */
static bool
start_collect(struct latentd_client *c)
{
	struct channel *ch = idle_channel(c, CHANNEL_COLLECT, CHANNEL_SUBMIT);
	uint64_t wait_ms = 0;

	if (c->collect_timer.armed || !c->welcome)
		return false;
	if (ch == NULL && c->closing)
		ch = &c->channels[CHANNEL_HELLO];
	if (ch == NULL || ch->busy)
		return false;
	if (is_fetch_due(c))
		wait_ms = c->closing ? CLOSING_WAIT_MS : c->wait_ms;
	else if (c->acks_idle_n == 0)
		return false;
	claim(c, ch, MESSAGE_COLLECT);
	return start(c, ch, collect_message(c, ch, wait_ms));
}

static bool
start_question(struct latentd_client *c)
{
	struct channel *ch = &c->channels[CHANNEL_QUESTION];
	struct question *q = &c->question;

	if (!q->wanted || ch->busy || !c->welcome)
		return false;
	q->wanted = false;
	claim(c, ch, q->type)->ticket = q->number;
	return start(c, ch, small_message(q->type, q->in));
}

void
session_pump(struct latentd_client *c)
{
	if (c->pumping)
		return;
	c->pumping = true;
	while (!c->closed) {
		due_end(c);
		missing_end(c);
		if (start_abort(c) || start_hello(c) || start_cancel(c) ||
		    start_submit(c) || start_collect(c) || start_question(c) ||
		    timer_start_any(c))
			continue;
		break;
	}
	c->pumping = false;
	if (c->closed)
		pthread_cond_broadcast(&c->changed);
}
