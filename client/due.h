/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines of jobs that the daemon does not have yet, and how long it may
 * refuse them.  With the client's mutex held, where a client is given.
 */
#ifndef CLIENT_DUE_H
#define CLIENT_DUE_H

#include "core.h"

/* due_now_ms(): milliseconds on a clock that never jumps.
 * due_passed(at_ms): that time is over; 0 never is. */
uint64_t due_now_ms(void);
bool due_passed(uint64_t at_ms);

/* due_earlier(at, at_ms): ${at}, as client_wait() takes it, or ${at_ms} (0:
 * never) if that is earlier. */
struct timespec due_earlier(const struct timespec *at, uint64_t at_ms);

/*
 * due_redate(msg, deadline_at_ms):
 * Write what remains of the deadline into the SUBMIT ${msg}, which had at least
 * as much before; 1 ms when nothing does.  Needs no client.
 */
void due_redate(nng_msg *msg, uint64_t deadline_at_ms);

/*
 * due_end(client):
 * End the jobs that the daemon does not have and whose deadline has passed, and
 * those that it refuses for longer than they are patient.
 */
void due_end(struct latentd_client *client);

/* due_refused(client, reason): a busy daemon refused a job, and ${client} holds
 * back until its busy_timer ends. */
void due_refused(struct latentd_client *client, struct text reason);

/*
 * due_refused_late(client, job, busy):
 * End ${job}, whose SUBMIT was answered with ${busy}, if that says that its
 * deadline cannot be met and the application wants to know at once.  False: it
 * is still to be dealt with.
 */
bool due_refused_late(struct latentd_client *client, struct job *job,
    const struct message_busy *busy);

/* due_estimated(job, position, wait_ms): the daemon said so now.
 * due_estimate_ms(job): what remains of it, at least 1; 0: not known. */
void due_estimated(struct job *job, uint64_t position, uint64_t wait_ms);
uint64_t due_estimate_ms(const struct job *job);

#endif
