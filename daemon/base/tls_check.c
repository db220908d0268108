/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads PEM with nng's own TLS library, but without nng, whose first use starts
 * its threads: whoever only checks a configuration, or has still to mask
 * signals and lock himself in, must not have them.
 */
#include <string.h>
#include <sys/random.h>

#include <mbedtls/pk.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include "base/tls.h"

/* From 3.0 on, secret keys are worked with only beside some randomness. */
#if MBEDTLS_VERSION_MAJOR >= 3
#define RANDOM , on_random, NULL

static int
on_random(void *arg, unsigned char *out, size_t bytes)
{
	(void)arg;
	return getrandom(out, bytes, 0) == (ssize_t)bytes ? 0 : -1;
}
#else
#define RANDOM
#endif

static enum latentd_err
wrong(const char *key, const char *what, struct reason *why)
{
	return reason_set(why, LATENTD_ERR_INVALID,
	    "the file of %s has %s; it must hold PEM text, which begins with "
	    "-----BEGIN",
	    key, what);
}

static int
read_certificates(mbedtls_x509_crt *crt, const char *pem)
{
	return mbedtls_x509_crt_parse(
	    crt, (const unsigned char *)pem, strlen(pem) + 1);
}

static enum latentd_err
check_authority(const char *pem, struct reason *why)
{
	mbedtls_x509_crt crt;
	int rv;

	mbedtls_x509_crt_init(&crt);
	rv = read_certificates(&crt, pem);
	mbedtls_x509_crt_free(&crt);
	if (rv != 0)
		return wrong("tls_client_ca",
		    "no certificate, or one that cannot be read", why);
	return LATENTD_OK;
}

static enum latentd_err
check_pair(const struct tls_pem *pem, mbedtls_x509_crt *crt,
    mbedtls_pk_context *key, struct reason *why)
{
	if (read_certificates(crt, pem->certificate) != 0)
		return wrong("tls_certificate",
		    "no certificate, or one that cannot be read", why);
	if (mbedtls_pk_parse_key(key, (const unsigned char *)pem->key,
		strlen(pem->key) + 1, NULL, 0 RANDOM) != 0)
		return wrong("tls_key",
		    "no private key, or one that is encrypted or cannot be "
		    "read",
		    why);
	if (mbedtls_pk_check_pair(&crt->pk, key RANDOM) != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "the files of tls_certificate and tls_key do not belong "
		    "together: the certificate is of another key");
	return LATENTD_OK;
}

enum latentd_err
tls_check(const struct tls_pem *pem, struct reason *why)
{
	mbedtls_x509_crt crt;
	mbedtls_pk_context key;
	enum latentd_err err;

	mbedtls_x509_crt_init(&crt);
	mbedtls_pk_init(&key);
	err = check_pair(pem, &crt, &key, why);
	if (err == LATENTD_OK && pem->client_ca != NULL)
		err = check_authority(pem->client_ca, why);
	mbedtls_pk_free(&key);
	mbedtls_x509_crt_free(&crt);
	return err;
}
