/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what connections have proved.  A nonce belongs to one connection and is
 * good for one proof, right or wrong, so that a HELLO that was recorded is worth
 * nothing later or elsewhere.  What was proved is remembered as the secret it
 * was proved with and compared with the rules at each request, so that a secret
 * that is changed or taken away takes effect with the next one.
 */
#include "auth.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "peer.h"
#include "reply.h"

/* Who guesses must not fill the log. */
#define LOG_EVERY_NS UINT64_C(10000000000)

struct shown {
	uint32_t pipe;
	bool asked; /* ${nonce} waits for its proof */
	uint8_t nonce[PROOF_NONCE_BYTES];
	bool proved;
	char name[LATENTD_MAX_NAME_BYTES + 1];
	char secret[LATENTD_MAX_SECRET_BYTES];
	size_t secret_bytes;
	UT_hash_handle hh;
};

struct auth {
	const struct producers *producers;
	uint64_t instance;
	bool insecure;
	struct shown *table; /* no more than there are connections */
	uint64_t denied_n;
	uint64_t logged_ns; /* the latest line about them */
	uint8_t own[PROOF_BYTES];
};

struct auth *
auth_create(const struct producers *producers, uint64_t instance, bool insecure)
{
	struct auth *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->producers = producers;
	a->instance = instance;
	a->insecure = insecure;
	return a;
}

void
auth_change(struct auth *a, bool insecure)
{
	a->insecure = insecure;
}

static void
forget(struct auth *a, struct shown *s)
{
	HASH_DEL(a->table, s);
	explicit_bzero(s, sizeof(*s));
	free(s);
}

void
auth_destroy(struct auth *a)
{
	struct shown *s, *next;

	if (a == NULL)
		return;
	HASH_ITER(hh, a->table, s, next)
	{
		forget(a, s);
	}
	free(a);
}

static struct shown *
find(const struct auth *a, uint32_t pipe)
{
	struct shown *s;

	HASH_FIND(hh, a->table, &pipe, sizeof(pipe), s);
	return s;
}

void
auth_gone(struct auth *a, uint32_t pipe)
{
	struct shown *s = find(a, pipe);

	if (s != NULL)
		forget(a, s);
}

uint64_t
auth_denied_n(const struct auth *a)
{
	return a->denied_n;
}

/* The rule that gives ${name} a secret, or NULL. */
static const struct producer_rule *
secret_of(const struct auth *a, struct text name)
{
	const struct producer_rule *rule = producers_rule(a->producers, name);

	return rule != NULL && rule->secret_bytes > 0 ? rule : NULL;
}

static bool
has_proved(const struct shown *s, const struct producer_rule *rule)
{
	return s != NULL && s->proved && strcmp(s->name, rule->name) == 0 &&
	    s->secret_bytes == rule->secret_bytes &&
	    proof_same(s->secret, rule->secret, s->secret_bytes);
}

enum auth_answer
auth_identify(const struct auth *a, const struct door_peer *peer,
    struct text name, struct text secret, struct producer_identity *identity)
{
	const struct producer_rule *rule = secret_of(a, name);
	const struct text none = {NULL, 0};

	if (rule == NULL) {
		if (peer->beyond && !a->insecure)
			return AUTH_CHALLENGE;
		peer_identity(peer, name, secret, identity);
		return AUTH_KNOWN;
	}
	if (!has_proved(find(a, peer->pipe), rule))
		return AUTH_CHALLENGE;
	producer_identity(PRODUCER_SECRET_UID, name, none, identity);
	return AUTH_KNOWN;
}

bool
auth_may_ask(const struct auth *a, const struct door_peer *peer)
{
	const struct shown *s;
	const struct producer_rule *rule;

	if (!peer->beyond || a->insecure)
		return true;
	s = find(a, peer->pipe);
	if (s == NULL || !s->proved)
		return false;
	rule = secret_of(a, (struct text){s->name, strlen(s->name)});
	return rule != NULL && has_proved(s, rule);
}

/* What is known of a connection, made if missing; NULL: no memory. */
static struct shown *
get(struct auth *a, uint32_t pipe)
{
	struct shown *s = find(a, pipe);

	if (s != NULL)
		return s;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->pipe = pipe;
	HASH_ADD(hh, a->table, pipe, sizeof(s->pipe), s);
	return s;
}

