/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the value of each key is read; for config.c.  Each fails with a sentence
 * that names the key, what stands there and what would be right.  Those of a
 * [producer NAME], own_*, go to the last one in ${config}.
 */
#ifndef DAEMON_CONFIG_VALUE_H
#define DAEMON_CONFIG_VALUE_H

#include "config.h"

#define CONFIG_VALUE(name)                                          \
	enum latentd_err config_value_##name(struct config *config, \
	    struct config_endpoint *ep, const char *value, struct reason *why)

CONFIG_VALUE(listen);
CONFIG_VALUE(events);
CONFIG_VALUE(events_listen);
CONFIG_VALUE(http);
CONFIG_VALUE(http_token_file);
CONFIG_VALUE(insecure);
CONFIG_VALUE(drain_s);
CONFIG_VALUE(jobs);
CONFIG_VALUE(bytes);
CONFIG_VALUE(keep_s);
CONFIG_VALUE(bury_s);
CONFIG_VALUE(remember_s);
CONFIG_VALUE(age_s);
CONFIG_VALUE(producer_jobs);
CONFIG_VALUE(producer_bytes);
CONFIG_VALUE(own_jobs);
CONFIG_VALUE(own_bytes);
CONFIG_VALUE(own_weight);
CONFIG_VALUE(model);
CONFIG_VALUE(task);
CONFIG_VALUE(url);
CONFIG_VALUE(parallel);
CONFIG_VALUE(token_file);

/* config_value_http_guard(config, why): whether ${config}'s http is on loopback
 * or guarded. */
enum latentd_err config_value_http_guard(
    const struct config *config, struct reason *why);

/* config_value_defaults(config, why): fill in what follows from other keys. */
enum latentd_err config_value_defaults(
    struct config *config, struct reason *why);

#endif
