/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads that may never return. Whoever reads a process's memory or maps takes the lock of its address space
 * (mmap_lock). If that one hangs, a dead file server behind a mapped file is enough, its readers hang with
 * it, as ps does, and nothing but death wakes them. So such a read is left to a thread of its own and waited
 * for with patience, but not for ever. A thread that was given up ends with holdup (the kernel's wait is
 * killable: fs/proc/base.c, mm/memory.c), or when the read returns after all.
 */
#ifndef HOLDUP_PROC_GUARD_H
#define HOLDUP_PROC_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A read that was given up and hasn't been known to return. */
struct pending_read;

/*
 * pread() of a file of /proc; read() when `offset` is -1. Returns bytes, a negative errno of the read,
 * -ETIMEDOUT when it did not return in time, or -EAGAIN when too many given-up reads are around already.
 * After -ETIMEDOUT *ret_pending is the read, to be asked about and released; NULL if nobody wants to know.
 * `fd` may be closed by the caller in any case.
 */
ssize_t proc_guarded_read(int fd, void *buffer, size_t length, int64_t offset,
			  struct pending_read **ret_pending);

/* Has it returned meanwhile? */
bool pending_read_is_over(struct pending_read *read);
/* Takes NULL; returns NULL. The read itself goes on. */
struct pending_read *pending_read_release(struct pending_read *read);

#endif
