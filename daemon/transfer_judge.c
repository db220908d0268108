/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request came to.  Nothing about a reply is believed: length, type and
 * shape are checked here, its content by finish.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "tensor.h"
#include "transfer_private.h"

/* A 400 for want of memory is the endpoint's trouble, not the job's. */
static bool
is_out_of_memory(const char *text)
{
	return strcasestr(text, "out of memory") != NULL ||
	    strcasestr(text, "CUDA error") != NULL;
}

/* The token of the request, which may not be the endpoint's any more; NULL: it
 * had none. */
static const char *
sent_token(const struct transfer *t)
{
	static const char bearer[] = "Authorization: Bearer ";
	const struct curl_slist *line;

	for (line = t->headers; line != NULL; line = line->next) {
		if (strncmp(line->data, bearer, sizeof(bearer) - 1) == 0)
			return line->data + sizeof(bearer) - 1;
	}
	return NULL;
}

/*
 * Blot out the token where the endpoint repeats it, as debugging proxies do; at
 * the end of ${text}, where it may be cut off, its beginning counts.
 */
static void
hide_token(const struct transfer *t, char *text)
{
	const size_t bytes = strlen(text);
	const char *token = sent_token(t);
	size_t token_bytes;

	if (token == NULL)
		return;
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

	if (t->reply != NULL && t->reply->bytes > 0)
		remote_error_text(t->reply->at, t->reply->bytes, &said);
	hide_token(t, said.text);
	v->fate = fate_of_status(v->http_status, is_out_of_memory(said.text));
	if (v->fate != FATE_JOB)
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
	enum phase phase = transfer_phase(t);

	v->fate = fate_of_curl((int)code, phase);
	if (t->no_memory)
		v->fate = FATE_OURS;
	if (code == CURLE_COULDNT_CONNECT ||
	    code == CURLE_COULDNT_RESOLVE_HOST ||
	    code == CURLE_COULDNT_RESOLVE_PROXY)
		err = LATENTD_ERR_UNREACHABLE;
	else if (code == CURLE_OPERATION_TIMEDOUT)
		err = LATENTD_ERR_TIMEOUT;
	else if (code == CURLE_OUT_OF_MEMORY || t->no_memory)
		err = LATENTD_ERR_MEMORY;
	reason_set(&v->reason, err, "endpoint %s: %s (%s)",
	    t->attempt->endpoint->name,
	    t->error[0] != '\0' ? t->error : curl_easy_strerror(code),
	    phase_name(phase));
}

void
transfer_judge(struct transfer *t, CURLcode code, struct verdict *v)
{
	struct attempt *a = t->attempt;
	const struct remote_expect *expect = &a->job->expect;
	struct reason why;
	size_t bytes = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &v->http_status);
	if (t->reply != NULL)
		bytes = t->reply->bytes;
	if (v->http_status == 200 && t->too_large) {
		v->fate = FATE_AGAIN;
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
		v->fate = FATE_AGAIN;
		reason_set(&v->reason, LATENTD_ERR_ENDPOINT,
		    "endpoint %s answered HTTP 200 without a body",
		    a->endpoint->name);
		return;
	}
	hide_token(t, t->content_type);
	hide_token(t, t->shape);
	hide_token(t, t->dtype);
	if (remote_check_head(expect,
		t->content_type[0] != '\0' ? t->content_type : NULL,
		t->shape[0] != '\0' ? t->shape : NULL,
		t->dtype[0] != '\0' ? t->dtype : NULL, bytes, &a->tensor,
		&why) != LATENTD_OK) {
		v->fate = FATE_AGAIN;
		reason_set(&v->reason, LATENTD_ERR_ENDPOINT, "endpoint %s: %s",
		    a->endpoint->name, why.text);
		return;
	}
	v->reason = (struct reason){.err = LATENTD_OK};
	buffer_fit(t->reply);
	a->reply = t->reply;
	t->reply = NULL;
}
