/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One uv_poll per socket and one uv_timer, as curl's socket and timer
 * callbacks ask.  Curl changes its mind about a socket several times in a
 * transfer and forgets it in between two, each of which would be two calls of
 * epoll_ctl; so the polls are changed once, before the loop waits, and a
 * connection that idles stays polled for reading as it will be again.  That is
 * done only for sockets of connections that have served a transfer: curl tells
 * when it closes one.  That of a connection that was never made it closes
 * (7.88) before it forgets it, and it says nothing when the next attempt gets
 * the same descriptor and waits for the same: on_open_socket() sees to that.
 *
 * Completed transfers are reported after each curl_multi_socket_action(), never
 * from inside a curl callback, because curl must not be re-entered from there.
 */
#include "base/curl_uv.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uthash.h>

struct watch {
	uv_poll_t poll;
	struct curl_uv *cu;
	curl_socket_t fd;
	int wanted; /* what curl waits for; UV_*, 0 while it idles */
	int armed; /* what the poll waits for */
	bool changed; /* in the list */
	bool kept; /* until on_close_socket() */
	TAILQ_ENTRY(watch) link;
	UT_hash_handle hh;
};

struct curl_uv {
	uv_loop_t *loop;
	CURLM *multi;
	uv_timer_t timer;
	uv_prepare_t before_wait;
	unsigned handles_n; /* of the two above that are not closed */
	struct watch *watches; /* by fd */
	TAILQ_HEAD(, watch) changed;
};

struct running {
	void (*on_done)(CURL *easy, CURLcode code, void *arg);
	void *arg;
};

static void
change(struct watch *w, int wanted)
{
	w->wanted = wanted;
	/* Only who is waited for keeps the loop alive. */
	if (wanted != 0)
		uv_ref((uv_handle_t *)&w->poll);
	else
		uv_unref((uv_handle_t *)&w->poll);
	if (w->changed)
		return;
	w->changed = true;
	TAILQ_INSERT_TAIL(&w->cu->changed, w, link);
	/* A poll that is not begun yet does not either. */
	uv_ref((uv_handle_t *)&w->cu->before_wait);
}

static void
on_watch_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static struct watch *
find_watch(struct curl_uv *cu, curl_socket_t fd)
{
	struct watch *w;

	HASH_FIND_INT(cu->watches, &fd, w);
	return w;
}

static struct watch *
watch_open(struct curl_uv *cu, curl_socket_t fd)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	if (uv_poll_init_socket(cu->loop, &w->poll, fd) != 0) {
		free(w);
		return NULL;
	}
	w->poll.data = w;
	w->cu = cu;
	w->fd = fd;
	/* Until curl waits for it. */
	uv_unref((uv_handle_t *)&w->poll);
	HASH_ADD_INT(cu->watches, fd, w);
	return w;
}

static void
watch_close(struct watch *w)
{
	if (w->changed)
		TAILQ_REMOVE(&w->cu->changed, w, link);
	w->changed = false;
	w->wanted = 0;
	HASH_DEL(w->cu->watches, w);
	uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

/* A transfer is done: its connection, if curl keeps it, will be used again. */
static void
keep_socket(struct curl_uv *cu, CURL *easy)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	struct watch *w;

	if (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
	    fd == CURL_SOCKET_BAD)
		return;
	w = find_watch(cu, fd);
	if (w == NULL)
		w = watch_open(cu, fd);
	/* Without memory it is watched anew for each transfer. */
	if (w != NULL)
		w->kept = true;
}

static void
report_done(struct curl_uv *cu)
{
	CURLMsg *msg;
	int left_n;

	while ((msg = curl_multi_info_read(cu->multi, &left_n)) != NULL) {
		CURL *easy = msg->easy_handle;
		CURLcode code = msg->data.result;
		struct running *run = NULL, copy;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&run);
		if (code == CURLE_OK)
			keep_socket(cu, easy);
		curl_multi_remove_handle(cu->multi, easy);
		copy = *run;
		free(run);
		copy.on_done(easy, code, copy.arg);
	}
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	struct curl_uv *cu = w->cu;
	int flags = 0, running_n;

	/* Libuv has stopped it then. */
	if (status < 0)
		w->armed = 0;
	if (w->wanted == 0) {
		/* The peer has ended it; curl finds out when it wants it. */
		uv_poll_stop(poll);
		w->armed = 0;
		return;
	}
	/* Reading and writing find the error itself and what came before it;
	 * told of an error, curl would neither read nor say which. */
	if (status < 0)
		flags = CURL_CSELECT_IN | CURL_CSELECT_OUT;
	if ((events & UV_READABLE) != 0)
		flags |= CURL_CSELECT_IN;
	if ((events & UV_WRITABLE) != 0)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(cu->multi, w->fd, flags, &running_n);
	if (status < 0 && !uv_is_closing((uv_handle_t *)poll))
		change(w, w->wanted);
	report_done(cu);
}

