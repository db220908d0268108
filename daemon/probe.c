/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One target per endpoint, one timer for the next question that is due.  A
 * target is asked by one curl handle, which it has while the question is under
 * way.
 */
#include "probe.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/curl_uv.h"
#include "endpoint.h"
#include "latentd/version.h"

#define URL_BYTES ((size_t)2 * LATENTD_MAX_URL_BYTES)

struct target {
	struct probe *probe;
	struct endpoint *endpoint;
	CURL *easy; /* while it is asked */
	struct curl_slist *headers;
	uint64_t next_ms; /* not before */
	unsigned wait_ms; /* after the next question without an answer */
};

struct probe {
	uv_timer_t timer;
	struct curl_uv *curl;
	struct target **targets;
	size_t targets_n;
};

static uint64_t
now(void)
{
	return uv_hrtime() / MS_NS;
}

struct probe *
probe_open(uv_loop_t *loop, struct curl_uv *curl)
{
	struct probe *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->curl = curl;
	uv_timer_init(loop, &p->timer);
	p->timer.data = p;
	return p;
}

/* Its place in the table; targets_n: it has none. */
static size_t
find(const struct probe *p, const struct endpoint *endpoint)
{
	size_t i = 0;

	while (i < p->targets_n && p->targets[i]->endpoint != endpoint)
		i++;
	return i;
}

bool
probe_add(struct probe *p, struct endpoint *endpoint)
{
	struct target **more;
	struct target *t;

	if (find(p, endpoint) < p->targets_n)
		return true;
	more =
	    reallocarray(p->targets, p->targets_n + 1, sizeof(struct target *));
	if (more == NULL)
		return false;
	p->targets = more;
	if ((t = calloc(1, sizeof(*t))) == NULL)
		return false;
	t->probe = p;
	t->endpoint = endpoint;
	t->wait_ms = PROBE_FIRST_MS;
	p->targets[p->targets_n++] = t;
	return true;
}

static void
forget_question(struct target *t)
{
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	t->easy = NULL;
	t->headers = NULL;
}

static void
forget_target(struct target *t)
{
	if (t->easy != NULL)
		curl_uv_stop(t->probe->curl, t->easy);
	forget_question(t);
	free(t);
}

void
probe_forget(struct probe *p, const struct endpoint *endpoint)
{
	size_t i;

	if (p == NULL || (i = find(p, endpoint)) == p->targets_n)
		return;
	forget_target(p->targets[i]);
	p->targets[i] = p->targets[--p->targets_n];
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
probe_close(struct probe *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->targets_n; i++)
		forget_target(p->targets[i]);
	free(p->targets);
	uv_close((uv_handle_t *)&p->timer, on_closed);
}

/* ---- one question ---- */

/* What it says does not matter. */
static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	(void)data;
	(void)arg;
	return size * n;
}

static void
put_off(struct target *t)
{
	t->next_ms = now() + t->wait_ms;
	t->wait_ms *= 2;
	if (t->wait_ms > PROBE_MOST_MS)
		t->wait_ms = PROBE_MOST_MS;
}

static void
on_done(CURL *easy, CURLcode code, void *arg)
{
	struct target *t = arg;
	long status = 0;

	if (code == CURLE_OK)
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	forget_question(t);
	if (t->endpoint->health_path[0] != '\0') {
		endpoint_checked(t->endpoint, status);
		t->next_ms = now() + PROBE_EVERY_MS;
		probe_look(t->probe);
		return;
	}
	/* Unless a job's request has found it out meanwhile. */
	if (t->endpoint->health != ENDPOINT_ANSWERS)
		endpoint_heard(t->endpoint, status);
	if (t->endpoint->health == ENDPOINT_ANSWERS)
		t->wait_ms = PROBE_FIRST_MS;
	else
		put_off(t);
	probe_look(t->probe);
}

/* "https://host:port/path" → "https://host:port/health" */
static void
health_url(const struct endpoint *ep, char out[URL_BYTES])
{
	const char *path =
	    ep->health_path[0] != '\0' ? ep->health_path : "/health";
	const char *url = ep->url, *host = strstr(url, "://");
	size_t n = strlen(url);

	if (host != NULL)
		n = (size_t)(host - url) + 3 + strcspn(host + 3, "/");
	snprintf(out, URL_BYTES, "%.*s%s", (int)n, url, path);
}

static void
set_options(CURL *easy, const char *url)
{
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "latentd/" LATENTD_VERSION);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)PROBE_TIMEOUT_MS);
	curl_easy_setopt(
	    easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR,
	    strncasecmp(url, "https:", 6) == 0 ? "https" : "http");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
}

static void
ask(struct target *t)
{
	const char *authorization = t->endpoint->authorization;
	char url[URL_BYTES];

	if ((t->easy = curl_easy_init()) == NULL)
		goto put_off;
	health_url(t->endpoint, url);
	set_options(t->easy, url);
	if (authorization != NULL) {
		t->headers = curl_slist_append(NULL, authorization);
		if (t->headers == NULL)
			goto forget_question;
		curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	}
	if (curl_uv_start(t->probe->curl, t->easy, on_done, t) == 0)
		return;

forget_question:
	forget_question(t);
put_off:
	put_off(t);
}

/* ---- which and when ---- */

static void
on_timer(uv_timer_t *timer)
{
	probe_look(timer->data);
}

void
probe_look(struct probe *p)
{
	uint64_t now_ms, next_ms = UINT64_MAX;

	if (p == NULL)
		return;
	now_ms = now();
	for (size_t i = 0; i < p->targets_n; i++) {
		struct target *t = p->targets[i];

		if (t->easy != NULL ||
		    (t->endpoint->health == ENDPOINT_ANSWERS &&
			t->endpoint->health_path[0] == '\0'))
			continue;
		if (t->next_ms <= now_ms)
			ask(t);
		if (t->easy == NULL && t->next_ms < next_ms)
			next_ms = t->next_ms;
	}
	if (next_ms == UINT64_MAX)
		uv_timer_stop(&p->timer);
	else
		uv_timer_start(&p->timer, on_timer,
		    next_ms > now_ms ? next_ms - now_ms : 1, 0);
}
