/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SUB socket on the daemon's events.  One thread at a time uses a watch, so
 * there is no lock but for its end.
 */
#include "latentd/client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "dial.h"

#include <nng/protocol/pubsub0/sub.h>

/* Events that may wait here; what comes then is lost. */
#define EVENTS_MAX 1024

struct latentd_watch {
	nng_socket socket;
	struct dial dial;
	int fd;
	nng_msg *msg; /* the latest event points into it */
	struct latentd_event event;
	char producer[LATENTD_MAX_NAME_BYTES + 1];
	char model[LATENTD_MAX_NAME_BYTES + 1];
	/* The end. */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool closed; /* the socket is */
	bool left; /* nobody waits for that any more */
};

static void
on_pipe(nng_pipe pipe, nng_pipe_ev ev, void *arg)
{
	dial_pipe(arg, pipe, ev);
}

static void
hang_up(struct latentd_watch *w)
{
	dial_stop(&w->dial);
	nng_close(w->socket);
	dial_fini(&w->dial);
}

static enum latentd_err
subscribe(
    struct latentd_watch *w, const char *url, const struct latentd_tls *tls)
{
	struct reason why = {.err = LATENTD_OK};
	int rv = nng_sub0_open(&w->socket);

	if (rv != 0)
		return reason_set(client_reason(), LATENTD_ERR_MEMORY,
		    "cannot open a socket: %s", nng_strerror(rv));
	rv = nng_socket_set(w->socket, NNG_OPT_SUB_SUBSCRIBE, "", 0);
	if (rv == 0)
		rv = nng_socket_set_int(w->socket, NNG_OPT_RECVBUF, EVENTS_MAX);
	if (rv == 0)
		rv = nng_socket_set_size(w->socket, NNG_OPT_RECVMAXSZ,
		    (size_t)LATENTD_MAX_BODY_BYTES + MESSAGE_FRONT_BYTES);
	if (rv == 0)
		rv = nng_socket_get_int(w->socket, NNG_OPT_RECVFD, &w->fd);
	if (rv == 0)
		rv = nng_pipe_notify(
		    w->socket, NNG_PIPE_EV_ADD_POST, on_pipe, &w->dial);
	if (rv == 0)
		rv = nng_pipe_notify(
		    w->socket, NNG_PIPE_EV_REM_POST, on_pipe, &w->dial);
	if (rv == 0)
		rv = dial_open(&w->dial, w->socket, url, tls, 0, &why);
	if (rv == 0)
		return LATENTD_OK;
	hang_up(w);
	if (why.err != LATENTD_OK)
		return reason_set(client_reason(), why.err, "%s", why.text);
	return reason_set(client_reason(),
	    rv == NNG_EADDRINVAL || rv == NNG_ENOTSUP || rv == NNG_EINVAL
		? LATENTD_ERR_INVALID
		: LATENTD_ERR_UNREACHABLE,
	    "nobody sends events at %.300s: %s", url, nng_strerror(rv));
}

enum latentd_err
latentd_watch_open_tls(struct latentd_watch **watch, const char *url,
    const struct latentd_tls *tls)
{
	struct latentd_watch *w;
	enum latentd_err err;

	*watch = NULL;
	if (url == NULL || strlen(url) > LATENTD_MAX_URL_BYTES)
		return reason_set(client_reason(), LATENTD_ERR_INVALID,
		    "events need a URL of at most %u bytes, as the daemon's "
		    "report names it",
		    LATENTD_MAX_URL_BYTES);
	if ((w = calloc(1, sizeof(*w))) == NULL)
		return reason_set(
		    client_reason(), LATENTD_ERR_MEMORY, "no memory to watch");
	if ((err = subscribe(w, url, tls)) != LATENTD_OK) {
		free(w);
		return err;
	}
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->changed, NULL);
	*watch = w;
	return LATENTD_OK;
}

enum latentd_err
latentd_watch_open(struct latentd_watch **watch, const char *url)
{
	return latentd_watch_open_tls(watch, url, NULL);
}

int
latentd_watch_fd(const struct latentd_watch *w)
{
	return w->fd;
}

