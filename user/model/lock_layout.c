/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/lock_layout.h"

#include <linux/futex.h>

/* A robust or PI word: the thread id, and two flags above it (uapi/linux/futex.h). */
#define WORD_TID(word) ((word) & FUTEX_TID_MASK)

/* glibc pthread_mutex_t, all versions (bits/struct_mutex.h); arm64 the same. */
enum {
	MUTEX_OWNER = 8,
	MUTEX_USERS = 12,
	MUTEX_KIND = 16,
	MUTEX_KIND_TYPE = 3, /* 0 normal, 1 recursive, 2 errorcheck, 3 adaptive */
	MUTEX_KIND_ROBUST = 0x10,
	MUTEX_KIND_PI = 0x20,
	MUTEX_KIND_ALL = 0x3ff,
	MUTEX_CONTENDED = 2,
	/* More users of one mutex than there can be threads: not a mutex. */
	MUTEX_USERS_MAX = THREAD_ID_MAX,
};

/* glibc pthread_rwlock_t (bits/struct_rwlock.h, nptl/pthread_rwlock_common.c). */
enum {
	RWLOCK_READERS = 0,
	RWLOCK_WRPHASE_FUTEX = 8,
	RWLOCK_WRITERS_FUTEX = 12,
	RWLOCK_CUR_WRITER = 24,
	RWLOCK_SHARED = 28,
	RWLOCK_FLAGS = 48,
	RWLOCK_WRPHASE = 1, /* bits of the readers word */
	RWLOCK_WRLOCKED = 2,
	RWLOCK_RWAITING = 4,
	RWLOCK_READER_SHIFT = 3,
	RWLOCK_FUTEX_USED = 2, /* bit of the futex words */
	RWLOCK_FLAGS_MAX = 2, /* PREFER_READER, PREFER_WRITER, PREFER_WRITER_NONRECURSIVE */
};

/* glibc pthread_cond_t: where the two futex words and the count of waiters are. */
static const struct cond_layout {
	uint32_t first_minor, last_minor; /* of glibc 2.x */
	uint32_t signals[2]; /* one is waited on */
	uint32_t wrefs; /* waiters << 3 | flags */
} cond_layouts[] = {
	{ 25, 40, { 40, 44 }, 36 },
	{ 41, UINT32_MAX, { 32, 36 }, 28 },
};
/*
 * All versions begin with __wseq, which counts the waiters that ever came, and __g1_start, the first of the
 * present group; both are shifted by one. No cond has seen 2^40 waiters, and a pointer's high half is more.
 */
enum { COND_WSEQ = 0, COND_WSEQ_HIGH = 4, COND_G1_START = 8, COND_SEQ_SHIFT = 1, COND_SEQ_HIGH_MAX = 0x1ff };
enum { COND_WREFS_SHIFT = 3 };

/* glibc sem_t on 64 bits: value and number of waiters are halves of one word; then private or shared. */
enum { SEM_WAITERS = 4, SEM_PRIVATE = 8, LLL_SHARED = 128 };
/* glibc pthread_barrier_t: in 0, current_round 4, count 8, shared 12. */
enum { BARRIER_ROUND = 4, BARRIER_COUNT = 8, BARRIER_SHARED = 12 };
/* glibc _IO_lock_t: lock 0, cnt 4, owner (struct pthread *) 8. */
enum { STDIO_COUNT = 4, STDIO_OWNER = 8 };
/* pthread_once: in progress; the rest counts forks. libstdc++'s guards: pending and waiting bits. */
enum { ONCE_IN_PROGRESS = 1, ONCE_STATE_MASK = 3, CXX_GUARD_WAITED = 0x10100 };

/* musl (pthread_impl.h): mutex type 0, lock 4, waiters 8; rwlock lock 0, waiters 4; sem value 0, waiters 4. */
enum {
	MUSL_MUTEX_LOCK = 4,
	MUSL_MUTEX_WAITERS = 8,
	MUSL_MUTEX_TYPE_MAX = 0xff,
	MUSL_EBUSY = 16,
	MUSL_JOINABLE = 2,
	MUSL_COND_WAITING = 2,
	MUSL_WRITE_LOCKED = 0x7fffffff,
};
#define MUSL_WAITERS_BIT 0x80000000u

