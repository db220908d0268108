/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nng starts two threads for each processor and hands every message from one to
 * the next, each of which wakes one that sleeps: at 16 jobs in flight a seventh
 * of the daemon's time, and more of a job's.  Two are enough, since all that
 * they do here is to link messages into a list.  nng 1.5 cannot be told; it asks
 * sysconf() for the number of processors, and the executable's stands before
 * libc's for libnng as well.  Everything else gets libc's answer.
 *
 * Link this file into the program itself, without sanitizers: they call
 * sysconf() before they are ready.
 */
#include "base/nng_threads.h"

#include <stdbool.h>
#include <unistd.h>

#include <nng/nng.h>

#ifdef __GLIBC__
static bool starting;

/* Glibc's own name of it. */
extern long __sysconf(int name); // NOLINT(bugprone-reserved-identifier)

__attribute__((visibility("default"))) long
sysconf(int name)
{
	if (name == _SC_NPROCESSORS_ONLN && starting)
		return 1;
	return __sysconf(name);
}
#endif

void
nng_threads_start(void)
{
	nng_aio *aio;

#ifdef __GLIBC__
	starting = true;
#endif
	/* Whatever is first starts it. */
	if (nng_aio_alloc(&aio, NULL, NULL) == 0)
		nng_aio_free(aio);
#ifdef __GLIBC__
	starting = false;
#endif
}
