/* SPDX-License-Identifier: Apache-2.0 */
#include "config_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"

#define TOKEN_BYTES_MAX 4096

static const char *const event_names[] = {"none", "state", "image"};

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

static bool
is_loopback(const char *address)
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

/* An address of this machine as a number; names are not looked up. */
static bool
is_address(const char *address)
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

/* nng cuts longer paths off at what sockaddr_un holds. */
static enum latentd_err
read_socket_url(const char *key, const char *value,
    char url[LATENTD_MAX_URL_BYTES], struct reason *why)
{
	enum latentd_err err =
	    config_read_url(key, value, "ipc://", "tcp://", url, why);

	if (err == LATENTD_OK && strncmp(url, "ipc://", 6) == 0 &&
	    (url[6] != '/' || strlen(url + 6) > 100))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", "
		    "but an ipc path must be absolute and have at most 100 "
		    "bytes",
		    key, value);
	if (err == LATENTD_OK && strncmp(url, "tcp://", 6) == 0 &&
	    !is_loopback(url + 6))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", "
		    "but plain tcp has no protection and is allowed on "
		    "loopback only, such as tcp://127.0.0.1:8376",
		    key, value);
	return err;
}

CONFIG_VALUE(log_level)
{
	(void)ep;
	if (log_level_parse(value, &config->log_level))
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "log_level is \"%.200s\", but must be error, warn, info or debug",
	    value);
}

CONFIG_VALUE(log_format)
{
	(void)ep;
	if (log_format_parse(value, &config->log_format))
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "log_format is \"%.200s\", but must be text or json", value);
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

CONFIG_VALUE(events)
{
	(void)ep;
	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(value, event_names[i]) == 0) {
			config->events = i;
			return LATENTD_OK;
		}
	}
	return reason_set(why, LATENTD_ERR_INVALID,
	    "events is \"%s\", but "
	    "must be none, state or image",
	    value);
}

CONFIG_VALUE(events_listen)
{
	(void)ep;
	return read_socket_url(
	    "events_listen", value, config->events_listen, why);
}

CONFIG_VALUE(http)
{
	(void)ep;
	if (!is_address(value))
		return reason_set(why, LATENTD_ERR_INVALID,
		    "http is \"%.200s\", but must be a numeric address and "
		    "port, such as 127.0.0.1:8377",
		    value);
	snprintf(config->http, sizeof(config->http), "%s", value);
	return LATENTD_OK;
}

CONFIG_VALUE(http_deadline_s)
{
	(void)ep;
	return config_read_number("http_deadline_s", value, 0, 604800, false,
	    &config->http_deadline_s, why);
}

CONFIG_VALUE(insecure)
{
	(void)ep;
	config->insecure = strcmp(value, "yes") == 0;
	if (!config->insecure && strcmp(value, "no") != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "insecure is \"%.200s\", but must be yes or no", value);
	return LATENTD_OK;
}

enum latentd_err
config_value_http_guard(const struct config *c, struct reason *why)
{
	if (c->http[0] == '\0' || is_loopback(c->http) ||
	    c->http_token != NULL || c->insecure)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "http is \"%.200s\", beyond loopback, where it needs "
	    "http_token_file = FILE, or insecure = yes to serve everybody",
	    c->http);
}

CONFIG_VALUE(drain_s)
{
	uint64_t n = 0;
	enum latentd_err err;

	(void)ep;
	err = config_read_number("drain_s", value, 0, 86400, false, &n, why);
	config->drain_s = (unsigned)n;
	return err;
}

CONFIG_VALUE(jobs)
{
	(void)ep;
	return config_read_number(
	    "jobs", value, 1, 10000000, false, &config->jobs, why);
}

CONFIG_VALUE(bytes)
{
	(void)ep;
	return config_read_number("bytes", value, UINT64_C(1) << 20,
	    UINT64_C(1) << 44, true, &config->bytes, why);
}

CONFIG_VALUE(keep_s)
{
	(void)ep;
	return config_read_number("keep_s", value, 1, UINT64_C(30) * 86400,
	    false, &config->keep_s, why);
}