/* How far above the stack pointer a word on the waiter's own stack may be. */
#define OWN_STACK_BYTES 4096
/*
 * So near to it is nothing but the frames of the C library's two innermost functions: a word of its own is at
 * 0x54, the first that the program could own at 0x88 (glibc 2.36, x86-64: a rwlock; a semaphore at 0x90).
 */
#define OWN_FRAME_BYTES 0x80

static bool read_word(const struct lock_question *q, uint64_t address, uint32_t *ret_word)
{
	return q->read(q->context, address, ret_word);
}

static uint32_t word_or(const struct lock_question *q, uint64_t address, uint32_t otherwise)
{
	uint32_t word;
	return read_word(q, address, &word) ? word : otherwise;
}

static bool is_within(const struct lock_question *q, uint64_t bytes)
{
	return q->stack_pointer && q->call.address >= q->stack_pointer &&
	       q->call.address - q->stack_pointer < bytes;
}

static bool is_on_own_stack(const struct lock_question *q)
{
	return is_within(q, OWN_STACK_BYTES);
}

static struct lock_view view_of(enum lock_type type, enum wait_mode mode, uint64_t address)
{
	return (struct lock_view){ .type = type, .mode = mode, .address = address };
}

static struct lock_view event_view(enum lock_type type, uint64_t address, bool fits)
{
	return (struct lock_view){ .type = type, .mode = WAIT_MODE_EVENT, .address = address, .fits = fits };
}

/*
 * The owner is written after the lock was taken, and zeroed before it is let go (pthread_mutex_lock.c,
 * pthread_mutex_unlock.c): a sane id says who holds it. A lock that has an owner has at least one user.
 */
static bool mutex_fits(const struct lock_question *q, uint64_t base, struct lock_view *ret_view)
{
	uint32_t lock, owner, users, kind;
	if (!read_word(q, base, &lock) || !read_word(q, base + MUTEX_OWNER, &owner) ||
	    !read_word(q, base + MUTEX_USERS, &users) || !read_word(q, base + MUTEX_KIND, &kind))
		return false;
	if (lock != MUTEX_CONTENDED || !owner || owner > THREAD_ID_MAX || !users || users > MUTEX_USERS_MAX ||
	    kind & ~(uint32_t)MUTEX_KIND_ALL || kind & (MUTEX_KIND_ROBUST | MUTEX_KIND_PI))
		return false;
	uint32_t type = kind & MUTEX_KIND_TYPE;
	*ret_view = (struct lock_view){
		.type = LOCK_TYPE_MUTEX,
		.address = base,
		.owner_ns_tid = owner,
		.names_owner = true,
		.fits = true,
		.relock_hangs = type == 0 || type == 3,
	};
	return true;
}

/* The word itself names the owner; waiters sleep on it with the waiters bit set (pthread_mutex_lock.c). */
static bool robust_fits(const struct lock_question *q, struct lock_view *ret_view)
{
	uint32_t word, kind;
	if (!(q->call.expected & FUTEX_WAITERS) || !read_word(q, q->call.address, &word) ||
	    !read_word(q, q->call.address + MUTEX_KIND, &kind))
		return false;
	if (kind & ~(uint32_t)MUTEX_KIND_ALL || !(kind & MUTEX_KIND_ROBUST) || kind & MUTEX_KIND_PI)
		return false;
	uint32_t type = kind & MUTEX_KIND_TYPE;
	*ret_view = (struct lock_view){
		.type = LOCK_TYPE_ROBUST_MUTEX,
		.address = q->call.address,
		.owner_ns_tid = WORD_TID(word),
		.names_owner = true,
		.fits = WORD_TID(word) != 0,
		.relock_hangs = type == 0 || type == 3,
	};
	return true;
}

