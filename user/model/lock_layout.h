/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a futex call and the words around its address to the lock it belongs to. Layouts and futex values
 * are SEMANTICS.md, 1; sources: glibc sysdeps/nptl/bits/struct_mutex.h, struct_rwlock.h,
 * thread-shared-types.h, internaltypes.h and the nptl functions named in the code; musl
 * src/internal/pthread_impl.h; Rust library/std/src/sys/sync.
 */
#ifndef HOLDUP_MODEL_LOCK_LAYOUT_H
#define HOLDUP_MODEL_LOCK_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/lock_type.h"
#include "model/syscalls.h"
#include "model/world.h"

/* What the functions on top of the stack say that the thread is doing. */
enum lock_hint {
	LOCK_HINT_NONE,
	LOCK_HINT_MUTEX,
	LOCK_HINT_LIBC_LOCK, /* one of libc's own (malloc, stdio): no owner word */
	LOCK_HINT_COND,
	LOCK_HINT_RDLOCK,
	LOCK_HINT_WRLOCK,
	LOCK_HINT_SEM,
	LOCK_HINT_BARRIER,
	LOCK_HINT_JOIN,
	LOCK_HINT_ONCE,
	LOCK_HINT_RUST_MUTEX, /* futex locks of Rust's std, and parking_lot: no owner */
	LOCK_HINT_RUST_READ,
	LOCK_HINT_RUST_WRITE,
	LOCK_HINT_PARK, /* idle by design: thread::park, a run-time's own sleep */
	/*
	 * Static functions of the C library without a name, and above them the program: an exported function
	 * has jumped into one. In glibc that is sem_wait, pthread_once, pthread_join, or pthread_mutex_lock of
	 * a PI or robust mutex; those that wait for a condition, a barrier or a rwlock have a frame and a name.
	 */
	LOCK_HINT_STATIC,
};

/* Looks at the innermost frames only, up to the first that isn't a lock function's. */
enum lock_hint lock_hint_of_frames(const struct frame *frames, size_t frame_count);

/* Who holds a waiter of a rwlock back. */
enum wait_role {
	WAIT_ROLE_PLAIN, /* the owner that the lock names */
	WAIT_ROLE_BEHIND_READERS, /* the first writer: all present readers, who are anonymous */
	WAIT_ROLE_BEHIND_FIRST_WRITER, /* a later writer, or a reader held back by a pending writer */
};

struct lock_question {
	struct futex_call call;
	uint64_t stack_pointer; /* of the waiter, 0: not known */
	enum lock_hint hint;
	uint32_t libc_kind, libc_minor; /* enum event_libc_kind; minor 0: not known */
	bool (*read)(void *context, uint64_t address, uint32_t *ret_word);
	/* The id of the thread whose struct pthread is at this address, in its own namespace; 0: none. */
	uint32_t (*thread_of_pthread)(void *context, uint64_t address);
	void *context;
};

struct lock_view {
	enum lock_type type;
	enum wait_mode mode;
	enum wait_role role;
	uint64_t address; /* of the object; of the futex word when the object isn't known */
	uint32_t owner_ns_tid; /* as the lock's words say; 0: none */
	uint32_t reader_count; /* rwlock in its read phase: readers, those that hold it */
	bool names_owner; /* locks of this kind say who holds them */
	bool fits; /* its words were read and are what such a lock's words must be */
	bool relock_hangs; /* the owner hangs when it takes it again */
	bool parked; /* glibc's endless sleep after LOCK_PI failed with EDEADLK or ESRCH; address is 0 */
	bool is_idle; /* sleeps until there is work: nobody holds it back */
};

/* Never fails: what it doesn't know is LOCK_TYPE_FUTEX. */
struct lock_view lock_recognise(const struct lock_question *question);

/* Bytes of the object, for naming its words; at most 48. */
uint32_t lock_object_bytes(enum lock_type type);

/* Greatest thread id a kernel gives (include/linux/threads.h, PID_MAX_LIMIT). */
#define THREAD_ID_MAX 4194304u

#endif
