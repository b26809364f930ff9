/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every primitive by call, value and words alone; then by the functions on the stack. */
#include <linux/futex.h>
#include <string.h>

#include "model/lock_layout.h"
#include "unit.h"

#define BASE UINT64_C(0x1000)
#define PLAIN FUTEX_CALL_WAIT
#define BITSET FUTEX_CALL_WAIT_BITSET
#define NOWHERE UINT64_MAX

struct memory {
	const uint32_t *words;
	size_t count;
};

static bool read_memory(void *context, uint64_t address, uint32_t *ret_word)
{
	const struct memory *memory = context;
	if (address < BASE || (address - BASE) / 4 >= memory->count)
		return false;
	*ret_word = memory->words[(address - BASE) / 4];
	return true;
}

static uint32_t thread_of_pthread(void *context, uint64_t address)
{
	return address == 0x7f0012345680 ? 42 : 0;
}

struct layout_case {
	const char *name;
	enum futex_call_kind kind;
	uint32_t offset, expected; /* the futex word is at BASE + offset */
	bool timed, shared, no_clock;
	uint32_t libc, minor;
	enum lock_hint hint;
	uint64_t sp;
	uint32_t words[16];
	/* what must come out */
	enum lock_type type;
	enum wait_mode mode;
	uint64_t address; /* NOWHERE: don't care */
	uint32_t owner;
	bool fits;
	enum wait_role role;
	uint32_t readers;
};

