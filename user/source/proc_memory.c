/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "source/proc_guard.h"
#include "source/proc_internal.h"
#include "source/source.h"

static int open_memory(uint32_t tid)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/%u/mem", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? proc_error(errno) : fd;
}

/*
 * By /proc/TID/mem and not by process_vm_readv(): the latter waits, maybe for ever, for whoever handles the
 * faults of a page that was given to userfaultfd; the former fails (mm/gup.c: only a caller that says it can
 * be unlocked is made to wait).
 */
ssize_t proc_read_task_memory(uint32_t tid, uint64_t address, void *buffer, size_t length)
{
	int fd = open_memory(tid);
	if (fd < 0)
		return fd;
	size_t done = 0;
	int err = 0;
	while (done < length && !err) {
		/* Addresses beyond the user's half are no offsets. */
		ssize_t got = address + done > INT64_MAX
				      ? -EINVAL
				      : proc_guarded_read(fd, (char *)buffer + done, length - done,
							  (int64_t)(address + done), NULL);
		if (got > 0)
			done += (size_t)got;
		else
			/* An exited task has no memory. */
			err = !got ? -ESRCH : got == -EIO || got == -EINVAL ? -EFAULT : proc_error((int)-got);
	}
	close(fd);
	return done || !length ? (ssize_t)done : err;
}

bool proc_memory_is_locked(uint32_t tid, struct pending_read **ret_pending)
{
	char byte;
	int fd = open_memory(tid);
	if (fd < 0)
		return false;
	/* No page is mapped there, but the lock is taken first. */
	ssize_t got = proc_guarded_read(fd, &byte, 1, 0, ret_pending);
	close(fd);
	return got == -ETIMEDOUT;
}

/* Reads by any other thread of the process: they all have the same memory. */
static ssize_t read_by_another(int dir, uint32_t tgid, uint64_t address, void *buffer, size_t length)
{
	struct proc_numbers threads;
	uint32_t tid;
	ssize_t got = proc_numbers_open(&threads, dir, "task");
	if (got)
		return got;
	got = -ESRCH;
	while (got == -ESRCH && proc_numbers_next(&threads, &tid))
		got = tid == tgid ? -ESRCH : proc_read_task_memory(tid, address, buffer, length);
	proc_numbers_close(&threads);
	return got;
}

ssize_t proc_read_memory(uint32_t tgid, uint64_t address, void *buffer, size_t length)
{
	struct proc_stat leader;
	ssize_t got = proc_read_task_memory(tgid, address, buffer, length);
	if (got != -ESRCH && got != -EACCES)
		return got;
	/* A leader that has exited before its threads has no memory any more, they have. */
	int dir = proc_open_dir(tgid);
	if (dir < 0)
		return dir;
	int err = proc_read_leader_stat(dir, tgid, &leader);
	if (err)
		got = err;
	else if (proc_thread_state(leader.state) == EVENT_STATE_DEAD)
		got = read_by_another(dir, tgid, address, buffer, length);
	close(dir);
	return got;
}
