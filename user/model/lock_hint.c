/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "model/lock_layout.h"

/* Lock functions call few others: a match deeper down the stack is about something else. */
#define MOST_FRAMES 12

struct known_function {
	const char *name; /* without leading underscores */
	enum lock_hint hint;
};

static const struct known_function c_functions[] = {
	{ "pthread_mutex_lock", LOCK_HINT_MUTEX },
	{ "pthread_mutex_lock_full", LOCK_HINT_MUTEX },
	{ "pthread_mutex_cond_lock", LOCK_HINT_MUTEX },
	{ "pthread_mutex_cond_lock_full", LOCK_HINT_MUTEX },
	{ "pthread_mutex_timedlock", LOCK_HINT_MUTEX },
	{ "pthread_mutex_clocklock", LOCK_HINT_MUTEX },
	{ "pthread_mutex_clocklock_common", LOCK_HINT_MUTEX },
	{ "lll_lock_wait_private", LOCK_HINT_LIBC_LOCK },
	{ "lockfile", LOCK_HINT_LIBC_LOCK },
	{ "flockfile", LOCK_HINT_LIBC_LOCK },
	{ "pthread_cond_wait", LOCK_HINT_COND },
	{ "pthread_cond_wait_common", LOCK_HINT_COND },
	{ "pthread_cond_timedwait", LOCK_HINT_COND },
	{ "pthread_cond_clockwait", LOCK_HINT_COND },
	{ "cnd_wait", LOCK_HINT_COND },
	{ "cnd_timedwait", LOCK_HINT_COND },
	{ "pthread_rwlock_rdlock", LOCK_HINT_RDLOCK },
	{ "pthread_rwlock_rdlock_full", LOCK_HINT_RDLOCK },
	{ "pthread_rwlock_rdlock_full64", LOCK_HINT_RDLOCK },
	{ "pthread_rwlock_timedrdlock", LOCK_HINT_RDLOCK },
	{ "pthread_rwlock_clockrdlock", LOCK_HINT_RDLOCK },
	{ "pthread_rwlock_wrlock", LOCK_HINT_WRLOCK },
	{ "pthread_rwlock_wrlock_full", LOCK_HINT_WRLOCK },
	{ "pthread_rwlock_wrlock_full64", LOCK_HINT_WRLOCK },
	{ "pthread_rwlock_timedwrlock", LOCK_HINT_WRLOCK },
	{ "pthread_rwlock_clockwrlock", LOCK_HINT_WRLOCK },
	{ "sem_wait", LOCK_HINT_SEM },
	{ "new_sem_wait", LOCK_HINT_SEM },
	{ "new_sem_wait_slow", LOCK_HINT_SEM },
	{ "new_sem_wait_slow64", LOCK_HINT_SEM },
	{ "sem_timedwait", LOCK_HINT_SEM },
	{ "sem_clockwait", LOCK_HINT_SEM },
	{ "do_futex_wait", LOCK_HINT_SEM },
	{ "pthread_barrier_wait", LOCK_HINT_BARRIER },
	{ "pthread_join", LOCK_HINT_JOIN },
	{ "pthread_timedjoin_np", LOCK_HINT_JOIN },
	{ "pthread_clockjoin_np", LOCK_HINT_JOIN },
	{ "pthread_timedjoin_ex", LOCK_HINT_JOIN },
	{ "pthread_clockjoin_ex", LOCK_HINT_JOIN },
	{ "thrd_join", LOCK_HINT_JOIN },
	{ "pthread_once", LOCK_HINT_ONCE },
	{ "pthread_once_slow", LOCK_HINT_ONCE },
	{ "pthread_once_full", LOCK_HINT_ONCE },
	{ "call_once", LOCK_HINT_ONCE },
	{ "cxa_guard_acquire", LOCK_HINT_ONCE },
};