/* stdio's lock names its owner by the address of its struct pthread. */
static bool stdio_fits(const struct lock_question *q, struct lock_view *ret_view)
{
	uint32_t lock, count, low, high;
	uint64_t base = q->call.address;
	if (!read_word(q, base, &lock) || !read_word(q, base + STDIO_COUNT, &count) ||
	    !read_word(q, base + STDIO_OWNER, &low) || !read_word(q, base + STDIO_OWNER + 4, &high))
		return false;
	if (lock != MUTEX_CONTENDED || !count || count > THREAD_ID_MAX)
		return false;
	uint32_t owner = q->thread_of_pthread(q->context, (uint64_t)high << 32 | low);
	if (!owner)
		return false;
	*ret_view = (struct lock_view){
		.type = LOCK_TYPE_MUTEX,
		.address = base,
		.owner_ns_tid = owner,
		.names_owner = true,
		.fits = true,
	};
	return true;
}

/*
 * Which word a waiter of a rwlock sleeps on says what holds it back (pthread_rwlock_common.c):
 *   wrphase_futex, 1|USED	a reader, behind a writer
 *   wrphase_futex, 0|USED	the first writer, behind readers
 *   writers_futex, 1|USED	a later writer, behind the first one
 *   readers			a reader held back by a pending writer (kind 2 only)
 */
static bool rwlock_fits(const struct lock_question *q, uint32_t offset, struct lock_view *ret_view)
{
	uint64_t base = q->call.address - offset;
	uint32_t readers, shared, writer, expected = q->call.expected;
	if (q->call.address < offset || !read_word(q, base + RWLOCK_READERS, &readers) ||
	    !read_word(q, base + RWLOCK_CUR_WRITER, &writer) || !read_word(q, base + RWLOCK_SHARED, &shared))
		return false;
	if (shared > 1 || writer > THREAD_ID_MAX || word_or(q, base + RWLOCK_FLAGS, 0) > RWLOCK_FLAGS_MAX)
		return false;
	struct lock_view view = {
		.type = LOCK_TYPE_RWLOCK,
		.address = base,
		.owner_ns_tid = writer,
		.names_owner = writer != 0,
		.fits = true,
		.relock_hangs = true,
	};
	bool write_phase = readers & RWLOCK_WRPHASE;
	uint32_t count = readers >> RWLOCK_READER_SHIFT;
	view.reader_count = write_phase ? 0 : count;
	switch (offset) {
	case RWLOCK_WRPHASE_FUTEX:
		if (expected == (1 | RWLOCK_FUTEX_USED)) {
			if (!count || !(readers & (RWLOCK_WRPHASE | RWLOCK_WRLOCKED)))
				return false;
			view.mode = WAIT_MODE_SHARED;
			break;
		}
		if (expected != RWLOCK_FUTEX_USED || !count || write_phase || !(readers & RWLOCK_WRLOCKED) ||
		    writer)
			return false;
		view.role = WAIT_ROLE_BEHIND_READERS;
		break;
	case RWLOCK_WRITERS_FUTEX:
		if (expected != (1 | RWLOCK_FUTEX_USED) || !(readers & RWLOCK_WRLOCKED))
			return false;
		view.role = writer ? WAIT_ROLE_PLAIN : WAIT_ROLE_BEHIND_FIRST_WRITER;
		break;
	default:
		if (!(expected & RWLOCK_RWAITING) || !(expected & RWLOCK_WRLOCKED) ||
		    expected & RWLOCK_WRPHASE || !(expected >> RWLOCK_READER_SHIFT) || !count ||
		    write_phase || writer)
			return false;
		view.mode = WAIT_MODE_SHARED;
		view.role = WAIT_ROLE_BEHIND_FIRST_WRITER;
		break;
	}
	*ret_view = view;
	return true;
}

static bool any_rwlock_fits(const struct lock_question *q, struct lock_view *ret_view)
{
	/*
	 * A reader behind a writer and a later writer sleep on the same value, at different words. The object
	 * that names its writer is the right one; where the stack says what the thread wants, it decides.
	 */
	struct lock_view later;
	bool later_fits = q->hint != LOCK_HINT_RDLOCK && rwlock_fits(q, RWLOCK_WRITERS_FUTEX, &later);
	if (!(later_fits && later.owner_ns_tid) && rwlock_fits(q, RWLOCK_WRPHASE_FUTEX, ret_view)) {
		bool reads = ret_view->mode == WAIT_MODE_SHARED;
		if (q->hint == LOCK_HINT_RDLOCK || q->hint == LOCK_HINT_WRLOCK
			    ? (q->hint == LOCK_HINT_RDLOCK) == reads
			    : !later_fits || ret_view->owner_ns_tid || !reads)
			return true;
	}
	if (later_fits) {
		*ret_view = later;
		return true;
	}
	return q->hint != LOCK_HINT_WRLOCK && rwlock_fits(q, RWLOCK_READERS, ret_view);
}

