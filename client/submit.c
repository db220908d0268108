/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentd_submit(): checks what can be known without the daemon, then builds
 * the whole message with one copy of the payload.  Never waits for the network.
 */
#include "submit.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "deliver.h"
#include "due.h"
#include "identity.h"
#include "result.h"
#include "session.h"
#include "tensor.h"

#define PNG_KEY_BYTES 79u

bool
submit_is_name(const char *s)
{
	return message_is_name(s, strnlen(s, LATENTD_MAX_NAME_BYTES + 1));
}

static enum latentd_err
check_names(const struct latentd_request *q, struct reason *why)
{
	if (q->task != LATENTD_DECODE && q->task != LATENTD_ENCODE)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "task is %d; LATENTD_DECODE and LATENTD_ENCODE exist",
		    (int)q->task);
	if (q->model == NULL || !submit_is_name(q->model))
		return reason_set(why, LATENTD_ERR_MODEL,
		    "model \"%s\" is not a name: use 1 to %u of A-Z a-z 0-9 "
		    ". _ -",
		    q->model != NULL ? q->model : "", LATENTD_MAX_NAME_BYTES);
	if (q->key != NULL && !submit_is_name(q->key))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "key \"%s\" is not a name: use 1 to %u of A-Z a-z 0-9 . _ "
		    "-",
		    q->key, LATENTD_MAX_NAME_BYTES);
	if (q->space != LATENTD_SPACE_MODEL && q->space != LATENTD_SPACE_VAE)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "space is %d; LATENTD_SPACE_MODEL and LATENTD_SPACE_VAE "
		    "exist",
		    (int)q->space);
	return LATENTD_OK;
}

static enum latentd_err
check_output(const struct latentd_request *q, struct reason *why)
{
	if ((int)q->output < LATENTD_OUT_NONE ||
	    (int)q->output > LATENTD_OUT_LATENT)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "output is %d, which is none of latentd_output",
		    (int)q->output);
	if (q->output == LATENTD_OUT_NONE)
		return LATENTD_OK;
	if ((q->task == LATENTD_ENCODE) != (q->output == LATENTD_OUT_LATENT))
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "%s does not give %s; it gives %s", task_name(q->task),
		    output_name(q->output),
		    q->task == LATENTD_ENCODE
			? "latent"
			: "png, jpg, mp4, pixels or float");
	if (q->metadata_n > 0 && q->output != LATENTD_OUT_PNG)
		return reason_set(why, LATENTD_ERR_UNSUPPORTED,
		    "metadata goes into png only, not into %s",
		    output_name(q->output));
	return LATENTD_OK;
}

static enum latentd_err
check_order(const struct latentd_request *q, struct reason *why)
{
	if ((int)q->priority < LATENTD_NORMAL || (int)q->priority > LATENTD_LOW)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "priority is %d, which is none of latentd_priority",
		    (int)q->priority);
	if (q->deadline_ms > LATENTD_MAX_DEADLINE_MS)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "deadline_ms is %ju; at most %u are allowed",
		    (uintmax_t)q->deadline_ms, LATENTD_MAX_DEADLINE_MS);
	if (q->refuse_late && q->deadline_ms == 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "refuse_late needs a deadline_ms to be late for");
	return LATENTD_OK;
}

static enum latentd_err
check_tensor(const struct latentd_request *q, struct reason *why)
{
	char shape[TENSOR_SHAPE_TEXT_BYTES];
	uint64_t bytes;

	if (q->data == NULL || q->data_bytes == 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "data is empty; the tensor or image file is missing");
	if (q->height_px > LATENTD_MAX_SIDE_PX ||
	    q->width_px > LATENTD_MAX_SIDE_PX)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "height %u and width %u must be at most %u pixels",
		    q->height_px, q->width_px, LATENTD_MAX_SIDE_PX);
	if (q->task == LATENTD_ENCODE && q->tensor.ndim == 0)
		return LATENTD_OK;
	if (tensor_bytes(&q->tensor, &bytes, why) != LATENTD_OK)
		return why->err;
	if (bytes != q->data_bytes)
		return reason_set(why, LATENTD_ERR_SHAPE,
		    "shape %s of %s takes %ju bytes, but data has %zu",
		    tensor_shape_format(&q->tensor, shape),
		    dtype_name(q->tensor.dtype), (uintmax_t)bytes,
		    q->data_bytes);
	return LATENTD_OK;
}

