/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a thread that sleeps in a futex call waits for. */
#ifndef HOLDUP_MODEL_WAIT_H
#define HOLDUP_MODEL_WAIT_H

#include "model/lock_layout.h"

struct wait {
	struct futex_call call; /* kind FUTEX_CALL_NONE: the thread is in no futex wait */
	struct lock_view lock;
	const struct thread *join_target; /* LOCK_TYPE_JOIN: the thread it waits for; NULL: not known */
	bool is_stable; /* thread_is_stable() */
	bool is_timed;
	bool words_are_evidence; /* what `lock` says was read in pass 2 */
	/* The word may lie in memory that other processes share: the call says so, and the memory map, if known. */
	bool is_shared;
};

/* Decodes what the thread does; cheap enough for each thread of a scan. */
struct wait wait_of_thread(const struct world *world, const struct thread *thread);

/* True for the waits that one holder ends: mutexes and rwlocks of all kinds. */
static inline bool lock_type_has_holder(enum lock_type type)
{
	return type == LOCK_TYPE_MUTEX || type == LOCK_TYPE_RWLOCK || type == LOCK_TYPE_PI_MUTEX ||
	       type == LOCK_TYPE_ROBUST_MUTEX;
}

#endif