static bool cond_counts_fit(const struct lock_question *q, uint64_t base, uint32_t waiters)
{
	uint32_t came, high, started;
	if (!read_word(q, base + COND_WSEQ, &came) || !read_word(q, base + COND_WSEQ_HIGH, &high) ||
	    !read_word(q, base + COND_G1_START, &started))
		return false;
	if (high)
		return high <= COND_SEQ_HIGH_MAX;
	return waiters <= came >> COND_SEQ_SHIFT && started >> COND_SEQ_SHIFT <= came >> COND_SEQ_SHIFT;
}

/* Each waiter is counted in wrefs (nptl/pthread_cond_wait.c), and before that in __wseq. */
static bool cond_fits(const struct lock_question *q, struct lock_view *ret_view)
{
	for (size_t i = 0; i < sizeof(cond_layouts) / sizeof(*cond_layouts); i++) {
		const struct cond_layout *layout = &cond_layouts[i];
		if (q->libc_minor &&
		    (q->libc_minor < layout->first_minor || q->libc_minor > layout->last_minor))
			continue;
		/* Until 2.40 only 0 is slept on; later any number of signals. */
		if (q->call.expected && layout->last_minor != UINT32_MAX)
			continue;
		for (int group = 0; group < 2; group++) {
			uint64_t base = q->call.address - layout->signals[group];
			uint32_t waiters = word_or(q, base + layout->wrefs, 0) >> COND_WREFS_SHIFT;
			if (q->call.address < layout->signals[group] || !waiters || waiters > THREAD_ID_MAX ||
			    !cond_counts_fit(q, base, waiters))
				continue;
			*ret_view = event_view(LOCK_TYPE_COND, base, true);
			return true;
		}
	}
	return false;
}

static bool sem_fits(const struct lock_question *q, struct lock_view *ret_view)
{
	uint32_t waiters = word_or(q, q->call.address + SEM_WAITERS, 0);
	uint32_t private = word_or(q, q->call.address + SEM_PRIVATE, 1);
	if (q->call.expected || !waiters || waiters > THREAD_ID_MAX || (private && private != LLL_SHARED))
		return false;
	*ret_view = event_view(LOCK_TYPE_SEM, q->call.address, true);
	return true;
}

/* Those that have come in this round are fewer than the barrier needs (nptl/pthread_barrier_wait.c). */
static bool barrier_fits(const struct lock_question *q, struct lock_view *ret_view)
{
	uint64_t base = q->call.address - BARRIER_ROUND;
	uint32_t in, round, count, shared;
	if (!read_word(q, base, &in) || !read_word(q, base + BARRIER_ROUND, &round) ||
	    !read_word(q, base + BARRIER_COUNT, &count) || !read_word(q, base + BARRIER_SHARED, &shared))
		return false;
	if (round != q->call.expected || in - round == 0 || in - round >= count ||
	    (shared && shared != LLL_SHARED))
		return false;
	*ret_view = event_view(LOCK_TYPE_BARRIER, base, true);
	return true;
}

static struct lock_view unowned_lock(const struct lock_question *q, enum lock_type type, enum wait_mode mode)
{
	struct lock_view view = view_of(type, mode, q->call.address);
	uint32_t word;
	view.fits = read_word(q, q->call.address, &word) && word == q->call.expected;
	return view;
}

/* After LOCK_PI fails glibc sleeps for ever on a zero on its stack (pthread_mutex_lock.c, "PI kernel"). */
static bool is_parked(const struct lock_question *q, uint64_t stack_bytes, struct lock_view *ret_view)
{
	if (q->call.expected || q->call.timed || !is_within(q, stack_bytes) || word_or(q, q->call.address, 0))
		return false;
	*ret_view = view_of(LOCK_TYPE_PI_MUTEX, WAIT_MODE_EXCLUSIVE, 0);
	ret_view->parked = ret_view->fits = true;
	return true;
}

