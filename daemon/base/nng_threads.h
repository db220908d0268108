/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NNG_THREADS_H
#define BASE_NNG_THREADS_H

/*
 * nng_threads_start():
 * Start nng, with as few threads of its own as it can have.  To be called once,
 * before any other use of nng, while there is one thread, and inside the sandbox:
 * these threads read what strangers send.  nng tells of an error when it is used.
 */
void nng_threads_start(void);

#endif
