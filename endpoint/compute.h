/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_COMPUTE_H
#define ENDPOINT_COMPUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blob.h"
#include "remote.h"

/* One request and its reply. */
struct compute {
	/* Set by the caller; the body must outlive compute_run(). */
	struct remote_request req;
	const void *body;
	size_t body_bytes;
	unsigned fps; /* of mp4 */
	bool misfit; /* reply with another size than asked for */
	/* Set by compute_run(). */
	struct reason why; /* err OK, or why there is no reply */
	struct blob reply; /* the caller's */
	const char *type; /* its Content-Type */
	struct latentd_tensor tensor; /* for the headers; ndim 0: none */
	uint64_t compute_ns;
};

/* compute_run(c): do what the request asks for.  Worker threads. */
void compute_run(struct compute *c);

#endif