/* The same without a name for the function: the word lies in a frame of its, the clock is glibc's. */
static bool is_parked_by_words(const struct lock_question *q, uint64_t stack_bytes,
			       struct lock_view *ret_view)
{
	return q->call.kind == FUTEX_CALL_WAIT_BITSET && q->call.is_realtime &&
	       is_parked(q, stack_bytes, ret_view);
}

static struct lock_view hinted_mutex(const struct lock_question *q)
{
	struct lock_view view;
	if (is_parked(q, OWN_STACK_BYTES, &view))
		return view;
	if (robust_fits(q, &view) || mutex_fits(q, q->call.address, &view))
		return view;
	if (q->call.expected & FUTEX_WAITERS)
		return view_of(LOCK_TYPE_ROBUST_MUTEX, WAIT_MODE_EXCLUSIVE, q->call.address);
	view = view_of(LOCK_TYPE_MUTEX, WAIT_MODE_EXCLUSIVE, q->call.address);
	view.names_owner = true;
	return view;
}

static struct lock_view hinted_rwlock(const struct lock_question *q)
{
	struct lock_view view;
	if (any_rwlock_fits(q, &view))
		return view;
	view = view_of(LOCK_TYPE_RWLOCK, q->hint == LOCK_HINT_RDLOCK ? WAIT_MODE_SHARED : WAIT_MODE_EXCLUSIVE,
		       q->call.address);
	return view;
}

static struct lock_view glibc_by_hint(const struct lock_question *q)
{
	struct lock_view view;
	switch (q->hint) {
	case LOCK_HINT_MUTEX:
		return hinted_mutex(q);
	case LOCK_HINT_LIBC_LOCK:
		return stdio_fits(q, &view) ? view : unowned_lock(q, LOCK_TYPE_MUTEX, WAIT_MODE_EXCLUSIVE);
	case LOCK_HINT_COND:
		/* It has been signalled and takes its mutex again. */
		if (q->call.kind == FUTEX_CALL_WAIT &&
		    (q->call.expected == MUTEX_CONTENDED || q->call.expected & FUTEX_WAITERS))
			return hinted_mutex(q);
		/* Refused that mutex for good: the condition itself can't be so near. */
		if (is_parked_by_words(q, OWN_FRAME_BYTES, &view))
			return view;
		return cond_fits(q, &view) ? view : event_view(LOCK_TYPE_COND, q->call.address, false);
	case LOCK_HINT_RDLOCK:
	case LOCK_HINT_WRLOCK:
		return hinted_rwlock(q);
	case LOCK_HINT_SEM:
		return sem_fits(q, &view) ? view : event_view(LOCK_TYPE_SEM, q->call.address, false);
	case LOCK_HINT_BARRIER:
		return barrier_fits(q, &view)
			       ? view
			       : event_view(LOCK_TYPE_BARRIER, q->call.address - BARRIER_ROUND, false);
	case LOCK_HINT_JOIN:
		return event_view(LOCK_TYPE_JOIN, q->call.address, false);
	case LOCK_HINT_ONCE:
		return event_view(LOCK_TYPE_ONCE, q->call.address,
				  (q->call.expected & ONCE_STATE_MASK) == ONCE_IN_PROGRESS ||
					  q->call.expected == CXX_GUARD_WAITED);
	case LOCK_HINT_RUST_MUTEX:
		return unowned_lock(q, LOCK_TYPE_MUTEX, WAIT_MODE_EXCLUSIVE);
	case LOCK_HINT_RUST_READ:
		return unowned_lock(q, LOCK_TYPE_RWLOCK, WAIT_MODE_SHARED);
	case LOCK_HINT_RUST_WRITE:
		return unowned_lock(q, LOCK_TYPE_RWLOCK, WAIT_MODE_EXCLUSIVE);
	case LOCK_HINT_PARK:
		view = event_view(LOCK_TYPE_FUTEX, q->call.address, false);
		view.is_idle = true;
		return view;
	case LOCK_HINT_STATIC:
	case LOCK_HINT_NONE:
		break;
	}
	return event_view(LOCK_TYPE_FUTEX, q->call.address, false);
}

