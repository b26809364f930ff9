/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "source/proc_internal.h"
#include "source/source.h"

/* Pages asked for in one call. */
enum { PIECES_MAX = 64 };

/*
 * Splits [address, address + length) at page boundaries, PIECES_MAX pieces at most: the kernel transfers
 * whole pieces only, so that a hole costs its own page and not the readable ones before it.
 */
static size_t split_pages(uint64_t address, size_t length, struct iovec pieces[static PIECES_MAX],
			  size_t *ret_bytes)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), count = 0, bytes = 0;
	while (bytes < length && count < PIECES_MAX) {
		size_t piece = page_bytes - (size_t)((address + bytes) % page_bytes);
		if (piece > length - bytes)
			piece = length - bytes;
		pieces[count++] = (struct iovec){ (void *)(uintptr_t)(address + bytes), piece };
		bytes += piece;
	}
	*ret_bytes = bytes;
	return count;
}

ssize_t proc_read_task_memory(uint32_t tid, uint64_t address, void *buffer, size_t length)
{
	size_t done = 0;
	if (length && address > UINT64_MAX - (length - 1))
		length = (size_t)(UINT64_MAX - address) + 1;
	while (done < length) {
		struct iovec remote[PIECES_MAX], local = { (char *)buffer + done, 0 };
		size_t count = split_pages(address + done, length - done, remote, &local.iov_len);
		ssize_t got = process_vm_readv((pid_t)tid, &local, 1, remote, count, 0);
		if (got < 0 && !done)
			return proc_error(errno);
		if (got <= 0)
			break;
		done += (size_t)got;
		if ((size_t)got < local.iov_len)
			break;
	}
	return done || !length ? (ssize_t)done : -EFAULT;
}

ssize_t proc_read_memory(uint32_t tgid, uint64_t address, void *buffer, size_t length)
{
	ssize_t got = proc_read_task_memory(tgid, address, buffer, length);
	if (got != -ESRCH)
		return got;
	/* A leader that has exited before its threads has no memory any more, they have. */
	struct proc_stat leader;
	struct proc_numbers threads;
	uint32_t tid;
	int dir = proc_open_dir(tgid);
	if (dir < 0)
		return dir;
	int err = proc_read_stat(dir, &leader);
	if (!err)
		err = proc_numbers_open(&threads, dir, "task");
	close(dir);
	if (err)
		return err;
	while (got == -ESRCH && proc_numbers_next(&threads, &tid))
		got = tid == tgid ? -ESRCH : proc_read_task_memory(tid, address, buffer, length);
	proc_numbers_close(&threads);
	return got;
}
