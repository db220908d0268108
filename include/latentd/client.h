/* SPDX-License-Identifier: Apache-2.0 */
/*
 * liblatentd: push latents to a latentd daemon and collect finished images.
 *
 * A client is a producer: a name that survives reconnects, under which the
 * daemon keeps results until they are acknowledged.  Submitting never waits
 * for the network; results come back through latentd_collect(), with a
 * descriptor to poll.  While the daemon is away the client reconnects by
 * itself and submits unfinished jobs again under their old keys.
 *
 * Threads: every function may be called from any thread, also at the same
 * time on one client, except latentd_client_close(), which must be the last
 * call.  Nothing here calls back into the application.  A client does not
 * survive fork() in the child.
 */
#ifndef LATENTD_CLIENT_H
#define LATENTD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latentd/errors.h"
#include "latentd/limits.h"
#include "latentd/types.h"
#include "latentd/version.h"

#ifdef __cplusplus
extern "C" {
#endif

struct latentd_client;
struct latentd_result;

/* Files, in PEM, for daemons at tls+tcp://, read when the client is opened. */
struct latentd_tls {
	/* Who signed the daemon's certificate.  NULL: $LATENTD_TLS_CA, and one
	 * of both must be set. */
	const char *ca_file;
	/* This side's certificate and its key, not encrypted, where the daemon
	 * wants one.  NULL: $LATENTD_TLS_CERT and $LATENTD_TLS_KEY if set, else
	 * none. */
	const char *certificate_file;
	const char *key_file;
	/* The name that the daemon's certificate must have.  NULL:
	 * $LATENTD_TLS_NAME if set, else the URL's host.  With a numeric
	 * address in the URL it must be given, unless the certificate has the
	 * address as a name. */
	const char *server_name;
};

/* All fields may be 0 or NULL for the default. */
struct latentd_client_options {
	/* Where the daemon listens: "ipc:///run/latentd/latentd.sock",
	 * "tcp://127.0.0.1:8376", "tls+tcp://render1.lan:8376".  NULL:
	 * $LATENTD_URL if set, else the first. */
	const char *url;
	/* The producer's name, 1..LATENTD_MAX_NAME_BYTES of [A-Za-z0-9._-].
	 * NULL: a name of its own for this client, so that no other client can
	 * collect its results, and none of it remains after close. */
	const char *producer;
	/* Secret that goes with the name: with the daemon's secret_file for this
	 * producer it is proved and never sent; without one, two producers of
	 * the same name and different secrets are different ones. */
	const void *secret;
	size_t secret_bytes;
	/* How long latentd_client_open() waits for the daemon; default 5000. */
	uint32_t connect_timeout_ms;
	/* Jobs submitted and not yet collected, and the bytes of their payloads,
	 * before latentd_submit() reports BUSY; defaults 1024 and 1 GiB. */
	uint32_t max_jobs;
	uint64_t max_bytes;
	/* Name and version of the application, for the daemon's log. */
	const char *software;
	/* The secret as the content of a file, but for a newline at its end.
	 * NULL, with no secret either: $LATENTD_SECRET_FILE if that and
	 * ${producer} are set, else none. */
	const char *secret_file;
	const struct latentd_tls *tls; /* needs to live only for the call */
};

/* One entry of the PNG text that travels with a job: UTF-8, NUL-ended. */
struct latentd_metadata {
	const char *key; /* 1..79 bytes, "parameters", "workflow" */
	const char *value;
};

/* What to do.  Zero it first; the pointers need to live only for the call. */
struct latentd_request {
	enum latentd_task task;
	const char *model; /* "sd-v1", "sdxl", "flux", ... */
	/* decode: the latent; dtype and shape are required.  encode: an image
	 * tensor [N,3,H,W] in [-1,1], or ndim 0 when data is a PNG or JPEG file. */
	struct latentd_tensor tensor;
	const void *data; /* C-contiguous, little-endian */
	size_t data_bytes;
	enum latentd_space space;
	uint32_t height_px; /* required for packed latents only */
	uint32_t width_px;
	/* NONE: PNG for images, MP4 for video models, LATENT for encode. */
	enum latentd_output output;
	const struct latentd_metadata *metadata; /* PNG output only */
	size_t metadata_n;
	/* Names the job: the same producer and key always give the same job,
	 * however often it is submitted, until its result is freed; submitting
	 * it again before gives the same ticket, and whatever else this request
	 * says is ignored.  After that the key is used up for as long as the
	 * daemon remembers it, and gives a failed result with COLLECTED.  Same
	 * characters as producer.  NULL: a new random key. */
	const char *key;
	/* Which jobs go first, here and in the daemon. */
	enum latentd_priority priority;
	/* Within how many milliseconds from latentd_submit() the job must be
	 * done, at most LATENTD_MAX_DEADLINE_MS; 0: no deadline.  All waiting
	 * counts, here (for room, a busy or an absent daemon) and there.  A job
	 * that is late gives a failed result with EXPIRED and is not sent to
	 * anybody any more. */
	uint64_t deadline_ms;
	/* With a deadline: when the daemon cannot meet it by its estimate, the
	 * job fails at once, with BUSY and a sentence that has the estimate. */
	bool refuse_late;
	/* The daemon cancels the job when the connection on which it was
	 * submitted ends, also when only the connection is lost. */
	bool cancel_on_disconnect;
	/* How long from latentd_submit() a daemon that is there and busy may
	 * refuse the job; then it gives a failed result with BUSY.  This comes
	 * as soon as the daemon has said that it wants to be asked again only
	 * after that time, so 1 means: at once.  0: for ever.  A daemon that is
	 * away is waited for, and so is nothing that was accepted once. */
	uint32_t accept_timeout_ms;
};

/*
 * latentd_client_open(client, options):
 * Connect to the daemon as ${options} (NULL: all defaults) say and greet it.
 * On success ${*client} is the caller's, to be closed with
 * latentd_client_close().
 * Errors: UNREACHABLE (nobody answered within connect_timeout_ms, or TLS could
 * not be agreed upon), DENIED (the secret), VERSION, INVALID (an option or a file
 * that it names), MEMORY.  ${*client} is then NULL.
 * latentd_client_error(NULL) has the sentence, per thread.
 */
enum latentd_err latentd_client_open(struct latentd_client **client,
    const struct latentd_client_options *options);

/*
 * latentd_client_close(client):
 * Send outstanding acknowledgements, cancel nothing, disconnect and free
 * ${client} (NULL: no-op).  Jobs under a producer name that the caller chose
 * go on in the daemon and can be collected later under that name, but only
 * those that the daemon accepted: latentd_wait_accepted() says so.  Jobs of an
 * anonymous client are cancelled and its results acknowledged.  Results not
 * yet freed stay valid and are no longer acknowledged by freeing.  Waits at
 * most two seconds, and not at all while the daemon is away.
 */
void latentd_client_close(struct latentd_client *client);

/*
 * latentd_client_error(client):
 * The sentence that belongs to the calling thread's latest failed call
 * (${client} is only for symmetry and may be NULL).  Valid until its next call.
 */
const char *latentd_client_error(const struct latentd_client *client);

/* latentd_client_producer(client): its producer name, which lives as long. */
const char *latentd_client_producer(const struct latentd_client *client);

/*
 * latentd_client_fd(client):
 * A descriptor that is readable while latentd_collect() would give a result
 * at once, and when the daemon refuses to deliver, until latentd_collect() has
 * said so.  For poll, select, epoll and event loops only: do not read, write
 * or close it.  Valid until latentd_client_close().
 * Results are fetched ahead, a few at a time, once this, latentd_collect() or
 * latentd_run() was called: a client that only submits takes none.
 */
int latentd_client_fd(struct latentd_client *client);

/* latentd_client_pending(client): jobs submitted through ${client} whose
 * results the caller has not collected yet. */
size_t latentd_client_pending(struct latentd_client *client);

/*
 * latentd_submit(client, request, timeout_ms, ticket):
 * Hand ${request} to the daemon and return at once: the payload is copied into
 * a message before the call returns, the network is not waited for.  When
 * max_jobs or max_bytes of ${client} are reached, wait for room up to
 * ${timeout_ms} (0: not at all, negative: for ever).  On success ${*ticket} (may
 * be NULL) is a number, unique within ${client}, that its result will carry.
 * A daemon that is busy or away is not an error: the client tries again until
 * it accepts, or until deadline_ms or accept_timeout_ms of ${request} end that
 * with a failed result.  A refusal by the daemon arrives as one, too.
 * Errors, nothing submitted then: INVALID, SHAPE, MODEL (not a name), TOO_LARGE,
 * BUSY (no room within ${timeout_ms}), EXPIRED (nor before the deadline),
 * MEMORY, UNSUPPORTED.
 */
enum latentd_err latentd_submit(struct latentd_client *client,
    const struct latentd_request *request, int timeout_ms, uint64_t *ticket);

/*
 * latentd_wait_accepted(client, ticket, timeout_ms):
 * Wait up to ${timeout_ms} (negative: for ever) until the daemon has the job of
 * ${ticket}, so that it survives the end of this process.  OK also when its
 * result is already here.
 * Errors: TIMEOUT; NOT_FOUND for a ticket that was never given; what the
 * daemon refused the job with, and then the failed result stays collectable.
 */
enum latentd_err latentd_wait_accepted(
    struct latentd_client *client, uint64_t ticket, int timeout_ms);

/*
 * latentd_job_durability(client, ticket, durability):
 * What the job of ${ticket}, which the daemon has accepted and not yet given a
 * result for, survives: ${*durability}, as the daemon said.  Asks nobody.
 * Errors: NOT_FOUND for a ticket that is not accepted, or has its result;
 * ${*durability} is then unchanged.
 */
enum latentd_err latentd_job_durability(struct latentd_client *client,
    uint64_t ticket, enum latentd_durability *durability);

/*
 * latentd_job_estimate(client, ticket, position, estimated_wait_ms):
 * What the daemon said when it last accepted or refused the pending job of
 * ${ticket}: ${*position}, about how many jobs went before it then, and
 * ${*estimated_wait_ms}, about how long its result takes from now.  0: nothing,
 * or not known.  Asks nobody.
 * Errors: NOT_FOUND for a ticket that is not pending; both are then unchanged.
 */
enum latentd_err latentd_job_estimate(struct latentd_client *client,
    uint64_t ticket, uint64_t *position, uint64_t *estimated_wait_ms);

/*
 * latentd_job_id(client, ticket, id):
 * The daemon's number of the pending job of ${ticket}, as in its log and for
 * latentd_why(); ${*id} is 0 while the daemon has not accepted it.  Asks nobody.
 * Errors: NOT_FOUND for a ticket that is not pending; ${*id} is then unchanged.
 */
enum latentd_err latentd_job_id(
    struct latentd_client *client, uint64_t ticket, uint64_t *id);

/*
 * latentd_collect(client, timeout_ms, result):
 * Take the next finished job, waiting up to ${timeout_ms} (negative: for
 * ever) for one.  Results come as jobs end; of those that end at about the same
 * time any may be first.  On success ${*result} is the caller's, to be freed
 * with latentd_result_free(), which also acknowledges it.  A failed, cancelled
 * or expired job is a result too: look at latentd_result_error().  DROPPED: it
 * was done, but the daemon did not keep it until now; COLLECTED: another client
 * of the same name has got it.  A client with a chosen producer name also gets
 * results of jobs submitted earlier under that name; their ticket is 0.
 * Errors: TIMEOUT; NOT_FOUND when nothing is pending and the producer name is
 * the client's own; what the daemon refuses to deliver with (DENIED when the
 * name belongs to somebody else since).  ${*result} is then NULL.
 */
enum latentd_err latentd_collect(struct latentd_client *client, int timeout_ms,
    struct latentd_result **result);

/*
 * latentd_run(client, request, timeout_ms, result):
 * Submit ${request} and wait for its own result (others stay collectable).
 * Errors: those of latentd_submit() and latentd_collect(); with TIMEOUT and the
 * latter's the job is cancelled.  INVALID also when another thread runs the
 * same key.  A job that failed is a success here with a failed result.
 */
enum latentd_err latentd_run(struct latentd_client *client,
    const struct latentd_request *request, int timeout_ms,
    struct latentd_result **result);

/*
 * latentd_cancel(client, ticket):
 * Ask the daemon to drop the job: queued ones leave, requests in flight are
 * aborted.  Returns at once; the job still gives a result, with CANCELLED
 * unless it was finished before.  NOT_FOUND for a ticket that is not pending.
 */
enum latentd_err latentd_cancel(struct latentd_client *client, uint64_t ticket);

/*
 * latentd_cancel_key(client, key, timeout_ms):
 * latentd_cancel_id(client, id, timeout_ms):
 * The same by ${key}, also for a job of an earlier client of the same producer
 * name, or by the daemon's ${id}; waits up to ${timeout_ms} (negative: for ever)
 * for the daemon's answer.  An administrator (see latentd_pause()) may cancel
 * every job by its id.
 * Errors, nothing cancelled then: NOT_FOUND (no such job, or its result was
 * acknowledged), ENDED (the job has a result already), INVALID (no key, id 0),
 * TIMEOUT, DENIED.
 */
enum latentd_err latentd_cancel_key(
    struct latentd_client *client, const char *key, int timeout_ms);
enum latentd_err latentd_cancel_id(
    struct latentd_client *client, uint64_t id, int timeout_ms);

/*
 * latentd_status(client, timeout_ms, json):
 * Ask the daemon how it is.  On success ${*json} is a NUL-ended JSON document
 * (protocol.md §7) that the caller frees with free().
 * Errors: TIMEOUT, DENIED, MEMORY; ${*json} is then NULL.
 */
enum latentd_err latentd_status(
    struct latentd_client *client, int timeout_ms, char **json);

/* Which jobs latentd_jobs() is to list.  All fields may be 0 or NULL. */
struct latentd_jobs_query {
	const char *state; /* "queued", ..., as in protocol.md §1; NULL: any */
	const char *producer; /* of producers of this name; NULL: of all */
	uint64_t after; /* jobs with a higher id */
	uint32_t limit; /* jobs to look at; 0: LATENTD_MAX_LIST, the most */
};

/*
 * latentd_jobs(client, query, timeout_ms, json):
 * List jobs, in the order of their ids, without touching them: those of the
 * client's uid (where there is none, as over tcp: of its producer), for an
 * administrator all.  On success ${*json} is a NUL-ended JSON document
 * {"jobs": [...], "next": id or null} (protocol.md §7) that the caller frees
 * with free().  The daemon looks at a bounded number of jobs a call, so a page
 * may be empty and not the last: go on with after = next until it is null.
 * Errors: INVALID (a field of ${query}), TIMEOUT, DENIED, MEMORY; ${*json} is
 * then NULL.
 */
enum latentd_err latentd_jobs(struct latentd_client *client,
    const struct latentd_jobs_query *query, int timeout_ms, char **json);

/*
 * latentd_why(client, id, key, timeout_ms, json):
 * Ask what the job of that ${id}, or (id 0) of that ${key} of the client's
 * producer, waits for and what it has been through.  ${*json} as above; its
 * "why" is a sentence for people.
 * Errors: NOT_FOUND (no such job, or not one that latentd_jobs() would list),
 * INVALID, TIMEOUT, DENIED, MEMORY.
 */
enum latentd_err latentd_why(struct latentd_client *client, uint64_t id,
    const char *key, int timeout_ms, char **json);

/*
 * latentd_kick(client, id, timeout_ms):
 * Have a failed job tried again.  Such a job keeps its latent, also after its
 * failure was collected, for the time that the operator configured.  Its later
 * result is delivered to its producer like any other: to a client that has
 * collected the failure already as one of an earlier client, with ticket 0.
 * latentd_purge(client, id, timeout_ms):
 * Give up the latent of a failed job.  A failure that was not collected yet is
 * still delivered.
 * latentd_kick_all(client, producer, timeout_ms, jobs_n) and
 * latentd_purge_all(client, producer, timeout_ms, jobs_n):
 * The same for all failed jobs that the client may change, of producers of the
 * name ${producer} or (NULL) of all.  ${*jobs_n} (may be NULL) says how many
 * were changed, also when an error ended it; ${timeout_ms} is per thousand jobs.
 * A producer may change its own jobs, an administrator all.
 * Errors: NOT_FOUND (no such job), INVALID (it has not failed, or has no latent
 * any more), DENIED (it is somebody else's), STOPPING (kick: the daemon takes
 * no jobs any more), TIMEOUT.
 */
enum latentd_err latentd_kick(
    struct latentd_client *client, uint64_t id, int timeout_ms);
enum latentd_err latentd_kick_all(struct latentd_client *client,
    const char *producer, int timeout_ms, uint64_t *jobs_n);
enum latentd_err latentd_purge(
    struct latentd_client *client, uint64_t id, int timeout_ms);
enum latentd_err latentd_purge_all(struct latentd_client *client,
    const char *producer, int timeout_ms, uint64_t *jobs_n);

/* IN: taking jobs from producers.  OUT: sending requests to endpoints. */
enum latentd_side {
	LATENTD_SIDE_BOTH = 0,
	LATENTD_SIDE_IN,
	LATENTD_SIDE_OUT,
};

/*
 * latentd_pause(client, side, timeout_ms) / latentd_resume(...):
 * Stop and restart one side of the daemon, or both.  While IN is paused a
 * submit is told to come back later, which liblatentd does by itself; while OUT
 * is paused, requests in flight go on and no others begin.
 * latentd_drain(client, timeout_ms):
 * Have the daemon take no more jobs, finish those it has, let their results be
 * collected, and end, as SIGTERM does.
 * latentd_reload(client, timeout_ms):
 * Have the daemon read its configuration again, as SIGHUP does, and wait until
 * it is taken over.  INVALID or IO: it is not, everything stays as it was, and
 * latentd_client_error() says what stands against it.
 * For administrators only: root and the daemon's own user, over ipc.
 * Errors, nothing changed then: DENIED, TIMEOUT, INVALID.
 */
enum latentd_err latentd_pause(
    struct latentd_client *client, enum latentd_side side, int timeout_ms);
enum latentd_err latentd_resume(
    struct latentd_client *client, enum latentd_side side, int timeout_ms);
enum latentd_err latentd_drain(struct latentd_client *client, int timeout_ms);
enum latentd_err latentd_reload(struct latentd_client *client, int timeout_ms);

struct latentd_watch;

/* A change of a job's state, or its first picture. */
struct latentd_event {
	uint64_t id;
	const char *producer;
	const char *model;
	enum latentd_task task;
	const char *state; /* that it has now: "queued", ... */
	/* With "events = image", when it is done: its first file. */
	enum latentd_output output; /* NONE: no file */
	const void *data; /* aligned to 1 byte */
	size_t data_bytes;
};

/*
 * latentd_watch_open(watch, url) / latentd_watch_open_tls(watch, url, tls):
 * Listen to the events of a daemon at ${url}, which its report names in
 * "events", for tls+tcp:// with ${tls} (NULL: all defaults).  Connects at once;
 * a connection that is lost later is restored by itself.  On success ${*watch} is
 * the caller's, to be closed with latentd_watch_close().  One thread at a time
 * may use it.
 * Events are a hint: they get lost when they come faster than they are taken.
 * Errors: UNREACHABLE, INVALID (the URL), MEMORY; ${*watch} is then NULL and
 * latentd_client_error(NULL) has the sentence.
 */
enum latentd_err latentd_watch_open(
    struct latentd_watch **watch, const char *url);
enum latentd_err latentd_watch_open_tls(struct latentd_watch **watch,
    const char *url, const struct latentd_tls *tls);

/* latentd_watch_fd(watch): a descriptor that is readable while an event may be
 * there; for poll and its like only, and valid until the close. */
int latentd_watch_fd(const struct latentd_watch *watch);

/*
 * latentd_watch_next(watch, timeout_ms, event):
 * Take the next event, waiting up to ${timeout_ms} (0: not at all, negative: for
 * ever).  ${*event} and what it points to belong to ${watch} and are valid until
 * the next call with it.
 * Errors: TIMEOUT, IO; ${*event} is then NULL.
 */
enum latentd_err latentd_watch_next(struct latentd_watch *watch, int timeout_ms,
    const struct latentd_event **event);

/* latentd_watch_close(watch): stop listening and free it; NULL is a no-op.
 * Waits at most a few seconds. */
void latentd_watch_close(struct latentd_watch *watch);

/*
 * latentd_result_free(result):
 * Free ${result} (NULL: no-op) and acknowledge it, so that the daemon forgets
 * the job.  Do this after what it holds is safe: a result that was collected
 * and not freed before the process ends is delivered again to the same
 * producer name.
 */
void latentd_result_free(struct latentd_result *result);

/*
 * latentd_result_ack(result):
 * Acknowledge ${result} as freeing it would, and keep what it holds: for when
 * that is safe and still looked at.  Nothing happens the second time and after
 * latentd_client_close().
 */
void latentd_result_ack(struct latentd_result *result);

/* The ticket of latentd_submit(), or 0 for a job of an earlier client. */
uint64_t latentd_result_ticket(const struct latentd_result *result);
/* The daemon's number of the job, as in its log; 0 if it never accepted it. */
uint64_t latentd_result_id(const struct latentd_result *result);
/* The job's key; lives as long as the result, like all pointers below. */
const char *latentd_result_key(const struct latentd_result *result);
/* OK, or why there is no picture; and the sentence ("" when OK). */
enum latentd_err latentd_result_error(const struct latentd_result *result);
const char *latentd_result_message(const struct latentd_result *result);

/* What the result is; never NONE when latentd_result_error() is OK. */
enum latentd_output latentd_result_output(const struct latentd_result *result);
/* Description of a PIXELS, FLOAT or LATENT result; ndim 0 for files. */
const struct latentd_tensor *latentd_result_tensor(
    const struct latentd_result *result);

/*
 * latentd_result_parts(result) / latentd_result_part(result, i, bytes):
 * How many files (images of a batch, PNG frames of a video) or tensors (1) the
 * result holds, and the ${i}th with its length in ${*bytes}; NULL out of range.
 * The data is aligned to 1 byte and lives as long as the result.
 */
size_t latentd_result_parts(const struct latentd_result *result);
const void *latentd_result_part(
    const struct latentd_result *result, size_t i, size_t *bytes);

/* Size of the pictures; frames is 1 for images. 0 where unknown (LATENT). */
uint32_t latentd_result_width_px(const struct latentd_result *result);
uint32_t latentd_result_height_px(const struct latentd_result *result);
uint32_t latentd_result_frames(const struct latentd_result *result);

/* Which endpoint served it ("" if none), how many requests were made for it,
 * and where its time went, in milliseconds. */
const char *latentd_result_endpoint(const struct latentd_result *result);
uint32_t latentd_result_attempts(const struct latentd_result *result);
uint64_t latentd_result_queued_ms(const struct latentd_result *result);
uint64_t latentd_result_decode_ms(const struct latentd_result *result);
uint64_t latentd_result_finish_ms(const struct latentd_result *result);

#ifdef __cplusplus
}
#endif
#endif
