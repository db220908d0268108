/* SPDX-License-Identifier: Apache-2.0 */
/* What a dialer needs for tls+tcp://. */
#ifndef CLIENT_TLS_H
#define CLIENT_TLS_H

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "latentd/client.h"
#include "reason.h"

/*
 * tls_config(config, url, tls, why):
 * What ${tls} (NULL: all defaults) says for ${url}, for any number of dialers,
 * to be freed with nng_tls_config_free(); NULL where ${url} is not tls+tcp://.
 * Returns an error of nng's, with NULL, or 0; ${why->err} is left alone where
 * that error says all.
 */
int tls_config(nng_tls_config **config, const char *url,
    const struct latentd_tls *tls, struct reason *why);

#endif
