/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The secret itself never leaves the process: requests carry a token that is
 * derived from it, and where the daemon asks, a HELLO carries a proof over the
 * daemon's nonce.  The daemon then has to prove that it knows the secret, too.
 */
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static struct text
own_secret(const struct latentd_client *c)
{
	return (struct text){c->secret, c->secret_bytes};
}

static struct text
own_name(const struct latentd_client *c)
{
	return (struct text){c->producer, strlen(c->producer)};
}

/* One line's end belongs to the editor and not to the secret. */
static enum latentd_err
read_file(struct latentd_client *c, const char *path, struct reason *why)
{
	char text[LATENTD_MAX_SECRET_BYTES + 2];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
	int number = errno;

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "cannot read the secret's file %s: %s", path,
		    strerror(number));
	if (n > 0 && text[n - 1] == '\n')
		n--;
	if (n == 0 || n > (ssize_t)LATENTD_MAX_SECRET_BYTES) {
		reason_set(why, LATENTD_ERR_INVALID,
		    "the secret in %s has %s; 1 to %u bytes are allowed", path,
		    n == 0 ? "no byte" : "more bytes",
		    LATENTD_MAX_SECRET_BYTES);
	} else {
		memcpy(c->secret, text, (size_t)n);
		c->secret_bytes = (size_t)n;
		why->err = LATENTD_OK;
	}
	explicit_bzero(text, sizeof(text));
	return why->err;
}

enum latentd_err
identity_set(struct latentd_client *c, const struct latentd_client_options *o,
    struct reason *why)
{
	const char *file = o->secret_file;
	enum latentd_err err = LATENTD_OK;

	if (o->secret_bytes > LATENTD_MAX_SECRET_BYTES ||
	    (o->secret_bytes > 0 && o->secret == NULL))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the secret has %zu bytes; at most %u are allowed",
		    o->secret_bytes, LATENTD_MAX_SECRET_BYTES);
	if (o->secret_bytes > 0 && file != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "secret and secret_file exclude each other");
	/* A name that is made up has no secret. */
	if (file == NULL && o->secret_bytes == 0 && !c->anonymous)
		file = getenv("LATENTD_SECRET_FILE");
	if (o->secret_bytes > 0)
		memcpy(c->secret, o->secret, o->secret_bytes);
	c->secret_bytes = o->secret_bytes;
	if (file != NULL && file[0] != '\0')
		err = read_file(c, file, why);
	if (err == LATENTD_OK && c->secret_bytes > 0 &&
	    !proof_token(own_secret(c), own_name(c), c->token))
		err = reason_set(
		    why, LATENTD_ERR_MEMORY, "no memory for a client");
	return err;
}

void
identity_wipe(struct latentd_client *c)
{
	explicit_bzero(c->secret, sizeof(c->secret));
	explicit_bzero(c->token, sizeof(c->token));
}

struct text
identity_token(const struct latentd_client *c)
{
	return (struct text){
	    (const char *)c->token, c->secret_bytes > 0 ? sizeof(c->token) : 0};
}

enum latentd_err
identity_challenged(struct latentd_client *c,
    const struct message_challenge *in, struct reason *why)
{
	if (c->secret_bytes == 0)
		return reason_set(why, LATENTD_ERR_DENIED,
		    "the daemon at %s wants producer \"%s\" to prove who it "
		    "is; give the secret that is configured there",
		    c->url, c->producer);
	if (in->nonce.bytes != sizeof(c->asked.nonce))
		return reason_set(why, LATENTD_ERR_PROTOCOL,
		    "the daemon's nonce has %zu bytes instead of %zu",
		    in->nonce.bytes, sizeof(c->asked.nonce));
	memcpy(c->asked.nonce, in->nonce.at, sizeof(c->asked.nonce));
	c->asked.instance = in->instance;
	c->asked.wanted = true;
	c->welcome = false;
	c->hello_wanted = true;
	return LATENTD_OK;
}

static struct proof_input
proof_of(const struct latentd_client *c)
{
	struct proof_input in = {.secret = own_secret(c),
	    .producer = own_name(c),
	    .instance = c->shown.instance};

	memcpy(in.nonce, c->shown.nonce, sizeof(in.nonce));
	memcpy(in.salt, c->shown.salt, sizeof(in.salt));
	return in;
}

bool
identity_hello(struct latentd_client *c, struct message_hello *hello)
{
	struct proof_input in;

	c->proving = c->asked.wanted;
	if (!c->proving)
		return true;
	c->asked.wanted = false;
	c->shown.instance = c->asked.instance;
	memcpy(c->shown.nonce, c->asked.nonce, sizeof(c->shown.nonce));
	if (getrandom(c->shown.salt, sizeof(c->shown.salt), 0) !=
	    (ssize_t)sizeof(c->shown.salt))
		return false;
	in = proof_of(c);
	if (!proof_make(PROOF_PRODUCER, &in, c->shown.proof))
		return false;
	hello->nonce =
	    (struct text){(const char *)c->shown.nonce, sizeof(c->shown.nonce)};
	hello->salt =
	    (struct text){(const char *)c->shown.salt, sizeof(c->shown.salt)};
	hello->proof =
	    (struct text){(const char *)c->shown.proof, sizeof(c->shown.proof)};
	return true;
}

enum latentd_err
identity_welcomed(struct latentd_client *c, const struct message_welcome *in,
    struct reason *why)
{
	struct proof_input own;

	c->proved = false;
	c->proofs_n = 0;
	if (!c->proving)
		return LATENTD_OK;
	own = proof_of(c);
	if (!proof_check(PROOF_DAEMON, &own, in->proof))
		return reason_set(why, LATENTD_ERR_DENIED,
		    "what answers at %s does not know the secret of producer "
		    "\"%s\"",
		    c->url, c->producer);
	c->proved = true;
	return LATENTD_OK;
}

void
identity_renew(struct latentd_client *c)
{
	c->asked.wanted = false;
	/* Nothing but HELLO would be answered. */
	if (c->proved)
		c->welcome = false;
}