static enum latentd_err
check_metadata(
    const struct latentd_request *q, size_t *bytes, struct reason *why)
{
	*bytes = 0;
	if (q->metadata_n > LATENTD_MAX_METADATA_N)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "%zu metadata entries; at most %u are allowed",
		    q->metadata_n, LATENTD_MAX_METADATA_N);
	for (size_t i = 0; i < q->metadata_n; i++) {
		const struct latentd_metadata *m = &q->metadata[i];
		size_t key_bytes;

		if (m->key == NULL || m->value == NULL)
			return reason_set(why, LATENTD_ERR_INVALID,
			    "metadata entry %zu has no key or no value", i);
		key_bytes = strlen(m->key);
		if (key_bytes == 0 || key_bytes > PNG_KEY_BYTES)
			return reason_set(why, LATENTD_ERR_INVALID,
			    "metadata key \"%s\" has %zu bytes; PNG allows 1 "
			    "to %u",
			    m->key, key_bytes, PNG_KEY_BYTES);
		if (strlen(m->value) > LATENTD_MAX_METADATA_BYTES)
			*bytes = LATENTD_MAX_METADATA_BYTES;
		else
			*bytes +=
			    metadata_put_bytes((struct text){m->key, key_bytes},
				(struct text){m->value, strlen(m->value)});
		if (*bytes >= LATENTD_MAX_METADATA_BYTES)
			return reason_set(why, LATENTD_ERR_TOO_LARGE,
			    "metadata passes its limit of %u bytes with \"%s\"",
			    LATENTD_MAX_METADATA_BYTES, m->key);
	}
	return LATENTD_OK;
}

static enum latentd_err
check_size(const struct latentd_client *c, uint64_t bytes, struct reason *why)
{
	uint64_t max = LATENTD_MAX_BODY_BYTES;

	if (c->max_body_bytes > 0 && c->max_body_bytes < max)
		max = c->max_body_bytes;
	if (c->max_bytes < max)
		max = c->max_bytes;
	if (bytes > max)
		return reason_set(why, LATENTD_ERR_TOO_LARGE,
		    "the job has %ju bytes; at most %ju are allowed",
		    (uintmax_t)bytes, (uintmax_t)max);
	return LATENTD_OK;
}

static bool
has_room(const struct latentd_client *c, uint64_t bytes)
{
	size_t n = c->jobs.n + c->ready_own_n + c->reserved_n;
	uint64_t used = c->jobs.bytes + c->reserved_bytes;

	return n < c->max_jobs && used <= c->max_bytes &&
	    bytes <= c->max_bytes - used;
}

/* A job whose deadline passes meanwhile is as good as gone. */
static enum latentd_err
wait_room(struct latentd_client *c, uint64_t bytes, const struct timespec *at,
    const struct job_options *options, struct reason *why)
{
	struct timespec until = due_earlier(at, options->deadline_at_ms);

	while (!has_room(c, bytes)) {
		if (client_wait(c, &until) || has_room(c, bytes))
			continue;
		if (due_passed(options->deadline_at_ms))
			return reason_set(why, LATENTD_ERR_EXPIRED,
			    "the deadline passed while the client had no room "
			    "for the job");
		return reason_set(why, LATENTD_ERR_BUSY,
		    "%zu jobs with %ju bytes are pending, of at most "
		    "%zu and %ju; collect some first",
		    c->jobs.n + c->ready_own_n, (uintmax_t)c->jobs.bytes,
		    c->max_jobs, (uintmax_t)c->max_bytes);
	}
	return LATENTD_OK;
}

