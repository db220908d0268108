/* SPDX-License-Identifier: Apache-2.0 */
/* A gateway between scripted stages, and the clients that a test is. */
#ifndef UNIT_GATEWAY_FIXTURE_H
#define UNIT_GATEWAY_FIXTURE_H

#include "gateway.h"
#include "jobs_fixture.h"

#define FIXTURE_TOKEN "sesame"

struct fixture_gateway {
	struct fixture_jobs f;
	struct gateway *g;
	struct job *jobs[16]; /* accepted */
	size_t jobs_n;
	/* What the sinks say. */
	bool no_lane;
	struct job_busy busy;
	enum latentd_err ready;
	/* What they were told. */
	size_t cancelled_n, sent_n, whole_n, rested_n;
};

/* fixture_gateway_open(x, token): on a free port; ${token} may be NULL. */
void fixture_gateway_open(struct fixture_gateway *x, const char *token);

/* Sees that nothing is held any more. */
void fixture_gateway_close(struct fixture_gateway *x);

/* fixture_done(x, i, tensor, byte): job ${i} brought ${tensor}, all ${byte}.
 * fixture_failed(x, i, err, http_status): it failed with the sentence "no". */
void fixture_done(struct fixture_gateway *x, size_t i,
    const struct latentd_tensor *tensor, uint8_t byte);
void fixture_failed(struct fixture_gateway *x, size_t i, enum latentd_err err,
    long http_status);

struct fixture_client {
	struct fixture_gateway *x;
	int fd;
	char *text; /* received and not yet taken; NUL-ended */
	size_t bytes;
};

struct fixture_client fixture_dial(struct fixture_gateway *x);
void fixture_hang_up(struct fixture_client *c);

/* fixture_put(c, head, body, body_bytes): send both; "Host" and the line that
 * ends the head are added, and with ${body} its length. */
void fixture_put(struct fixture_client *c, const char *head, const void *body,
    size_t body_bytes);

/* fixture_get(c, status, words...): run until a reply is there; it must have
 * ${status} and all ${words}, which end with NULL, in head or body.  Returns
 * its body, which is valid until the next call, and its length. */
const char *fixture_get(
    struct fixture_client *c, size_t *bytes, int status, ...);

#endif
