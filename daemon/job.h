/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_JOB_H
#define DAEMON_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <nng/nng.h>
#include <uthash.h>

#include "history.h"
#include "message.h"
#include "producer.h"
#include "remote.h"

struct attempt;
struct buffer;
struct call;
struct load;
struct endpoint;
struct lane;

/*
 * One request's worth of a job.  A batch whose output an endpoint can only
 * give one image at a time has a part per image; all other jobs have one.
 */
enum part_state { PART_TODO = 0, PART_RUNNING, PART_DONE };

struct part {
	enum part_state state;
	struct attempt *attempt; /* while RUNNING */
	struct attempt *beside; /* a second one, while the first is late */
	bool tried; /* an attempt was made for it */
	struct buffer *reply; /* when DONE; owned */
	uint64_t *file_bytes; /* sizes of the files in it; owned */
	size_t files_n;
};

/*
 * A job belongs to exactly one stage at a time, which alone links it through
 * ${link} and touches its changing fields; passing it to a sink gives it away.
 */
struct job {
	unsigned magic;
	enum job_state state; /* job_move() alone writes it */
	uint64_t since_ns; /* when it did */
	uint64_t id;
	char key[LATENTD_MAX_NAME_BYTES + 1];
	struct producer *producer;
	UT_hash_handle by_key;
	RB_ENTRY(job) by_id;
	TAILQ_ENTRY(job) link;
	TAILQ_ENTRY(job) kept_link; /* outbox.c's, then buried.c's */
	TAILQ_ENTRY(job) owned_link; /* while in jobs.owned */

	/* What to do; fixed by ingress. */
	struct lane *lane; /* its model and task; dispatch.c's */
	struct remote_request remote; /* of one part */
	struct remote_expect expect; /* of one part */
	enum latentd_output output;
	struct geometry geo; /* of the whole job; decode only */
	nng_msg *message; /* the SUBMIT; owns the payload and metadata */
	struct call *call; /* or gateway_call.c's, which does */
	const uint8_t *payload;
	size_t payload_bytes;
	const uint8_t *metadata;
	size_t metadata_bytes;
	uint64_t cost_px; /* pixels of all its pictures, frames counted */
	uint64_t deadline_ns; /* 0: none */
	uint64_t deadline_ms; /* as it was given */
	bool deadline_watched; /* deadline.c's */
	RB_ENTRY(job) by_deadline;
	uint32_t owner_pipe; /* it ends with this connection; 0: with none */

	/* Its place among those that wait; order.c's. */
	unsigned class; /* 0 goes first; lower with age */
	uint64_t class_since_ns;
	struct share *share;
	uint64_t place;
	RB_ENTRY(job) in_share;
	TAILQ_ENTRY(job) by_age;

	/* How far it is. */
	size_t parts_n;
	struct part *parts;
	size_t done_n; /* parts */
	size_t running_n; /* parts */
	size_t
	    in_flight_n; /* attempts, those that do not matter any more too */
	unsigned attempts_n; /* requests made, all parts together */
	unsigned failures_n; /* failed ones since the last success */
	const struct endpoint *avoid; /* where it failed last */
	bool failing; /* ends as soon as no attempt runs */
	uint64_t retry_at_ns; /* not before; 0: at once */
	uint64_t submitted_ns;
	uint64_t started_ns; /* its first attempt */
	uint64_t decoded_ns; /* its last reply was complete */
	uint64_t finished_ns;
	char endpoint[LATENTD_MAX_NAME_BYTES + 1]; /* of the last attempt */
	long http_status; /* of the last attempt */
	unsigned kicks_n; /* how often it was queued again after failing */
	struct history *history; /* of attempts; NULL: none has failed */

	/* What came of it; from the end on. */
	struct reason reason; /* err OK when done */
	struct buffer *result; /* the files or the tensor; owned */
	uint64_t *file_bytes;
	size_t files_n;
	size_t result_bytes;
	struct latentd_tensor tensor;

	/* Delivery; outbox.c's. */
	uint64_t kept_since_ns;
	uint64_t tag;
	UT_hash_handle by_tag;
	uint32_t lease_pipe; /* 0: not leased */
	uint64_t lease_until_ns;
	bool buried; /* FAILED, delivered, and kept: buried.c has it */
	uint64_t buried_ns; /* since when */

	/* In the spool; spool.c's. */
	bool spooled; /* it survives a crash */
	bool storing; /* spool.c has it, until a commit */
	bool body_stored; /* the latent may be read back */
	bool result_stored; /* so may what came of it */
	uint32_t body_crc;
	uint32_t result_crc;
	uint64_t stored_bytes; /* that it takes there */
	size_t input_bytes; /* of its latent, here or there; for its producer */
	struct load *body_load; /* a worker reads it */
	struct job **result_reader; /* the same; forgets a job that goes */
};

/* Why a job cannot be taken now; protocol.md §5. */
struct job_busy {
	const char *reason; /* NULL: there is room */
	uint64_t retry_after_ms;
	uint64_t estimated_wait_ms; /* were there room; 0: not known */
};

RB_HEAD(job_ids, job);

#define JOB_MAGIC 0x6a6f6231u
#define JOB_CLASSES 4u

/* All jobs of the daemon: found by id and key, counted by state and bytes. */
struct jobs {
	struct producers producers;
	struct job_ids by_id;
	uint64_t next_id;
	size_t n;
	size_t buried_n; /* of these */
	size_t state_n[JOB_STATE_COUNT];
	uint64_t ended_n[JOB_STATE_COUNT]; /* since the start */
	uint64_t input_bytes; /* messages and bodies held in memory */
	uint64_t result_bytes; /* results and replies held in memory */
	uint64_t stored_bytes; /* latents and results in the spool */
	uint64_t stored_max; /* room for them; 0: there is no spool */
	uint64_t expected_bytes; /* what active jobs may bring */
	struct job_list owned; /* open ones that end with a connection */
	/* on_move(job, from, arg) after each change of state. */
	void (*on_move)(const struct job *job, enum job_state from, void *arg);
	void *arg;
};

