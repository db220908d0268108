/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_TRANSFER_H
#define DAEMON_TRANSFER_H

#include <uv.h>

#include "attempt.h"

struct transfers;

/*
 * transfers_open(loop, instance, on_done, arg):
 * ${on_done}(attempt, arg) gives every started attempt on, once, when its
 * request ended; attempt->verdict says how, and when it is OK attempt->reply
 * holds the body, its length, type and shape as expected.  NULL when memory
 * is out.
 */
struct transfers *transfers_open(uv_loop_t *loop, uint64_t instance,
    void (*on_done)(struct attempt *, void *), void *arg);

/* transfers_keep(ts, n): so many idle connections are kept from now on. */
void transfers_keep(struct transfers *ts, unsigned n);

/* transfers_curl(ts): for small requests of others, which must have ended or
 * been stopped before it closes. */
struct curl_uv *transfers_curl(struct transfers *ts);

/* transfers_close(ts): every attempt must have been given on or aborted. */
void transfers_close(struct transfers *ts);

/* transfer_start(ts, attempt): make the request; attempt->endpoint is set.
 * False when there is no memory for it: attempt->verdict says so, on_done is
 * not called. */
bool transfer_start(struct transfers *ts, struct attempt *attempt);

/* transfer_abort(ts, attempt): break the request off and give the attempt back
 * at once; on_done is not called for it. */
void transfer_abort(struct transfers *ts, struct attempt *attempt);

#endif