static enum latentd_err
make_key(char key[LATENTD_MAX_NAME_BYTES + 1], const char *chosen,
    struct reason *why)
{
	uint64_t random[2];

	if (chosen != NULL) {
		strcpy(key, chosen);
		return LATENTD_OK;
	}
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return reason_set(why, LATENTD_ERR_INTERNAL, "getrandom: %s",
		    strerror(errno));
	snprintf(key, LATENTD_MAX_NAME_BYTES + 1, "%016" PRIx64 "%016" PRIx64,
	    random[0], random[1]);
	return LATENTD_OK;
}

static struct text
as_text(const char *s)
{
	return (struct text){s, strlen(s)};
}

static nng_msg *
build(const struct latentd_client *c, const struct latentd_request *q,
    const char *key, size_t metadata_bytes, struct reason *why)
{
	const struct message_submit in = {
	    .producer = as_text(c->producer),
	    .secret = identity_token(c),
	    .key = as_text(key),
	    .task = q->task,
	    .model = as_text(q->model),
	    .space = q->space,
	    .tensor = q->tensor,
	    .height_px = q->height_px,
	    .width_px = q->width_px,
	    .output = q->output,
	    .metadata_bytes = metadata_bytes,
	    .priority = q->priority,
	    .deadline_ms = q->deadline_ms,
	    .refuse_late = q->refuse_late,
	    .cancel_on_disconnect = q->cancel_on_disconnect,
	};
	uint8_t front[MESSAGE_FRONT_BYTES], *at;
	size_t body_bytes = q->data_bytes + metadata_bytes;
	size_t n = message_encode(
	    MESSAGE_SUBMIT, &in, body_bytes, front, sizeof(front));
	nng_msg *msg = NULL;

	assert(n > 0);
	if (nng_msg_alloc(&msg, n + body_bytes) != 0) {
		reason_set(why, LATENTD_ERR_MEMORY,
		    "no memory for a message of %zu bytes", n + body_bytes);
		return NULL;
	}
	at = nng_msg_body(msg);
	memcpy(at, front, n);
	memcpy(at + n, q->data, q->data_bytes);
	at += n + q->data_bytes;
	for (size_t i = 0; i < q->metadata_n; i++)
		at += metadata_put(at, as_text(q->metadata[i].key),
		    as_text(q->metadata[i].value));
	return msg;
}

static struct job_options
options_of(const struct latentd_request *q)
{
	static const unsigned classes[] = {
	    [LATENTD_URGENT] = 0,
	    [LATENTD_HIGH] = 1,
	    [LATENTD_NORMAL] = 2,
	    [LATENTD_LOW] = 3,
	};
	uint64_t now_ms = due_now_ms();
	struct job_options options = {
	    .class = classes[q->priority], .refuse_late = q->refuse_late};

	if (q->deadline_ms > 0)
		options.deadline_at_ms = now_ms + q->deadline_ms;
	if (q->accept_timeout_ms > 0)
		options.give_up_at_ms = now_ms + q->accept_timeout_ms;
	return options;
}

static void
attach(struct latentd_client *c, struct job *job, struct job_waiter *waiter)
{
	job_show(&c->jobs, job);
	if (waiter != NULL)
		job_hide(&c->jobs, job, waiter);
}

/*
 * A key that is pending or whose result waits here is the same job again;
 * ${*ticket} is 0 when the key is new.
 */
static enum latentd_err
find_known(struct latentd_client *c, const char *key, struct job_waiter *waiter,
    uint64_t *ticket, struct reason *why)
{
	struct job *job = jobs_find_key(&c->jobs, key);
	struct latentd_result *r;

	*ticket = 0;
	if (job != NULL && job->waiter != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "another thread waits for the result of key %s", key);
	if (job != NULL) {
		*ticket = job->ticket;
		attach(c, job, waiter);
		return LATENTD_OK;
	}
	r = deliver_ready(c, key, 0);
	if (r != NULL) {
		if (r->ticket == 0) {
			r->ticket = ++c->tickets;
			c->ready_own_n++;
		}
		*ticket = r->ticket;
		if (waiter != NULL)
			waiter->result = deliver_take(c, r);
		return LATENTD_OK;
	}
	if (seen_get(&c->seen, key, 0) == SEEN_HELD)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the result of key %s is not freed yet", key);
	return LATENTD_OK;
}

