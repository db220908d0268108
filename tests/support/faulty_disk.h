/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that fails: linked into a test, or preloaded into a program, its
 * functions stand before libc's for every file named data.mdb, and for nothing
 * else.  A program is told by the file that $LATENTD_FAULTY_DISK names, which
 * is read before each call: "write ENOSPC" (a write is cut short), "sync EIO",
 * "meta EIO", or empty.
 */
#ifndef TESTS_FAULTY_DISK_H
#define TESTS_FAULTY_DISK_H

#include <stdbool.h>

/* faulty_disk_fail(write_error, sync_error): what writing and syncing fail with
 * from now on; 0: they work. */
void faulty_disk_fail(int write_error, int sync_error);

/* faulty_disk_fail_meta(error): the same for the last write of a commit, the one
 * that makes it count; LMDB then gives its environment up. */
void faulty_disk_fail_meta(int error);

/* faulty_disk_hold(hold): whether a sync waits until this is called again.
 * faulty_disk_wait_held(): until one does. */
void faulty_disk_hold(bool hold);
void faulty_disk_wait_held(void);

#endif
