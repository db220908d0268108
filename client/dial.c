/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nng's dialer dials again after a lost connection, but not after each: when a
 * peer closes while the connection begins, the kernel may report EPIPE, which
 * to nng says that the dialer itself was closed (1.5.2: tcp_dialer_cb() and
 * dialer_connect_cb(), which later versions have as well).  It tells nobody, so
 * who has been without a connection for some seconds gets another dialer.
 *
 * The aio's callback is the only one that replaces the dialer, on a thread of
 * nng's that no dialer waits for: closing one waits for its own callbacks.
 */
#include "dial.h"

#include <stdio.h>
#include <string.h>

#include "due.h"
#include "tls.h"

/* A dialer may need longer than that to connect to a host that is far away. */
#define PATIENCE_MAX_MS 60000u

uint64_t dial_patience_ms = 4000;

static int
start(struct dial *d, int flags)
{
	int rv = nng_dialer_create(&d->dialer, d->socket, d->url);

	if (rv == 0 && d->tls != NULL)
		rv = nng_dialer_set_ptr(d->dialer, NNG_OPT_TLS_CONFIG, d->tls);
	if (rv == 0)
		rv = nng_dialer_start(d->dialer, flags);
	return rv;
}

static void
set_patience(struct dial *d, uint64_t ms)
{
	d->wait_ms = ms > PATIENCE_MAX_MS ? PATIENCE_MAX_MS : ms;
	d->anew_at_ms = due_now_ms() + d->wait_ms;
}

static void
on_look(void *arg)
{
	struct dial *d = arg;
	uint64_t now_ms, ms = 0;
	bool looking, due;

	pthread_mutex_lock(&d->mutex);
	looking = d->looking = !d->stopped && d->pipe_id == 0;
	due = looking && due_passed(d->anew_at_ms);
	pthread_mutex_unlock(&d->mutex);
	if (!looking)
		return;
	if (due) {
		nng_dialer_close(d->dialer);
		/* To fail here is like a dialer that gives up. */
		start(d, NNG_FLAG_NONBLOCK);
	}
	pthread_mutex_lock(&d->mutex);
	if (due)
		set_patience(d, 2 * d->wait_ms);
	now_ms = due_now_ms();
	if (d->anew_at_ms > now_ms)
		ms = d->anew_at_ms - now_ms;
	pthread_mutex_unlock(&d->mutex);
	nng_sleep_aio((nng_duration)ms, d->aio);
}

/* With the mutex held. */
static void
look(struct dial *d)
{
	set_patience(d, dial_patience_ms);
	if (d->looking || d->stopped)
		return;
	d->looking = true;
	nng_sleep_aio((nng_duration)d->wait_ms, d->aio);
}

void
dial_pipe(struct dial *d, nng_pipe pipe, nng_pipe_ev ev)
{
	int id = nng_pipe_id(pipe);

	pthread_mutex_lock(&d->mutex);
	/* That it has ended may be told before that it has begun. */
	if (ev == NNG_PIPE_EV_ADD_POST && id != d->ended_id)
		d->pipe_id = id;
	if (ev == NNG_PIPE_EV_REM_POST) {
		d->ended_id = id;
		if (d->pipe_id == id)
			d->pipe_id = 0;
		if (d->pipe_id == 0)
			look(d);
	}
	pthread_mutex_unlock(&d->mutex);
}

int
dial_open(struct dial *d, nng_socket socket, const char *url,
    const struct latentd_tls *tls, int flags, struct reason *why)
{
	int rv;

	why->err = LATENTD_OK;
	d->socket = socket;
	snprintf(d->url, sizeof(d->url), "%s", url);
	if (nng_aio_alloc(&d->aio, on_look, d) != 0)
		return NNG_ENOMEM;
	pthread_mutex_init(&d->mutex, NULL);
	if ((rv = tls_config(&d->tls, url, tls, why)) != 0)
		return rv;
	if ((rv = start(d, flags)) != 0)
		return rv;
	pthread_mutex_lock(&d->mutex);
	if (d->pipe_id == 0)
		look(d);
	pthread_mutex_unlock(&d->mutex);
	return 0;
}

void
dial_stop(struct dial *d)
{
	if (d->aio == NULL)
		return;
	pthread_mutex_lock(&d->mutex);
	d->stopped = true;
	pthread_mutex_unlock(&d->mutex);
	nng_aio_stop(d->aio);
}

void
dial_fini(struct dial *d)
{
	if (d->aio == NULL)
		return;
	nng_aio_free(d->aio);
	if (d->tls != NULL)
		nng_tls_config_free(d->tls);
	pthread_mutex_destroy(&d->mutex);
}