static enum latentd_err
check(const struct latentd_client *c, const struct latentd_request *q,
    size_t *metadata_bytes, struct reason *why)
{
	if (check_names(q, why) != LATENTD_OK ||
	    check_output(q, why) != LATENTD_OK ||
	    check_order(q, why) != LATENTD_OK ||
	    check_tensor(q, why) != LATENTD_OK ||
	    check_metadata(q, metadata_bytes, why) != LATENTD_OK)
		return why->err;
	return check_size(c, (uint64_t)q->data_bytes + *metadata_bytes, why);
}

/* Build the message without the mutex; the room is reserved meanwhile. */
static nng_msg *
build_unlocked(struct latentd_client *c, const struct latentd_request *q,
    const char *key, size_t metadata_bytes, struct reason *why)
{
	uint64_t bytes = (uint64_t)q->data_bytes + metadata_bytes;
	nng_msg *msg;

	c->reserved_n++;
	c->reserved_bytes += bytes;
	pthread_mutex_unlock(&c->mutex);
	msg = build(c, q, key, metadata_bytes, why);
	pthread_mutex_lock(&c->mutex);
	c->reserved_n--;
	c->reserved_bytes -= bytes;
	return msg;
}

enum latentd_err
submit_add(struct latentd_client *c, const struct latentd_request *q,
    const struct timespec *at, struct job_waiter *waiter, uint64_t *ticket)
{
	char key[LATENTD_MAX_NAME_BYTES + 1];
	struct reason *why = client_reason();
	struct job_options options;
	size_t metadata_bytes = 0;
	struct job *job;
	nng_msg *msg;

	if (check(c, q, &metadata_bytes, why) != LATENTD_OK ||
	    make_key(key, q->key, why) != LATENTD_OK ||
	    find_known(c, key, waiter, ticket, why) != LATENTD_OK)
		return why->err;
	if (*ticket != 0)
		return LATENTD_OK;
	options = options_of(q);
	if (wait_room(c, (uint64_t)q->data_bytes + metadata_bytes, at, &options,
		why) != LATENTD_OK)
		return why->err;
	msg = build_unlocked(c, q, key, metadata_bytes, why);
	if (msg == NULL)
		return why->err;
	/* Another thread may have submitted the same key meanwhile. */
	if (find_known(c, key, waiter, ticket, why) != LATENTD_OK ||
	    *ticket != 0) {
		nng_msg_free(msg);
		return *ticket != 0 ? LATENTD_OK : why->err;
	}
	job = jobs_add(&c->jobs, ++c->tickets, key, msg,
	    (uint64_t)q->data_bytes + metadata_bytes, &options);
	if (job == NULL) {
		nng_msg_free(msg);
		return reason_set(
		    why, LATENTD_ERR_MEMORY, "no memory for a job");
	}
	*ticket = job->ticket;
	seen_put(&c->seen, key, 0, SEEN_NOT);
	attach(c, job, waiter);
	session_pump(c);
	return LATENTD_OK;
}

enum latentd_err
latentd_submit(struct latentd_client *c, const struct latentd_request *request,
    int timeout_ms, uint64_t *ticket)
{
	struct timespec at = client_deadline(timeout_ms);
	enum latentd_err err;
	uint64_t number = 0;

	pthread_mutex_lock(&c->mutex);
	err = submit_add(c, request, &at, NULL, &number);
	pthread_mutex_unlock(&c->mutex);
	if (err == LATENTD_OK && ticket != NULL)
		*ticket = number;
	return err;
}