static bool once_fits(const struct lock_question *q, struct lock_view *ret_view)
{
	const struct futex_call *call = &q->call;
	if (call->kind != FUTEX_CALL_WAIT || (call->expected & ONCE_STATE_MASK) != ONCE_IN_PROGRESS ||
	    word_or(q, call->address, 0) != call->expected)
		return false;
	*ret_view = event_view(LOCK_TYPE_ONCE, call->address, true);
	return true;
}

/* Without names: the call and the value first, then the pattern of the words. */
static struct lock_view glibc_by_words(const struct lock_question *q)
{
	struct lock_view view;
	const struct futex_call *call = &q->call;
	bool is_static = q->hint == LOCK_HINT_STATIC;
	if (call->expected & FUTEX_WAITERS && !call->is_private && robust_fits(q, &view))
		return view;
	if (is_parked_by_words(q, OWN_FRAME_BYTES, &view))
		return view;
	/* Before a cond is guessed at: a function that waits for one would be on the stack. */
	if (is_static &&
	    (once_fits(q, &view) || (call->kind == FUTEX_CALL_WAIT_BITSET && sem_fits(q, &view))))
		return view;
	/* The low-level lock sleeps with FUTEX_WAIT; with a timeout, as all others, with WAIT_BITSET. */
	if (call->expected == MUTEX_CONTENDED && (call->kind == FUTEX_CALL_WAIT || call->timed)) {
		if (mutex_fits(q, call->address, &view) || stdio_fits(q, &view))
			return view;
	}
	if (call->kind == FUTEX_CALL_WAIT) {
		if (barrier_fits(q, &view))
			return view;
		if (call->expected == CXX_GUARD_WAITED)
			return event_view(LOCK_TYPE_ONCE, call->address, true);
		return event_view(LOCK_TYPE_FUTEX, call->address, false);
	}
	if (any_rwlock_fits(q, &view) || cond_fits(q, &view) || sem_fits(q, &view))
		return view;
	if (is_static && is_parked_by_words(q, OWN_STACK_BYTES, &view))
		return view;
	/* Rust's std mutex: glibc's calls without a timeout carry the real-time flag, Rust's don't. */
	if (call->expected == MUTEX_CONTENDED && !call->timed && !call->is_realtime && call->is_private)
		return unowned_lock(q, LOCK_TYPE_MUTEX, WAIT_MODE_EXCLUSIVE);
	return event_view(LOCK_TYPE_FUTEX, call->address, false);
}

/* A normal musl mutex stores EBUSY and no owner; the others the holder's id (pthread_mutex_trylock.c). */
static bool musl_mutex_fits(const struct lock_question *q, struct lock_view *ret_view)
{
	uint64_t base = q->call.address - MUSL_MUTEX_LOCK;
	uint32_t type, lock, waiters;
	if (!(q->call.expected & MUSL_WAITERS_BIT) || !read_word(q, base, &type) ||
	    !read_word(q, base + MUSL_MUTEX_LOCK, &lock) ||
	    !read_word(q, base + MUSL_MUTEX_WAITERS, &waiters))
		return false;
	uint32_t holder = WORD_TID(lock);
	if (type > MUSL_MUTEX_TYPE_MAX || !waiters || waiters > THREAD_ID_MAX || !holder ||
	    holder > THREAD_ID_MAX)
		return false;
	bool is_normal = (type & 15) == 0;
	if (is_normal && holder != MUSL_EBUSY)
		return false;
	*ret_view = (struct lock_view){
		.type = type & 4 ? LOCK_TYPE_ROBUST_MUTEX : LOCK_TYPE_MUTEX,
		.address = base,
		.owner_ns_tid = is_normal ? 0 : holder,
		.names_owner = !is_normal,
		.fits = true,
	};
	return true;
}

static struct lock_view musl_rwlock(const struct lock_question *q, bool wants_to_read)
{
	uint32_t count = q->call.expected & ~MUSL_WAITERS_BIT;
	bool write_locked = count == MUSL_WRITE_LOCKED;
	struct lock_view view =
		unowned_lock(q, LOCK_TYPE_RWLOCK, wants_to_read ? WAIT_MODE_SHARED : WAIT_MODE_EXCLUSIVE);
	view.role = write_locked ? WAIT_ROLE_PLAIN : WAIT_ROLE_BEHIND_READERS;
	view.reader_count = write_locked ? 0 : count;
	return view;
}

