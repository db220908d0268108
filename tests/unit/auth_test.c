/* SPDX-License-Identifier: Apache-2.0 */
/* Who proves what, on which connection, and for how long. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"

#define INSTANCE UINT64_C(0x1234567890abcdef)
#define SECRET "sixteen bytes or more"
#define TEXT(s) ((struct text){s, strlen(s)})

static struct producer_rule rules[] = {
    {.name = "proved", .secret = SECRET, .secret_bytes = sizeof(SECRET) - 1},
    {.name = "other", .secret = "another secret now", .secret_bytes = 18},
    {.name = "bounded"}};
static struct producers producers;
static struct auth *auth;
static const struct text none = {NULL, 0};

static const struct door_peer near = {.has_uid = true, .uid = 1000, .pipe = 1};
static const struct door_peer far = {.beyond = true, .pipe = 2};
static const struct door_peer far_too = {.beyond = true, .pipe = 3};

static void
open_auth(void)
{
	producers = (struct producers){.rules = rules, .rules_n = 3};
	auth = auth_create(&producers, INSTANCE, false);
	cr_assert_not_null(auth);
}

static void
close_auth(void)
{
	auth_destroy(auth);
}

TestSuite(auth, .init = open_auth, .fini = close_auth);

/* A HELLO with the proof that answers the nonce of a CHALLENGE. */
struct hello {
	uint8_t nonce[PROOF_NONCE_BYTES], salt[PROOF_NONCE_BYTES];
	uint8_t proof[PROOF_BYTES];
	struct message_hello in;
};

static void
take_nonce(const struct door_peer *peer, uint8_t nonce[PROOF_NONCE_BYTES])
{
	nng_msg *msg = auth_challenge(auth, peer);
	struct message_scratch scratch;
	struct message_frame frame;
	union message_any any;
	struct reason why;

	cr_assert_eq(
	    message_frame(nng_msg_body(msg), nng_msg_len(msg), &frame, &why),
	    LATENTD_OK);
	cr_assert_eq(frame.type, MESSAGE_CHALLENGE);
	cr_assert_eq(message_decode(&frame, &scratch, &any, &why), LATENTD_OK);
	cr_assert_eq(any.challenge.instance, INSTANCE);
	cr_assert_eq(any.challenge.nonce.bytes, PROOF_NONCE_BYTES);
	memcpy(nonce, any.challenge.nonce.at, PROOF_NONCE_BYTES);
	nng_msg_free(msg);
}

static void
make_hello(struct hello *h, const char *name, const char *secret,
    const uint8_t nonce[PROOF_NONCE_BYTES])
{
	struct proof_input in = {.secret = TEXT(secret),
	    .producer = TEXT(name),
	    .instance = INSTANCE};

	memset(h->salt, 7, sizeof(h->salt));
	memcpy(h->nonce, nonce, sizeof(h->nonce));
	memcpy(in.nonce, nonce, sizeof(in.nonce));
	memcpy(in.salt, h->salt, sizeof(in.salt));
	cr_assert(proof_make(PROOF_PRODUCER, &in, h->proof));
	h->in = (struct message_hello){.producer = TEXT(name),
	    .nonce = {(char *)h->nonce, sizeof(h->nonce)},
	    .salt = {(char *)h->salt, sizeof(h->salt)},
	    .proof = {(char *)h->proof, sizeof(h->proof)}};
}

static enum auth_answer
prove(const struct door_peer *peer, const struct hello *h)
{
	struct reason why = {.text = ""};
	struct text own;
	enum auth_answer answer = auth_prove(auth, peer, &h->in, &own, &why);

	cr_assert_null(strstr(why.text, SECRET));
	cr_assert_eq(own.bytes, answer == AUTH_KNOWN ? PROOF_BYTES : 0);
	return answer;
}

static enum auth_answer
prove_now(const struct door_peer *peer, const char *name, const char *secret)
{
	uint8_t nonce[PROOF_NONCE_BYTES];
	struct hello h;

	take_nonce(peer, nonce);
	make_hello(&h, name, secret, nonce);
	return prove(peer, &h);
}

