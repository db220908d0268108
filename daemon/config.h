/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "base/tls.h"
#include "model.h"
#include "producer.h"
#include "reason.h"

#define CONFIG_LISTEN_MAX 4u
#define CONFIG_ENDPOINTS_MAX 256u
#define CONFIG_PRODUCERS_MAX 256u
#define CONFIG_PATH_BYTES 4096u
#define CONFIG_CONNECTIONS_MAX 1024u

/* How long each phase of a request may take. */
struct config_times {
	unsigned connect_s;
	unsigned stall_s; /* without a byte, sending or receiving */
	unsigned think_s; /* from the last byte sent to the first received */
	unsigned total_s;
	unsigned scale_up_s; /* how long a starting endpoint is asked to hold a
	                      * request; 0: not */
};

struct config_endpoint {
	char name[LATENTD_MAX_NAME_BYTES + 1];
	const struct model *model;
	bool has_task;
	enum latentd_task task;
	char url[LATENTD_MAX_URL_BYTES];
	unsigned parallel; /* 0: found by itself */
	unsigned weight;
	bool backup;
	char health[LATENTD_MAX_URL_BYTES]; /* path to ask; "": none */
	struct config_times times;
	char token_file[CONFIG_PATH_BYTES];
	char *token; /* its content; NULL: none */
	unsigned line; /* where the section begins */
};

/* A file that was read whole. */
struct config_file {
	char path[CONFIG_PATH_BYTES];
	char *content; /* NULL: none */
};

/* What the configuration file says, with the defaults for what it does not. */
struct config {
	char path[CONFIG_PATH_BYTES]; /* where it was read */
	/* [daemon] */
	enum log_level log_level;
	enum log_format log_format;
	char listen[CONFIG_LISTEN_MAX][LATENTD_MAX_URL_BYTES];
	size_t listen_n;
	unsigned events; /* enum publish_events */
	char events_listen[LATENTD_MAX_URL_BYTES];
	char http[LATENTD_MAX_URL_BYTES]; /* "": none */
	char http_token_file[CONFIG_PATH_BYTES];
	char *http_token; /* its content; NULL: none */
	uint64_t http_deadline_s; /* of requests that name none; 0: none */
	bool insecure; /* beyond loopback, http needs no token, tcp no TLS
	                * and producers no secret */
	struct config_file tls_certificate;
	struct config_file tls_key;
	struct config_file tls_client_ca;
	unsigned user_connections; /* of one user, or one address */
	unsigned drain_s;
	bool sandbox; /* where the kernel has one */
	/* [queue] */
	uint64_t jobs;
	uint64_t bytes;
	uint64_t keep_s;
	uint64_t bury_s;
	uint64_t remember_s;
	uint64_t age_s; /* 0: jobs stay in their class */
	unsigned attempts; /* that count against a job, before it fails */
	unsigned hedge_percent; /* extra requests for late ones; 0: none */
	struct producer_bounds producer; /* of those without a section */
	struct user_bounds user; /* of all producers of a uid together */
	/* [spool] */
	char spool_path[CONFIG_PATH_BYTES]; /* "": none */
	uint64_t spool_bytes; /* the map's size */
	bool spool_durable; /* new jobs are spooled */
	bool spool_has_durability; /* the file says so */
	/* [producer NAME]; zeroes are filled in from ${producer} */
	struct producer_rule *producers;
	size_t producers_n;
	/* [endpoint NAME] */
	struct config_endpoint *endpoints;
	size_t endpoints_n;
};

/*
 * config_read(path, config, why):
 * Read the ini file ${path} and the token files that it names.  Fails with IO
 * or INVALID and a sentence that names file and line, what stands there and
 * what would be right; ${*config} is then freed and NULL.
 */
enum latentd_err config_read(
    const char *path, struct config **config, struct reason *why);

/* config_may_follow(config, next, why): whether a daemon that was started with
 * ${config} can take over ${next}; INVALID names what stands against it. */
enum latentd_err config_may_follow(
    const struct config *config, const struct config *next, struct reason *why);

/* config_same_tls(a, b): whether certificates and keys are the same, whatever
 * their files are called. */
bool config_same_tls(const struct config *a, const struct config *b);

/* config_destroy(config): tokens, secrets and keys are wiped; NULL is a
 * no-op. */
void config_destroy(struct config *config);

/* config_tls(config): what the tls_ files hold, NULL for what is not given;
 * points into ${config}. */
struct tls_pem config_tls(const struct config *config);

/* config_is_beyond(url): whether others than this machine's reach what listens
 * on that ipc://, tcp:// or tls+tcp:// URL. */
bool config_is_beyond(const char *url);

/* config_print(config, out): what is in force, as a configuration file; token,
 * secret and key files by name only. */
void config_print(const struct config *config, FILE *out);

#endif
