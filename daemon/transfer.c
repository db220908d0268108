/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One libcurl easy handle per attempt.  The body is posted from the producer's
 * message and the reply written into the message that goes out, so a payload
 * is never copied between nng and curl.  Nothing about a reply is believed:
 * length, type and shape are checked here, its content by finish.
 */
#include "transfer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/curl_uv.h"
#include "base/msgbuf.h"
#include "endpoint.h"
#include "latentd/version.h"
#include "tensor.h"

#define ERROR_BODY_BYTES 8192u
#define HEADER_VALUE_BYTES 256u
#define IDLE_HANDLES_MAX 32u

struct transfers {
	struct curl_uv *curl;
	uint64_t instance;
	void (*on_done)(struct attempt *, void *);
	void *arg;
	CURL *idle[IDLE_HANDLES_MAX];
	size_t idle_n;
};

struct transfer {
	struct transfers *ts;
	struct attempt *attempt;
	CURL *easy;
	struct curl_slist *headers;
	nng_msg *reply;
	size_t front_bytes;
	bool too_large; /* more came than can be right */
	bool no_memory;
	char content_type[HEADER_VALUE_BYTES];
	char shape[HEADER_VALUE_BYTES];
	char dtype[HEADER_VALUE_BYTES];
	char url[LATENTD_MAX_URL_BYTES + REMOTE_QUERY_BYTES];
	char error[CURL_ERROR_SIZE];
};

struct transfers *
transfers_open(uv_loop_t *loop, uint64_t instance, unsigned connections_max,
    void (*on_done)(struct attempt *, void *), void *arg)
{
	struct transfers *ts = calloc(1, sizeof(*ts));

	if (ts == NULL)
		return NULL;
	ts->instance = instance;
	ts->on_done = on_done;
	ts->arg = arg;
	if ((ts->curl = curl_uv_open(loop, connections_max)) == NULL) {
		free(ts);
		return NULL;
	}
	return ts;
}

void
transfers_close(struct transfers *ts)
{
	if (ts == NULL)
		return;
	while (ts->idle_n > 0)
		curl_easy_cleanup(ts->idle[--ts->idle_n]);
	curl_uv_close(ts->curl);
	free(ts);
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

	t->attempt->stage = NULL;
	curl_slist_free_all(t->headers);
	if (t->easy != NULL && ts->idle_n < IDLE_HANDLES_MAX) {
		curl_easy_reset(t->easy);
		ts->idle[ts->idle_n++] = t->easy;
	} else {
		curl_easy_cleanup(t->easy);
	}
	if (t->reply != NULL)
		nng_msg_free(t->reply);
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
	struct attempt *a = ((struct transfer *)arg)->attempt;

	(void)download_bytes;
	(void)downloaded_bytes;
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
		t->attempt->answered_ns = uv_hrtime();
	if (!take_header(line, bytes, "content-type", t->content_type) &&
	    !take_header(line, bytes, "shape", t->shape))
		take_header(line, bytes, "dtype", t->dtype);
	return bytes;
}

/* The reply's message, made when its first byte and so its length is known. */
static bool
open_reply(struct transfer *t, uint64_t max_bytes)
{
	curl_off_t length = -1;
	size_t room_bytes = 65536;

	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (length >= 0)
		room_bytes = (uint64_t)length < max_bytes ? (size_t)length
							  : (size_t)max_bytes;
	t->reply = msgbuf_create(t->front_bytes, room_bytes);
	return t->reply != NULL;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t bytes = size * n, have_bytes;
	uint64_t max_bytes = t->attempt->job->expect.max_bytes;
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		max_bytes = ERROR_BODY_BYTES;
	if (t->reply == NULL && !open_reply(t, max_bytes)) {
		t->no_memory = true;
		return 0;
	}
	have_bytes = nng_msg_len(t->reply) - t->front_bytes;
	if (bytes > max_bytes - have_bytes) {
		t->too_large = true;
		/* Of an error page the beginning is enough. */
		if (status != 200)
			msgbuf_append(t->reply, data, max_bytes - have_bytes);
		return 0;
	}
	if (!msgbuf_append(t->reply, data, bytes)) {
		t->no_memory = true;
		return 0;
	}
	return bytes;
}

