/* SPDX-License-Identifier: Apache-2.0 */
#include "config_value.h"

#include <string.h>

static const char *const event_names[] = {"none", "state", "image"};

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

CONFIG_VALUE(http)
{
	(void)ep;
	if (!config_is_address(value))
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
	return config_read_yes("insecure", value, &config->insecure, why);
}

enum latentd_err
config_value_http_guard(const struct config *c, struct reason *why)
{
	if (c->http[0] == '\0' || config_is_loopback(c->http) ||
	    c->http_token != NULL || c->insecure)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "http is \"%.200s\", beyond loopback, where it needs "
	    "http_token_file = FILE, or insecure = yes to serve everybody",
	    c->http);
}

CONFIG_VALUE(user_connections)
{
	(void)ep;
	return config_read_unsigned("user_connections", value, 1,
	    CONFIG_CONNECTIONS_MAX, &config->user_connections, why);
}

CONFIG_VALUE(drain_s)
{
	(void)ep;
	return config_read_unsigned(
	    "drain_s", value, 0, 86400, &config->drain_s, why);
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

CONFIG_VALUE(user_jobs)
{
	(void)ep;
	return config_read_number("user_jobs", value, 1, 10000000, false,
	    &config->user.jobs_max, why);
}

CONFIG_VALUE(user_bytes)
{
	(void)ep;
	return config_read_number("user_bytes", value, UINT64_C(1) << 20,
	    UINT64_C(1) << 44, true, &config->user.bytes_max, why);
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
	(void)ep;
	return config_read_unsigned(
	    "weight", value, 1, 1000, &last_producer(config)->weight, why);
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

void
config_value_initial(struct config *c)
{
	c->log_level = LOG_LEVEL_INFO;
	c->jobs = 10000;
	c->bytes = UINT64_C(2) << 30;
	c->keep_s = 3600;
	c->bury_s = 86400;
	c->remember_s = 600;
	c->age_s = 60;
	c->attempts = 10;
	c->drain_s = 60;
	c->sandbox = true;
	c->http_deadline_s = 600;
	c->user_connections = CONFIG_CONNECTIONS_MAX / 4;
}

/* A producer may take a quarter, so that one that never collects leaves room
 * for the others; all producers of a user together half, for the same reason. */
static void
bound_producers(struct config *c)
{
	struct producer_bounds *all = &c->producer;
	uint64_t bytes = c->bytes;

	/* With a spool it is that, rather than memory, which is shared. */
	if (c->spool_path[0] != '\0' && c->spool_bytes > bytes)
		bytes = c->spool_bytes;
	all->weight = 1;
	if (all->jobs_max == 0)
		all->jobs_max = (c->jobs + 3) / 4;
	if (all->bytes_max == 0)
		all->bytes_max = bytes / 4;
	if (c->user.jobs_max == 0)
		c->user.jobs_max = (c->jobs + 1) / 2;
	if (c->user.bytes_max == 0)
		c->user.bytes_max = bytes / 2;
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
	if (c->spool_path[0] != '\0') {
		if (c->spool_bytes == 0)
			c->spool_bytes = UINT64_C(16) << 30;
		if (!c->spool_has_durability)
			c->spool_durable = true;
	}
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