static enum auth_answer
identify(const struct door_peer *peer, const char *name)
{
	struct producer_identity identity;

	return auth_identify(auth, peer, TEXT(name), none, &identity);
}

Test(auth, a_name_without_a_secret_is_its_uid_s_near_and_nobody_s_far_away)
{
	struct message_hello hello = {.producer = TEXT("free")};
	struct producer_identity identity;
	struct reason why;
	struct text own;

	cr_assert_eq(
	    auth_identify(auth, &near, TEXT("free"), TEXT("s"), &identity),
	    AUTH_KNOWN);
	cr_assert_eq(identity.uid, 1000);
	cr_assert_eq(identity.secret_bytes, 1);
	cr_assert_eq(auth_prove(auth, &near, &hello, &own, &why), AUTH_KNOWN);
	cr_assert_eq(own.bytes, 0);
	cr_assert_eq(identify(&near, "bounded"), AUTH_KNOWN);
	cr_assert_eq(identify(&far, "free"), AUTH_CHALLENGE);
	cr_assert_eq(identify(&far, "bounded"), AUTH_CHALLENGE);
	cr_assert_eq(
	    auth_prove(auth, &far, &hello, &own, &why), AUTH_CHALLENGE);
	cr_assert_eq(prove_now(&far, "free", SECRET), AUTH_DENIED);
	cr_assert_eq(prove_now(&far, "free", ""), AUTH_DENIED);
	cr_assert_eq(auth_denied_n(auth), 2);
	cr_assert(auth_may_ask(auth, &near));
	cr_assert_not(auth_may_ask(auth, &far));
}

Test(auth, insecure_serves_names_without_a_secret_but_none_that_has_one)
{
	struct auth *insecure = auth_create(&producers, INSTANCE, true);
	struct producer_identity identity;

	cr_assert_eq(
	    auth_identify(insecure, &far, TEXT("free"), none, &identity),
	    AUTH_KNOWN);
	cr_assert_eq(identity.uid, PRODUCER_NO_UID);
	cr_assert(auth_may_ask(insecure, &far));
	cr_assert_eq(
	    auth_identify(insecure, &far, TEXT("proved"), none, &identity),
	    AUTH_CHALLENGE);
	auth_destroy(insecure);
}

Test(auth, a_proof_makes_the_same_producer_on_every_connection_and_no_other)
{
	struct producer_identity ipc, tls;

	cr_assert_eq(identify(&near, "proved"), AUTH_CHALLENGE);
	cr_assert_eq(prove_now(&near, "proved", SECRET), AUTH_KNOWN);
	cr_assert_eq(identify(&far, "proved"), AUTH_CHALLENGE);
	cr_assert_eq(prove_now(&far, "proved", SECRET), AUTH_KNOWN);
	cr_assert_eq(
	    auth_identify(auth, &near, TEXT("proved"), TEXT("x"), &ipc),
	    AUTH_KNOWN);
	cr_assert_eq(
	    auth_identify(auth, &far, TEXT("proved"), none, &tls), AUTH_KNOWN);
	cr_assert_eq(memcmp(&ipc, &tls, sizeof(ipc)), 0);
	cr_assert_eq(tls.uid, PRODUCER_SECRET_UID);
	cr_assert_not(producer_has_uid(&tls));
	cr_assert(auth_may_ask(auth, &far));
	cr_assert_eq(identify(&far_too, "proved"), AUTH_CHALLENGE);
	cr_assert_eq(identify(&far, "other"), AUTH_CHALLENGE);
	cr_assert_eq(auth_denied_n(auth), 0);
}

