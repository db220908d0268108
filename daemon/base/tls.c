/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tls.h"

#include <nng/supplemental/tls/tls.h>

static enum latentd_err
wrong(const char *key, int rv, struct reason *why)
{
	return reason_set(why, LATENTD_ERR_INVALID,
	    "the file of %s cannot be used: %s; it must hold PEM text that "
	    "begins with -----BEGIN",
	    key, nng_strerror(rv));
}

static enum latentd_err
create(const struct tls_pem *pem, nng_tls_config **config, struct reason *why)
{
	int rv = nng_tls_config_alloc(config, NNG_TLS_MODE_SERVER);

	if (rv != 0)
		return reason_set(why,
		    rv == NNG_ENOTSUP ? LATENTD_ERR_UNSUPPORTED
				      : LATENTD_ERR_MEMORY,
		    "no TLS: %s", nng_strerror(rv));
	/* The older versions' own default begins with 1.0. */
	rv = nng_tls_config_version(*config, NNG_TLS_1_2, NNG_TLS_1_3);
	if (rv == NNG_ENOTSUP)
		rv = nng_tls_config_version(*config, NNG_TLS_1_2, NNG_TLS_1_2);
	if (rv != 0) {
		reason_set(why, LATENTD_ERR_UNSUPPORTED, "no TLS 1.2: %s",
		    nng_strerror(rv));
		goto free_config;
	}
	rv = nng_tls_config_own_cert(*config, pem->certificate, pem->key, NULL);
	if (rv != 0) {
		wrong("tls_certificate, or that of tls_key,", rv, why);
		goto free_config;
	}
	if (pem->client_ca == NULL)
		return LATENTD_OK;
	rv = nng_tls_config_ca_chain(*config, pem->client_ca, NULL);
	if (rv == 0)
		rv = nng_tls_config_auth_mode(
		    *config, NNG_TLS_AUTH_MODE_REQUIRED);
	if (rv == 0)
		return LATENTD_OK;
	wrong("tls_client_ca", rv, why);
free_config:
	nng_tls_config_free(*config);
	return why->err;
}

enum latentd_err
tls_listen(nng_listener listener, const struct tls_pem *pem, struct reason *why)
{
	nng_tls_config *config;
	enum latentd_err err = create(pem, &config, why);
	int rv;

	if (err != LATENTD_OK)
		return err;
	rv = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, config);
	nng_tls_config_free(config);
	if (rv == 0)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INTERNAL, "cannot set up TLS: %s",
	    nng_strerror(rv));
}
