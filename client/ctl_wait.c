/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signal handler only writes to a descriptor that ctl_wait() polls beside
 * the client's, so no signal is lost between a check and the wait.
 */
#include "ctl_wait.h"

#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ctl.h"

/* timeout(1), for one, signals its child and then its child's whole group. */
#define ONE_SIGNAL_MS 100

/* 0: none yet.  Two signals may be handled by two threads at once. */
static atomic_int_least64_t caught_at_ms;
static int signal_fd = -1;

static void
on_signal(int number)
{
	static const uint64_t one = 1;
	int64_t now_ms = ctl_now_ms(), first_ms = 0;

	(void)number;
	if (!atomic_compare_exchange_strong(&caught_at_ms, &first_ms, now_ms)) {
		if (now_ms - first_ms >= ONE_SIGNAL_MS)
			_exit(CTL_INTERRUPTED);
		return;
	}
	(void)!write(signal_fd, &one, sizeof(one));
}

void
ctl_catch_signals(void)
{
	struct sigaction action;

	signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(signal_fd >= 0);
	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

int
ctl_signal_fd(void)
{
	return signal_fd;
}

bool
ctl_interrupted(void)
{
	return atomic_load(&caught_at_ms) != 0;
}

enum ctl_event
ctl_wait(struct latentd_client *client, int64_t until_ms, bool ignore_signal)
{
	struct pollfd fds[2] = {
	    {.fd = latentd_client_fd(client), .events = POLLIN},
	    {.fd = ignore_signal ? -1 : signal_fd, .events = POLLIN},
	};

	for (;;) {
		int64_t left_ms = until_ms < 0 ? -1 : until_ms - ctl_now_ms();

		if (until_ms >= 0 && left_ms < 0)
			left_ms = 0;
		if (left_ms > INT_MAX)
			left_ms = INT_MAX;
		if (poll(fds, 2, (int)left_ms) < 0)
			continue;
		if (fds[1].revents != 0)
			return CTL_EVENT_INTERRUPT;
		if (fds[0].revents != 0)
			return CTL_EVENT_RESULT;
		if (until_ms >= 0 && ctl_now_ms() >= until_ms)
			return CTL_EVENT_TIMEOUT;
	}
}
