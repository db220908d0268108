/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_INGRESS_H
#define DAEMON_INGRESS_H

#include "auth.h"
#include "base/door.h"
#include "intake.h"

struct ingress;

enum ingress_take { INGRESS_TAKEN, INGRESS_LATER, INGRESS_NO_MEMORY };

struct ingress_sinks {
	/* The lane of a model and task, or NULL. */
	struct lane *(*lane)(
	    const struct model *model, enum latentd_task task, void *arg);
	/* Whether a job of so many bytes may come. */
	struct job_busy (*busy)(
	    const struct producer *producer, uint64_t bytes, void *arg);
	/* A job that is well formed was answered BUSY. */
	void (*refused)(void *arg);
	/* About how long until the result of a new job, or of one that is
	 * there; 0: not known. */
	uint64_t (*estimate)(const struct lane *lane,
	    const struct producer *producer, const struct intake *intake,
	    void *arg);
	uint64_t (*estimate_known)(const struct job *job, void *arg);
	/* Take a NEW job.  LATER: it is being stored, and ingress_stored() or
	 * ingress_refused() says what came of it. */
	enum ingress_take (*accept)(struct job *job,
	    const struct message_submit *submit, const struct intake *intake,
	    void *arg);
	size_t (*position)(const struct job *job, void *arg);
	/* The id of an acknowledged job of that key, or 0. */
	uint64_t (*remembered)(
	    const struct producer *producer, struct text key, void *arg);
	/* Take a COLLECT: acknowledgements, then the wait for a result.  An
	 * acknowledgement returns false when its tag hits nothing. */
	bool (*ack)(struct producer *producer, uint64_t tag, void *arg);
	void (*collect)(struct door_request *request, struct producer *producer,
	    uint64_t wait_ms, uint64_t unknown_acks, void *arg);
	/* Forget a buried job whose key is submitted again. */
	void (*replace)(struct job *job, void *arg);
	/* Answer CANCEL, LIST, WHY and ADMIN. */
	void (*ask)(struct door_request *request, enum message_type type,
	    const union message_any *in, void *arg);
	/* The services offered, for WELCOME, and the report, malloc'd JSON. */
	size_t (*services)(const struct text **services, void *arg);
	char *(*report)(void *arg);
	void *arg;
};

/* ingress_create(jobs, auth, instance, max_body_bytes, sinks): NULL when memory
 * is out.  ${auth} stays the caller's. */
struct ingress *ingress_create(struct jobs *jobs, struct auth *auth,
    uint64_t instance, uint64_t max_body_bytes,
    const struct ingress_sinks *sinks);
void ingress_destroy(struct ingress *in);

/* ingress_request(in, request): read one message from a producer and see that
 * it is answered. */
void ingress_request(struct ingress *in, struct door_request *request);

/*
 * ingress_stored(in, job): ${job}, which was to be taken later, is: answer who
 * asked for it.  False: its producer disconnected meanwhile and wants it
 * cancelled then.
 * ingress_refused(in, job, busy): it is not, and is destroyed next.
 * ingress_gone(in, pipe): a connection ended.
 */
bool ingress_stored(struct ingress *in, struct job *job);
void ingress_refused(
    struct ingress *in, const struct job *job, const struct job_busy *busy);
void ingress_gone(struct ingress *in, uint32_t pipe);

#endif
