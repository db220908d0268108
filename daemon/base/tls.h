/* SPDX-License-Identifier: Apache-2.0 */
/* What nng needs to listen on tls+tcp://. */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <nng/nng.h>

#include "latentd/errors.h"
#include "reason.h"

/* The contents of PEM files, NUL-ended. */
struct tls_pem {
	const char *certificate; /* the daemon's, and what is between it and
	                          * the authority's */
	const char *key; /* its private key, not encrypted */
	const char *client_ca; /* who signs producers' certificates; NULL:
	                        * producers need none */
};

/* tls_check(pem, why): whether they can be read and belong together; INVALID says
 * what not.  Any thread, and nng is not touched. */
enum latentd_err tls_check(const struct tls_pem *pem, struct reason *why);

/*
 * tls_listen(listener, pem, why): have ${listener}, not yet started, speak TLS
 * 1.2 or newer, and with a client_ca only with whoever shows a certificate that
 * it signed.  nng keeps what it needs of ${pem}, and cannot be given another
 * while it listens.  INVALID.
 */
enum latentd_err tls_listen(
    nng_listener listener, const struct tls_pem *pem, struct reason *why);

#endif
