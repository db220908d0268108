/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "model.h"
#include "producer.h"
#include "reason.h"

#define CONFIG_LISTEN_MAX 4u
#define CONFIG_ENDPOINTS_MAX 256u
#define CONFIG_PRODUCERS_MAX 256u
#define CONFIG_PATH_BYTES 4096u

struct config_endpoint {
	char name[LATENTD_MAX_NAME_BYTES + 1];
	const struct model *model;
	bool has_task;
	enum latentd_task task;
	char url[LATENTD_MAX_URL_BYTES];
	unsigned parallel;
	char token_file[CONFIG_PATH_BYTES];
	char *token; /* its content; NULL: none */
	unsigned line; /* where the section begins */
};

/* What the configuration file says, with the defaults for what it does not. */
struct config {
	/* [daemon] */
	char listen[CONFIG_LISTEN_MAX][LATENTD_MAX_URL_BYTES];
	size_t listen_n;
	unsigned events; /* enum publish_events */
	char events_listen[LATENTD_MAX_URL_BYTES];
	char http[LATENTD_MAX_URL_BYTES]; /* "": none */
	char http_token_file[CONFIG_PATH_BYTES];
	char *http_token; /* its content; NULL: none */
	bool insecure; /* http beyond loopback needs no token */
	unsigned drain_s;
	/* [queue] */
	uint64_t jobs;
	uint64_t bytes;
	uint64_t keep_s;
	uint64_t bury_s;
	uint64_t remember_s;
	uint64_t age_s; /* 0: jobs stay in their class */
	struct producer_bounds producer; /* of those without a section */
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

/* config_destroy(config): tokens are wiped; NULL is a no-op. */
void config_destroy(struct config *config);

/* config_print(config, out): what is in force, as a configuration file; token
 * files by name only. */
void config_print(const struct config *config, FILE *out);

#endif