/* jobs_init(jobs, on_move, arg): empty books. */
void jobs_init(struct jobs *jobs,
    void (*on_move)(const struct job *job, enum job_state from, void *arg),
    void *arg);

/*
 * job_create(jobs, producer, key, parts_n, why): a NEW job, findable by id and
 * key.  MEMORY on failure.  ${key} must not exist for ${producer}.
 */
enum latentd_err job_create(struct jobs *jobs, struct producer *producer,
    struct text key, size_t parts_n, struct job **job, struct reason *why);

/* job_destroy(jobs, job): forget and free it, in whatever state; it must be
 * out of every list and no attempt may run. */
void job_destroy(struct jobs *jobs, struct job *job);

/* job_move(jobs, job, to): the one place where a state changes; asserts that
 * the table in job.c allows it. */
void job_move(struct jobs *jobs, struct job *job, enum job_state to);

/* job_own(jobs, job, pipe): let an open job end with the connection ${pipe}. */
void job_own(struct jobs *jobs, struct job *job, uint32_t pipe);

/* job_class(priority): the class in which a job of ${priority} begins. */
unsigned job_class(enum latentd_priority priority);

/*
 * job_is_late(job): its deadline has passed, so nothing is sent for it any more.
 * job_late_reason(job, why): EXPIRED, and the sentence; ${why} is not the job's
 * own.
 */
bool job_is_late(const struct job *job);
void job_late_reason(const struct job *job, struct reason *why);

/* job_end_state(why): the state in which a job ends for ${why}. */
enum job_state job_end_state(const struct reason *why);

/* job_expected_bytes(job): what its result may take at the most. */
uint64_t job_expected_bytes(const struct job *job);

/*
 * job_hold(jobs, job, msg): give the job its SUBMIT message.
 * job_release_input(jobs, job): free it, when no attempt needs it any more, and
 * forget that the spool has it.
 * job_has_input(job): whether the job has its latent, in memory or in the spool.
 * job_shed_input(jobs, job): free the memory of what the spool has as well; no
 * attempt may run.
 * job_reload_input(jobs, job, msg): take what was read back: payload and
 * metadata.
 */
void job_hold(struct jobs *jobs, struct job *job, nng_msg *msg);
void job_release_input(struct jobs *jobs, struct job *job);
bool job_has_input(const struct job *job);
void job_shed_input(struct jobs *jobs, struct job *job);
void job_reload_input(struct jobs *jobs, struct job *job, nng_msg *msg);

/* job_found_input(job), job_found_result(job): its latent, its result was found
 * in the spool; input_bytes or result_bytes are set.  They count as its
 * producer's. */
void job_found_input(struct job *job);
void job_found_result(struct job *job);

/* job_store(jobs, job, bytes): the job takes so much of the spool from now on.
 * job_store_bytes(bytes): what a latent or a result takes there. */
void job_store(struct jobs *jobs, struct job *job, uint64_t bytes);
uint64_t job_store_bytes(uint64_t bytes);

/* job_restore(jobs, job, state): a NEW job from the spool had ended so. */
void job_restore(struct jobs *jobs, struct job *job, enum job_state state);

/*
 * jobs_hold_input(jobs, producer, before, now) / jobs_hold_result(...):
 * somebody who held ${before} bytes of ${producer}'s payloads or results outside
 * of jobs (bodies that arrive, replies that leave) holds ${now} of them.
 */
void jobs_hold_input(
    struct jobs *jobs, struct producer *producer, size_t before, size_t now);
void jobs_hold_result(
    struct jobs *jobs, struct producer *producer, size_t before, size_t now);

/*
 * job_gather(jobs, job): make the result out of the parts, all DONE; MEMORY
 * when a batch cannot be put together.  Releases the parts' replies.
 */
enum latentd_err job_gather(struct jobs *jobs, struct job *job);

/*
 * job_bury(jobs, job): a FAILED job was delivered and is kept.
 * job_revive(jobs, job): make a FAILED job, which is in no stage, as it was
 * before its first attempt, but for the parts that are DONE; it is to be pushed
 * into the queue next.
 */
void job_bury(struct jobs *jobs, struct job *job);
void job_revive(struct jobs *jobs, struct job *job);

/* job_drop_result(jobs, job): free what came of it.
 * job_has_result(job), job_shed_result(jobs, job), job_reload_result(jobs, job,
 * result): as for the latent.
 * job_take_result(jobs, job): it is the caller's from now on. */
void job_drop_result(struct jobs *jobs, struct job *job);
bool job_has_result(const struct job *job);
void job_shed_result(struct jobs *jobs, struct job *job);
void job_reload_result(
    struct jobs *jobs, struct job *job, struct buffer *result);
struct buffer *job_take_result(struct jobs *jobs, struct job *job);

/* The bytes of part ${i}'s request. */
const uint8_t *job_part_data(const struct job *job, size_t i, size_t *bytes);

/* jobs_by_id(jobs, id): that job or NULL.  jobs_after(jobs, id): the job with
 * the lowest id above ${id}, or NULL. */
struct job *jobs_by_id(const struct jobs *jobs, uint64_t id);
struct job *jobs_after(const struct jobs *jobs, uint64_t id);
struct job *jobs_by_key(const struct producer *producer, struct text key);

#endif
