/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_PRODUCER_H
#define DAEMON_PRODUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <uthash.h>

#include "base/tree.h"
#include "message.h"
#include "user.h"

struct job;
struct share;
struct waiter;

TAILQ_HEAD(job_list, job);
RB_HEAD(job_tree, job);
LIST_HEAD(share_list, share);
TAILQ_HEAD(waiter_list, waiter);

/* No peer has these: a uid has 32 bits. */
#define PRODUCER_NO_UID UINT64_MAX
#define PRODUCER_HTTP_UID (UINT64_MAX - 1)
#define PRODUCER_SECRET_UID (UINT64_MAX - 2)

/*
 * Who a producer is: the same peer uid (PRODUCER_NO_UID over tcp,
 * PRODUCER_HTTP_UID at the gateway, PRODUCER_SECRET_UID where it proved that it
 * knows its configured secret), secret as it was sent, and name.  Two
 * connections that agree in all three are the same producer.  Zero-filled, so
 * that it compares by memcmp.
 */
struct producer_identity {
	uint64_t uid;
	uint32_t secret_bytes;
	char secret[LATENTD_MAX_SECRET_BYTES];
	char name[LATENTD_MAX_NAME_BYTES + 1];
};

/* What the operator grants a producer. */
struct producer_bounds {
	uint64_t jobs_max; /* of any state */
	uint64_t bytes_max; /* latents and results held; again as much for
	                         * results that are being made */
	unsigned weight; /* its part of a model's pixels, 1 to 1000 */
};

/* What is configured for producers of one name. */
struct producer_rule {
	char name[LATENTD_MAX_NAME_BYTES + 1];
	struct producer_bounds bounds;
	char secret[LATENTD_MAX_SECRET_BYTES];
	size_t secret_bytes; /* 0: none */
	char *secret_file; /* where it was read from */
};

/* A producer exists while it has jobs or somebody holds it. */
struct producer {
	struct producer_identity identity;
	struct job *by_key; /* uthash over job->key */
	size_t jobs_n; /* of any state, in by_key */
	size_t open_n; /* queued or active */
	size_t state_n[JOB_STATE_COUNT]; /* of these */
	size_t buried_n; /* FAILED ones that were delivered */
	size_t storing_n; /* ended, and on their way to the disk */
	size_t holds_n; /* other reasons to exist */
	struct producer_bounds bounds;
	struct user *user; /* whose it is; NULL: without bounds */
	uint64_t input_bytes; /* job.c's: latents held */
	uint64_t result_bytes; /* results held */
	uint64_t expected_bytes; /* what its active jobs may bring */
	struct share_list parked; /* order.c's: waits for room for results */
	struct job_list ready; /* outbox.c's: results to deliver */
	struct waiter_list waiters; /* publish.c's: COLLECTs waiting */
	UT_hash_handle hh;
};

struct producers {
	struct producer *table;
	struct producer_bounds bounds; /* of those that no rule names */
	const struct producer_rule *rules; /* not owned */
	size_t rules_n;
	struct users users;
};

/*
 * producer_identity(uid, name, secret, identity): fill ${identity}; the
 * lengths were checked by message_decode().
 */
void producer_identity(uint64_t uid, struct text name, struct text secret,
    struct producer_identity *identity);

/* producer_has_uid(identity): whether its uid is that of a user here. */
bool producer_has_uid(const struct producer_identity *identity);

/* producers_rule(ps, name): what is configured for ${name}, or NULL. */
const struct producer_rule *producers_rule(
    const struct producers *ps, struct text name);

/* producer_is(p, identity): whether that is who ${p} is. */
bool producer_is(
    const struct producer *p, const struct producer_identity *identity);

/* producers_change(ps, bounds, rules, rules_n): the bounds and rules from now
 * on, of those that exist already too. */
void producers_change(struct producers *ps,
    const struct producer_bounds *bounds, const struct producer_rule *rules,
    size_t rules_n);

/* producers_find(ps, identity): that producer or NULL.
 * producers_get(ps, identity): the same, made if missing; NULL when memory is
 * out or PRODUCERS_MAX exist. */
#define PRODUCERS_MAX 65536u
struct producer *producers_find(
    struct producers *ps, const struct producer_identity *identity);
struct producer *producers_get(
    struct producers *ps, const struct producer_identity *identity);

/*
 * producers_stranger(ps, identity): whether there is no such producer, but one
 * of the same name and uid with another secret.
 */
bool producers_stranger(
    const struct producers *ps, const struct producer_identity *identity);

/*
 * producers_hold(p) / producers_release(ps, p): keep ${p} although it has no
 * jobs; the release frees it if nothing else keeps it.
 */
void producers_hold(struct producer *p);
void producers_release(struct producers *ps, struct producer *p);

/* producers_forget_job(ps, p): one of its jobs is gone; may free it. */
void producers_forget_job(struct producers *ps, struct producer *p);

#endif
