/* SPDX-License-Identifier: Apache-2.0 */
/* How results reach the application and acknowledgements the daemon.  With
 * the client's mutex held. */
#ifndef CLIENT_DELIVER_H
#define CLIENT_DELIVER_H

#include "core.h"

/*
 * deliver(client, job, result):
 * End ${job} (NULL: of an earlier client) with ${result}, which is taken: it
 * goes to the thread in latentd_run(), to latentd_collect(), or, when nobody
 * wants it, back to the daemon as an acknowledgement.
 */
void deliver(struct latentd_client *client, struct job *job,
    struct latentd_result *result);

/* deliver_failed(client, job, err, fmt, ...): end ${job} with a failed result
 * that is made here. */
void deliver_failed(struct latentd_client *client, struct job *job,
    enum latentd_err err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* deliver_signal(client): make the descriptor say whether there is something
 * to collect; after a change of what that depends on. */
void deliver_signal(struct latentd_client *client);

/* deliver_refusal(client): why no result comes; OK: one may. */
const struct reason *deliver_refusal(const struct latentd_client *client);

/* deliver_take(client, result): hand a ready ${result} (NULL: the next) to the
 * application, which owns it then. NULL when none is ready. */
struct latentd_result *deliver_take(
    struct latentd_client *client, struct latentd_result *result);

/* deliver_ready(client, key, ticket): the ready result of that ${key}, or with
 * key NULL of that ${ticket}; else NULL. */
struct latentd_result *deliver_ready(
    struct latentd_client *client, const char *key, uint64_t ticket);

/* deliver_find(client, key, kicks): the ready or held result of that ${key}
 * after so many kicks; else NULL. */
struct latentd_result *deliver_find(
    struct latentd_client *client, const char *key, uint64_t kicks);

/* deliver_cancelled(client): a job that waits here again and is not wanted any
 * more ends here. */
void deliver_cancelled(struct latentd_client *client);

/* deliver_drop(client, result): free a ready ${result}, acknowledged. */
void deliver_drop(struct latentd_client *client, struct latentd_result *result);

#endif