static const struct layout_case layout_cases[] = {
	{ "mutex", PLAIN, 0, 2, .words = { 2, 0, 42, 1, 0 }, .type = LOCK_TYPE_MUTEX, .address = BASE,
	  .owner = 42, .fits = true },
	{ "mutex with a timeout", BITSET, 0, 2, .timed = true, .words = { 2, 0, 42, 1, 0x200 },
	  .type = LOCK_TYPE_MUTEX, .address = BASE, .owner = 42, .fits = true },
	{ "shared mutex", PLAIN, 0, 2, .shared = true, .words = { 2, 0, 42, 1, 0x80 },
	  .type = LOCK_TYPE_MUTEX, .address = BASE, .owner = 42, .fits = true },
	{ "no mutex: nobody uses it", PLAIN, 0, 2, .words = { 2, 0, 42, 0, 0 }, .type = LOCK_TYPE_FUTEX,
	  .mode = WAIT_MODE_EVENT, .address = BASE },
	{ "no mutex: the kind is none", PLAIN, 0, 2, .words = { 2, 0, 42, 1, 0x12345 },
	  .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT, .address = BASE },
	{ "no mutex: no such thread id", PLAIN, 0, 2, .words = { 2, 0, 0x7f001234, 1, 0 },
	  .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT, .address = BASE },
	{ "no mutex: it has been unlocked", PLAIN, 0, 2, .words = { 0, 0, 0, 0, 0 }, .type = LOCK_TYPE_FUTEX,
	  .mode = WAIT_MODE_EVENT, .address = BASE },
	{ "stdio's lock", PLAIN, 0, 2, .words = { 2, 1, 0x12345680, 0x7f00 }, .type = LOCK_TYPE_MUTEX,
	  .address = BASE, .owner = 42, .fits = true },
	{ "robust mutex", PLAIN, 0, 42 | FUTEX_WAITERS, .shared = true,
	  .words = { 42 | FUTEX_WAITERS, 0, 42, 1, 0x10 }, .type = LOCK_TYPE_ROBUST_MUTEX, .address = BASE,
	  .owner = 42, .fits = true },
	{ "PI mutex", FUTEX_CALL_LOCK_PI, 0, 0, .words = { 42 | FUTEX_WAITERS, 0, 0, 1, 0x20 },
	  .type = LOCK_TYPE_PI_MUTEX, .address = BASE, .owner = 42, .fits = true },
	{ "parked after EDEADLK", BITSET, 16, 0, .hint = LOCK_HINT_MUTEX, .sp = BASE, .words = { 0 },
	  .type = LOCK_TYPE_PI_MUTEX, .address = 0, .fits = true },
	{ "parked, of a C library without names", BITSET, 16, 0, .hint = LOCK_HINT_STATIC, .sp = BASE,
	  .words = { 8, 0, 0, 8 << 3, 0, 0x6f5c00 }, .type = LOCK_TYPE_PI_MUTEX, .address = 0, .fits = true },
	{ "parked in the relock of cond_wait, without names", BITSET, 16, 0, .hint = LOCK_HINT_COND,
	  .sp = BASE, .words = { 0 }, .type = LOCK_TYPE_PI_MUTEX, .address = 0, .fits = true },
	{ "parked, no stack known", BITSET, 16, 0, .sp = BASE, .words = { 0 }, .type = LOCK_TYPE_PI_MUTEX,
	  .address = 0, .fits = true },
	{ "parked further up, in a larger frame", BITSET, 16, 0, .hint = LOCK_HINT_STATIC, .sp = BASE - 0x100,
	  .words = { [3] = 9, [5] = 0x6f5c00 }, .type = LOCK_TYPE_PI_MUTEX, .address = 0, .fits = true },
	{ "not parked: the program's own word on the stack", BITSET, 16, 0, .sp = BASE - 0x100,
	  .words = { [5] = 0x6f5c00 }, .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT,
	  .address = BASE + 16 },
	{ "not parked: Rust's or a run-time's, by the clock", BITSET, 16, 0, .no_clock = true, .sp = BASE,
	  .words = { [5] = 0x6f5c00 }, .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT,
	  .address = BASE + 16 },
	{ "not parked: with a timeout", BITSET, 16, 0, .timed = true, .hint = LOCK_HINT_STATIC, .sp = BASE,
	  .words = { [5] = 0x6f5c00 }, .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT,
	  .address = BASE + 16 },
	{ "not parked: a cond on the stack", BITSET, 40, 0, .hint = LOCK_HINT_COND, .sp = BASE - 0x100,
	  .words = { 2, [9] = 1 << 3 }, .type = LOCK_TYPE_COND, .mode = WAIT_MODE_EVENT, .address = BASE,
	  .fits = true },
	{ "rwlock: reader behind a writer", BITSET, 8, 3, .words = { 0xb, 0, 3, 1, 0, 0, 42, 0 },
	  .type = LOCK_TYPE_RWLOCK, .mode = WAIT_MODE_SHARED, .address = BASE, .owner = 42, .fits = true },
	{ "rwlock: first writer behind readers", BITSET, 8, 2, .words = { 0x12, 0, 2, 1, 0, 0, 0, 0 },
	  .type = LOCK_TYPE_RWLOCK, .address = BASE, .fits = true, .role = WAIT_ROLE_BEHIND_READERS,
	  .readers = 2 },
	{ "rwlock: later writer behind a writer", BITSET, 12, 3, .words = { 3, 0, 1, 3, 0, 0, 42, 0 },
	  .type = LOCK_TYPE_RWLOCK, .address = BASE, .owner = 42, .fits = true },
	{ "rwlock: later writer behind a waiting one", BITSET, 12, 3, .words = { 0xa, 0, 2, 3, 0, 0, 0, 0 },
	  .type = LOCK_TYPE_RWLOCK, .address = BASE, .fits = true, .role = WAIT_ROLE_BEHIND_FIRST_WRITER,
	  .readers = 1 },
	{ "rwlock: reader refused for a pending writer", BITSET, 0, 14, .words = { 14, 1, 2, 1, 0, 0, 0, 0 },
	  .type = LOCK_TYPE_RWLOCK, .mode = WAIT_MODE_SHARED, .address = BASE, .fits = true,
	  .role = WAIT_ROLE_BEHIND_FIRST_WRITER, .readers = 1 },
	{ "cond, group 0", BITSET, 40, 0, .words = { 2, [9] = 1 << 3 }, .type = LOCK_TYPE_COND,
	  .mode = WAIT_MODE_EVENT, .address = BASE, .fits = true },
	{ "cond, group 1", BITSET, 44, 0, .words = { 99, 0, 6, [9] = 5 << 3, [11] = 0 },
	  .type = LOCK_TYPE_COND, .mode = WAIT_MODE_EVENT, .address = BASE, .fits = true },
	{ "cond of glibc 2.41", BITSET, 36, 7, .libc = EVENT_LIBC_GLIBC, .minor = 41,
	  .words = { 2, [7] = 1 << 3, [9] = 7 }, .type = LOCK_TYPE_COND, .mode = WAIT_MODE_EVENT,
	  .address = BASE, .fits = true },
	{ "cond of 2.41 is none in 2.36", BITSET, 36, 7, .libc = EVENT_LIBC_GLIBC, .minor = 36,
	  .words = { 2, [7] = 1 << 3, [9] = 7 }, .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT,
	  .address = NOWHERE },
	{ "cond, after 2^33 waits", BITSET, 40, 0, .words = { 0, 4, 6, [9] = 5 << 3 }, .type = LOCK_TYPE_COND,
	  .mode = WAIT_MODE_EVENT, .address = BASE, .fits = true },
	{ "no cond: nobody ever came", BITSET, 40, 0, .words = { [9] = 1 << 3 }, .type = LOCK_TYPE_FUTEX,
	  .mode = WAIT_MODE_EVENT, .address = BASE + 40 },
	{ "no cond: its group began with more waiters than came", BITSET, 40, 0, .libc = EVENT_LIBC_GLIBC,
	  .minor = 36, .words = { 4, 0, 9, [9] = 1 << 3 }, .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT,
	  .address = BASE + 40 },
	{ "no cond: a pointer is no count", BITSET, 40, 0, .words = { 0x12345680, 0x7f00, [9] = 1 << 3 },
	  .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT, .address = BASE + 40 },
	{ "semaphore", BITSET, 0, 0, .words = { 0, 1, 0 }, .type = LOCK_TYPE_SEM, .mode = WAIT_MODE_EVENT,
	  .address = BASE, .fits = true },
	{ "semaphore, behind words that could be a cond's", BITSET, 40, 0, .hint = LOCK_HINT_STATIC,
	  .words = { 2, [9] = 1 << 3, [11] = 1 }, .type = LOCK_TYPE_SEM, .mode = WAIT_MODE_EVENT,
	  .address = BASE + 40, .fits = true },
	{ "pthread_once without a name", PLAIN, 0, 5, .hint = LOCK_HINT_STATIC, .words = { 5 },
	  .type = LOCK_TYPE_ONCE, .mode = WAIT_MODE_EVENT, .address = BASE, .fits = true },
	{ "a word of nobody knows what", PLAIN, 0, 5, .words = { 5 }, .type = LOCK_TYPE_FUTEX,
	  .mode = WAIT_MODE_EVENT, .address = BASE },
	{ "a rwlock without any name", BITSET, 8, 3, .hint = LOCK_HINT_STATIC,
	  .words = { 0xb, 0, 3, 1, 0, 0, 42, 0 }, .type = LOCK_TYPE_RWLOCK, .mode = WAIT_MODE_SHARED,
	  .address = BASE, .owner = 42, .fits = true },
	{ "barrier", PLAIN, 4, 2, .words = { 3, 2, 2, 0 }, .type = LOCK_TYPE_BARRIER, .mode = WAIT_MODE_EVENT,
	  .address = BASE, .fits = true },
	{ "Rust's mutex", BITSET, 0, 2, .no_clock = true, .words = { 2 }, .type = LOCK_TYPE_MUTEX,
	  .address = BASE, .fits = true },
	{ "a C++ guard", PLAIN, 0, 0x10100, .shared = true, .words = { 0x10100 }, .type = LOCK_TYPE_ONCE,
	  .mode = WAIT_MODE_EVENT, .address = BASE, .fits = true },
	{ "musl: recursive mutex", PLAIN, 4, 42 | FUTEX_WAITERS, .libc = EVENT_LIBC_MUSL,
	  .words = { 1, 42 | FUTEX_WAITERS, 1 }, .type = LOCK_TYPE_MUTEX, .address = BASE, .owner = 42,
	  .fits = true },
	{ "musl: normal mutex", PLAIN, 4, 0x80000010, .libc = EVENT_LIBC_MUSL, .words = { 0, 0x80000010, 2 },
	  .type = LOCK_TYPE_MUTEX, .address = BASE, .fits = true },
	{ "musl: condvar on the stack", PLAIN, 16, 2, .libc = EVENT_LIBC_MUSL, .sp = BASE,
	  .words = { [4] = 2 }, .type = LOCK_TYPE_COND, .mode = WAIT_MODE_EVENT, .address = BASE + 16,
	  .fits = true },
	{ "musl: semaphore", PLAIN, 0, 0x80000000, .libc = EVENT_LIBC_MUSL, .words = { 0x80000000, 1 },
	  .type = LOCK_TYPE_SEM, .mode = WAIT_MODE_EVENT, .address = BASE, .fits = true },
	{ "musl: writer behind readers", PLAIN, 0, 0x80000002, .libc = EVENT_LIBC_MUSL,
	  .hint = LOCK_HINT_WRLOCK, .words = { 0x80000002, 1 }, .type = LOCK_TYPE_RWLOCK, .address = BASE,
	  .fits = true, .role = WAIT_ROLE_BEHIND_READERS, .readers = 2 },
	{ "relock in cond_wait", PLAIN, 0, 2, .hint = LOCK_HINT_COND, .words = { 2, 0, 42, 1, 0 },
	  .type = LOCK_TYPE_MUTEX, .address = BASE, .owner = 42, .fits = true },
	{ "malloc's lock", PLAIN, 0, 2, .hint = LOCK_HINT_LIBC_LOCK, .words = { 2, 0, 1 },
	  .type = LOCK_TYPE_MUTEX, .address = BASE, .fits = true },
	{ "parked thread", BITSET, 0, 2, .hint = LOCK_HINT_PARK, .words = { 2, 0, 42, 1 },
	  .type = LOCK_TYPE_FUTEX, .mode = WAIT_MODE_EVENT, .address = BASE },
	{ "requeue PI", FUTEX_CALL_WAIT_REQUEUE_PI, 0, 0, .words = { 0 }, .type = LOCK_TYPE_COND,
	  .mode = WAIT_MODE_EVENT, .address = BASE },
	{ "waitv", FUTEX_CALL_WAITV, 0, 0, .words = { 2, 0, 42, 1 }, .type = LOCK_TYPE_FUTEX,
	  .mode = WAIT_MODE_EVENT, .address = BASE },
};