/* ---- the verdict ---- */

static bool
is_transient_status(long status)
{
	return status == 408 || status == 425 || status == 429 || status >= 500;
}

/* A 400 for want of memory is the endpoint's trouble, not the job's. */
static bool
is_out_of_memory(const char *text)
{
	return strcasestr(text, "out of memory") != NULL ||
	    strcasestr(text, "CUDA error") != NULL;
}

/*
 * Blot out the endpoint's token where the endpoint repeats it, as debugging
 * proxies do; at the end of ${text}, where it may be cut off, its beginning
 * counts.
 */
static void
hide_token(const struct endpoint *ep, char *text)
{
	const size_t bytes = strlen(text);
	const char *token;
	size_t token_bytes;

	if (ep->authorization == NULL)
		return;
	/* "Authorization: Bearer TOKEN" */
	token = strrchr(ep->authorization, ' ') + 1;
	token_bytes = strlen(token);
	for (size_t i = 0; i < bytes; i++) {
		size_t n = bytes - i < token_bytes ? bytes - i : token_bytes;

		if ((n == token_bytes || n >= 8) &&
		    memcmp(text + i, token, n) == 0)
			memset(text + i, '*', n);
	}
}

static void
judge_status(struct transfer *t, struct verdict *v)
{
	const char *name = t->attempt->endpoint->name;
	struct reason said = {.text = "no explanation"};
	enum latentd_err err = LATENTD_ERR_REFUSED;
	curl_off_t after_s = 0;

	if (t->reply != NULL && nng_msg_len(t->reply) > t->front_bytes)
		remote_error_text(
		    (uint8_t *)nng_msg_body(t->reply) + t->front_bytes,
		    nng_msg_len(t->reply) - t->front_bytes, &said);
	hide_token(t->attempt->endpoint, said.text);
	v->retry =
	    is_transient_status(v->http_status) || is_out_of_memory(said.text);
	if (v->retry)
		err = LATENTD_ERR_ENDPOINT;
	curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after_s);
	if (after_s > 0)
		v->retry_after_ms =
		    after_s > 3600 ? 3600000 : (uint32_t)after_s * 1000;
	if (v->http_status == 401 || v->http_status == 403)
		reason_set(&v->reason, LATENTD_ERR_DENIED,
		    "endpoint %s answered HTTP %ld (%.200s): check its "
		    "token_file",
		    name, v->http_status, said.text);
	else if (v->http_status >= 300 && v->http_status < 400)
		reason_set(&v->reason, err,
		    "endpoint %s answered HTTP %ld: "
		    "redirects are not followed; configure the final URL",
		    name, v->http_status);
	else
		reason_set(&v->reason, err,
		    "endpoint %s answered HTTP %ld: "
		    "%.300s",
		    name, v->http_status, said.text);
}

static void
judge_curl(struct transfer *t, CURLcode code, struct verdict *v)
{
	enum latentd_err err = LATENTD_ERR_ENDPOINT;

	v->retry = true;
	if (code == CURLE_COULDNT_CONNECT ||
	    code == CURLE_COULDNT_RESOLVE_HOST ||
	    code == CURLE_COULDNT_RESOLVE_PROXY)
		err = LATENTD_ERR_UNREACHABLE;
	else if (code == CURLE_OPERATION_TIMEDOUT)
		err = LATENTD_ERR_TIMEOUT;
	else if (code == CURLE_OUT_OF_MEMORY || t->no_memory)
		err = LATENTD_ERR_MEMORY;
	else if (code == CURLE_PEER_FAILED_VERIFICATION ||
	    code == CURLE_URL_MALFORMAT)
		v->retry = false;
	reason_set(&v->reason, err, "endpoint %s: %s",
	    t->attempt->endpoint->name,
	    t->error[0] != '\0' ? t->error : curl_easy_strerror(code));
}

