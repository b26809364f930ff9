/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

enum {
	NOBODY = 65534,
	FIRST_FD = 3,
	FD_MAX = 4,
};

/* Large enough for the debug information of a browser, small enough that the host doesn't feel it. */
#define ADDRESS_SPACE_BYTES ((rlim_t)1 << 30)

int sandbox_close_files(const int *fds, size_t fd_count)
{
	if (fd_count > FD_MAX)
		return -EINVAL;
	/* First above every target, so that no move overwrites a descriptor still to be moved. */
	int high[FD_MAX];
	for (size_t i = 0; i < fd_count; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD + FD_MAX);
		if (high[i] < 0)
			return -errno;
	}
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		return -errno;
	/* A sanitizer's report is worth more than a tidy table. */
	for (int fd = 0; fd < (UNDER_SANITIZER ? 2 : 3); fd++) {
		if (dup2(null_fd, fd) < 0)
			return -errno;
	}
	for (size_t i = 0; i < fd_count; i++) {
		if (dup2(high[i], FIRST_FD + (int)i) < 0)
			return -errno;
	}
	return syscall(SYS_close_range, FIRST_FD + (unsigned)fd_count, ~0U, 0) ? -errno : 0;
}

int sandbox_forget_memory(const void *keep)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	if (!maps)
		return -errno;
	struct {
		uintptr_t start, end;
	} found[256];
	size_t count = 0;
	char line[4352];
	while (count < sizeof(found) / sizeof(*found) && fgets(line, sizeof(line), maps)) {
		uintptr_t start, end;
		char flags[5];
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &start, &end, flags) == 3 &&
		    flags[3] == 's' && start != (uintptr_t)keep) {
			found[count].start = start;
			found[count++].end = end;
		}
	}
	bool all_read = feof(maps) || count < sizeof(found) / sizeof(*found);
	fclose(maps);
	for (size_t i = 0; i < count; i++) {
		if (munmap((void *)found[i].start, found[i].end - found[i].start))
			return -errno;
	}
	return all_read ? 0 : -E2BIG;
}

static int drop_bounding_set(void)
{
	for (cap_value_t cap = 0; cap_get_bound(cap) >= 0; cap++) {
		if (cap_get_bound(cap) > 0 && cap_drop_bound(cap))
			return -errno;
	}
	return 0;
}

static int become_nobody(void)
{
	/* EPERM: a user namespace with setgroups denied. EINVAL: one that has no "nobody". */
	if (setgroups(0, NULL) && errno != EPERM)
		return -errno;
	if (setresgid(NOBODY, NOBODY, NOBODY) && errno != EINVAL)
		return -errno;
	if (setresuid(NOBODY, NOBODY, NOBODY) && errno != EINVAL)
		return -errno;
	return 0;
}

static int drop_capabilities(void)
{
	/* EINVAL: a kernel without ambient capabilities has none to drop. */
	if (cap_reset_ambient() && errno != EINVAL && errno != ENOSYS)
		return -errno;
	cap_t none = cap_init();
	if (!none)
		return -ENOMEM;
	int err = cap_set_proc(none) ? -errno : 0;
	cap_free(none);
	return err;
}

int sandbox_drop_privileges(pid_t parent)
{
	cap_flag_value_t may_drop = CAP_CLEAR;
	cap_t caps = cap_get_proc();
	if (!caps)
		return -errno;
	cap_get_flag(caps, CAP_SETPCAP, CAP_EFFECTIVE, &may_drop);
	cap_free(caps);
	int err = may_drop == CAP_SET ? drop_bounding_set() : 0;
	if (!err && !geteuid())
		err = become_nobody();
	if (!err)
		err = drop_capabilities();
	if (err)
		return err;
	/* After the change of user, which clears the death signal and may set dumpable. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}

int sandbox_limit(void)
{
	const struct {
		int resource;
		rlim_t limit;
	} limits[] = {
		/* Sanitizers reserve terabytes. */
		{ RLIMIT_AS, UNDER_SANITIZER ? RLIM_INFINITY : ADDRESS_SPACE_BYTES },
		{ RLIMIT_NOFILE, 16 },
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_FSIZE, 0 },
		{ RLIMIT_NPROC, 0 },
		{ RLIMIT_MEMLOCK, 0 },
	};
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct rlimit now;
		if (getrlimit(limits[i].resource, &now))
			return -errno;
		rlim_t limit = now.rlim_max < limits[i].limit ? now.rlim_max : limits[i].limit;
		if (setrlimit(limits[i].resource, &(struct rlimit){ limit, limit }))
			return -errno;
	}
	return 0;
}

