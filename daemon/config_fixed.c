/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cannot change while the daemon runs: the sockets and the spool that it
 * was opened with, and the sandbox that it is in.
 */
#include <string.h>

#include "config.h"

static bool
same_listen(const struct config *a, const struct config *b)
{
	if (a->listen_n != b->listen_n)
		return false;
	for (size_t i = 0; i < a->listen_n; i++) {
		if (strcmp(a->listen[i], b->listen[i]) != 0)
			return false;
	}
	return true;
}

static bool
same_events(const struct config *a, const struct config *b)
{
	return a->events == b->events;
}

static bool
same_events_listen(const struct config *a, const struct config *b)
{
	return strcmp(a->events_listen, b->events_listen) == 0;
}

static bool
same_http(const struct config *a, const struct config *b)
{
	return strcmp(a->http, b->http) == 0;
}

static bool
same_sandbox(const struct config *a, const struct config *b)
{
	return a->sandbox == b->sandbox;
}

static bool
same_certificate(const struct config *a, const struct config *b)
{
	return strcmp(a->tls_certificate.path, b->tls_certificate.path) == 0;
}

static bool
same_key(const struct config *a, const struct config *b)
{
	return strcmp(a->tls_key.path, b->tls_key.path) == 0;
}

static bool
same_client_ca(const struct config *a, const struct config *b)
{
	return strcmp(a->tls_client_ca.path, b->tls_client_ca.path) == 0;
}

static bool
same_spool(const struct config *a, const struct config *b)
{
	return strcmp(a->spool_path, b->spool_path) == 0 &&
	    a->spool_bytes == b->spool_bytes &&
	    a->spool_durable == b->spool_durable;
}

static const struct {
	const char *name;
	bool (*same)(const struct config *a, const struct config *b);
} fixed[] = {
    {"listen", same_listen},
    {"events", same_events},
    {"events_listen", same_events_listen},
    {"http", same_http},
    {"sandbox", same_sandbox},
    {"tls_certificate", same_certificate},
    {"tls_key", same_key},
    {"tls_client_ca", same_client_ca},
    {"[spool]", same_spool},
};

static bool
same_content(const struct config_file *a, const struct config_file *b)
{
	return a->content == b->content ||
	    (a->content != NULL && b->content != NULL &&
		strcmp(a->content, b->content) == 0);
}

bool
config_same_tls(const struct config *a, const struct config *b)
{
	return same_content(&a->tls_certificate, &b->tls_certificate) &&
	    same_content(&a->tls_key, &b->tls_key) &&
	    same_content(&a->tls_client_ca, &b->tls_client_ca);
}

enum latentd_err
config_may_follow(
    const struct config *config, const struct config *next, struct reason *why)
{
	char names[256] = "";
	size_t n = 0;

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		if (fixed[i].same(config, next))
			continue;
		if (n++ > 0)
			strncat(names, ", ", sizeof(names) - strlen(names) - 1);
		strncat(
		    names, fixed[i].name, sizeof(names) - strlen(names) - 1);
	}
	if (n == 0)
		return LATENTD_OK;
	return reason_set(why, LATENTD_ERR_INVALID,
	    "%.200s: %s cannot change while the daemon runs, and it was started "
	    "with another value: restart it, or put the old one back",
	    next->path, names);
}
