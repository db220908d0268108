/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A result owns the received message; its parts are never copied.  Once made
 * it is read only, so the accessors need no lock.
 */
#include "result.h"

#include <stdlib.h>
#include <string.h>

static void
copy_text(char *to, size_t room, struct text t)
{
	size_t n = t.bytes < room ? t.bytes : room - 1;

	if (n > 0)
		memcpy(to, t.at, n);
	to[n] = '\0';
}

static enum latentd_err
set_parts(struct latentd_result *r, const struct message_result *in,
    struct reason *why)
{
	uint64_t end = 0;

	if (in->part_bytes_n == 0)
		return LATENTD_OK;
	r->part_ends = calloc(in->part_bytes_n, sizeof(*r->part_ends));
	if (r->part_ends == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY,
		    "no memory for a result of %zu parts", in->part_bytes_n);
	for (size_t i = 0; i < in->part_bytes_n; i++) {
		if (in->part_bytes[i] > r->body_bytes - end)
			return reason_set(why, LATENTD_ERR_PROTOCOL,
			    "part_bytes of the result of %s add up to more "
			    "than its body of %zu bytes",
			    r->key, r->body_bytes);
		end += in->part_bytes[i];
		r->part_ends[i] = (size_t)end;
	}
	r->parts_n = in->part_bytes_n;
	if (end != r->body_bytes)
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "part_bytes of the result of %s add up to %ju of %zu bytes",
		    r->key, (uintmax_t)end, r->body_bytes);
	return LATENTD_OK;
}

static enum latentd_err
check_done(const struct latentd_result *r, struct reason *why)
{
	if (r->why.err != LATENTD_OK)
		return LATENTD_OK;
	if (r->output == LATENTD_OUT_NONE || r->parts_n == 0)
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "the result of %s is done but holds nothing", r->key);
	return LATENTD_OK;
}

static void
set_reason(struct reason *why, const struct message_result *in)
{
	if (in->code == LATENTD_OK && in->state == JOB_DONE) {
		why->err = LATENTD_OK;
		why->text[0] = '\0';
		return;
	}
	why->err = in->code != LATENTD_OK ? in->code : LATENTD_ERR_INTERNAL;
	if (in->message.bytes > 0)
		reason_set(why, why->err, "%.*s", (int)in->message.bytes,
		    in->message.at);
	else
		reason_set(why, why->err, "%s", latentd_err_text(why->err));
}

struct latentd_result *
result_create(const struct message_result *in,
    const struct message_frame *frame, nng_msg *msg, struct reason *why)
{
	struct latentd_result *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		reason_set(why, LATENTD_ERR_MEMORY, "no memory for a result");
		return NULL;
	}
	copy_text(r->key, sizeof(r->key), in->key);
	copy_text(r->endpoint, sizeof(r->endpoint), in->endpoint);
	set_reason(&r->why, in);
	r->body = frame->body;
	r->body_bytes = frame->body_bytes;
	r->tagged = true;
	r->tag = in->tag;
	r->instance = in->instance;
	r->id = in->id;
	r->kicks = in->kicks;
	r->output = in->output;
	r->tensor = in->tensor;
	r->width_px = (uint32_t)in->width_px;
	r->height_px = (uint32_t)in->height_px;
	r->frames = (uint32_t)in->frames;
	r->attempts = (uint32_t)in->attempts;
	r->queued_ms = in->queued_ms;
	r->decode_ms = in->decode_ms;
	r->finish_ms = in->finish_ms;
	if (set_parts(r, in, why) != LATENTD_OK ||
	    check_done(r, why) != LATENTD_OK) {
		result_destroy(r);
		return NULL;
	}
	r->msg = msg;
	return r;
}

struct latentd_result *
result_create_failed(const char *key, const struct reason *why)
{
	struct latentd_result *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	copy_text(r->key, sizeof(r->key), (struct text){key, strlen(key)});
	r->why = *why;
	return r;
}

void
result_destroy(struct latentd_result *result)
{
	if (result == NULL)
		return;
	nng_msg_free(result->msg);
	free(result->part_ends);
	free(result);
}

uint64_t
latentd_result_ticket(const struct latentd_result *result)
{
	return result->ticket;
}

uint64_t
latentd_result_id(const struct latentd_result *result)
{
	return result->id;
}

const char *
latentd_result_key(const struct latentd_result *result)
{
	return result->key;
}

enum latentd_err
latentd_result_error(const struct latentd_result *result)
{
	return result->why.err;
}

const char *
latentd_result_message(const struct latentd_result *result)
{
	return result->why.text;
}

enum latentd_output
latentd_result_output(const struct latentd_result *result)
{
	return result->output;
}

const struct latentd_tensor *
latentd_result_tensor(const struct latentd_result *result)
{
	return &result->tensor;
}

size_t
latentd_result_parts(const struct latentd_result *result)
{
	return result->parts_n;
}

const void *
latentd_result_part(
    const struct latentd_result *result, size_t i, size_t *bytes)
{
	size_t start;

	if (i >= result->parts_n) {
		*bytes = 0;
		return NULL;
	}
	start = i == 0 ? 0 : result->part_ends[i - 1];
	*bytes = result->part_ends[i] - start;
	return result->body + start;
}

uint32_t
latentd_result_width_px(const struct latentd_result *result)
{
	return result->width_px;
}

uint32_t
latentd_result_height_px(const struct latentd_result *result)
{
	return result->height_px;
}

uint32_t
latentd_result_frames(const struct latentd_result *result)
{
	return result->frames;
}

const char *
latentd_result_endpoint(const struct latentd_result *result)
{
	return result->endpoint;
}

uint32_t
latentd_result_attempts(const struct latentd_result *result)
{
	return result->attempts;
}

uint64_t
latentd_result_queued_ms(const struct latentd_result *result)
{
	return result->queued_ms;
}

uint64_t
latentd_result_decode_ms(const struct latentd_result *result)
{
	return result->decode_ms;
}

uint64_t
latentd_result_finish_ms(const struct latentd_result *result)
{
	return result->finish_ms;
}