Test(auth, a_recorded_hello_is_worth_nothing_later_and_elsewhere)
{
	uint8_t nonce[PROOF_NONCE_BYTES], again[PROOF_NONCE_BYTES];
	struct hello h;

	take_nonce(&far, nonce);
	take_nonce(&far_too, again);
	cr_assert_neq(memcmp(nonce, again, sizeof(nonce)), 0);
	make_hello(&h, "proved", SECRET, nonce);
	cr_assert_eq(prove(&far_too, &h), AUTH_CHALLENGE);
	cr_assert_eq(prove(&far, &h), AUTH_KNOWN);
	/* Its nonce is used up: here, */
	cr_assert_eq(prove(&far, &h), AUTH_CHALLENGE);
	take_nonce(&far, again);
	cr_assert_neq(memcmp(nonce, again, sizeof(nonce)), 0);
	cr_assert_eq(prove(&far, &h), AUTH_CHALLENGE);
	/* and on a later connection of the same number. */
	auth_gone(auth, far.pipe);
	cr_assert_eq(identify(&far, "proved"), AUTH_CHALLENGE);
	cr_assert_eq(prove(&far, &h), AUTH_CHALLENGE);
	take_nonce(&far, again);
	cr_assert_eq(prove(&far, &h), AUTH_CHALLENGE);
	cr_assert_eq(identify(&far, "proved"), AUTH_CHALLENGE);
}

Test(auth, a_nonce_is_good_for_one_guess)
{
	uint8_t nonce[PROOF_NONCE_BYTES], again[PROOF_NONCE_BYTES];
	struct hello wrong, right;

	take_nonce(&far, nonce);
	take_nonce(&far, again);
	cr_assert_eq(memcmp(nonce, again, sizeof(nonce)), 0);
	make_hello(&wrong, "proved", "sixteen bytes or less", nonce);
	make_hello(&right, "proved", SECRET, nonce);
	cr_assert_eq(prove(&far, &wrong), AUTH_DENIED);
	cr_assert_eq(prove(&far, &right), AUTH_CHALLENGE);
	cr_assert_eq(auth_denied_n(auth), 1);
	/* Another name's secret is as wrong as any. */
	cr_assert_eq(prove_now(&far, "other", SECRET), AUTH_DENIED);
	cr_assert_eq(prove_now(&far, "proved", SECRET), AUTH_KNOWN);
}

Test(auth, a_hello_with_half_a_proof_is_asked_again)
{
	uint8_t nonce[PROOF_NONCE_BYTES];
	struct hello h, cut;

	take_nonce(&far, nonce);
	make_hello(&h, "proved", SECRET, nonce);
	for (int i = 0; i < 6; i++) {
		struct text *parts[] = {
		    &cut.in.nonce, &cut.in.salt, &cut.in.proof};

		cut = h;
		if (i < 3)
			parts[i]->bytes--;
		else
			*parts[i - 3] = none;
		cr_assert_eq(prove(&far, &cut), AUTH_CHALLENGE);
	}
	cr_assert_eq(prove(&far, &h), AUTH_KNOWN);
}

Test(auth, a_secret_that_is_changed_or_gone_counts_from_the_next_request_on)
{
	struct producer_rule changed[] = {{.name = "proved",
	    .secret = "the new one, as long",
	    .secret_bytes = 20}};
	const struct producer_bounds bounds = {1, 1, 1};

	cr_assert_eq(prove_now(&far, "proved", SECRET), AUTH_KNOWN);
	cr_assert_eq(identify(&far, "proved"), AUTH_KNOWN);
	producers_change(&producers, &bounds, changed, 1);
	cr_assert_eq(identify(&far, "proved"), AUTH_CHALLENGE);
	cr_assert_not(auth_may_ask(auth, &far));
	cr_assert_eq(prove_now(&far, "proved", SECRET), AUTH_DENIED);
	cr_assert_eq(
	    prove_now(&far, "proved", "the new one, as long"), AUTH_KNOWN);
	producers_change(&producers, &bounds, NULL, 0);
	cr_assert_eq(identify(&far, "proved"), AUTH_CHALLENGE);
	cr_assert_not(auth_may_ask(auth, &far));
}
