/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/syscalls.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>

/* Newer than the headers of Linux 6.1; the same number on every architecture (scripts/syscall.tbl). */
#define NUMBER_FUTEX_WAITV 449
#define NUMBER_FUTEX_WAIT 455
#define OP_LOCK_PI2 13
/* futex2's flag (FUTEX2_PRIVATE) has the value of FUTEX_PRIVATE_FLAG. */
#define FUTEX2_PRIVATE_FLAG FUTEX_PRIVATE_FLAG

enum argument {
	NO_DESCRIPTOR, /* the first argument is something else */
	FIRST_DESCRIPTOR,
};

/* Where a call keeps its timeout: an index of args, and what "none" looks like. */
enum timeout {
	TIMEOUT_NEVER,
	TIMEOUT_ALWAYS,
	TIMEOUT_POINTER, /* NULL: none */
	TIMEOUT_MILLISECONDS, /* negative int: none */
};

static const struct known_call {
	int64_t number;
	enum syscall_class class;
	enum argument argument;
	enum timeout timeout;
	int timeout_argument;
} known_calls[] = {
#if defined(__x86_64__) /* the calls that newer architectures never had */
	{ SYS_pause, SYSCALL_SIGNAL, NO_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_poll, SYSCALL_POLL, NO_DESCRIPTOR, TIMEOUT_MILLISECONDS, 2 },
	{ SYS_select, SYSCALL_POLL, NO_DESCRIPTOR, TIMEOUT_POINTER, 4 },
	{ SYS_epoll_wait, SYSCALL_EPOLL, FIRST_DESCRIPTOR, TIMEOUT_MILLISECONDS, 3 },
#endif
	{ SYS_futex, SYSCALL_FUTEX, NO_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ NUMBER_FUTEX_WAITV, SYSCALL_FUTEX, NO_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ NUMBER_FUTEX_WAIT, SYSCALL_FUTEX, NO_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_rt_sigsuspend, SYSCALL_SIGNAL, NO_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_rt_sigtimedwait, SYSCALL_SIGNAL, NO_DESCRIPTOR, TIMEOUT_POINTER, 2 },
	{ SYS_nanosleep, SYSCALL_SLEEP, NO_DESCRIPTOR, TIMEOUT_ALWAYS, 0 },
	{ SYS_clock_nanosleep, SYSCALL_SLEEP, NO_DESCRIPTOR, TIMEOUT_ALWAYS, 0 },
	{ SYS_ppoll, SYSCALL_POLL, NO_DESCRIPTOR, TIMEOUT_POINTER, 2 },
	{ SYS_pselect6, SYSCALL_POLL, NO_DESCRIPTOR, TIMEOUT_POINTER, 4 },
	{ SYS_epoll_pwait, SYSCALL_EPOLL, FIRST_DESCRIPTOR, TIMEOUT_MILLISECONDS, 3 },
	{ SYS_epoll_pwait2, SYSCALL_EPOLL, FIRST_DESCRIPTOR, TIMEOUT_POINTER, 3 },
	{ SYS_read, SYSCALL_READ, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_readv, SYSCALL_READ, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_pread64, SYSCALL_READ, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_preadv, SYSCALL_READ, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_preadv2, SYSCALL_READ, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_recvfrom, SYSCALL_READ, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_recvmsg, SYSCALL_READ, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_recvmmsg, SYSCALL_READ, FIRST_DESCRIPTOR, TIMEOUT_POINTER, 4 },
	{ SYS_write, SYSCALL_WRITE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_writev, SYSCALL_WRITE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_pwrite64, SYSCALL_WRITE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_pwritev, SYSCALL_WRITE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_pwritev2, SYSCALL_WRITE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_sendto, SYSCALL_WRITE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_sendmsg, SYSCALL_WRITE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_accept, SYSCALL_ACCEPT, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_accept4, SYSCALL_ACCEPT, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_connect, SYSCALL_CONNECT, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_fsync, SYSCALL_SYNC, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_fdatasync, SYSCALL_SYNC, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_syncfs, SYSCALL_SYNC, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_flock, SYSCALL_LOCK_FILE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_fcntl, SYSCALL_LOCK_FILE, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_wait4, SYSCALL_CHILD, NO_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_waitid, SYSCALL_CHILD, NO_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_ioctl, SYSCALL_DESCRIPTOR, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_fallocate, SYSCALL_DESCRIPTOR, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_ftruncate, SYSCALL_DESCRIPTOR, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_getdents64, SYSCALL_DESCRIPTOR, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_splice, SYSCALL_DESCRIPTOR, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
	{ SYS_io_uring_enter, SYSCALL_DESCRIPTOR, FIRST_DESCRIPTOR, TIMEOUT_NEVER, 0 },
};

int64_t syscall_number_futex(void)
{
	return SYS_futex;
}

static struct futex_call decode_multiplexed(const uint64_t args[static 6])
{
	struct futex_call call = {
		.address = args[0],
		.expected = (uint32_t)args[2],
		.timed = args[3] != 0,
		.is_private = args[1] & FUTEX_PRIVATE_FLAG,
		.is_realtime = args[1] & FUTEX_CLOCK_REALTIME,
	};
	switch (args[1] & (uint64_t)(uint32_t)FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
		call.kind = FUTEX_CALL_WAIT;
		break;
	case FUTEX_WAIT_BITSET:
		call.kind = FUTEX_CALL_WAIT_BITSET;
		break;
	case FUTEX_LOCK_PI:
	case OP_LOCK_PI2:
		call.kind = FUTEX_CALL_LOCK_PI;
		call.expected = 0;
		break;
	case FUTEX_WAIT_REQUEUE_PI:
		call.kind = FUTEX_CALL_WAIT_REQUEUE_PI;
		break;
	default:
		return (struct futex_call){ 0 };
	}
	return call;
}

struct futex_call futex_call_decode(int64_t number, const uint64_t args[static 6])
{
	switch (number) {
	case SYS_futex:
		return decode_multiplexed(args);
	case NUMBER_FUTEX_WAITV:
		return (struct futex_call){ .kind = FUTEX_CALL_WAITV, .address = args[0], .timed = args[3] != 0 };
	case NUMBER_FUTEX_WAIT:
		return (struct futex_call){
			.kind = FUTEX_CALL_WAIT_BITSET,
			.address = args[0],
			.expected = (uint32_t)args[1],
			.timed = args[4] != 0,
			.is_private = args[3] & FUTEX2_PRIVATE_FLAG,
		};
	default:
		return (struct futex_call){ 0 };
	}
}

static const struct known_call *find_call(int64_t number)
{
	for (size_t i = 0; i < sizeof(known_calls) / sizeof(*known_calls); i++)
		if (known_calls[i].number == number)
			return &known_calls[i];
	return NULL;
}

enum syscall_class syscall_class(int64_t number, const uint64_t args[static 6])
{
	const struct known_call *call = find_call(number);
	if (call && call->class == SYSCALL_FUTEX && futex_call_decode(number, args).kind == FUTEX_CALL_NONE)
		return SYSCALL_OTHER;
	return call ? call->class : SYSCALL_OTHER;
}

int syscall_descriptor(int64_t number, const uint64_t args[static 6])
{
	const struct known_call *call = find_call(number);
	if (!call || call->argument != FIRST_DESCRIPTOR || args[0] > INT32_MAX)
		return -1;
	return (int)args[0];
}

bool syscall_is_timed(int64_t number, const uint64_t args[static 6])
{
	struct futex_call futex = futex_call_decode(number, args);
	if (futex.kind != FUTEX_CALL_NONE)
		return futex.timed;
	const struct known_call *call = find_call(number);
	if (!call)
		return false;
	switch (call->timeout) {
	case TIMEOUT_NEVER:
		return false;
	case TIMEOUT_ALWAYS:
		return true;
	case TIMEOUT_POINTER:
		return args[call->timeout_argument] != 0;
	case TIMEOUT_MILLISECONDS:
		return (int32_t)args[call->timeout_argument] >= 0;
	}
	return false;
}
