/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where producers connect, and what protects them there.  What is beyond
 * loopback is refused unless it is protected, or the operator says that it need
 * not be; whether it is, only the whole configuration shows.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/tls.h"
#include "config_value.h"

#define PEM_BYTES_MAX (256u << 10)
#define SECRET_BYTES_MIN 16u

/* Split "127.0.0.1:port", "localhost:port" or "[::1]:port". */
static bool
read_host(const char *address, char host[64])
{
	const char *port = strrchr(address, ':');
	char *end;
	size_t n;

	if (port == NULL || !isdigit((unsigned char)port[1]) ||
	    strtoul(port + 1, &end, 10) > 65535 || *end != '\0')
		return false;
	n = (size_t)(port - address);
	if (n >= 64)
		return false;
	memcpy(host, address, n);
	host[n] = '\0';
	return true;
}

bool
config_is_loopback(const char *address)
{
	struct in_addr v4;
	char host[64];

	if (!read_host(address, host))
		return false;
	if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
		return true;
	return inet_pton(AF_INET, host, &v4) == 1 &&
	    ntohl(v4.s_addr) >> 24 == 127;
}

bool
config_is_address(const char *address)
{
	struct in6_addr v6;
	struct in_addr v4;
	char host[64];
	size_t n;

	if (!read_host(address, host))
		return false;
	n = strlen(host);
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		return inet_pton(AF_INET6, host + 1, &v6) == 1;
	}
	return strcmp(host, "localhost") == 0 ||
	    inet_pton(AF_INET, host, &v4) == 1;
}

/* "ADDRESS:PORT" of a tcp:// or tls+tcp:// URL; NULL for ipc://. */
static const char *
address_of(const char *url)
{
	return strncmp(url, "ipc://", 6) == 0 ? NULL : strstr(url, "://") + 3;
}

bool
config_is_beyond(const char *url)
{
	const char *address = address_of(url);

	return address != NULL && !config_is_loopback(address);
}

/* nng cuts longer paths off at what sockaddr_un holds. */
static enum latentd_err
read_socket_url(const char *key, const char *value,
    char url[LATENTD_MAX_URL_BYTES], struct reason *why)
{
	size_t n = strlen(value);

	if ((strncmp(value, "ipc://", 6) != 0 &&
		strncmp(value, "tcp://", 6) != 0 &&
		strncmp(value, "tls+tcp://", 10) != 0) ||
	    n >= LATENTD_MAX_URL_BYTES || strpbrk(value, " \t\"<>") != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", but must begin with ipc://, tcp:// or "
		    "tls+tcp:// and have no blanks",
		    key, value);
	memcpy(url, value, n + 1);
	if (address_of(url) == NULL && (url[6] != '/' || n - 6 > 100))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", "
		    "but an ipc path must be absolute and have at most 100 "
		    "bytes",
		    key, value);
	if (address_of(url) != NULL && !config_is_address(address_of(url)))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", but must have a numeric address and a "
		    "port, such as tcp://127.0.0.1:8376 or "
		    "tls+tcp://0.0.0.0:8376",
		    key, value);
	return LATENTD_OK;
}

CONFIG_VALUE(listen)
{
	(void)ep;
	if (config->listen_n == CONFIG_LISTEN_MAX)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "more than %u listen addresses", CONFIG_LISTEN_MAX);
	return read_socket_url(
	    "listen", value, config->listen[config->listen_n++], why);
}

CONFIG_VALUE(events_listen)
{
	(void)ep;
	return read_socket_url(
	    "events_listen", value, config->events_listen, why);
}

/* ---- files ---- */

static enum latentd_err
read_pem(const char *key, const char *value, bool secret,
    struct config_file *file, struct reason *why)
{
	size_t bytes;

	snprintf(file->path, sizeof(file->path), "%s", value);
	return config_read_file(
	    key, value, secret, PEM_BYTES_MAX, &file->content, &bytes, why);
}

CONFIG_VALUE(tls_certificate)
{
	(void)ep;
	return read_pem(
	    "tls_certificate", value, false, &config->tls_certificate, why);
}

