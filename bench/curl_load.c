/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: libcurl's multi interface on epoll and nothing else, with a number
 * of POST requests in flight on connections that are kept.  Who writes to an
 * endpoint in C today would write this.  A GET on each opens them before the
 * time begins, as liblatentd's producers have theirs.  A reply must have the
 * length that is expected; anything else ends the program.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include <curl/curl.h>

#include "tally.h"
#include "tool.h"

#define IN_FLIGHT_MAX 1024

struct transfer {
	CURL *easy;
	uint64_t start_ns;
	size_t got_bytes;
};

struct load {
	CURLM *multi;
	int epoll;
	uint64_t due_ns; /* when curl wants to be called; 0: not at all */
	size_t jobs_n, sent_n, done_n, reply_bytes;
	uint64_t *took_ns; /* NULL: connections are opened, nothing counts */
};

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct load *l = arg;
	struct epoll_event event = {.data.fd = fd};

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (what != CURL_POLL_OUT)
		event.events |= EPOLLIN;
	if (what != CURL_POLL_IN)
		event.events |= EPOLLOUT;
	if (epoll_ctl(l->epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD,
		fd, &event) != 0)
		tool_fail("epoll_ctl", "refused");
	curl_multi_assign(l->multi, fd, l);
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct load *l = arg;

	(void)multi;
	l->due_ns = timeout_ms < 0
	    ? 0
	    : tally_now_ns() + (uint64_t)timeout_ms * 1000000u;
	return 0;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	(void)data;
	t->got_bytes += size * n;
	return size * n;
}

static void
send_request(struct load *l, struct transfer *t)
{
	t->got_bytes = 0;
	t->start_ns = tally_now_ns();
	l->sent_n++;
	if (curl_multi_add_handle(l->multi, t->easy) != CURLM_OK)
		tool_fail("curl_multi_add_handle", "refused");
}

static void
prepare(struct transfer *t, const char *url, struct curl_slist *headers)
{
	CURL *e = t->easy = curl_easy_init();

	if (e == NULL)
		tool_fail("curl_easy_init", "no memory");
	curl_easy_setopt(e, CURLOPT_URL, url);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	/* Larger than the default: less of them for each body. */
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 512L * 1024);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
}

static void
finish(struct load *l, CURL *easy, CURLcode code)
{
	struct transfer *t = NULL;
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK)
		tool_fail("transfer", curl_easy_strerror(code));
	if (l->took_ns == NULL) {
		l->done_n++;
		curl_multi_remove_handle(l->multi, easy);
		return;
	}
	if (status != 200 || t->got_bytes != l->reply_bytes) {
		fprintf(stderr, "bench-curl: status %ld, %zu bytes, not %zu\n",
		    status, t->got_bytes, l->reply_bytes);
		exit(EXIT_FAILURE);
	}
	l->took_ns[l->done_n++] = tally_now_ns() - t->start_ns;
	curl_multi_remove_handle(l->multi, easy);
	if (l->sent_n < l->jobs_n)
		send_request(l, t);
}

static int
wait_ms(const struct load *l)
{
	uint64_t now_ns = tally_now_ns();

	if (l->due_ns == 0)
		return -1;
	if (l->due_ns <= now_ns)
		return 0;
	return (int)((l->due_ns - now_ns) / 1000000u) + 1;
}

static void
run_until(struct load *l, size_t done_n)
{
	struct epoll_event events[64];
	CURLMsg *message;
	int n, left, running;

	while (l->done_n < done_n) {
		n = epoll_wait(l->epoll, events, 64, wait_ms(l));
		for (int i = 0; i < n; i++)
			curl_multi_socket_action(l->multi, events[i].data.fd,
			    (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT
							 : 0) |
				(events[i].events & ~(uint32_t)EPOLLOUT
					? CURL_CSELECT_IN
					: 0),
			    &running);
		if (l->due_ns != 0 && tally_now_ns() >= l->due_ns) {
			l->due_ns = 0;
			curl_multi_socket_action(
			    l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		while ((message = curl_multi_info_read(l->multi, &left)))
			finish(l, message->easy_handle, message->data.result);
	}
}

/* A connection for each transfer: all begin before any is done.  Whoever is
 * there may answer a GET as it likes. */
static void
open_connections(struct load *l, struct transfer *transfers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		send_request(l, &transfers[i]);
	run_until(l, n);
	l->sent_n = l->done_n = 0;
}

static void
post(struct load *l, struct transfer *transfers, size_t n, const char *body,
    size_t body_bytes)
{
	for (size_t i = 0; i < n; i++) {
		curl_easy_setopt(transfers[i].easy, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(
		    transfers[i].easy, CURLOPT_POSTFIELDSIZE, (long)body_bytes);
	}
	for (size_t i = 0; i < n; i++)
		send_request(l, &transfers[i]);
	run_until(l, l->jobs_n);
}

int
main(int argc, char **argv)
{
	static struct transfer transfers[IN_FLIGHT_MAX];
	struct load l = {.multi = curl_multi_init()};
	struct curl_slist *headers = NULL;
	struct tally *tally;
	size_t in_flight, body_bytes;
	char *body;

	if (argc != 7) {
		fprintf(stderr,
		    "Usage: bench-curl URL ACCEPT BODY_FILE "
		    "REPLY_BYTES JOBS IN_FLIGHT\n");
		return 2;
	}
	body = tool_read(argv[3], &body_bytes);
	l.reply_bytes = strtoul(argv[4], NULL, 10);
	l.jobs_n = strtoul(argv[5], NULL, 10);
	in_flight = strtoul(argv[6], NULL, 10);
	if (in_flight == 0 || in_flight > IN_FLIGHT_MAX || l.jobs_n < in_flight)
		tool_fail("IN_FLIGHT", "must be 1 to 1024 and at most JOBS");
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	curl_multi_setopt(l.multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(l.multi, CURLMOPT_SOCKETDATA, &l);
	curl_multi_setopt(l.multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(l.multi, CURLMOPT_TIMERDATA, &l);
	curl_multi_setopt(l.multi, CURLMOPT_MAXCONNECTS, (long)in_flight);
	headers = curl_slist_append(headers, argv[2]);
	headers = curl_slist_append(headers, "Content-Type: tensor/binary");
	headers = curl_slist_append(headers, "Expect:");
	for (size_t i = 0; i < in_flight; i++)
		prepare(&transfers[i], argv[1], headers);
	open_connections(&l, transfers, in_flight);
	tally = tally_create(l.jobs_n);
	l.took_ns = tally_took_ns(tally);
	tally_begin(tally);
	post(&l, transfers, in_flight, body, body_bytes);
	tally_report(tally, curl_version_info(CURLVERSION_NOW)->version);
	for (size_t i = 0; i < in_flight; i++)
		curl_easy_cleanup(transfers[i].easy);
	curl_multi_cleanup(l.multi);
	curl_slist_free_all(headers);
	free(body);
	return EXIT_SUCCESS;
}
