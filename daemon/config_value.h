/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the value of each key is read; for config.c.  Each fails with a sentence
 * that names the key, what stands there and what would be right.  Those of a
 * [producer NAME], own_*, go to the last one in ${config}.
 */
#ifndef DAEMON_CONFIG_VALUE_H
#define DAEMON_CONFIG_VALUE_H

#include "config.h"

/*
 * config_read_number(key, value, least, most, units, out, why): a number in
 * ${least}..${most}; with ${units} also as 2G, 512 MiB.
 * config_read_unsigned(): the same without units.
 * config_read_yes(): yes or no.
 * config_resolve_path(key, value, path, why): the file that ${value} names: a
 * path, or with "credential:NAME" what the service manager keeps for this
 * service under that name, in $CREDENTIALS_DIRECTORY.
 * config_read_file(key, value, secret, most, content, bytes, why): what is in
 * the file that ${value} names so, ${most} bytes at the most, and a NUL behind
 * it, to free(); NULL on failure.  One that is ${secret} may not be open to
 * everybody.
 * config_read_token(key, value, path, token, why): the token in that file, to
 * wipe and free() on failure, too, where it is not NULL; ${path} gets ${value}
 * as it is.
 */
enum latentd_err config_resolve_path(const char *key, const char *value,
    char path[CONFIG_PATH_BYTES], struct reason *why);
enum latentd_err config_read_number(const char *key, const char *value,
    uint64_t least, uint64_t most, bool units, uint64_t *out,
    struct reason *why);
enum latentd_err config_read_unsigned(const char *key, const char *value,
    uint64_t least, uint64_t most, unsigned *out, struct reason *why);
enum latentd_err config_read_yes(
    const char *key, const char *value, bool *out, struct reason *why);
enum latentd_err config_read_file(const char *key, const char *value,
    bool secret, size_t most, char **content, size_t *bytes,
    struct reason *why);
enum latentd_err config_read_token(const char *key, const char *value,
    char path[CONFIG_PATH_BYTES], char **token, struct reason *why);

#define CONFIG_VALUE(name)                                          \
	enum latentd_err config_value_##name(struct config *config, \
	    struct config_endpoint *ep, const char *value, struct reason *why)

CONFIG_VALUE(log_level);
CONFIG_VALUE(log_format);
CONFIG_VALUE(listen);
CONFIG_VALUE(events);
CONFIG_VALUE(events_listen);
CONFIG_VALUE(http);
CONFIG_VALUE(http_token_file);
CONFIG_VALUE(http_deadline_s);
CONFIG_VALUE(insecure);
CONFIG_VALUE(drain_s);
CONFIG_VALUE(sandbox);
CONFIG_VALUE(tls_certificate);
CONFIG_VALUE(tls_key);
CONFIG_VALUE(tls_client_ca);
CONFIG_VALUE(user_connections);
CONFIG_VALUE(jobs);
CONFIG_VALUE(bytes);
CONFIG_VALUE(keep_s);
CONFIG_VALUE(bury_s);
CONFIG_VALUE(remember_s);
CONFIG_VALUE(age_s);
CONFIG_VALUE(attempts);
CONFIG_VALUE(hedge_percent);
CONFIG_VALUE(producer_jobs);
CONFIG_VALUE(producer_bytes);
CONFIG_VALUE(spool_path);
CONFIG_VALUE(spool_size);
CONFIG_VALUE(spool_durability);
CONFIG_VALUE(own_jobs);
CONFIG_VALUE(own_bytes);
CONFIG_VALUE(own_weight);
CONFIG_VALUE(own_secret_file);
CONFIG_VALUE(user_jobs);
CONFIG_VALUE(user_bytes);
CONFIG_VALUE(model);
CONFIG_VALUE(task);
CONFIG_VALUE(url);
CONFIG_VALUE(parallel);
CONFIG_VALUE(weight);
CONFIG_VALUE(backup);
CONFIG_VALUE(health);
CONFIG_VALUE(connect_s);
CONFIG_VALUE(stall_s);
CONFIG_VALUE(think_s);
CONFIG_VALUE(total_s);
CONFIG_VALUE(scale_up_s);
CONFIG_VALUE(token_file);

/* config_value_http_guard(config, why): whether ${config}'s http is on loopback
 * or guarded. */
enum latentd_err config_value_http_guard(
    const struct config *config, struct reason *why);

/*
 * config_value_listen_guard(config, which, why): whether what ${config} listens
 * on is on loopback or guarded, and its certificates can be read.  ${*which} is
 * the index of the wrong one, listen_n for events_listen, or more than
 * CONFIG_LISTEN_MAX for the files.
 */
enum latentd_err config_value_listen_guard(
    const struct config *config, size_t *which, struct reason *why);

/*
 * config_is_address(address): "ADDRESS:PORT" with an address of this machine as
 * a number, or localhost; names are not looked up.
 * config_is_loopback(address): such a one that only this machine reaches.
 */
bool config_is_address(const char *address);
bool config_is_loopback(const char *address);

/* config_value_wipe(config): forget certificates, keys and secrets. */
void config_value_wipe(struct config *config);

/* config_value_spool(config, why): whether what [spool] says fits together. */
enum latentd_err config_value_spool(
    const struct config *config, struct reason *why);

/*
 * config_value_initial(config): what is in force where nothing is said.
 * config_value_defaults(config, why): fill in what follows from other keys.
 */
void config_value_initial(struct config *config);
enum latentd_err config_value_defaults(
    struct config *config, struct reason *why);

#endif