/* Parts of demangled Rust and Go names. */
static const struct known_function other_functions[] = {
	{ "Mutex::lock_contended", LOCK_HINT_RUST_MUTEX },
	{ "RawMutex::lock_slow", LOCK_HINT_RUST_MUTEX },
	{ "RwLock::read_contended", LOCK_HINT_RUST_READ },
	{ "RawRwLock::lock_shared_slow", LOCK_HINT_RUST_READ },
	{ "RwLock::write_contended", LOCK_HINT_RUST_WRITE },
	{ "RawRwLock::lock_exclusive_slow", LOCK_HINT_RUST_WRITE },
	{ "Condvar::wait", LOCK_HINT_COND },
	{ "thread::park", LOCK_HINT_PARK },
	{ "Parker::park", LOCK_HINT_PARK },
	{ "runtime.futexsleep", LOCK_HINT_PARK },
};

/* What lies between a lock function and the system call; after leading underscores. */
static const char *const between[] = { "futex",	 "lll_",	"syscall",  "internal_syscall", "timedwait",
				       "wait",	 "GI_",		"cp_end",   "cp_begin",		"std::",
				       "core::", "parking_lot", "runtime.", "pthread_" };

static bool is_between(const char *name)
{
	for (size_t i = 0; i < sizeof(between) / sizeof(*between); i++)
		if (strncmp(name, between[i], strlen(between[i])) == 0)
			return true;
	return false;
}

/* "__GI___pthread_once@@GLIBC_2.34" is pthread_once to us. */
static const char *bare_name(const char *name)
{
	name += strspn(name, "_");
	if (strncmp(name, "GI_", 3) == 0)
		name += 2 + strspn(name + 2, "_");
	return name;
}

static bool is_module(const char *module, const char *prefix)
{
	const char *slash = strrchr(module, '/');
	return strncmp(slash ? slash + 1 : module, prefix, strlen(prefix)) == 0;
}

static bool is_libc(const char *module)
{
	return is_module(module, "libc.") || is_module(module, "libc-") || is_module(module, "libpthread") ||
	       is_module(module, "ld-");
}

/* libc's own static functions have no name once it is stripped, nor have libstdc++'s. */
static bool is_nameless(const struct frame *frame)
{
	return !*frame->function && (is_libc(frame->module) || is_module(frame->module, "libstdc++"));
}

static enum lock_hint hint_of_name(const char *name)
{
	size_t length = strcspn(name, "@");
	for (size_t i = 0; i < sizeof(c_functions) / sizeof(*c_functions); i++)
		if (strlen(c_functions[i].name) == length && memcmp(name, c_functions[i].name, length) == 0)
			return c_functions[i].hint;
	for (size_t i = 0; i < sizeof(other_functions) / sizeof(*other_functions); i++)
		if (strstr(name, other_functions[i].name))
			return other_functions[i].hint;
	return LOCK_HINT_NONE;
}

enum lock_hint lock_hint_of_frames(const struct frame *frames, size_t frame_count)
{
	bool low_level_lock = false;
	size_t nameless_count = 0;
	for (size_t i = 0; i < frame_count && i < MOST_FRAMES; i++) {
		/* A guessed frame says nothing certain of what the thread does. */
		if (frames[i].flags & EVENT_FRAME_GUESSED)
			break;
		const char *name = bare_name(frames[i].function);
		if (is_nameless(&frames[i])) {
			nameless_count += is_libc(frames[i].module);
			continue;
		}
		enum lock_hint hint = hint_of_name(name);
		if (hint == LOCK_HINT_NONE && i && i == nameless_count && !is_libc(frames[i].module))
			return LOCK_HINT_STATIC;
		/* pthread_cond_wait takes its mutex again in the end, and waits for it as any other. */
		if (hint == LOCK_HINT_COND && low_level_lock)
			return LOCK_HINT_MUTEX;
		if (hint != LOCK_HINT_NONE)
			return hint;
		if (strncmp(name, "lll_lock_wait", strlen("lll_lock_wait")) == 0)
			low_level_lock = true;
		if (!is_between(name))
			break;
	}
	return LOCK_HINT_NONE;
}