CONFIG_VALUE(tls_key)
{
	(void)ep;
	return read_pem("tls_key", value, true, &config->tls_key, why);
}

CONFIG_VALUE(tls_client_ca)
{
	(void)ep;
	return read_pem(
	    "tls_client_ca", value, false, &config->tls_client_ca, why);
}

CONFIG_VALUE(own_secret_file)
{
	struct producer_rule *rule =
	    &config->producers[config->producers_n - 1];
	const size_t most = LATENTD_MAX_SECRET_BYTES;
	enum latentd_err err;
	char *secret;
	size_t n;

	(void)ep;
	if ((rule->secret_file = strdup(value)) == NULL)
		return reason_set(why, LATENTD_ERR_MEMORY, "out of memory");
	/* Editors leave a newline at the end, which does not belong to it. */
	err = config_read_file(
	    "secret_file", value, true, most + 1, &secret, &n, why);
	if (err != LATENTD_OK)
		return err;
	n -= n > 0 && secret[n - 1] == '\n';
	if (n < SECRET_BYTES_MIN || n > most) {
		err = reason_set(why, LATENTD_ERR_INVALID,
		    "secret_file %s holds %zu bytes, but must hold %u to %zu, "
		    "such as openssl rand -hex 32 makes",
		    value, n, SECRET_BYTES_MIN, most);
	} else {
		memcpy(rule->secret, secret, n);
		rule->secret_bytes = n;
	}
	explicit_bzero(secret, n);
	free(secret);
	return err;
}

static void
wipe(struct config_file *file)
{
	if (file->content != NULL)
		explicit_bzero(file->content, strlen(file->content));
	free(file->content);
}

void
config_value_wipe(struct config *c)
{
	wipe(&c->tls_certificate);
	wipe(&c->tls_key);
	wipe(&c->tls_client_ca);
	for (size_t i = 0; i < c->producers_n; i++) {
		struct producer_rule *rule = &c->producers[i];

		explicit_bzero(rule->secret, sizeof(rule->secret));
		free(rule->secret_file);
	}
}

/* ---- the whole ---- */

static enum latentd_err
guard(const struct config *c, const char *key, const char *url,
    struct reason *why)
{
	bool tls = strncmp(url, "tls+tcp://", 10) == 0;

	if (tls &&
	    (c->tls_certificate.content == NULL || c->tls_key.content == NULL))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", which needs tls_certificate = FILE and "
		    "tls_key = FILE",
		    key, url);
	if (!config_is_beyond(url) || c->insecure)
		return LATENTD_OK;
	if (!tls)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", "
		    "but plain tcp has no protection and is allowed on "
		    "loopback only, such as tcp://127.0.0.1:8376; use "
		    "tls+tcp://, or insecure = yes to serve everybody",
		    key, url);
	if (c->tls_client_ca.content == NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", beyond loopback, where it needs "
		    "tls_client_ca = FILE, so that only who has a certificate "
		    "is listened to, or insecure = yes to listen to everybody",
		    key, url);
	return LATENTD_OK;
}

enum latentd_err
config_value_listen_guard(
    const struct config *c, size_t *which, struct reason *why)
{
	const struct tls_pem pem = config_tls(c);

	for (*which = 0; *which < c->listen_n; ++*which) {
		if (guard(c, "listen", c->listen[*which], why) != LATENTD_OK)
			return why->err;
	}
	if (c->events_listen[0] != '\0' &&
	    guard(c, "events_listen", c->events_listen, why) != LATENTD_OK)
		return why->err;
	*which = CONFIG_LISTEN_MAX + 1;
	if (pem.certificate == NULL || pem.key == NULL)
		return LATENTD_OK;
	return tls_check(&pem, why);
}

struct tls_pem
config_tls(const struct config *c)
{
	return (struct tls_pem){.certificate = c->tls_certificate.content,
	    .key = c->tls_key.content,
	    .client_ca = c->tls_client_ca.content};
}
