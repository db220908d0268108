/* SPDX-License-Identifier: Apache-2.0 */
/* What the session waits for beside replies.  With the mutex held. */
#ifndef CLIENT_TIMER_H
#define CLIENT_TIMER_H

#include "core.h"

/* timer_open(timer, client): an error of nng's, or 0; session_close() frees. */
int timer_open(struct timer *timer, struct latentd_client *client);

/* timer_hold(timer, ms): hold back what ${timer} governs for so long; does not
 * prolong a hold.  The next pump starts it. */
void timer_hold(struct timer *timer, uint64_t ms);

/*
 * timer_start(timer): start it if it is armed.
 * timer_start_due(timer): let it end with the next deadline, sooner than it was
 * to end if need be.
 * For session_pump(): true when nng was called, without the mutex.
 */
bool timer_start(struct timer *timer);
bool timer_start_due(struct timer *timer);

#endif
