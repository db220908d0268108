/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing.  nng_close() waits for nng's own threads, and nng 1.5
 * can wait for ever where a message is on its way when its connection is closed
 * (nng_1518.c).  So a thread of its own calls it, the loop goes on, and after
 * CLOSE_MS the door is left to that thread, which ends with the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/transport/ipc/ipc.h>

#include "base/door_private.h"
#include "base/log.h"

#define CLOSE_MS 5000u

enum latentd_err
door_open(uv_loop_t *loop, const struct door_options *options,
    struct door **door, struct reason *why)
{
	struct door *d = calloc(1, sizeof(*d));
	int rv;

	if (d == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	d->options = *options;
	TAILQ_INIT(&d->inbox);
	STAILQ_INIT(&d->gone);
	SLIST_INIT(&d->all);
	if ((rv = nng_rep0_open(&d->socket)) != 0) {
		free(d);
		return reason_set(why, LATENTD_ERR_INTERNAL,
		    "cannot open an nng socket: %s", nng_strerror(rv));
	}
	uv_mutex_init(&d->mutex);
	uv_async_init(loop, &d->wake, door_on_wake);
	uv_timer_init(loop, &d->patience);
	d->wake.data = d->patience.data = d;
	d->handles_n = 2;
	nng_pipe_notify(d->socket, NNG_PIPE_EV_ADD_PRE, door_on_pipe, d);
	nng_pipe_notify(d->socket, NNG_PIPE_EV_REM_POST, door_on_pipe, d);
	for (unsigned i = 0; i < DOOR_SPARE; i++) {
		if (!door_add_context(d)) {
			door_close(d);
			return reason_set(why, LATENTD_ERR_MEMORY,
			    "out of memory for nng contexts");
		}
	}
	*door = d;
	return LATENTD_OK;
}

/* Lock PATH.lock for the life of the door, so that one daemon owns PATH. */
static enum latentd_err
lock_path(struct door *d, const char *path, struct reason *why)
{
	char name[LATENTD_MAX_URL_BYTES + 8];
	int fd;

	if (d->locks_n == DOOR_LOCKS_MAX)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "more than %u sockets to listen on", DOOR_LOCKS_MAX);
	snprintf(name, sizeof(name), "%s.lock", path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return reason_set(why, LATENTD_ERR_IO, "cannot open %s: %s%s",
		    name, strerror(errno),
		    errno == ENOENT ? "; make its directory first" : "");
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		return reason_set(why, LATENTD_ERR_IO,
		    "another latentd listens on %s (it holds %s)", path, name);
	}
	d->locks[d->locks_n++] = fd;
	return LATENTD_OK;
}

/* Pipes of that listener come from beyond this machine. */
static enum latentd_err
note_beyond(struct door *d, nng_listener listener, struct reason *why)
{
	enum latentd_err err = LATENTD_OK;

	uv_mutex_lock(&d->mutex);
	if (d->beyond_n < DOOR_LISTENERS_MAX)
		d->beyond[d->beyond_n++] = nng_listener_id(listener);
	else
		err = reason_set(why, LATENTD_ERR_INVALID,
		    "more than %u addresses to listen on", DOOR_LISTENERS_MAX);
	uv_mutex_unlock(&d->mutex);
	return err;
}

static enum latentd_err
start(struct door *d, nng_listener listener, const char *url,
    const struct tls_pem *tls, struct reason *why)
{
	enum latentd_err err;
	int rv = nng_listener_set_size(
	    listener, NNG_OPT_RECVMAXSZ, d->options.max_message_bytes);

	if (rv == 0 && strncmp(url, "ipc://", 6) == 0)
		rv = nng_listener_set_int(
		    listener, NNG_OPT_IPC_PERMISSIONS, 0660);
	if (rv == 0 && strncmp(url, "tls+tcp://", 10) == 0 &&
	    (err = tls_listen(listener, tls, why)) != LATENTD_OK)
		return err;
	if (rv == 0)
		rv = nng_listener_start(listener, 0);
	if (rv == 0)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_IO, "cannot listen on \"%s\": %s",
	    url, nng_strerror(rv));
}

