/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/notify.h"

static char directory[] = "/tmp/latentd-notify-XXXXXX";
static char path[sizeof(directory) + 8];

/* A manager's socket at ${name}, which $NOTIFY_SOCKET then names. */
static int
listen_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t bytes = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, name, bytes);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	cr_assert_eq(
	    bind(fd, (struct sockaddr *)&address,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes)),
	    0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void
check_next(int fd, const char *expected)
{
	char text[1024];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	cr_assert_geq(n, 0);
	text[n] = '\0';
	cr_assert_str_eq(text, expected);
}

static void
make_directory(void)
{
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/sock", directory);
}

static void
remove_directory(void)
{
	unlink(path);
	rmdir(directory);
}

TestSuite(notify, .init = make_directory, .fini = remove_directory);

Test(notify, messages_arrive_whole_and_in_order)
{
	int fd = listen_at(path);
	struct notify *n = notify_open();

	cr_assert_not_null(n);
	cr_assert(notify_state(n, "READY=%d\nSTATUS=%s", 1, "up"));
	cr_assert(notify_hint(n, "WATCHDOG=1"));
	check_next(fd, "READY=1\nSTATUS=up");
	check_next(fd, "WATCHDOG=1");
	notify_close(n);
	close(fd);
}

Test(notify, an_abstract_name_is_written_with_an_at)
{
	char name[64];
	struct notify *n;
	int fd;

	snprintf(name, sizeof(name), "@latentd-notify-%d", (int)getpid());
	fd = listen_at(name);
	n = notify_open();
	cr_assert_not_null(n);
	cr_assert(notify_state(n, "STOPPING=1"));
	check_next(fd, "STOPPING=1");
	notify_close(n);
	close(fd);
}

Test(notify, without_a_manager_nothing_happens)
{
	unsetenv("NOTIFY_SOCKET");
	cr_assert_null(notify_open());
	cr_assert_not(notify_state(NULL, "READY=1"));
	cr_assert_not(notify_hint(NULL, "READY=1"));
	notify_close(NULL);
}

Test(notify, addresses_that_are_none_are_refused)
{
	char longest[200];

	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	cr_assert_null(notify_open());
	longest[108] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	cr_assert_null(notify_open());
	setenv("NOTIFY_SOCKET", "relative/path", 1);
	cr_assert_null(notify_open());
	setenv("NOTIFY_SOCKET", "@", 1);
	cr_assert_null(notify_open());
}

Test(notify, a_manager_that_is_back_is_found_again)
{
	int fd = listen_at(path);
	struct notify *n = notify_open();

	close(fd);
	unlink(path);
	cr_assert_not(notify_state(n, "READY=1"));
	fd = listen_at(path);
	cr_assert(notify_state(n, "READY=1"));
	check_next(fd, "READY=1");
	notify_close(n);
	close(fd);
}

Test(notify, a_manager_that_does_not_read_holds_up_no_hint)
{
	int fd = listen_at(path);
	struct notify *n = notify_open();
	unsigned sent = 0;

	while (sent < 1000000 && notify_hint(n, "WATCHDOG=1"))
		sent++;
	cr_assert_lt(sent, 1000000u);
	cr_assert_not(notify_state(n, "READY=1"));
	check_next(fd, "WATCHDOG=1");
	cr_assert(notify_state(n, "READY=1"));
	notify_close(n);
	close(fd);
}

Test(notify, a_message_that_is_too_long_is_not_cut)
{
	int fd = listen_at(path);
	struct notify *n = notify_open();
	char text[1024];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	cr_assert_not(notify_state(n, "STATUS=%s", text));
	cr_assert_lt(recv(fd, text, sizeof(text), 0), 0);
	notify_close(n);
	close(fd);
}

Test(notify, a_watchdog_is_a_number_and_for_this_process)
{
	static const char *const none[] = {
	    "", "0", "-1", " 5", "5s", "99999999999999999999999"};
	char pid[32];

	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	cr_assert_eq(notify_watchdog_us(), 0);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		setenv("WATCHDOG_USEC", none[i], 1);
		cr_assert_eq(notify_watchdog_us(), 0, "%s", none[i]);
	}
	setenv("WATCHDOG_USEC", "30000000", 1);
	cr_assert_eq(notify_watchdog_us(), 30000000);
	setenv("WATCHDOG_PID", "1", 1);
	cr_assert_eq(notify_watchdog_us(), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	cr_assert_eq(notify_watchdog_us(), 30000000);
}
