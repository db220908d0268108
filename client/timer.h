/* SPDX-License-Identifier: Apache-2.0 */
/* What the session waits for beside replies.  With the mutex held. */
#ifndef CLIENT_TIMER_H
#define CLIENT_TIMER_H

#include "core.h"

/* timer_open_all(client): an error of nng's, or 0.
 * timer_close_all(client): in either case; without the mutex. */
int timer_open_all(struct latentd_client *client);
void timer_close_all(struct latentd_client *client);

/* timer_hold(timer, ms): hold back what ${timer} governs for so long; does not
 * prolong a hold.  The next pump starts it. */
void timer_hold(struct timer *timer, uint64_t ms);

/*
 * timer_start_any(client): start one that is armed, or let the one that runs to
 * the next deadline end sooner.  For session_pump(): true when nng was called,
 * without the mutex.
 */
bool timer_start_any(struct latentd_client *client);

#endif
