/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_FINISH_H
#define DAEMON_FINISH_H

#include <uv.h>

#include "attempt.h"

/*
 * finish_start(loop, attempt, on_done, arg):
 * Check the content of attempt->reply and convert it where the producer wants
 * PNG of raw pixels, on a worker thread, or at once where that is quick; then
 * call ${on_done}(attempt, arg) on the loop thread, perhaps from inside, with attempt->verdict, and when that is OK the files in
 * attempt->reply and their sizes in attempt->file_bytes.  The job's message
 * must live until then.
 */
void finish_start(uv_loop_t *loop, struct attempt *attempt,
    void (*on_done)(struct attempt *, void *), void *arg);

#endif
