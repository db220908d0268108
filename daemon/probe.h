/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks endpoints whether they answer.  One with a health path in the
 * configuration is asked for that, always.  Any other is asked for /health as
 * long as nobody knows or it did not answer; once it does it is left in peace, so
 * that one that sleeps when idle can.  Loop thread.
 */
#ifndef DAEMON_PROBE_H
#define DAEMON_PROBE_H

#include <stdbool.h>

#include <uv.h>

struct curl_uv;
struct endpoint;
struct probe;

/* For one question; from the first, doubling, to the next. */
#define PROBE_TIMEOUT_MS 5000
#define PROBE_FIRST_MS 1000u
#define PROBE_MOST_MS 60000u
/* Between questions for a configured path. */
#define PROBE_EVERY_MS 10000u

/* probe_open(loop, curl): NULL when memory is out.  ${curl} must stay open
 * longer. */
struct probe *probe_open(uv_loop_t *loop, struct curl_uv *curl);

/* probe_add(p, endpoint): ask it, too, unless it is asked already; false when
 * memory is out.  ${endpoint} must live until probe_forget() or probe_close(). */
bool probe_add(struct probe *p, struct endpoint *endpoint);

/* probe_forget(p, endpoint): it is asked no more.  NULL for ${p} is a no-op. */
void probe_forget(struct probe *p, const struct endpoint *endpoint);

/* probe_look(p): an endpoint's health may have changed: ask those that do not
 * answer, when it is their time.  NULL is a no-op. */
void probe_look(struct probe *p);

/* probe_close(p): questions that are under way are broken off.  NULL is a
 * no-op. */
void probe_close(struct probe *p);

#endif
