/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One libcurl easy handle per attempt.  The body is posted from the producer's
 * message, and the reply is written into the buffer that stays the job's result.
 */
#include "transfer_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/buffer.h"
#include "base/curl_uv.h"
#include "latentd/version.h"

#define ERROR_BODY_BYTES 8192u
#define BUFFER_BYTES 65536L

struct transfers *
transfers_open(uv_loop_t *loop, uint64_t instance,
    void (*on_done)(struct attempt *, void *), void *arg)
{
	struct transfers *ts = calloc(1, sizeof(*ts));

	if (ts == NULL)
		return NULL;
	ts->instance = instance;
	if (getrandom(&ts->run, sizeof(ts->run), 0) != (ssize_t)sizeof(ts->run))
		abort();
	ts->on_done = on_done;
	ts->arg = arg;
	if ((ts->curl = curl_uv_open(loop, 1)) == NULL) {
		free(ts);
		return NULL;
	}
	TAILQ_INIT(&ts->running);
	uv_timer_init(loop, &ts->watch);
	ts->watch.data = ts;
	return ts;
}

void
transfers_keep(struct transfers *ts, unsigned n)
{
	curl_uv_keep(ts->curl, n);
}

static void
on_closed(uv_handle_t *watch)
{
	free(watch->data);
}

void
transfers_close(struct transfers *ts)
{
	if (ts == NULL)
		return;
	while (ts->idle_n > 0)
		curl_easy_cleanup(ts->idle[--ts->idle_n]);
	curl_uv_close(ts->curl);
	uv_close((uv_handle_t *)&ts->watch, on_closed);
}

struct curl_uv *
transfers_curl(struct transfers *ts)
{
	return ts->curl;
}

static void
transfer_free(struct transfer *t)
{
	struct transfers *ts = t->ts;

	if (t->attempt->stage == t)
		TAILQ_REMOVE(&ts->running, t, running);
	t->attempt->stage = NULL;
	curl_slist_free_all(t->headers);
	if (t->easy != NULL && ts->idle_n < IDLE_HANDLES_MAX) {
		curl_easy_reset(t->easy);
		ts->idle[ts->idle_n++] = t->easy;
	} else {
		curl_easy_cleanup(t->easy);
	}
	buffer_destroy(t->reply);
	free(t);
}

/* ---- curl's callbacks ---- */

/* If the line is "name: value", keep the value, cut to the buffer. */
static bool
take_header(const char *line, size_t bytes, const char *name,
    char value[HEADER_VALUE_BYTES])
{
	size_t name_bytes = strlen(name), n;

	if (bytes <= name_bytes || line[name_bytes] != ':' ||
	    strncasecmp(line, name, name_bytes) != 0)
		return false;
	line += name_bytes + 1;
	bytes -= name_bytes + 1;
	while (bytes > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		bytes--;
	}
	while (bytes > 0 && (unsigned char)line[bytes - 1] <= ' ')
		bytes--;
	n = bytes < HEADER_VALUE_BYTES ? bytes : HEADER_VALUE_BYTES - 1;
	memcpy(value, line, n);
	value[n] = '\0';
	return true;
}

/* curl tells only here when a body has been sent. */
static int
on_progress(void *arg, curl_off_t download_bytes, curl_off_t downloaded_bytes,
    curl_off_t upload_bytes, curl_off_t uploaded_bytes)
{
	struct transfer *t = arg;
	struct attempt *a = t->attempt;

	(void)download_bytes;
	if (t->bytes < uploaded_bytes + downloaded_bytes) {
		t->bytes = uploaded_bytes + downloaded_bytes;
		t->byte_ns = uv_hrtime();
	}
	if (a->uploaded_ns == 0 && upload_bytes > 0 &&
	    uploaded_bytes >= upload_bytes)
		a->uploaded_ns = uv_hrtime();
	return 0;
}

static size_t
on_header(char *line, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t bytes = size * n;

	if (t->attempt->answered_ns == 0)
		t->attempt->answered_ns = t->byte_ns = uv_hrtime();
	if (!take_header(line, bytes, "content-type", t->content_type) &&
	    !take_header(line, bytes, "shape", t->shape))
		take_header(line, bytes, "dtype", t->dtype);
	return bytes;
}

/* The reply's first byte is there, and so are its status and its length. */
static bool
open_reply(struct transfer *t)
{
	curl_off_t length = -1;
	size_t room_bytes = 65536;
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	t->refused = status != 200;
	t->max_bytes =
	    t->refused ? ERROR_BODY_BYTES : t->attempt->job->expect.max_bytes;
	if (length >= 0)
		room_bytes = (uint64_t)length < t->max_bytes
		    ? (size_t)length
		    : (size_t)t->max_bytes;
	t->reply = buffer_create(room_bytes);
	return t->reply != NULL;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t bytes = size * n, left_bytes;

	if (t->reply == NULL && !open_reply(t)) {
		t->no_memory = true;
		return 0;
	}
	left_bytes = (size_t)t->max_bytes - t->reply->bytes;
	if (bytes > left_bytes) {
		t->too_large = true;
		/* Of an error page the beginning is enough. */
		if (t->refused)
			buffer_append(t->reply, data, left_bytes);
		return 0;
	}
	if (!buffer_append(t->reply, data, bytes)) {
		t->no_memory = true;
		return 0;
	}
	return bytes;
}

/* ---- the end ---- */