static void
copy_name(char to[LATENTD_MAX_NAME_BYTES + 1], struct text name)
{
	memcpy(to, name.at, name.bytes);
	to[name.bytes] = '\0';
}

/* Whether ${w->msg} is an event; what is not is passed over. */
static bool
take_event(struct latentd_watch *w)
{
	struct message_scratch scratch;
	struct message_frame frame;
	union message_any any;
	struct reason why;

	if (message_frame(nng_msg_body(w->msg), nng_msg_len(w->msg), &frame,
		&why) != LATENTD_OK ||
	    frame.type != MESSAGE_EVENT ||
	    message_decode(&frame, &scratch, &any, &why) != LATENTD_OK)
		return false;
	copy_name(w->producer, any.event.producer);
	copy_name(w->model, any.event.model);
	w->event = (struct latentd_event){.id = any.event.id,
	    .producer = w->producer,
	    .model = w->model,
	    .task = any.event.task,
	    .state = job_state_name(any.event.state),
	    .output = any.event.output,
	    .data = frame.body_bytes > 0 ? frame.body : NULL,
	    .data_bytes = frame.body_bytes};
	return true;
}

static enum latentd_err
wait_readable(const struct latentd_watch *w, const struct timespec *at)
{
	struct pollfd fd = {.fd = w->fd, .events = POLLIN};
	struct timespec now;
	int64_t left_ms = 60000;

	if (at->tv_sec >= 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left_ms = (int64_t)(at->tv_sec - now.tv_sec) * 1000 +
		    (at->tv_nsec - now.tv_nsec) / 1000000;
		if (left_ms <= 0)
			return reason_set(client_reason(), LATENTD_ERR_TIMEOUT,
			    "no event in time");
		if (left_ms > 60000)
			left_ms = 60000;
	}
	if (poll(&fd, 1, (int)left_ms) < 0 && errno != EINTR)
		return reason_set(client_reason(), LATENTD_ERR_IO, "poll: %s",
		    strerror(errno));
	return LATENTD_OK;
}

enum latentd_err
latentd_watch_next(
    struct latentd_watch *w, int timeout_ms, const struct latentd_event **event)
{
	struct timespec at = client_deadline(timeout_ms);
	enum latentd_err err;
	int rv;

	*event = NULL;
	for (;;) {
		nng_msg_free(w->msg);
		w->msg = NULL;
		rv = nng_recvmsg(w->socket, &w->msg, NNG_FLAG_NONBLOCK);
		if (rv == 0 && take_event(w)) {
			*event = &w->event;
			return LATENTD_OK;
		}
		if (rv == 0)
			continue;
		if (rv != NNG_EAGAIN)
			return reason_set(client_reason(), LATENTD_ERR_IO,
			    "cannot receive events: %s", nng_strerror(rv));
		if ((err = wait_readable(w, &at)) != LATENTD_OK)
			return err;
	}
}

static void
destroy(struct latentd_watch *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
	nng_msg_free(w->msg);
	free(w);
}

static void *
disconnect(void *arg)
{
	struct latentd_watch *w = arg;
	bool left;

	hang_up(w);
	pthread_mutex_lock(&w->mutex);
	w->closed = true;
	left = w->left;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	if (left)
		destroy(w);
	return NULL;
}

/* nng 1.5.2 may never return from closing while a message is arriving, as
 * client.c explains. */
void
latentd_watch_close(struct latentd_watch *w)
{
	struct timespec at;
	pthread_t thread;
	bool closed;

	if (w == NULL)
		return;
	if (pthread_create(&thread, NULL, disconnect, w) != 0) {
		disconnect(w);
		destroy(w);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += 1 + client_close_ms / 1000;
	pthread_mutex_lock(&w->mutex);
	while (!w->closed &&
	    pthread_cond_timedwait(&w->changed, &w->mutex, &at) == 0)
		;
	closed = w->closed;
	w->left = !closed;
	pthread_mutex_unlock(&w->mutex);
	if (!closed) {
		pthread_detach(thread);
		return;
	}
	pthread_join(thread, NULL);
	destroy(w);
}