/* Memory may be mapped and protected, but never made executable. */
static int allow_memory(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	static const int calls[] = { SCMP_SYS(mmap), SCMP_SYS(mprotect) };
	int err = 0;
	for (size_t i = 0; !err && i < sizeof(calls) / sizeof(*calls); i++)
		err = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, calls[i], 1, &not_executable);
	return err;
}

static int add_rules(scmp_filter_ctx filter)
{
	static const int
		allowed[] = {
			SCMP_SYS(read),		 SCMP_SYS(pread64),    SCMP_SYS(close),
			SCMP_SYS(fstat),	 SCMP_SYS(lseek),      SCMP_SYS(munmap),
			SCMP_SYS(mremap),	 SCMP_SYS(madvise),    SCMP_SYS(brk),
			SCMP_SYS(sendmsg),	 SCMP_SYS(recvmsg),    SCMP_SYS(futex),
			SCMP_SYS(clock_gettime), SCMP_SYS(getrandom),  SCMP_SYS(rt_sigreturn),
			SCMP_SYS(exit),		 SCMP_SYS(exit_group), SCMP_SYS(restart_syscall),
			SCMP_SYS(sysinfo), /* qsort() asks how much memory there is */
		};
	/* What libraries try and do without: libdw looks for split and alternate debug files by name. */
	static const int refused[] = {
		SCMP_SYS(open),	      SCMP_SYS(openat),	   SCMP_SYS(access),	 SCMP_SYS(readlink),
		SCMP_SYS(readlinkat), SCMP_SYS(faccessat), SCMP_SYS(stat),	 SCMP_SYS(lstat),
		SCMP_SYS(statx),      SCMP_SYS(getcwd),	   SCMP_SYS(faccessat2), SCMP_SYS(fcntl),
		SCMP_SYS(ioctl),
	};
	/* A sanitizer's run-time, in test builds only. */
	static const int sanitizer[] = {
		SCMP_SYS(write),	SCMP_SYS(sigaltstack), SCMP_SYS(getpid),	 SCMP_SYS(gettid),
		SCMP_SYS(rt_sigaction), SCMP_SYS(sched_yield), SCMP_SYS(rt_sigprocmask), SCMP_SYS(tgkill),
	};
	int err = 0;
	for (size_t i = 0; !err && i < sizeof(allowed) / sizeof(*allowed); i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; !err && i < sizeof(refused) / sizeof(*refused); i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), refused[i], 0);
	for (size_t i = 0; !err && UNDER_SANITIZER && i < sizeof(sanitizer) / sizeof(*sanitizer); i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, sanitizer[i], 0);
	if (err)
		return err;
	/* glibc's fstat() is newfstatat(fd, "", ..., AT_EMPTY_PATH) since 2.33. */
	const struct scmp_arg_cmp by_descriptor = SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH, 0);
	const struct scmp_arg_cmp by_path = SCMP_A3(SCMP_CMP_NE, AT_EMPTY_PATH, 0);
	err = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1, &by_descriptor);
	if (!err)
		err = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(newfstatat), 1,
					     &by_path);
	return err ? err : allow_memory(filter);
}

int sandbox_filter(void)
{
	scmp_filter_ctx filter =
		seccomp_init(UNDER_SANITIZER ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return -ENOMEM;
	int err = add_rules(filter);
	if (!err)
		err = seccomp_load(filter);
	seccomp_release(filter);
	return err;
}
