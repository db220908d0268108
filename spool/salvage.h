/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jobs of a spool that nobody uses, read by walk.h, so that also a damaged
 * one gives what is left of it.  Sentences of damage name what is damaged.
 */
#ifndef SPOOL_SALVAGE_H
#define SPOOL_SALVAGE_H

#include "record.h"
#include "walk.h"

struct salvage;

/* damaged(text, arg): something is damaged or lost. */
typedef void salvage_damaged(const char *text, void *arg);

/*
 * salvage_open(dir, damaged, arg, salvage, why): take the lock of ${dir} and
 * find everything; ${damaged} is kept until salvage_close().  Fails as
 * walk_open() does, and with VERSION for a spool of a newer format.
 */
enum latentd_err salvage_open(const char *dir, salvage_damaged *damaged,
    void *arg, struct salvage **salvage, struct reason *why);
void salvage_close(struct salvage *s);

struct salvage_job {
	struct record_job job;
	struct record_state state; /* as of a new job where it cannot be read */
	bool has_latent; /* pieces of it are there */
};

/*
 * salvage_jobs(s, on_job, arg): every job whose record can be read, by id; what
 * it points to is valid during the call.
 */
void salvage_jobs(struct salvage *s,
    void (*on_job)(const struct salvage_job *job, void *arg), void *arg);

/*
 * salvage_latent(s, job, data) / salvage_result(s, job, data): the payload with
 * the metadata, or the result, as its record promises and with its CRC,
 * malloc'd.  False after telling of the damage.
 */
bool salvage_latent(
    struct salvage *s, const struct salvage_job *job, uint8_t **data);
bool salvage_result(
    struct salvage *s, const struct salvage_job *job, uint8_t **data);

/* salvage_rest(s): look at the keys that were acknowledged, and for rows that
 * belong to no job. */
void salvage_rest(struct salvage *s);

struct salvage_counts {
	struct walk_facts facts;
	uint64_t jobs_n; /* rows, readable or not */
	uint64_t known_n;
	uint64_t aside_n;
	uint64_t format;
	uint64_t damages_n; /* so far */
};

struct salvage_counts salvage_counts(const struct salvage *s);

#endif
