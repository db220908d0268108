/* SPDX-License-Identifier: Apache-2.0 */
/* A result: what a RESULT message said, and the message itself. */
#ifndef CLIENT_RESULT_H
#define CLIENT_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <nng/nng.h>

#include "latentd/client.h"
#include "message.h"

struct latentd_result {
	struct latentd_client *client;
	TAILQ_ENTRY(latentd_result) entry;
	nng_msg *msg; /* the parts point into it; NULL: made here */
	const uint8_t *body;
	size_t body_bytes;
	size_t *part_ends;
	size_t parts_n;
	uint64_t ticket;
	bool tagged; /* the daemon waits for an acknowledgement */
	bool acked; /* already, and kept for what it holds */
	uint64_t tag;
	uint64_t instance;
	uint64_t id;
	uint64_t kicks; /* how often the job was kicked before */
	char key[LATENTD_MAX_NAME_BYTES + 1];
	struct reason why;
	enum latentd_output output;
	struct latentd_tensor tensor;
	uint32_t width_px;
	uint32_t height_px;
	uint32_t frames;
	char endpoint[LATENTD_MAX_NAME_BYTES + 1];
	uint32_t attempts;
	uint64_t queued_ms;
	uint64_t decode_ms;
	uint64_t finish_ms;
};

/*
 * result_create(in, frame, msg, why):
 * Make a result of the decoded message ${in} and its ${frame}.  On success it
 * owns ${msg}, which both point into.  Fails with PROTOCOL when sizes do not
 * add up, and with MEMORY; ${msg} is then the caller's.
 */
struct latentd_result *result_create(const struct message_result *in,
    const struct message_frame *frame, nng_msg *msg, struct reason *why);

/* result_create_failed(key, why): a result made here for a job that the daemon
 * does not have.  NULL when memory is out. */
struct latentd_result *result_create_failed(
    const char *key, const struct reason *why);

/* result_destroy(result): free it, nothing else; NULL is a no-op. */
void result_destroy(struct latentd_result *result);

#endif