static void
judge(struct transfer *t, CURLcode code, struct verdict *v)
{
	struct attempt *a = t->attempt;
	const struct remote_expect *expect = &a->job->expect;
	struct reason why;
	size_t bytes = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &v->http_status);
	if (t->reply != NULL)
		bytes = nng_msg_len(t->reply) - t->front_bytes;
	if (v->http_status == 200 && t->too_large) {
		v->retry = true;
		reason_set(&v->reason, LATENTD_ERR_ENDPOINT,
		    "endpoint %s sent "
		    "more than the %" PRIu64 " bytes that such a reply can "
		    "have",
		    a->endpoint->name, expect->max_bytes);
		return;
	}
	if (code != CURLE_OK && !(t->too_large && v->http_status >= 300)) {
		judge_curl(t, code, v);
		return;
	}
	if (v->http_status != 200) {
		judge_status(t, v);
		return;
	}
	if (bytes == 0) {
		v->retry = true;
		reason_set(&v->reason, LATENTD_ERR_ENDPOINT,
		    "endpoint %s answered HTTP 200 without a body",
		    a->endpoint->name);
		return;
	}
	hide_token(a->endpoint, t->content_type);
	hide_token(a->endpoint, t->shape);
	hide_token(a->endpoint, t->dtype);
	if (remote_check_head(expect,
		t->content_type[0] != '\0' ? t->content_type : NULL,
		t->shape[0] != '\0' ? t->shape : NULL,
		t->dtype[0] != '\0' ? t->dtype : NULL, bytes, &a->tensor,
		&why) != LATENTD_OK) {
		v->retry = true;
		reason_set(&v->reason, LATENTD_ERR_ENDPOINT, "endpoint %s: %s",
		    a->endpoint->name, why.text);
		return;
	}
	v->reason = (struct reason){.err = LATENTD_OK};
	a->reply = t->reply;
	t->reply = NULL;
}

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
	struct transfers *ts = t->ts;
	struct attempt *attempt = t->attempt;

	assert(t->easy == easy);
	attempt->ended_ns = uv_hrtime();
	measure(t);
	judge(t, code, &attempt->verdict);
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
	char accept[64], type[64], key[96];

	snprintf(accept, sizeof(accept), "Accept: %s",
	    req->accept == REMOTE_ANY ? "*/*" : remote_type_name(req->accept));
	/* An image file is sent without a type, as diffusers does. */
	snprintf(type, sizeof(type), "Content-Type: %s",
	    remote_type_name(req->body));
	if (req->body == REMOTE_ANY)
		snprintf(type, sizeof(type), "Content-Type:");
	/* The same for every attempt: curl alone may send a POST twice. */
	snprintf(key, sizeof(key),
	    "Idempotency-Key: %016" PRIx64 "-%" PRIu64 "-%zu", t->ts->instance,
	    a->job->id, a->part);
	return add_header(t, accept) && add_header(t, type) &&
	    add_header(t, key) && add_header(t, "Expect:") &&
	    (a->endpoint->authorization == NULL ||
		add_header(t, a->endpoint->authorization));
}

static bool
set_url(struct transfer *t)
{
	char query[REMOTE_QUERY_BYTES];
	int n;

	n = snprintf(t->url, sizeof(t->url), "%s%s", t->attempt->endpoint->url,
	    remote_query_format(&t->attempt->job->remote, query));
	return n > 0 && (size_t)n < sizeof(t->url);
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
	curl_easy_setopt(
	    easy, CURLOPT_CONNECTTIMEOUT_MS, (long)TRANSFER_CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)TRANSFER_TOTAL_MS);
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
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 131072L);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 131072L);
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
	t->front_bytes = job_front_bytes(attempt->job);
	t->easy = ts->idle_n > 0 ? ts->idle[--ts->idle_n] : curl_easy_init();
	if (t->easy == NULL || !set_headers(t) || !set_url(t))
		goto free_transfer;
	set_options(t);
	if (curl_uv_start(ts->curl, t->easy, on_done, t) != 0)
		goto free_transfer;
	attempt->stage = t;
	return true;

free_transfer:
	transfer_free(t);
no_memory:
	v->retry = true;
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
