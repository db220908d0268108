/* SPDX-License-Identifier: Apache-2.0 */
/* Ingress without a door: its functions stand in ingress_fixture.c; the sinks
 * say what the test wants. */
#ifndef UNIT_INGRESS_FIXTURE_H
#define UNIT_INGRESS_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "ingress.h"
#include "jobs_fixture.h"
#include "lane.h"
#include "reply.h"

#define INSTANCE UINT64_C(0xfeedfacecafebeef)
#define TEXT(s) ((struct text){s, strlen(s)})
#define LATENT_BYTES (4 * 8 * 8 * 2)

struct door_request {
	uint32_t pipe;
	nng_msg *message;
	nng_msg *reply;
};

struct ingress_fixture {
	struct fixture_jobs f;
	struct auth *auth;
	struct ingress *in;
	struct lane lane;
	struct job_busy busy;
	uint64_t estimate_ms, remembered_id, known_tag;
	uint64_t replaced_id;
	bool store; /* jobs are stored before they are accepted */
	struct job *stored; /* the last such */
	uint64_t unknown_acks, wait_ms; /* of the COLLECT passed on */
	size_t collects_n, refused_n, accepted_n;
	uint32_t pipe;
	nng_msg *last; /* reply */
};

extern struct ingress_fixture x;

void open_ingress(void);
void close_ingress(void);

/* ask(type, in, body_bytes, m): send a message with a body of zeros; its reply,
 * until the next one.  submit(s, m): a SUBMIT with a latent. */
enum message_type ask(enum message_type type, const void *in, size_t body_bytes,
    union message_any *m);
struct message_submit submit_of(const char *producer, const char *key);
enum message_type submit(const struct message_submit *s, union message_any *m);
void expect_rejected(
    enum message_type type, const union message_any *m, enum latentd_err code);

#endif
