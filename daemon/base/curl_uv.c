/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One uv_poll per socket and one uv_timer, as curl's socket and timer
 * callbacks ask; completed transfers are reported after each
 * curl_multi_socket_action(), never from inside a curl callback, because curl
 * must not be re-entered from there.
 */
#include "base/curl_uv.h"

#include <assert.h>
#include <stdlib.h>

struct curl_uv {
	uv_loop_t *loop;
	CURLM *multi;
	uv_timer_t timer;
};

struct watch {
	uv_poll_t poll;
	struct curl_uv *cu;
	curl_socket_t fd;
	int events; /* what curl waits for; UV_* */
};

struct running {
	void (*on_done)(CURL *easy, CURLcode code, void *arg);
	void *arg;
};

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

	/* Reading and writing find the error itself and what came before it;
	 * told of an error, curl would neither read nor say which. */
	if (status < 0)
		flags = CURL_CSELECT_IN | CURL_CSELECT_OUT;
	if ((events & UV_READABLE) != 0)
		flags |= CURL_CSELECT_IN;
	if ((events & UV_WRITABLE) != 0)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(cu->multi, w->fd, flags, &running_n);
	/* libuv has stopped it. */
	if (status < 0 && !uv_is_closing((uv_handle_t *)poll))
		uv_poll_start(poll, w->events, on_poll);
	report_done(cu);
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

static void
on_watch_closed(uv_handle_t *handle)
{
	free(handle->data);
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
	curl_multi_assign(cu->multi, fd, w);
	return w;
}

static int
on_curl_socket(
    CURL *easy, curl_socket_t fd, int action, void *arg, void *socket_arg)
{
	struct curl_uv *cu = arg;
	struct watch *w = socket_arg;
	int events = 0;

	(void)easy;
	if (action == CURL_POLL_REMOVE) {
		if (w == NULL)
			return 0;
		uv_poll_stop(&w->poll);
		curl_multi_assign(cu->multi, fd, NULL);
		uv_close((uv_handle_t *)&w->poll, on_watch_closed);
		return 0;
	}
	if (w == NULL && (w = watch_open(cu, fd)) == NULL)
		return -1;
	if ((action & CURL_POLL_IN) != 0)
		events |= UV_READABLE;
	if ((action & CURL_POLL_OUT) != 0)
		events |= UV_WRITABLE;
	w->events = events;
	uv_poll_start(&w->poll, events, on_poll);
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
on_timer_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
curl_uv_close(struct curl_uv *cu)
{
	if (cu == NULL)
		return;
	curl_multi_cleanup(cu->multi);
	uv_close((uv_handle_t *)&cu->timer, on_timer_closed);
}
