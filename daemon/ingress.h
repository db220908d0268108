/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_INGRESS_H
#define DAEMON_INGRESS_H

#include "base/door.h"
#include "job.h"

struct ingress;

struct ingress_sinks {
	/* The lane of a model and task, or NULL. */
	struct lane *(*lane)(
	    const struct model *model, enum latentd_task task, void *arg);
	/* Whether a job with such a message may come. */
	struct job_busy (*busy)(size_t message_bytes, void *arg);
	/* Take a NEW job. */
	void (*accept)(struct job *job, void *arg);
	size_t (*position)(const struct job *job, void *arg);
	/* Take a COLLECT: acknowledgements, then the wait for a result. */
	void (*ack)(struct producer *producer, uint64_t tag, void *arg);
	void (*collect)(struct door_request *request, struct producer *producer,
	    uint64_t wait_ms, void *arg);
	/* End an open job of the producer's. */
	void (*cancel)(struct job *job, void *arg);
	/* The services offered, for WELCOME, and the report, malloc'd JSON. */
	size_t (*services)(const struct text **services, void *arg);
	char *(*report)(void *arg);
	void *arg;
};

/* ingress_create(jobs, instance, max_body_bytes, sinks): NULL when memory is out. */
struct ingress *ingress_create(struct jobs *jobs, uint64_t instance,
    uint64_t max_body_bytes, const struct ingress_sinks *sinks);
void ingress_destroy(struct ingress *in);

/* ingress_request(in, request): read one message from a producer and see that
 * it is answered. */
void ingress_request(struct ingress *in, struct door_request *request);

#endif