nng_msg *
auth_challenge(struct auth *a, const struct door_peer *peer)
{
	struct shown *s = get(a, peer->pipe);
	struct message_challenge m = {.instance = a->instance};
	struct reason why;

	if (s == NULL) {
		reason_set(
		    &why, LATENTD_ERR_MEMORY, "the daemon is out of memory");
		return reply_rejected(&why);
	}
	if (!s->asked &&
	    getrandom(s->nonce, sizeof(s->nonce), 0) !=
		(ssize_t)sizeof(s->nonce))
		abort();
	s->asked = true;
	m.nonce = (struct text){(const char *)s->nonce, sizeof(s->nonce)};
	return reply_create(MESSAGE_CHALLENGE, &m, NULL, 0);
}

/* The same words whether there is no such name or the secret is wrong, so that
 * names cannot be found out; the log has the rest. */
static enum auth_answer
deny(struct auth *a, struct text name, const char *because, struct reason *why)
{
	uint64_t now_ns = uv_hrtime();

	a->denied_n++;
	if (a->logged_ns == 0 || now_ns - a->logged_ns >= LOG_EVERY_NS) {
		a->logged_ns = now_ns;
		log_warn("producer \"%.*s\" could not prove who it is: %s "
			 "(%llu such so far)",
		    (int)name.bytes, name.at, because,
		    (unsigned long long)a->denied_n);
	}
	reason_set(why, LATENTD_ERR_DENIED,
	    "producer \"%.*s\" has another secret than the one shown, or none "
	    "here",
	    (int)name.bytes, name.at);
	return AUTH_DENIED;
}

static void
remember(struct shown *s, const struct producer_rule *rule)
{
	s->proved = true;
	memcpy(s->name, rule->name, sizeof(s->name));
	memcpy(s->secret, rule->secret, sizeof(s->secret));
	s->secret_bytes = rule->secret_bytes;
}

/* Answers nonce ${s} with a proof; the nonce is used up. */
static enum auth_answer
check(struct auth *a, struct shown *s, const struct message_hello *hello,
    struct text *own, struct reason *why)
{
	const struct producer_rule *rule = secret_of(a, hello->producer);
	struct proof_input in = {
	    .producer = hello->producer, .instance = a->instance};
	enum auth_answer answer = AUTH_KNOWN;
	bool right;

	/* For a name without a secret the same work is done for nothing. */
	in.secret = rule != NULL
	    ? (struct text){rule->secret, rule->secret_bytes}
	    : (struct text){(const char *)s->nonce, sizeof(s->nonce)};
	memcpy(in.nonce, s->nonce, sizeof(in.nonce));
	memcpy(in.salt, hello->salt.at, sizeof(in.salt));
	s->asked = false;
	right = proof_check(PROOF_PRODUCER, &in, hello->proof);
	if (rule == NULL)
		answer = deny(a, hello->producer, "it has no secret here", why);
	else if (!right)
		answer =
		    deny(a, hello->producer, "its secret is another one", why);
	else if (!proof_make(PROOF_DAEMON, &in, a->own))
		abort();
	explicit_bzero(&in, sizeof(in));
	if (answer != AUTH_KNOWN)
		return answer;
	remember(s, rule);
	*own = (struct text){(const char *)a->own, sizeof(a->own)};
	return AUTH_KNOWN;
}

enum auth_answer
auth_prove(struct auth *a, const struct door_peer *peer,
    const struct message_hello *hello, struct text *own, struct reason *why)
{
	struct shown *s = find(a, peer->pipe);

	*own = (struct text){NULL, 0};
	if (secret_of(a, hello->producer) == NULL &&
	    (!peer->beyond || a->insecure))
		return AUTH_KNOWN;
	if (hello->proof.bytes != PROOF_BYTES ||
	    hello->salt.bytes != PROOF_NONCE_BYTES ||
	    hello->nonce.bytes != PROOF_NONCE_BYTES || s == NULL || !s->asked ||
	    !proof_same(s->nonce, hello->nonce.at, sizeof(s->nonce)))
		return AUTH_CHALLENGE;
	return check(a, s, hello, own, why);
}
