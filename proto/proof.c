/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC-SHA256 is mbedTLS's: nng has that library in every process that uses it,
 * the daemon's and its clients', so it costs neither a dependency nor memory.
 */
#include "proof.h"

#include <assert.h>
#include <string.h>

#include <mbedtls/md.h>

#define LABEL_BYTES 16u

/* What is authenticated: fixed lengths, and the name at the end. */
struct proof_text {
	uint8_t label[LABEL_BYTES];
	uint8_t instance[8];
	uint8_t nonce[PROOF_NONCE_BYTES];
	uint8_t salt[PROOF_NONCE_BYTES];
	char producer[LATENTD_MAX_NAME_BYTES];
};

static_assert(sizeof(struct proof_text) ==
	LABEL_BYTES + 8 + 2 * PROOF_NONCE_BYTES + LATENTD_MAX_NAME_BYTES,
    "no padding");

bool
proof_hmac(struct text key, struct text data, uint8_t mac[PROOF_BYTES])
{
	const mbedtls_md_info_t *info =
	    mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);

	return info != NULL &&
	    mbedtls_md_hmac(info, (const unsigned char *)key.at, key.bytes,
		(const unsigned char *)data.at, data.bytes, mac) == 0;
}

bool
proof_same(const void *a, const void *b, size_t bytes)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t difference = 0;

	for (size_t i = 0; i < bytes; i++)
		difference |= x[i] ^ y[i];
	return difference == 0;
}

/* HMAC of a label, zero-filled, and what follows it. */
static bool
make(const char *label, const struct proof_input *in, uint8_t mac[PROOF_BYTES])
{
	struct proof_text t;
	size_t bytes = offsetof(struct proof_text, producer);

	assert(strlen(label) <= LABEL_BYTES &&
	    in->producer.bytes <= LATENTD_MAX_NAME_BYTES);
	memset(&t, 0, sizeof(t));
	memcpy(t.label, label, strlen(label));
	for (unsigned i = 0; i < 8; i++)
		t.instance[i] = (uint8_t)(in->instance >> (8 * i));
	memcpy(t.nonce, in->nonce, sizeof(t.nonce));
	memcpy(t.salt, in->salt, sizeof(t.salt));
	if (in->producer.bytes > 0)
		memcpy(t.producer, in->producer.at, in->producer.bytes);
	bytes += in->producer.bytes;
	return proof_hmac(
	    in->secret, (struct text){(const char *)&t, bytes}, mac);
}

bool
proof_make(enum proof_side side, const struct proof_input *in,
    uint8_t proof[PROOF_BYTES])
{
	return make(
	    side == PROOF_PRODUCER ? "latentd producer" : "latentd daemon", in,
	    proof);
}

bool
proof_check(
    enum proof_side side, const struct proof_input *in, struct text shown)
{
	uint8_t right[PROOF_BYTES];
	bool same;

	if (shown.bytes != PROOF_BYTES || !proof_make(side, in, right))
		return false;
	same = proof_same(right, shown.at, PROOF_BYTES);
	explicit_bzero(right, sizeof(right));
	return same;
}

bool
proof_token(
    struct text secret, struct text producer, uint8_t token[PROOF_BYTES])
{
	struct proof_input in = {.secret = secret, .producer = producer};

	return make("latentd token", &in, token);
}
