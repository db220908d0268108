/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for results, a signal or the end of patience. */
#ifndef CLIENT_CTL_WAIT_H
#define CLIENT_CTL_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "latentd/client.h"

enum ctl_event { CTL_EVENT_RESULT, CTL_EVENT_INTERRUPT, CTL_EVENT_TIMEOUT };

/*
 * ctl_catch_signals():
 * From now on the first SIGINT or SIGTERM is an event for ctl_wait(), and the
 * second ends the process at once with 130.
 */
void ctl_catch_signals(void);

/* ctl_signal_fd(): a descriptor that is readable once such a signal came; for
 * poll only. */
int ctl_signal_fd(void);

/* ctl_interrupted(): such a signal came. */
bool ctl_interrupted(void);

/*
 * ctl_wait(client, until_ms, ignore_signal):
 * Wait until ${client} has a result, or until ${until_ms} on ctl_now_ms()'s
 * clock (-1: for ever).
 */
enum ctl_event ctl_wait(
    struct latentd_client *client, int64_t until_ms, bool ignore_signal);

#endif
