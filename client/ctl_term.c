/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signal handlers only set a flag and write to a descriptor that
 * ctl_term_wait() polls beside the keyboard, so that none is lost between a
 * look and the wait.
 */
#include "ctl_term.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ctl.h"

static volatile sig_atomic_t resized, interrupted;
static int event_fd = -1;
static bool has_screen, has_keys;
static struct termios before;

static void
on_signal(int number)
{
	static const uint64_t one = 1;
	int saved = errno;

	if (number == SIGWINCH)
		resized = 1;
	else
		interrupted = 1;
	(void)!write(event_fd, &one, sizeof(one));
	errno = saved;
}

static void
catch_signals(void)
{
	static const int numbers[] = {
	    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
	struct sigaction action;

	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(event_fd >= 0);
	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

static void
write_all(const char *text, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(STDOUT_FILENO, text, bytes);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (n > 0) {
			text += n;
			bytes -= (size_t)n;
		}
	}
}

static void
put(const char *text)
{
	write_all(text, strlen(text));
}

static void
take_keys(void)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0)
		return;
	raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	/* Stopped, it would leave the terminal in disorder. */
	raw.c_cc[VSUSP] = _POSIX_VDISABLE;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	has_keys = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

bool
ctl_term_open(void)
{
	catch_signals();
	take_keys();
	has_screen = isatty(STDOUT_FILENO);
	if (has_keys || has_screen)
		atexit(ctl_term_close);
	if (has_screen)
		put("\033[?1049h\033[?25l\033[?7l");
	return has_screen;
}

void
ctl_term_close(void)
{
	if (has_screen)
		put("\033[?7h\033[?25h\033[?1049l");
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	has_screen = has_keys = false;
}

void
ctl_term_size(int *columns, int *rows)
{
	struct winsize size;

	*columns = 80;
	*rows = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 ||
	    size.ws_row == 0)
		return;
	*columns = size.ws_col;
	*rows = size.ws_row;
}

void
ctl_term_show(const char *text, size_t bytes)
{
	const char *end = text + bytes;

	put("\033[H");
	while (text < end) {
		const char *line_end = memchr(text, '\n', (size_t)(end - text));

		if (line_end == NULL)
			line_end = end;
		write_all(text, (size_t)(line_end - text));
		text = line_end + 1;
		/* No line feed behind the last: it could scroll. */
		put(text < end ? "\033[K\n" : "\033[K");
	}
	put("\033[J");
}

/* True for q, and for the end of the terminal. */
static bool
read_keys(void)
{
	char keys[64];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	for (ssize_t i = 0; i < n; i++) {
		if (keys[i] == 'q' || keys[i] == 'Q')
			return true;
	}
	return n <= 0;
}

enum ctl_term_event
ctl_term_wait(int64_t until_ms)
{
	struct pollfd fds[2] = {
	    {.fd = event_fd, .events = POLLIN},
	    {.fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN},
	};
	uint64_t value;

	for (;;) {
		int64_t left_ms = until_ms - ctl_now_ms();

		if (interrupted)
			return CTL_TERM_INTERRUPT;
		if (resized) {
			resized = 0;
			return CTL_TERM_RESIZE;
		}
		if (left_ms < 0)
			left_ms = 0;
		if (left_ms > INT_MAX)
			left_ms = INT_MAX;
		if (poll(fds, 2, (int)left_ms) < 0)
			continue;
		if (fds[0].revents != 0)
			(void)!read(event_fd, &value, sizeof(value));
		if (fds[1].revents != 0 && read_keys())
			return CTL_TERM_QUIT;
		if (fds[0].revents == 0 && ctl_now_ms() >= until_ms)
			return CTL_TERM_TIMEOUT;
	}
}
