/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What a service tells its manager, as in sd_notify(3): datagrams of lines
 * KEY=VALUE to the socket that $NOTIFY_SOCKET names.
 */
struct notify;

/*
 * notify_open(): NULL when there is no manager, or memory is out; all functions
 * below take NULL and do nothing.  An address that is neither a path nor '@'
 * and a name is refused with a log line.
 */
struct notify *notify_open(void);
void notify_close(struct notify *n);

/*
 * notify_state(n, fmt, ...): send what must arrive; waits up to a second for a
 * manager that is busy.
 * notify_hint(n, fmt, ...): send what will be said again; never waits.
 * The loop thread only.  At most 511 bytes; false: it was not sent.
 */
bool notify_state(struct notify *n, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool notify_hint(struct notify *n, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* notify_watchdog_us(): within which time the manager wants WATCHDOG=1 from
 * this process, from $WATCHDOG_USEC and $WATCHDOG_PID; 0: it does not. */
uint64_t notify_watchdog_us(void);

#endif
