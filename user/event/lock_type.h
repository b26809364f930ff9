/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a thread can wait for, and how: the words that the model, the detectors and the findings share.
 */
#ifndef HOLDUP_LOCK_TYPE_H
#define HOLDUP_LOCK_TYPE_H

enum lock_type {
	LOCK_TYPE_FUTEX, /* a futex word of no known primitive */
	LOCK_TYPE_MUTEX,
	LOCK_TYPE_RWLOCK,
	LOCK_TYPE_COND,
	LOCK_TYPE_SEM,
	LOCK_TYPE_BARRIER,
	LOCK_TYPE_JOIN,
	LOCK_TYPE_ONCE,
	LOCK_TYPE_SPIN,
	LOCK_TYPE_PI_MUTEX,
	LOCK_TYPE_ROBUST_MUTEX,
	LOCK_TYPE_COUNT,
};

enum wait_mode {
	WAIT_MODE_EXCLUSIVE,
	WAIT_MODE_SHARED, /* wants to read */
	WAIT_MODE_EVENT, /* cond, sem, barrier, join, once: waits for something to happen */
};

#endif
