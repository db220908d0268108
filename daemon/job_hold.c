/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What jobs hold in memory and in the spool, and whose it is: the daemon's books
 * count what is in memory, a producer's what it has here in either.
 */
#include "job.h"

#include <assert.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "store.h"

/* A producer, and its user, has ${now} bytes here where it had ${before}. */
static void
own_input(struct producer *producer, uint64_t before, uint64_t now)
{
	assert(producer->input_bytes >= before);
	producer->input_bytes = producer->input_bytes - before + now;
	user_hold(producer->user, before, now);
}

static void
own_result(struct producer *producer, uint64_t before, uint64_t now)
{
	assert(producer->result_bytes >= before);
	producer->result_bytes = producer->result_bytes - before + now;
	user_hold(producer->user, before, now);
}

void
job_hold(struct jobs *jobs, struct job *j, nng_msg *msg)
{
	assert(j->message == NULL && j->input_bytes == 0);
	j->message = msg;
	j->input_bytes = nng_msg_len(msg);
	jobs->input_bytes += j->input_bytes;
	own_input(j->producer, 0, j->input_bytes);
}

/* Free the memory of the latent. */
static void
drop_message(struct jobs *jobs, struct job *j)
{
	if (j->message != NULL) {
		jobs->input_bytes -= nng_msg_len(j->message);
		nng_msg_free(j->message);
	}
	j->message = NULL;
	j->payload = j->metadata = NULL;
}

void
job_release_input(struct jobs *jobs, struct job *j)
{
	j->body_stored = false;
	drop_message(jobs, j);
	own_input(j->producer, j->input_bytes, 0);
	j->input_bytes = 0;
}

bool
job_has_input(const struct job *j)
{
	return j->message != NULL || j->body_stored;
}

void
job_shed_input(struct jobs *jobs, struct job *j)
{
	assert(j->body_stored && j->in_flight_n == 0);
	drop_message(jobs, j);
}

void
job_reload_input(struct jobs *jobs, struct job *j, nng_msg *msg)
{
	assert(j->message == NULL && j->body_stored &&
	    nng_msg_len(msg) == j->payload_bytes + j->metadata_bytes);
	j->message = msg;
	jobs->input_bytes += nng_msg_len(msg);
	j->payload = nng_msg_body(msg);
	j->metadata = j->payload + j->payload_bytes;
}

void
job_found_input(struct job *j)
{
	own_input(j->producer, 0, j->input_bytes);
}

void
job_found_result(struct job *j)
{
	own_result(j->producer, 0, j->result_bytes);
}

uint64_t
job_store_bytes(uint64_t bytes)
{
	const uint64_t page_bytes = 4096;

	/* A piece fills its pages but for a header; see spool/store.h. */
	bytes += bytes / STORE_PIECE_BYTES * 16 + 16;
	return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

void
job_store(struct jobs *jobs, struct job *j, uint64_t bytes)
{
	jobs->stored_bytes = jobs->stored_bytes - j->stored_bytes + bytes;
	j->stored_bytes = bytes;
}

void
jobs_hold_input(
    struct jobs *jobs, struct producer *producer, size_t before, size_t now)
{
	assert(jobs->input_bytes >= before);
	jobs->input_bytes = jobs->input_bytes - before + now;
	own_input(producer, before, now);
}

void
jobs_hold_result(
    struct jobs *jobs, struct producer *producer, size_t before, size_t now)
{
	assert(jobs->result_bytes >= before);
	jobs->result_bytes = jobs->result_bytes - before + now;
	own_result(producer, before, now);
}

struct buffer *
job_take_result(struct jobs *jobs, struct job *j)
{
	struct buffer *result = j->result;

	assert(result != NULL);
	jobs->result_bytes -= j->result_bytes;
	own_result(j->producer, j->result_bytes, 0);
	j->result = NULL;
	j->result_bytes = 0;
	return result;
}

void
job_drop_result(struct jobs *jobs, struct job *j)
{
	if (j->result != NULL) {
		buffer_destroy(j->result);
		jobs->result_bytes -= j->result_bytes;
	}
	if (job_has_result(j))
		own_result(j->producer, j->result_bytes, 0);
	free(j->file_bytes);
	j->result = NULL;
	j->result_stored = false;
	j->file_bytes = NULL;
	j->files_n = 0;
	j->result_bytes = 0;
}

bool
job_has_result(const struct job *j)
{
	return j->result != NULL || j->result_stored;
}

void
job_shed_result(struct jobs *jobs, struct job *j)
{
	assert(j->result_stored);
	if (j->result == NULL)
		return;
	buffer_destroy(j->result);
	j->result = NULL;
	jobs->result_bytes -= j->result_bytes;
}

void
job_reload_result(struct jobs *jobs, struct job *j, struct buffer *result)
{
	assert(j->result == NULL && j->result_stored &&
	    result->bytes == j->result_bytes);
	j->result = result;
	jobs->result_bytes += j->result_bytes;
}
