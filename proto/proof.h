/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a producer and the daemon show each other that they know the producer's
 * secret without telling it: HMAC-SHA256 over what protocol.md §12 says.
 */
#ifndef PROTO_PROOF_H
#define PROTO_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

#define PROOF_BYTES 32u
#define PROOF_NONCE_BYTES 32u

/* Whose proof: one is never good for the other. */
enum proof_side { PROOF_PRODUCER, PROOF_DAEMON };

struct proof_input {
	struct text secret;
	struct text producer; /* its name */
	uint64_t instance; /* of the daemon */
	uint8_t nonce[PROOF_NONCE_BYTES]; /* the daemon's, of one connection */
	uint8_t salt[PROOF_NONCE_BYTES]; /* the producer's */
};

/*
 * proof_make(side, in, proof): false when memory is out, ${proof} undefined.
 * proof_check(side, in, shown): whether ${shown} is that proof, in a time that
 * does not depend on where they differ; false also when memory is out.
 */
bool proof_make(enum proof_side side, const struct proof_input *in,
    uint8_t proof[PROOF_BYTES]);
bool proof_check(
    enum proof_side side, const struct proof_input *in, struct text shown);

/*
 * proof_token(secret, producer, token): what a producer sends as "secret" in
 * its requests.  Who reads it learns neither the secret nor any proof.  False
 * when memory is out.
 */
bool proof_token(
    struct text secret, struct text producer, uint8_t token[PROOF_BYTES]);

/* proof_hmac(key, data, mac): plain HMAC-SHA256 (RFC 2104); as above. */
bool proof_hmac(struct text key, struct text data, uint8_t mac[PROOF_BYTES]);

/* proof_same(a, b, bytes): memcmp() == 0, in constant time. */
bool proof_same(const void *a, const void *b, size_t bytes);

#endif
