/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_AUTH_H
#define DAEMON_AUTH_H

#include "base/door.h"
#include "producer.h"
#include "proof.h"

/*
 * Who asks.  On ipc the kernel tells the uid, and that is enough; a name for
 * which the operator configured a secret is whoever proved, on this connection,
 * that he knows it, on every transport and with any uid.  Beyond loopback there
 * are no other names, unless the configuration says insecure.
 */
struct auth;

enum auth_answer {
	AUTH_KNOWN,
	AUTH_CHALLENGE, /* a proof is needed first: answer auth_challenge() */
	AUTH_DENIED,
};

/*
 * auth_create(producers, instance, insecure): whose rules have the secrets;
 * they may change at any time, and what was proved with another secret counts
 * no more.  NULL when memory is out.
 */
struct auth *auth_create(
    const struct producers *producers, uint64_t instance, bool insecure);
void auth_destroy(struct auth *auth);

/* auth_change(auth, insecure): from now on. */
void auth_change(struct auth *auth, bool insecure);

/* auth_gone(auth, pipe): that connection ended. */
void auth_gone(struct auth *auth, uint32_t pipe);

/*
 * auth_identify(auth, peer, name, secret, identity): who asks as ${name} with
 * ${secret}, which counts only where the name has no configured one.  CHALLENGE
 * leaves ${identity} unset.
 */
enum auth_answer auth_identify(const struct auth *auth,
    const struct door_peer *peer, struct text name, struct text secret,
    struct producer_identity *identity);

/* auth_may_ask(auth, peer): whether ${peer} may ask what needs no name. */
bool auth_may_ask(const struct auth *auth, const struct door_peer *peer);

/* auth_challenge(auth, peer): CHALLENGE with the nonce of that connection, the
 * same until it was answered; REJECTED when memory is out. */
nng_msg *auth_challenge(struct auth *auth, const struct door_peer *peer);

/*
 * auth_prove(auth, peer, hello, own, why):
 * Check a HELLO.  KNOWN: ${own->bytes} is 0, or ${own} the daemon's proof, valid
 * until the next call.  DENIED: ${why} says so, and the nonce is used up.
 * CHALLENGE: there was no proof, or one of another nonce.
 */
enum auth_answer auth_prove(struct auth *auth, const struct door_peer *peer,
    const struct message_hello *hello, struct text *own, struct reason *why);

/* auth_denied_n(auth): wrong proofs so far. */
uint64_t auth_denied_n(const struct auth *auth);

#endif
