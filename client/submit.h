/* SPDX-License-Identifier: Apache-2.0 */
/* Making a SUBMIT of a request. */
#ifndef CLIENT_SUBMIT_H
#define CLIENT_SUBMIT_H

#include "core.h"

/* submit_is_name(s): 1..LATENTD_MAX_NAME_BYTES of [A-Za-z0-9._-]. */
bool submit_is_name(const char *s);

/*
 * submit_add(client, request, at, waiter, ticket):
 * Check ${request}, wait for room until ${at}, and add the job; with the mutex
 * held, which is dropped while the payload is copied.  With a ${waiter} the
 * result goes there; it may be there on return.  Errors and their sentences as
 * of latentd_submit(), in client_reason().
 */
enum latentd_err submit_add(struct latentd_client *client,
    const struct latentd_request *request, const struct timespec *at,
    struct job_waiter *waiter, uint64_t *ticket);

#endif
