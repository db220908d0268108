/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files are read once, when the client is opened: nng keeps what they held
 * for all its dialers.
 */
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define PEM_BYTES_MAX (256u << 10)
#define SCHEME "tls+tcp://"

/* What was given, or else the environment's, or NULL. */
static const char *
given(const char *option, const char *variable)
{
	if (option == NULL)
		option = getenv(variable);
	return option != NULL && option[0] != '\0' ? option : NULL;
}

/* A file's text, malloc'd; NULL and ${why}. */
static char *
read_pem(const char *what, const char *path, struct reason *why)
{
	FILE *file = fopen(path, "re");
	char *text = malloc(PEM_BYTES_MAX + 1);
	size_t n = 0;

	if (file == NULL || text == NULL) {
		reason_set(why,
		    text != NULL ? LATENTD_ERR_INVALID : LATENTD_ERR_MEMORY,
		    "cannot read %s %s: %s", what, path, strerror(errno));
	} else {
		/* Unbuffered, so that no copy of a key stays behind. */
		setvbuf(file, NULL, _IONBF, 0);
		n = fread(text, 1, PEM_BYTES_MAX, file);
		text[n] = '\0';
		if (strstr(text, "-----BEGIN") == NULL)
			reason_set(why, LATENTD_ERR_INVALID,
			    "%s %s must hold PEM text, which begins with "
			    "-----BEGIN",
			    what, path);
	}
	if (file != NULL)
		fclose(file);
	if (why->err == LATENTD_OK)
		return text;
	if (text != NULL)
		explicit_bzero(text, n);
	free(text);
	return NULL;
}

static void
wipe(char *text)
{
	if (text != NULL)
		explicit_bzero(text, strlen(text));
	free(text);
}

static int
set_authority(nng_tls_config *config, const char *path, struct reason *why)
{
	char *ca;
	int rv;

	if (path == NULL) {
		reason_set(why, LATENTD_ERR_INVALID,
		    "a tls+tcp:// daemon is known by who signed its "
		    "certificate: name that file as ca_file, --tls-ca or "
		    "LATENTD_TLS_CA");
		return NNG_EINVAL;
	}
	if ((ca = read_pem("the TLS authority's file", path, why)) == NULL)
		return NNG_EINVAL;
	rv = nng_tls_config_ca_chain(config, ca, NULL);
	free(ca);
	if (rv == 0)
		rv = nng_tls_config_auth_mode(
		    config, NNG_TLS_AUTH_MODE_REQUIRED);
	if (rv != 0)
		reason_set(why, LATENTD_ERR_INVALID,
		    "cannot use the TLS authority's file %s: %s", path,
		    nng_strerror(rv));
	return rv;
}

static int
set_own(nng_tls_config *config, const char *cert_path, const char *key_path,
    struct reason *why)
{
	char *cert, *key = NULL;
	int rv = NNG_EINVAL;

	if (cert_path == NULL && key_path == NULL)
		return 0;
	if (cert_path == NULL || key_path == NULL) {
		reason_set(why, LATENTD_ERR_INVALID,
		    "a TLS certificate and its key belong together; %s is "
		    "missing",
		    cert_path == NULL ? "the certificate" : "the key");
		return rv;
	}
	cert = read_pem("the TLS certificate", cert_path, why);
	if (cert != NULL)
		key = read_pem("the TLS key", key_path, why);
	if (key != NULL) {
		rv = nng_tls_config_own_cert(config, cert, key, NULL);
		if (rv != 0)
			reason_set(why, LATENTD_ERR_INVALID,
			    "cannot use the TLS certificate %s with the key "
			    "%s: %s",
			    cert_path, key_path, nng_strerror(rv));
	}
	free(cert);
	wipe(key);
	return rv;
}

/* The name that the certificate must have: the URL's host unless given. */
static int
set_name(nng_tls_config *config, const char *url, const char *name)
{
	const char *host = url + strlen(SCHEME);
	char copy[LATENTD_MAX_URL_BYTES + 1];

	if (name != NULL)
		return nng_tls_config_server_name(config, name);
	if (host[0] == '[')
		snprintf(copy, sizeof(copy), "%.*s",
		    (int)strcspn(host + 1, "]"), host + 1);
	else
		snprintf(
		    copy, sizeof(copy), "%.*s", (int)strcspn(host, ":/"), host);
	return nng_tls_config_server_name(config, copy);
}

static int
set_up(nng_tls_config *config, const char *url, const struct latentd_tls *tls,
    struct reason *why)
{
	/* The older versions' own default begins with 1.0. */
	int rv = nng_tls_config_version(config, NNG_TLS_1_2, NNG_TLS_1_3);

	if (rv == NNG_ENOTSUP)
		rv = nng_tls_config_version(config, NNG_TLS_1_2, NNG_TLS_1_2);
	if (rv == 0)
		rv = set_authority(
		    config, given(tls->ca_file, "LATENTD_TLS_CA"), why);
	if (rv == 0)
		rv = set_own(config,
		    given(tls->certificate_file, "LATENTD_TLS_CERT"),
		    given(tls->key_file, "LATENTD_TLS_KEY"), why);
	if (rv == 0)
		rv = set_name(
		    config, url, given(tls->server_name, "LATENTD_TLS_NAME"));
	return rv;
}

int
tls_config(nng_tls_config **config, const char *url,
    const struct latentd_tls *tls, struct reason *why)
{
	static const struct latentd_tls defaults;
	int rv;

	*config = NULL;
	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
		return 0;
	if ((rv = nng_tls_config_alloc(config, NNG_TLS_MODE_CLIENT)) != 0) {
		*config = NULL;
		return rv;
	}
	rv = set_up(*config, url, tls != NULL ? tls : &defaults, why);
	if (rv != 0) {
		nng_tls_config_free(*config);
		*config = NULL;
	}
	return rv;
}
