/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock by system calls, since libc has no functions for it, and a seccomp
 * filter by libseccomp.
 *
 * The filter lists what is forbidden, with EPERM, not what is allowed: which
 * calls glibc's name resolution and OpenSSL make changes from version to
 * version, and a sandbox that is in the way is switched off.  systemd's filter
 * in the unit is the strict one.
 *
 * With a sanitizer there is none: its runtime starts tracers and programs.
 */
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>
#include <seccomp.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* Later than Debian 12's headers. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (UINT64_C(1) << 15)
#endif

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_MAKE                                                      \
	(LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | \
	    LANDLOCK_ACCESS_FS_MAKE_SOCK)
#define FS_REMOVE \
	(LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR)
#define FS_WRITE                                                    \
	(FS_READ | FS_MAKE | FS_REMOVE | LANDLOCK_ACCESS_FS_REFER | \
	    LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)
/* What of these a rule about a file may grant. */
#define FS_OF_FILES                                                     \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
	    LANDLOCK_ACCESS_FS_TRUNCATE)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Libraries and their data, name resolution, what libc and libuv ask about
 * this process and machine. */
static const char *const system_read[] = {"/usr", "/lib", "/lib32", "/lib64",
    "/etc", "/proc/self", "/proc/sys", "/proc/stat", "/proc/meminfo",
    "/proc/cpuinfo", "/sys/devices/system", "/sys/fs/cgroup",
    "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager",
    "/run/nscd", "/var/lib/ca-certificates", "/dev/urandom", "/dev/random"};
static const char *const system_write[] = {"/dev/null"};

static bool is_on;

/* ---- Landlock ---- */

/* What each version of the interface has added. */
static uint64_t
handled(int abi)
{
	uint64_t all = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		all |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		all |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		all |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return all;
}

/* The version; -1 and errno when there is none. */
static int
landlock_abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
	    LANDLOCK_CREATE_RULESET_VERSION);
}

static void
allow(int ruleset, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access};
	struct stat st;
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_OF_FILES;
	rule.parent_fd = fd;
	(void)syscall(SYS_landlock_add_rule, ruleset,
	    LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	close(fd);
}

static bool
enter_landlock(const struct sandbox *s, int abi)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = handled(abi)};
	uint64_t read = FS_READ & handled(abi), write = FS_WRITE & handled(abi);
	bool done;
	int fd;

	fd = (int)syscall(SYS_landlock_create_ruleset, &attr,
	    sizeof(attr.handled_access_fs), 0);
	if (fd < 0)
		return false;
	for (size_t i = 0; i < N(system_read); i++)
		allow(fd, system_read[i], read);
	for (size_t i = 0; i < N(system_write); i++)
		allow(fd, system_write[i], write);
	for (size_t i = 0; i < s->read_n; i++)
		allow(fd, s->read[i], read);
	for (size_t i = 0; i < s->write_n; i++)
		allow(fd, s->write[i], write);
	done = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    syscall(SYS_landlock_restrict_self, fd, 0) == 0;
	close(fd);
	return done;
}

/* ---- seccomp ---- */

/* By name, so that a libseccomp that does not know one passes it over. */
static const char *const forbidden[] = {"execve", "execveat", "ptrace",
    "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp",
    "pidfd_getfd", "perf_event_open", "bpf", "userfaultfd", "io_uring_setup",
    "io_uring_enter", "io_uring_register", "add_key", "request_key", "keyctl",
    "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount",
    "fsconfig", "fspick", "mount_setattr", "pivot_root", "chroot", "unshare",
    "setns", "swapon", "swapoff", "reboot", "kexec_load", "kexec_file_load",
    "init_module", "finit_module", "delete_module", "acct", "quotactl",
    "quotactl_fd", "syslog", "sethostname", "setdomainname", "settimeofday",
    "clock_settime", "clock_adjtime", "adjtimex", "iopl", "ioperm",
    "modify_ldt", "personality", "vhangup", "open_by_handle_at",
    "fanotify_init", "lookup_dcookie", "nfsservctl", "mknod", "mknodat",
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
    "setfsuid", "setfsgid", "setgroups", "capset", "kill", "tkill",
    "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "vmsplice",
    "migrate_pages", "move_pages"};

/* Only for threads, not for namespaces; not for memory that is written and
 * run; of socket families only local ones, the internet's, and netlink for
 * glibc's name resolution. */
static int
forbid_uses(scmp_filter_ctx filter)
{
	const uint32_t no = SCMP_ACT_ERRNO(EPERM);
	const uint64_t wx = PROT_WRITE | PROT_EXEC;
	int rv = 0;

	rv |= seccomp_rule_add(
	    filter, no, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, wx, wx));
	rv |= seccomp_rule_add(filter, no, SCMP_SYS(mprotect), 1,
	    SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
	for (unsigned family = 0; family < AF_NETLINK; family++) {
		if (family != AF_UNIX && family != AF_INET &&
		    family != AF_INET6)
			rv |= seccomp_rule_add(filter, no, SCMP_SYS(socket), 1,
			    SCMP_A0(SCMP_CMP_EQ, family, 0));
	}
	rv |= seccomp_rule_add(filter, no, SCMP_SYS(socket), 1,
	    SCMP_A0(SCMP_CMP_GT, AF_NETLINK, 0));
	rv |= seccomp_rule_add(filter, no, SCMP_SYS(clone), 1,
	    SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER));
	/* Its flags are in memory, where no filter sees them; libc then uses
	 * clone. */
	rv |= seccomp_rule_add(
	    filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return rv;
}

static bool
enter_seccomp(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int rv;

	if (filter == NULL)
		return false;
	rv = forbid_uses(filter);
	for (size_t i = 0; i < N(forbidden) && rv == 0; i++) {
		int number = seccomp_syscall_resolve_name(forbidden[i]);

		if (number != __NR_SCMP_ERROR)
			rv = seccomp_rule_add(
			    filter, SCMP_ACT_ERRNO(EPERM), number, 0);
	}
	if (rv == 0)
		rv = seccomp_load(filter);
	seccomp_release(filter);
	return rv == 0;
}

static bool
has_seccomp(void)
{
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
}

/* ---- both ---- */

static bool
say(int abi, int landlock_errno, bool seccomp, struct reason *what)
{
	char landlock[80];

	if (abi > 0)
		snprintf(landlock, sizeof(landlock), "Landlock ABI %d", abi);
	else
		snprintf(landlock, sizeof(landlock), "no Landlock (%s)",
		    strerror(landlock_errno));
	reason_set(what, LATENTD_OK, "%s, %s", landlock,
	    seccomp ? "seccomp" : "no seccomp");
	return abi > 0 || seccomp;
}

bool
sandbox_supported(struct reason *what)
{
	int abi;

	if (SANITIZED) {
		reason_set(what, LATENTD_OK, "not in a build with sanitizers");
		return false;
	}
	abi = landlock_abi();
	return say(abi, errno, has_seccomp(), what);
}

bool
sandbox_enter(const struct sandbox *s, struct reason *what)
{
	int abi, landlock_errno;
	bool seccomp;

	if (SANITIZED)
		return sandbox_supported(what);
	abi = landlock_abi();
	if (abi > 0 && !enter_landlock(s, abi))
		abi = -1;
	landlock_errno = errno;
	is_on = abi > 0;
	seccomp = enter_seccomp();
	return say(abi, landlock_errno, seccomp, what);
}

bool
sandbox_is_on(void)
{
	return is_on;
}