/* What curl counted; for metrics. */
static void
measure(struct transfer *t)
{
	struct attempt *a = t->attempt;
	curl_off_t us = 0, sent_bytes = 0, received_bytes = 0;

	curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &us);
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &sent_bytes);
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_DOWNLOAD_T, &received_bytes);
	if (us > 0)
		a->connected_ns = a->started_ns + (uint64_t)us * 1000;
	a->sent_bytes = (uint64_t)sent_bytes;
	a->received_bytes = (uint64_t)received_bytes;
}

static void
on_done(CURL *easy, CURLcode code, void *arg)
{
	struct transfer *t = arg;

	assert(t->easy == easy);
	transfer_judge(t, code, &t->attempt->verdict);
	transfer_end(t);
}

void
transfer_end(struct transfer *t)
{
	struct transfers *ts = t->ts;
	struct attempt *attempt = t->attempt;

	attempt->ended_ns = uv_hrtime();
	measure(t);
	transfer_free(t);
	ts->on_done(attempt, ts->arg);
}

/* ---- starting ---- */

static bool
add_header(struct transfer *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);

	if (more == NULL)
		return false;
	t->headers = more;
	return true;
}

static bool
set_headers(struct transfer *t)
{
	const struct attempt *a = t->attempt;
	const struct remote_request *req = &a->job->remote;
	char accept[64], type[64], key[96], hold[48];

	snprintf(accept, sizeof(accept), "Accept: %s",
	    req->accept == REMOTE_ANY ? "*/*" : remote_type_name(req->accept));
	/* An image file is sent without a type, as diffusers does. */
	snprintf(type, sizeof(type), "Content-Type: %s",
	    remote_type_name(req->body));
	if (req->body == REMOTE_ANY)
		snprintf(type, sizeof(type), "Content-Type:");
	/* The same for every attempt: curl alone may send a POST twice. */
	snprintf(key, sizeof(key),
	    "Idempotency-Key: %016" PRIx64 "-%" PRIu64 "-%zu",
	    a->job->spooled ? t->ts->instance : t->ts->run, a->job->id,
	    a->part);
	/* A proxy that starts its endpoint holds the request meanwhile. */
	snprintf(hold, sizeof(hold), "X-Scale-Up-Timeout: %u",
	    a->endpoint->times.scale_up_s);
	if (a->warming && a->endpoint->times.scale_up_s > 0 &&
	    !add_header(t, hold))
		return false;
	return add_header(t, accept) && add_header(t, type) &&
	    add_header(t, key) && add_header(t, "Expect:") &&
	    (a->endpoint->authorization == NULL ||
		add_header(t, a->endpoint->authorization));
}

static void
set_url(struct transfer *t)
{
	const char *url = t->attempt->endpoint->url;
	const size_t bytes = strlen(url);

	memcpy(t->url, url, bytes);
	remote_query_format(&t->attempt->job->remote, t->url + bytes);
}

static void
set_times(struct transfer *t)
{
	const struct config_times *times = &t->attempt->endpoint->times;
	long total_s = (long)times->total_s;

	if (t->attempt->warming)
		total_s += times->scale_up_s;
	curl_easy_setopt(
	    t->easy, CURLOPT_CONNECTTIMEOUT, (long)times->connect_s);
	curl_easy_setopt(t->easy, CURLOPT_TIMEOUT, total_s);
}

static void
set_options(struct transfer *t)
{
	CURL *easy = t->easy;
	size_t bytes;
	const uint8_t *data =
	    job_part_data(t->attempt->job, t->attempt->part, &bytes);

	curl_easy_setopt(easy, CURLOPT_URL, t->url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, data);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "latentd/" LATENTD_VERSION);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(easy, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error);
	set_times(t);
	/* 7.88 takes truncated HTTP/2 replies for whole ones. */
	curl_easy_setopt(
	    easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR,
	    strncasecmp(t->url, "https:", 6) == 0 ? "https" : "http");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* Without it a stalled DNS look-up blocks the loop at clean-up. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	/* curl allocates both anew for each transfer.  What it sends should
	 * hold an SDXL latent with its headers, so that it asks for nothing
	 * new before the reply. */
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 4 * BUFFER_BYTES);
}

bool
transfer_start(struct transfers *ts, struct attempt *attempt)
{
	struct transfer *t = calloc(1, sizeof(*t));
	struct verdict *v = &attempt->verdict;

	attempt->started_ns = uv_hrtime();
	if (t == NULL)
		goto no_memory;
	t->ts = ts;
	t->attempt = attempt;
	t->easy = ts->idle_n > 0 ? ts->idle[--ts->idle_n] : curl_easy_init();
	if (t->easy == NULL || !set_headers(t))
		goto free_transfer;
	set_url(t);
	set_options(t);
	if (curl_uv_start(ts->curl, t->easy, on_done, t) != 0)
		goto free_transfer;
	attempt->stage = t;
	TAILQ_INSERT_TAIL(&ts->running, t, running);
	transfer_watch(ts);
	return true;

free_transfer:
	transfer_free(t);
no_memory:
	v->fate = FATE_OURS;
	reason_set(&v->reason, LATENTD_ERR_MEMORY,
	    "the daemon has no memory for the request to endpoint %s",
	    attempt->endpoint->name);
	attempt->ended_ns = uv_hrtime();
	return false;
}

void
transfer_abort(struct transfers *ts, struct attempt *attempt)
{
	struct transfer *t = attempt->stage;

	assert(t != NULL);
	curl_uv_stop(ts->curl, t->easy);
	transfer_free(t);
}
