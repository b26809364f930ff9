/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the symbolizer's processes give up what they don't need. In order: sandbox_close_files(),
 * sandbox_forget_memory(), sandbox_drop_privileges(), then, in the worker alone, sandbox_limit() and
 * sandbox_filter().
 *
 * All return 0 or a negative errno; after an error the process must not go on.
 */
#ifndef HOLDUP_SYMBOLIZE_SANDBOX_H
#define HOLDUP_SYMBOLIZE_SANDBOX_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Moves `fds` (fd_count of them, at most 4) to 3, 4, ..., points 0, 1 and 2 at /dev/null and closes all
 * others.
 */
int sandbox_close_files(const int *fds, size_t fd_count);

/*
 * Unmaps every shared mapping inherited over fork (BPF ring buffers, perf buffers) except the one that
 * starts at `keep`.
 */
int sandbox_forget_memory(const void *keep);

/*
 * Becomes "nobody" (uid and gid 65534, no groups) when it was root; drops every capability, also from the
 * bounding and the ambient set; sets no_new_privs; is no longer dumpable; dies with its parent, which
 * must be `parent`. Without root it does what it may.
 */
int sandbox_drop_privileges(pid_t parent);

/* Limits address space, file descriptors, file size, core dumps, processes and locked memory. */
int sandbox_limit(void);

/*
 * From here on only reading and mapping (never executable) descriptors that it has, memory management and
 * messages on its sockets. Opening a path fails; anything else kills the process.
 */
int sandbox_filter(void);

#endif