static struct lock_view recognise_musl(const struct lock_question *q)
{
	struct lock_view view;
	switch (q->hint) {
	case LOCK_HINT_RDLOCK:
	case LOCK_HINT_WRLOCK:
		return musl_rwlock(q, q->hint == LOCK_HINT_RDLOCK);
	case LOCK_HINT_COND:
	case LOCK_HINT_SEM:
	case LOCK_HINT_BARRIER:
	case LOCK_HINT_JOIN:
	case LOCK_HINT_ONCE:
		if (q->call.expected & MUSL_WAITERS_BIT && q->hint == LOCK_HINT_COND &&
		    musl_mutex_fits(q, &view))
			return view;
		return event_view(q->hint == LOCK_HINT_COND	 ? LOCK_TYPE_COND
				  : q->hint == LOCK_HINT_SEM	 ? LOCK_TYPE_SEM
				  : q->hint == LOCK_HINT_BARRIER ? LOCK_TYPE_BARRIER
				  : q->hint == LOCK_HINT_JOIN	 ? LOCK_TYPE_JOIN
								 : LOCK_TYPE_ONCE,
				  q->call.address, true);
	case LOCK_HINT_LIBC_LOCK:
		return unowned_lock(q, LOCK_TYPE_MUTEX, WAIT_MODE_EXCLUSIVE);
	default:
		break;
	}
	if (musl_mutex_fits(q, &view))
		return view;
	if (q->hint == LOCK_HINT_MUTEX)
		return view_of(LOCK_TYPE_MUTEX, WAIT_MODE_EXCLUSIVE, q->call.address - MUSL_MUTEX_LOCK);
	if (q->call.expected == MUSL_COND_WAITING && is_on_own_stack(q))
		return event_view(LOCK_TYPE_COND, q->call.address, true);
	if (q->call.expected == MUSL_WAITERS_BIT)
		return event_view(LOCK_TYPE_SEM, q->call.address, true);
	return event_view(LOCK_TYPE_FUTEX, q->call.address, false);
}

/* The kernel keeps the owner in the word of a PI futex (Documentation/locking/pi-futex.rst). */
static struct lock_view recognise_pi(const struct lock_question *q)
{
	uint64_t offset = q->libc_kind == EVENT_LIBC_MUSL ? MUSL_MUTEX_LOCK : 0;
	struct lock_view view = view_of(LOCK_TYPE_PI_MUTEX, WAIT_MODE_EXCLUSIVE, q->call.address - offset);
	view.names_owner = true;
	view.owner_ns_tid = WORD_TID(word_or(q, q->call.address, 0));
	view.fits = view.owner_ns_tid != 0;
	return view;
}

struct lock_view lock_recognise(const struct lock_question *question)
{
	switch (question->call.kind) {
	case FUTEX_CALL_LOCK_PI:
		return recognise_pi(question);
	case FUTEX_CALL_WAIT_REQUEUE_PI:
		return event_view(LOCK_TYPE_COND, question->call.address, false);
	case FUTEX_CALL_WAIT:
	case FUTEX_CALL_WAIT_BITSET:
		if (question->libc_kind == EVENT_LIBC_MUSL)
			return recognise_musl(question);
		return question->hint == LOCK_HINT_NONE || question->hint == LOCK_HINT_STATIC
			       ? glibc_by_words(question)
			       : glibc_by_hint(question);
	case FUTEX_CALL_WAITV:
	case FUTEX_CALL_NONE:
		break;
	}
	return event_view(LOCK_TYPE_FUTEX, question->call.address, false);
}

uint32_t lock_object_bytes(enum lock_type type)
{
	switch (type) {
	case LOCK_TYPE_MUTEX:
	case LOCK_TYPE_PI_MUTEX:
	case LOCK_TYPE_ROBUST_MUTEX:
		return 40;
	case LOCK_TYPE_RWLOCK:
	case LOCK_TYPE_COND:
		return 48;
	case LOCK_TYPE_SEM:
	case LOCK_TYPE_BARRIER:
		return 32;
	default:
		return 4;
	}
}
