/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls as far as the model must understand them: the futex family, and what the first argument of
 * the others means. The numbers of each architecture stand in syscalls.c alone.
 */
#ifndef HOLDUP_MODEL_SYSCALLS_H
#define HOLDUP_MODEL_SYSCALLS_H

#include <stdbool.h>
#include <stdint.h>

enum futex_call_kind {
	FUTEX_CALL_NONE, /* not a wait on a futex */
	FUTEX_CALL_WAIT, /* FUTEX_WAIT */
	FUTEX_CALL_WAIT_BITSET, /* FUTEX_WAIT_BITSET, and futex2's futex_wait() */
	FUTEX_CALL_LOCK_PI, /* FUTEX_LOCK_PI and FUTEX_LOCK_PI2 */
	FUTEX_CALL_WAIT_REQUEUE_PI,
	FUTEX_CALL_WAITV, /* futex_waitv(): any of several words; `address` is that of the list */
};

/* A futex-family call that waits, from its registers (kernel: include/uapi/linux/futex.h). */
struct futex_call {
	enum futex_call_kind kind;
	uint64_t address; /* of the word */
	uint32_t expected; /* the value that it slept on; 0 for LOCK_PI */
	bool timed; /* has a timeout */
	bool is_private; /* FUTEX_PRIVATE_FLAG */
	bool is_realtime; /* the timeout counts by CLOCK_REALTIME; glibc sets it without one, too */
};

/* Decodes; FUTEX_CALL_NONE for other calls and for wakes. */
struct futex_call futex_call_decode(int64_t number, const uint64_t args[static 6]);

/* What sleeping in a system call says about a thread. */
enum syscall_class {
	SYSCALL_OTHER,
	SYSCALL_FUTEX, /* waits on a futex */
	SYSCALL_SIGNAL, /* pause, sigsuspend, sigtimedwait: only a signal wakes it */
	SYSCALL_SLEEP, /* nanosleep */
	SYSCALL_POLL, /* poll, select: several descriptors */
	SYSCALL_EPOLL, /* the first argument is the epoll descriptor */
	SYSCALL_READ, /* waits for data from the descriptor in the first argument */
	SYSCALL_WRITE, /* waits to give data to it */
	SYSCALL_ACCEPT,
	SYSCALL_CONNECT,
	SYSCALL_SYNC, /* fsync and the like */
	SYSCALL_LOCK_FILE, /* flock; fcntl(F_SETLKW) */
	SYSCALL_CHILD, /* wait4, waitid */
	SYSCALL_DESCRIPTOR, /* ioctl and others: the first argument is a descriptor */
};

enum syscall_class syscall_class(int64_t number, const uint64_t args[static 6]);
/* The descriptor it waits on, -1: none, or several. */
int syscall_descriptor(int64_t number, const uint64_t args[static 6]);
/* The sleep ends by itself: the call has a timeout (a call whose timeout can't be seen has none). */
bool syscall_is_timed(int64_t number, const uint64_t args[static 6]);

/* The number of the plain futex call, for those who make records. */
int64_t syscall_number_futex(void);

#endif
