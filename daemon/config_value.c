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

/* A number in ${least}..${most}; with ${units} also as 2G, 512 MiB. */
static enum latentd_err
read_number(const char *key, const char *value, uint64_t least, uint64_t most,
    bool units, uint64_t *out, struct reason *why)
{
	static const char *const suffix[] = {"K", "M", "G", "T"};
	char *end;
	unsigned long long n;
	unsigned shift = 0;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || errno != 0)
		goto wrong;
	while (*end == ' ')
		end++;
	for (unsigned i = 0; units && *end != '\0' && i < 4; i++) {
		if (toupper((unsigned char)*end) != suffix[i][0])
			continue;
		shift = 10 * (i + 1);
		end++;
		if (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0)
			end += strlen(end);
		break;
	}
	if (*end != '\0' || n > most >> shift || n << shift < least)
		goto wrong;
	*out = n << shift;
	return LATENTD_OK;
wrong:
	return reason_set(why, LATENTD_ERR_INVALID,
	    "%s is \"%s\", but must be a whole number from %llu to %llu%s", key,
	    value, (unsigned long long)least, (unsigned long long)most,
	    units ? ", or with K, M, G, T behind it" : "");
}

static enum latentd_err
read_url(const char *key, const char *value, const char *first,
    const char *second, char url[LATENTD_MAX_URL_BYTES], struct reason *why)
{
	size_t n = strlen(value);

	if ((strncmp(value, first, strlen(first)) != 0 &&
		strncmp(value, second, strlen(second)) != 0) ||
	    n >= LATENTD_MAX_URL_BYTES || strpbrk(value, " \t\"<>") != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "%s is \"%.200s\", "
		    "but must begin with %s or %s and have no blanks",
		    key, value, first, second);
	memcpy(url, value, n + 1);
	return LATENTD_OK;
}

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
	    read_url(key, value, "ipc://", "tcp://", url, why);

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
	err = read_number("drain_s", value, 0, 86400, false, &n, why);
	config->drain_s = (unsigned)n;
	return err;
}

CONFIG_VALUE(jobs)
{
	(void)ep;
	return read_number(
	    "jobs", value, 1, 10000000, false, &config->jobs, why);
}

CONFIG_VALUE(bytes)
{
	(void)ep;
	return read_number("bytes", value, UINT64_C(1) << 20, UINT64_C(1) << 44,
	    true, &config->bytes, why);
}

CONFIG_VALUE(keep_s)
{
	(void)ep;
	return read_number("keep_s", value, 1, UINT64_C(30) * 86400, false,
	    &config->keep_s, why);
}

CONFIG_VALUE(bury_s)
{
	(void)ep;
	return read_number("bury_s", value, 0, UINT64_C(30) * 86400, false,
	    &config->bury_s, why);
}

CONFIG_VALUE(remember_s)
{
	(void)ep;
	return read_number("remember_s", value, 0, UINT64_C(30) * 86400, false,
	    &config->remember_s, why);
}

CONFIG_VALUE(age_s)
{
	(void)ep;
	return read_number(
	    "age_s", value, 0, 86400, false, &config->age_s, why);
}

CONFIG_VALUE(producer_jobs)
{
	(void)ep;
	return read_number("producer_jobs", value, 1, 10000000, false,
	    &config->producer.jobs_max, why);
}

CONFIG_VALUE(producer_bytes)
{
	(void)ep;
	return read_number("producer_bytes", value, UINT64_C(1) << 20,
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
	return read_number("jobs", value, 1, 10000000, false,
	    &last_producer(config)->jobs_max, why);
}

CONFIG_VALUE(own_bytes)
{
	(void)ep;
	return read_number("bytes", value, UINT64_C(1) << 20, UINT64_C(1) << 44,
	    true, &last_producer(config)->bytes_max, why);
}

CONFIG_VALUE(own_weight)
{
	uint64_t n = 0;
	enum latentd_err err;

	(void)ep;
	err = read_number("weight", value, 1, 1000, false, &n, why);
	last_producer(config)->weight = (unsigned)n;
	return err;
}

CONFIG_VALUE(model)
{
	(void)config;
	ep->model = model_find(value, strlen(value));
	if (ep->model == NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "model is \"%s\", "
		    "but must be one of %s",
		    value, model_names());
	return LATENTD_OK;
}

CONFIG_VALUE(task)
{
	(void)config;
	ep->has_task = true;
	ep->task = LATENTD_DECODE;
	if (strcmp(value, "encode") == 0)
		ep->task = LATENTD_ENCODE;
	else if (strcmp(value, "decode") != 0)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "task is \"%s\", "
		    "but must be decode or encode",
		    value);
	return LATENTD_OK;
}

CONFIG_VALUE(url)
{
	enum latentd_err err;

	(void)config;
	err = read_url("url", value, "http://", "https://", ep->url, why);
	if (err != LATENTD_OK)
		return err;
	for (const char *c = value; *c != '\0'; c++) {
		if (*c < '!' || *c > '~')
			return reason_set(why, LATENTD_ERR_INVALID,
			    "url must be ASCII; write other letters as %%XX");
	}
	if (strpbrk(value, "?#@") != NULL)
		return reason_set(why, LATENTD_ERR_INVALID,
		    "url must have no "
		    "query, fragment or credentials; a token goes into "
		    "token_file");
	return LATENTD_OK;
}

CONFIG_VALUE(parallel)
{
	uint64_t n = 0;
	enum latentd_err err;

	(void)config;
	err = read_number("parallel", value, 1, 1024, false, &n, why);
	ep->parallel = (unsigned)n;
	return err;
}

/* A token goes into a header: one line of printable ASCII. */
static enum latentd_err
check_token(const char *key, const char *path, char *token, size_t bytes,
    struct reason *why)
{
	while (
	    bytes > 0 && (token[bytes - 1] == '\n' || token[bytes - 1] == '\r'))
		bytes--;
	token[bytes] = '\0';
	for (size_t i = 0; i < bytes; i++) {
		if (token[i] <= ' ' || token[i] > '~')
			return reason_set(why, LATENTD_ERR_INVALID,
			    "%s %s must hold one line of printable "
			    "ASCII without blanks",
			    key, path);
	}
	if (bytes == 0)
		return reason_set(
		    why, LATENTD_ERR_INVALID, "%s %s is empty", key, path);
	return LATENTD_OK;
}

static enum latentd_err
read_token(const char *key, const char *value, char path[CONFIG_PATH_BYTES],
    char **token, struct reason *why)
{
	ssize_t n;
	int fd;

	snprintf(path, CONFIG_PATH_BYTES, "%s", value);
	fd = open(value, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return reason_set(why, LATENTD_ERR_IO, "cannot read %s %s: %s",
		    key, value, strerror(errno));
	*token = malloc(TOKEN_BYTES_MAX + 1);
	n = *token != NULL ? read(fd, *token, TOKEN_BYTES_MAX + 1) : -1;
	close(fd);
	if (n < 0 || n > TOKEN_BYTES_MAX) {
		if (*token != NULL)
			(*token)[0] = '\0';
		return reason_set(why, LATENTD_ERR_IO, "cannot read %s %s: %s",
		    key, value,
		    n < 0 ? strerror(errno) : "over 4096 bytes is no token");
	}
	return check_token(key, value, *token, (size_t)n, why);
}

CONFIG_VALUE(token_file)
{
	(void)config;
	return read_token("token_file", value, ep->token_file, &ep->token, why);
}

CONFIG_VALUE(http_token_file)
{
	(void)ep;
	return read_token("http_token_file", value, config->http_token_file,
	    &config->http_token, why);
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