static struct lock_view recognise(const struct layout_case *one)
{
	struct memory memory = { one->words, 16 };
	struct lock_question question = {
		.call = { .kind = one->kind,
			  .address = BASE + one->offset,
			  .expected = one->expected,
			  .timed = one->timed,
			  .is_private = !one->shared,
			  .is_realtime = one->kind == BITSET && !one->no_clock },
		.stack_pointer = one->sp,
		.hint = one->hint,
		.libc_kind = one->libc,
		.libc_minor = one->minor,
		.read = read_memory,
		.thread_of_pthread = thread_of_pthread,
		.context = &memory,
	};
	return lock_recognise(&question);
}

START_TEST(locks_are_recognised)
{
	for (size_t i = 0; i < sizeof(layout_cases) / sizeof(*layout_cases); i++) {
		const struct layout_case *one = &layout_cases[i];
		struct lock_view view = recognise(one);
		ck_assert_msg(view.type == one->type, "%s: type %d", one->name, view.type);
		ck_assert_msg(view.mode == one->mode, "%s: mode %d", one->name, view.mode);
		ck_assert_msg(one->address == NOWHERE || view.address == one->address, "%s: address %llx",
			      one->name, (unsigned long long)view.address);
		ck_assert_msg(view.owner_ns_tid == one->owner, "%s: owner %u", one->name, view.owner_ns_tid);
		ck_assert_msg(view.fits == one->fits, "%s: fits %d", one->name, view.fits);
		ck_assert_msg(view.role == one->role, "%s: role %d", one->name, view.role);
		ck_assert_msg(view.reader_count == one->readers, "%s: readers %u", one->name,
			      view.reader_count);
	}
}
END_TEST