enum latentd_err
door_listen_at(struct door *d, const char *url, const struct tls_pem *tls,
    bool beyond, struct reason *why)
{
	bool ipc = strncmp(url, "ipc://", 6) == 0;
	nng_listener listener;
	enum latentd_err err;
	int rv;

	if (!ipc && strncmp(url, "tcp://", 6) != 0 &&
	    (tls == NULL || strncmp(url, "tls+tcp://", 10) != 0))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "cannot listen on \"%s\": must begin with ipc:// or "
		    "tcp://, or with certificates with tls+tcp://",
		    url);
	if (ipc && (err = lock_path(d, url + 6, why)) != LATENTD_OK)
		return err;
	if ((rv = nng_listener_create(&listener, d->socket, url)) != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "cannot listen on \"%s\": %s", url, nng_strerror(rv));
	err = beyond ? note_beyond(d, listener, why) : LATENTD_OK;
	if (err == LATENTD_OK)
		err = start(d, listener, url, tls, why);
	if (err != LATENTD_OK)
		nng_listener_close(listener);
	return err;
}

enum latentd_err
door_listen(struct door *d, const char *url, struct reason *why)
{
	return door_listen_at(d, url, NULL, false, why);
}

/* ---- closing ---- */

static void
on_handle_closed(uv_handle_t *handle)
{
	struct door *d = handle->data;

	if (--d->handles_n > 0 || d->abandoned)
		return;
	uv_mutex_destroy(&d->mutex);
	free(d);
}

static void
close_handles(struct door *d)
{
	while (d->locks_n > 0)
		close(d->locks[--d->locks_n]);
	uv_close((uv_handle_t *)&d->patience, on_handle_closed);
	uv_close((uv_handle_t *)&d->wake, on_handle_closed);
}

/* In a thread of its own. */
static void
close_socket(void *arg)
{
	struct door *d = arg;
	struct door_request *r;

	nng_close(d->socket);
	SLIST_FOREACH(r, &d->all, all_link)
	nng_aio_stop(r->aio);
	uv_mutex_lock(&d->mutex);
	d->closed = true;
	if (!d->abandoned)
		uv_async_send(&d->wake);
	uv_mutex_unlock(&d->mutex);
}

void
door_on_closed(struct door *d)
{
	struct connection *c, *next;
	struct door_request *r;
	bool closed;

	uv_mutex_lock(&d->mutex);
	closed = d->closed;
	uv_mutex_unlock(&d->mutex);
	/* The wake-up may be an older one. */
	if (!closed || uv_is_closing((uv_handle_t *)&d->wake))
		return;
	uv_thread_join(&d->closer);
	while ((r = SLIST_FIRST(&d->all)) != NULL) {
		SLIST_REMOVE_HEAD(&d->all, all_link);
		nng_aio_free(r->aio);
		if (r->msg != NULL)
			nng_msg_free(r->msg);
		free(r);
	}
	HASH_ITER(hh, d->connections, c, next)
	{
		HASH_DEL(d->connections, c);
		free(c);
	}
	close_handles(d);
}

static void
on_patience_over(uv_timer_t *patience)
{
	struct door *d = patience->data;
	bool closed;

	uv_mutex_lock(&d->mutex);
	closed = d->closed;
	d->abandoned = !closed;
	uv_mutex_unlock(&d->mutex);
	if (closed)
		return;
	log_warn("nng does not let its connections go; leaving without it");
	close_handles(d);
}

void
door_close(struct door *d)
{
	if (d == NULL)
		return;
	uv_mutex_lock(&d->mutex);
	d->closing = true;
	uv_mutex_unlock(&d->mutex);
	if (uv_thread_create(&d->closer, close_socket, d) != 0)
		abort();
	uv_timer_start(&d->patience, on_patience_over, CLOSE_MS, 0);
}