CONFIG_VALUE(bury_s)
{
	(void)ep;
	return config_read_number("bury_s", value, 0, UINT64_C(30) * 86400,
	    false, &config->bury_s, why);
}

CONFIG_VALUE(remember_s)
{
	(void)ep;
	return config_read_number("remember_s", value, 0, UINT64_C(30) * 86400,
	    false, &config->remember_s, why);
}

CONFIG_VALUE(age_s)
{
	(void)ep;
	return config_read_number(
	    "age_s", value, 0, 86400, false, &config->age_s, why);
}

CONFIG_VALUE(producer_jobs)
{
	(void)ep;
	return config_read_number("producer_jobs", value, 1, 10000000, false,
	    &config->producer.jobs_max, why);
}

CONFIG_VALUE(producer_bytes)
{
	(void)ep;
	return config_read_number("producer_bytes", value, UINT64_C(1) << 20,
	    UINT64_C(1) << 44, true, &config->producer.bytes_max, why);
}

static struct producer_bounds *
last_producer(struct config *config)
{
	return &config->producers[config->producers_n - 1].bounds;
}

CONFIG_VALUE(own_jobs)
{
	(void)ep;
	return config_read_number("jobs", value, 1, 10000000, false,
	    &last_producer(config)->jobs_max, why);
}

CONFIG_VALUE(own_bytes)
{
	(void)ep;
	return config_read_number("bytes", value, UINT64_C(1) << 20,
	    UINT64_C(1) << 44, true, &last_producer(config)->bytes_max, why);
}

CONFIG_VALUE(own_weight)
{
	uint64_t n = 0;
	enum latentd_err err;

	(void)ep;
	err = config_read_number("weight", value, 1, 1000, false, &n, why);
	last_producer(config)->weight = (unsigned)n;
	return err;
}

CONFIG_VALUE(attempts)
{
	(void)ep;
	return config_read_unsigned(
	    "attempts", value, 1, 1000, &config->attempts, why);
}

CONFIG_VALUE(hedge_percent)
{
	(void)ep;
	return config_read_unsigned(
	    "hedge_percent", value, 0, 20, &config->hedge_percent, why);
}

CONFIG_VALUE(sandbox)
{
	(void)ep;
	config->sandbox = strcmp(value, "auto") == 0;
	if (config->sandbox || strcmp(value, "no") == 0)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "sandbox is \"%s\", but must be auto or no", value);
}

CONFIG_VALUE(http_token_file)
{
	(void)ep;
	return config_read_token("http_token_file", value,
	    config->http_token_file, &config->http_token, why);
}

/* A producer may take a quarter, so that one that never collects leaves room
 * for the others. */
static void
bound_producers(struct config *c)
{
	struct producer_bounds *all = &c->producer;

	all->weight = 1;
	if (all->jobs_max == 0)
		all->jobs_max = (c->jobs + 3) / 4;
	if (all->bytes_max == 0)
		all->bytes_max = c->bytes / 4;
	for (size_t i = 0; i < c->producers_n; i++) {
		struct producer_bounds *own = &c->producers[i].bounds;

		if (own->jobs_max == 0)
			own->jobs_max = all->jobs_max;
		if (own->bytes_max == 0)
			own->bytes_max = all->bytes_max;
		if (own->weight == 0)
			own->weight = all->weight;
	}
}

enum latentd_err
config_value_defaults(struct config *c, struct reason *why)
{
	if (c->listen_n == 0)
		snprintf(c->listen[c->listen_n++], LATENTD_MAX_URL_BYTES,
		    "ipc:///run/latentd/latentd.sock");
	bound_producers(c);
	if (c->events == 0 || c->events_listen[0] != '\0')
		return LATENTD_OK;
	if (strncmp(c->listen[0], "ipc://", 6) != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "events need "
		    "events_listen, since listen is not ipc://");
	snprintf(c->events_listen, sizeof(c->events_listen), "%.1000s.events",
	    c->listen[0]);
	return LATENTD_OK;
}