START_TEST(only_normal_and_adaptive_mutexes_hang_their_owner)
{
	for (uint32_t kind = 0; kind < 4; kind++) {
		struct layout_case one = { "kind", PLAIN, 0, 2, .words = { 2, 0, 42, 1, kind } };
		ck_assert_int_eq(recognise(&one).relock_hangs, kind == 0 || kind == 3);
	}
}
END_TEST

START_TEST(the_functions_on_top_of_the_stack_tell)
{
	static const struct {
		struct frame frames[4];
		enum lock_hint hint;
	} stacks[] = {
		{ { { .function = "__GI___pthread_mutex_lock" } }, LOCK_HINT_MUTEX },
		{ { { .function = "pthread_rwlock_rdlock@@GLIBC_2.34" } }, LOCK_HINT_RDLOCK },
		{ { { .function = "__lll_lock_wait" }, { .function = "pthread_cond_wait" } },
		  LOCK_HINT_MUTEX },
		{ { { .function = "__futex_abstimed_wait_common64" }, { .function = "__pthread_cond_wait" } },
		  LOCK_HINT_COND },
		{ { { .function = "", .module = "/lib/libc.so.6" }, { .function = "sem_wait" } },
		  LOCK_HINT_SEM },
		{ { { .function = "__lll_lock_wait_private" }, { .function = "malloc" } },
		  LOCK_HINT_LIBC_LOCK },
		{ { { .function = "std::sys::sync::mutex::futex::Mutex::lock_contended" } },
		  LOCK_HINT_RUST_MUTEX },
		{ { { .function = "runtime.futex" }, { .function = "runtime.futexsleep" } }, LOCK_HINT_PARK },
		/* What an application's own function waits for has nothing to do with a caller further up. */
		{ { { .function = "my_futex_lock" }, { .function = "pthread_once" } }, LOCK_HINT_NONE },
		{ { { .function = "", .module = "/bin/app" }, { .function = "pthread_once" } },
		  LOCK_HINT_NONE },
		{ { { .function = "my_pthread_mutex_lock" } }, LOCK_HINT_NONE },
		/* A C library without names: an exported function has jumped into a static one, or is there. */
		{ { { .function = "", .module = "/lib/libc.so.6" },
		    { .function = "", .module = "/lib/libc.so.6" },
		    { .function = "transfer" } },
		  LOCK_HINT_STATIC },
		{ { { .function = "", .module = "/lib/libpthread-2.31.so" }, { .function = "" } },
		  LOCK_HINT_STATIC },
		{ { { .function = "", .module = "/lib/libc.so.6" },
		    { .function = "malloc", .module = "/lib/libc.so.6" },
		    { .function = "transfer" } },
		  LOCK_HINT_NONE },
		{ { { .function = "", .module = "/lib/libc.so.6" },
		    { .function = "std::thread::join()", .module = "/lib/libstdc++.so.6" } },
		  LOCK_HINT_STATIC },
		{ { { .function = "syscall", .module = "/lib/libc.so.6" }, { .function = "transfer" } },
		  LOCK_HINT_NONE },
		{ { { .function = "", .module = "/lib/libc.so.6" },
		    { .function = "", .module = "/lib/libc.so.6" } },
		  LOCK_HINT_NONE },
		{ { { .function = "", .module = "/lib/libcrypto.so.3" }, { .function = "transfer" } },
		  LOCK_HINT_NONE },
		/* Nor has what was found by searching the stack. */
		{ { { .function = "", .module = "/lib/libc.so.6" },
		    { .function = "pthread_cond_wait", .flags = EVENT_FRAME_GUESSED } },
		  LOCK_HINT_NONE },
	};
	for (size_t i = 0; i < sizeof(stacks) / sizeof(*stacks); i++) {
		struct frame frames[4];
		size_t count = 0;
		for (; count < 4 && stacks[i].frames[count].function; count++) {
			frames[count] = stacks[i].frames[count];
			frames[count].module = frames[count].module ? frames[count].module : "/bin/app";
		}
		ck_assert_msg(lock_hint_of_frames(frames, count) == stacks[i].hint, "stack %zu: %s", i,
			      frames[0].function);
	}
}
END_TEST

UNIT_TESTS("model_lock_layout", locks_are_recognised, only_normal_and_adaptive_mutexes_hang_their_owner,
	   the_functions_on_top_of_the_stack_tell)
