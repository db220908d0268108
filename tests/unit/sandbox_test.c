/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left to a process in the sandbox, each case in a child of its own.
 * Built without sanitizers, with which there is no sandbox.  A kernel that has
 * none skips the cases.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sandbox.h"

static char directory[] = "/tmp/latentd-sandbox-XXXXXX";
static char inside[64], outside[64];

static void
make_file(const char *where, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", where, name);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	cr_assert_eq(write(fd, "x", 1), 1);
	close(fd);
}

static void
make_directories(void)
{
	cr_assert_not_null(mkdtemp(directory));
	snprintf(inside, sizeof(inside), "%s/in", directory);
	snprintf(outside, sizeof(outside), "%s/out", directory);
	mkdir(inside, 0700);
	mkdir(outside, 0700);
	make_file(inside, "file");
	make_file(outside, "file");
}

static void
remove_directories(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

TestSuite(sandbox, .init = make_directories, .fini = remove_directories);

/* The errno of open(${where}/${name}), 0 if it can be. */
static int
opens(const char *where, const char *name, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", where, name);
	fd = open(path, flags, 0600);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

/* Run ${check} in a child within the sandbox; it returns the line that found
 * something wrong. */
static void
confined(bool writable, int (*check)(void))
{
	const char *const paths[] = {inside, "/nonexistent"};
	const struct sandbox s = {.read = paths,
	    .read_n = writable ? 0 : 2,
	    .write = paths,
	    .write_n = writable ? 2 : 0};
	struct reason what;
	int status;
	pid_t child;

	if (!sandbox_supported(&what) || strstr(what.text, "no ") != NULL)
		cr_skip_test("the kernel has no sandbox: %s", what.text);
	cr_assert_not(sandbox_is_on());
	child = fork();
	if (child == 0)
		_exit(sandbox_enter(&s, &what) && sandbox_is_on() ? check()
								  : 255);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status), "it was killed");
	cr_assert_eq(WEXITSTATUS(status), 0, "line %d of the check",
	    WEXITSTATUS(status));
}

#define REQUIRE(condition)                     \
	do {                                   \
		if (!(condition))              \
			return __LINE__ % 255; \
	} while (0)

static int
check_reading(void)
{
	REQUIRE(opens(inside, "file", O_RDONLY) == 0);
	REQUIRE(opens(inside, "file", O_WRONLY) == EACCES);
	REQUIRE(opens(inside, "new", O_WRONLY | O_CREAT) == EACCES);
	REQUIRE(opens(inside, ".", O_RDONLY | O_DIRECTORY) == 0);
	REQUIRE(opens(outside, "file", O_RDONLY) == EACCES);
	REQUIRE(opens(outside, ".", O_RDONLY | O_DIRECTORY) == EACCES);
	REQUIRE(opens("/etc", "passwd", O_RDONLY) == 0);
	REQUIRE(opens("/dev", "null", O_RDWR) == 0);
	REQUIRE(opens("/proc/self", "status", O_RDONLY) == 0);
	REQUIRE(opens("/proc/1", "status", O_RDONLY) == EACCES);
	return 0;
}

Test(sandbox, what_is_named_can_be_read_and_nothing_else)
{
	confined(false, check_reading);
}

static int
check_writing(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char from[128], to[128];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	REQUIRE(opens(inside, "new", O_WRONLY | O_CREAT) == 0);
	REQUIRE(opens(inside, "new", O_WRONLY | O_TRUNC) == 0);
	snprintf(from, sizeof(from), "%s/new", inside);
	snprintf(to, sizeof(to), "%s/newer", inside);
	REQUIRE(rename(from, to) == 0 && unlink(to) == 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", inside);
	REQUIRE(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	REQUIRE(chmod(address.sun_path, 0660) == 0);
	REQUIRE(unlink(address.sun_path) == 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", outside);
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	REQUIRE(bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
	    errno == EACCES);
	REQUIRE(symlink("/etc", to) != 0 && errno == EACCES);
	REQUIRE(opens(outside, "new", O_WRONLY | O_CREAT) == EACCES);
	REQUIRE(opens(outside, "file", O_WRONLY) == EACCES);
	snprintf(from, sizeof(from), "%s/file", outside);
	REQUIRE(unlink(from) != 0 && errno == EACCES);
	return 0;
}

Test(sandbox, sockets_and_files_are_made_only_where_it_was_said)
{
	confined(true, check_writing);
}

static int
check_calls(void)
{
	char *const argv[] = {"true", NULL};
	long page = sysconf(_SC_PAGESIZE);
	void *memory = mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(execv("/bin/true", argv) != 0 && errno != ENOENT);
	REQUIRE(ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0);
	REQUIRE(unshare(CLONE_NEWUSER) != 0 && errno == EPERM);
	REQUIRE(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) < 0 &&
	    errno == EPERM);
	REQUIRE(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
	REQUIRE(setuid(getuid()) != 0 && errno == EPERM);
	REQUIRE(kill(getppid(), 0) != 0 && errno == EPERM);
	REQUIRE(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM);
	REQUIRE(socket(AF_ALG, SOCK_SEQPACKET, 0) < 0 && errno == EPERM);
	REQUIRE(socket(AF_INET6, SOCK_STREAM, 0) >= 0 || errno == EAFNOSUPPORT);
	REQUIRE(mprotect(memory, (size_t)page, PROT_READ | PROT_EXEC) != 0);
	REQUIRE(mmap(NULL, (size_t)page, PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	return 0;
}

Test(sandbox, programs_privileges_and_odd_sockets_are_refused)
{
	confined(false, check_calls);
}

static void *
on_thread(void *arg)
{
	struct addrinfo *found = NULL;

	if (getaddrinfo("localhost", "80", NULL, &found) == 0)
		freeaddrinfo(found);
	*(int *)arg = found != NULL && opens(outside, "file", O_RDONLY) != 0;
	return NULL;
}

static int
check_threads(void)
{
	pthread_t thread;
	int good = 0;

	REQUIRE(pthread_create(&thread, NULL, on_thread, &good) == 0);
	REQUIRE(pthread_join(thread, NULL) == 0);
	REQUIRE(good);
	return 0;
}

Test(sandbox, threads_begin_inside_and_names_are_resolved)
{
	confined(false, check_threads);
}

static int
check_abort(void)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		abort();
	REQUIRE(waitpid(child, &status, 0) == child);
	REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	return 0;
}

Test(sandbox, an_assertion_still_ends_the_process)
{
	confined(false, check_abort);
}

Test(sandbox, what_is_there_is_said_in_words)
{
	struct reason what;

	cr_assert_eq(sandbox_supported(&what),
	    strstr(what.text, "Landlock ABI") != NULL ||
		strstr(what.text, ", seccomp") != NULL);
}