static void
on_before_wait(uv_prepare_t *prepare)
{
	struct curl_uv *cu = prepare->data;
	struct watch *w;

	while ((w = TAILQ_FIRST(&cu->changed)) != NULL) {
		TAILQ_REMOVE(&cu->changed, w, link);
		w->changed = false;
		/* Of others the descriptor may be another one by now. */
		if (w->kept &&
		    (w->wanted == w->armed ||
			(w->wanted == 0 && w->armed == UV_READABLE)))
			continue;
		w->armed = w->wanted;
		if (w->wanted == 0)
			uv_poll_stop(&w->poll);
		else
			uv_poll_start(&w->poll, w->wanted, on_poll);
	}
	uv_unref((uv_handle_t *)prepare);
}

static void
on_timer(uv_timer_t *timer)
{
	struct curl_uv *cu = timer->data;
	int running_n;

	curl_multi_socket_action(cu->multi, CURL_SOCKET_TIMEOUT, 0, &running_n);
	report_done(cu);
}

static int
on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct curl_uv *cu = arg;

	(void)multi;
	if (timeout_ms < 0)
		uv_timer_stop(&cu->timer);
	else
		uv_timer_start(&cu->timer, on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

/* What libuv knows of the descriptor is of one that curl has closed. */
static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *at)
{
	int fd = socket(at->family, at->socktype | SOCK_CLOEXEC, at->protocol);
	struct watch *w;

	(void)purpose;
	if (fd < 0)
		return CURL_SOCKET_BAD;
	if ((w = find_watch(arg, fd)) != NULL) {
		uv_poll_stop(&w->poll);
		w->armed = 0;
		change(w, w->wanted);
	}
	return fd;
}

static int
on_close_socket(void *arg, curl_socket_t fd)
{
	struct watch *w = find_watch(arg, fd);

	if (w != NULL)
		watch_close(w);
	return close(fd);
}

static int
on_curl_socket(
    CURL *easy, curl_socket_t fd, int action, void *arg, void *socket_arg)
{
	struct curl_uv *cu = arg;
	struct watch *w = find_watch(cu, fd);
	int events = 0;

	(void)easy;
	(void)socket_arg;
	if (action == CURL_POLL_REMOVE) {
		if (w != NULL && w->kept)
			change(w, 0);
		else if (w != NULL)
			watch_close(w);
		return 0;
	}
	if (w == NULL && (w = watch_open(cu, fd)) == NULL)
		return -1;
	if ((action & CURL_POLL_IN) != 0)
		events |= UV_READABLE;
	if ((action & CURL_POLL_OUT) != 0)
		events |= UV_WRITABLE;
	change(w, events);
	return 0;
}

struct curl_uv *
curl_uv_open(uv_loop_t *loop, unsigned max_connections)
{
	struct curl_uv *cu = calloc(1, sizeof(*cu));

	if (cu == NULL)
		return NULL;
	cu->loop = loop;
	if ((cu->multi = curl_multi_init()) == NULL) {
		free(cu);
		return NULL;
	}
	uv_timer_init(loop, &cu->timer);
	cu->timer.data = cu;
	uv_prepare_init(loop, &cu->before_wait);
	cu->before_wait.data = cu;
	uv_prepare_start(&cu->before_wait, on_before_wait);
	uv_unref((uv_handle_t *)&cu->before_wait);
	cu->handles_n = 2;
	TAILQ_INIT(&cu->changed);
	curl_multi_setopt(cu->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(cu->multi, CURLMOPT_SOCKETDATA, cu);
	curl_multi_setopt(cu->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(cu->multi, CURLMOPT_TIMERDATA, cu);
	curl_uv_keep(cu, max_connections);
	return cu;
}

void
curl_uv_keep(struct curl_uv *cu, unsigned max_connections)
{
	curl_multi_setopt(
	    cu->multi, CURLMOPT_MAXCONNECTS, (long)max_connections);
}

int
curl_uv_start(struct curl_uv *cu, CURL *easy,
    void (*on_done)(CURL *easy, CURLcode code, void *arg), void *arg)
{
	struct running *run = malloc(sizeof(*run));

	if (run == NULL)
		return -1;
	*run = (struct running){on_done, arg};
	curl_easy_setopt(easy, CURLOPT_PRIVATE, run);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, cu);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, cu);
	if (curl_multi_add_handle(cu->multi, easy) != CURLM_OK) {
		free(run);
		return -1;
	}
	return 0;
}

void
curl_uv_stop(struct curl_uv *cu, CURL *easy)
{
	struct running *run = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&run);
	curl_multi_remove_handle(cu->multi, easy);
	free(run);
}

static void
on_handle_closed(uv_handle_t *handle)
{
	struct curl_uv *cu = handle->data;

	if (--cu->handles_n == 0)
		free(cu);
}

void
curl_uv_close(struct curl_uv *cu)
{
	if (cu == NULL)
		return;
	/* Closes all connections, and so all watches. */
	curl_multi_cleanup(cu->multi);
	uv_close((uv_handle_t *)&cu->timer, on_handle_closed);
	uv_close((uv_handle_t *)&cu->before_wait, on_handle_closed);
}
