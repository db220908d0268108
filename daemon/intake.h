/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_INTAKE_H
#define DAEMON_INTAKE_H

#include "job.h"

/* What a producer asks for, read and checked: everything of a job but its
 * identity. */
struct intake {
	const struct model *model;
	enum latentd_task task;
	enum latentd_output output;
	struct geometry geo; /* decode: pictures of the whole job */
	uint64_t cost_px; /* of all pictures, frames counted; at least 1 */
	enum latentd_priority priority;
	uint64_t deadline_ms; /* 0: none */
	size_t parts_n;
	struct remote_request remote; /* of one part */
	struct remote_expect expect; /* of one part */
	const uint8_t *payload;
	size_t payload_bytes;
	const uint8_t *metadata;
	size_t metadata_bytes;
	struct image_info image; /* encode of a file: what it is */
};

/*
 * intake_read(submit, body, body_bytes, intake, why):
 * Check a SUBMIT against its body and work out the requests that it needs.
 * ${intake} points into ${body}.  Fails with MODEL, SHAPE, IMAGE, TOO_LARGE,
 * INVALID, UNSUPPORTED and a sentence that names the field.
 */
enum latentd_err intake_read(const struct message_submit *submit,
    const uint8_t *body, size_t body_bytes, struct intake *intake,
    struct reason *why);

/*
 * intake_again(submit, image, body_bytes, intake, why):
 * The same without the body, for a SUBMIT that intake_read() took before and
 * whose body is of ${body_bytes}; ${image} is what it said then.  payload and
 * metadata are NULL.
 */
enum latentd_err intake_again(const struct message_submit *submit,
    const struct image_info *image, size_t body_bytes, struct intake *intake,
    struct reason *why);

/*
 * intake_remote(request, payload, payload_bytes, intake, why):
 * The same for a request of the remote contract, whose payload was found by
 * remote_request_body(): what an endpoint has to be asked so that its reply
 * answers ${request}.  base64 is the asker's affair.  SHAPE, IMAGE, TOO_LARGE,
 * UNSUPPORTED.
 */
enum latentd_err intake_remote(const struct remote_request *request,
    const void *payload, size_t payload_bytes, struct intake *intake,
    struct reason *why);

/* intake_job(intake, jobs, producer, key, job, why): job_create(), with what
 * ${intake} says; neither input nor lane yet.  MEMORY. */
enum latentd_err intake_job(const struct intake *intake, struct jobs *jobs,
    struct producer *producer, struct text key, struct job **job,
    struct reason *why);

#endif
