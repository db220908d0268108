/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nng starts two threads for each processor and hands every message from one to
 * the next, each of which wakes one that sleeps: at 16 jobs in flight a seventh
 * of the daemon's time, and more of a job's.  Two are enough, since all that
 * they do here is to link messages into a list.  They are also as many as nng
 * itself starts where there is one processor, and the fewest with which it
 * promises not to lock up: it waits for callbacks in its reaper's thread and in
 * calls of ours, and of ours none is made from a callback.
 *
 * Later versions can be told.  nng 1.5 asks sysconf() for the number of
 * processors, and the executable's stands before libc's for libnng as well;
 * everything else gets libc's answer.  So link this file into the program
 * itself, without sanitizers: they call sysconf() before they are ready.
 */
#include "base/nng_threads.h"

#include <stdbool.h>
#include <unistd.h>

#include <nng/nng.h>

#if NNG_MAJOR_VERSION > 1 || NNG_MINOR_VERSION >= 8

static void
limit(bool on)
{
	if (!on)
		return;
	nng_init_set_parameter(NNG_INIT_NUM_TASK_THREADS, 2);
	nng_init_set_parameter(NNG_INIT_NUM_EXPIRE_THREADS, 1);
}

#elif defined(__GLIBC__)

static bool limited;

/* Glibc's own name of it. */
extern long __sysconf(int name); // NOLINT(bugprone-reserved-identifier)

__attribute__((visibility("default"))) long
sysconf(int name)
{
	if (name == _SC_NPROCESSORS_ONLN && limited)
		return 1;
	return __sysconf(name);
}

static void
limit(bool on)
{
	limited = on;
}

#else

/* Nothing is known to work. */
static void
limit(bool on)
{
	(void)on;
}

#endif

void
nng_threads_start(void)
{
	nng_aio *aio;

	limit(true);
	/* Whatever is first starts it. */
	if (nng_aio_alloc(&aio, NULL, NULL) == 0)
		nng_aio_free(aio);
	limit(false);
}
