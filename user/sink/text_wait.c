/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink/text_wait.h"

#include <inttypes.h>
#include <string.h>

#include "base/duration.h"

enum {
	/* Lists of threads longer than this aren't looked through for each thread's name. */
	NAME_LOOKUP_MAX = 1024,
};

/* How a wait for a lock of one type is put: "waits to read" "rwlock". */
struct lock_words {
	const char *noun;
	const char *exclusive, *shared;
};

static const struct lock_words lock_words[LOCK_TYPE_COUNT] = {
	[LOCK_TYPE_FUTEX] = { "futex", "waits on", "waits on" },
	[LOCK_TYPE_MUTEX] = { "mutex", "waits for", "waits for" },
	[LOCK_TYPE_RWLOCK] = { "rwlock", "waits to write", "waits to read" },
	[LOCK_TYPE_COND] = { "condition variable", "waits on", "waits on" },
	[LOCK_TYPE_SEM] = { "semaphore", "waits for", "waits for" },
	[LOCK_TYPE_BARRIER] = { "barrier", "waits at", "waits at" },
	[LOCK_TYPE_JOIN] = { "end of thread", "waits for the", "waits for the" },
	[LOCK_TYPE_ONCE] = { "once-initialization", "waits for", "waits for" },
	[LOCK_TYPE_SPIN] = { "spin lock", "waits for", "waits for" },
	[LOCK_TYPE_PI_MUTEX] = { "PI mutex", "waits for", "waits for" },
	[LOCK_TYPE_ROBUST_MUTEX] = { "robust mutex", "waits for", "waits for" },
};

static const struct lock_words *words_of(const struct finding_lock *lock)
{
	enum lock_type type = lock->type < LOCK_TYPE_COUNT ? lock->type : LOCK_TYPE_FUTEX;
	return &lock_words[type];
}

const char *text_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash && slash[1] ? slash + 1 : path;
}

/* Is one listed thread of that id, with a name that no other has? Also finds its name. */
static bool is_unique_name(const struct evidence *evidence, uint32_t tid, const char **comm)
{
	/* Looking through 32,000 threads for each of them would take seconds. */
	if (evidence->threads.count > NAME_LOOKUP_MAX)
		return false;
	size_t same_name_count = 0;
	bool listed = false;
	array_each(&evidence->threads, thread) {
		if (thread->tid == tid) {
			listed = true;
			*comm = thread->comm;
		}
	}
	array_each(&evidence->threads, thread)
		same_name_count += *comm && !strcmp(thread->comm, *comm);
	return listed && same_name_count == 1;
}

void text_add_thread_name(struct text_buffer *text, const struct evidence *evidence, uint32_t tid,
			  const char *comm)
{
	bool unique = is_unique_name(evidence, tid, &comm);
	if (!comm || !*comm) {
		text_buffer_addf(text, "thread %" PRIu32, tid);
		return;
	}
	text_buffer_add_untrusted(text, comm);
	if (!unique)
		text_buffer_addf(text, " (%" PRIu32 ")", tid);
}

/* The mutex that the kernel refused for good, which nothing records. */
static bool is_nowhere(const struct finding_lock *lock)
{
	return !lock->address && !(lock->name && *lock->name);
}

static void add_place(struct text_buffer *text, const struct finding_lock *lock, bool with_address)
{
	if (lock->name && *lock->name) {
		text_buffer_add_untrusted(text, lock->name);
		if (with_address)
			text_buffer_addf(text, " (0x%" PRIx64 ")", lock->address);
		return;
	}
	text_buffer_addf(text, "0x%" PRIx64, lock->address);
	if (lock->mapping && *lock->mapping) {
		text_buffer_add(text, " in ");
		text_buffer_add_untrusted(text, lock->mapping);
	}
}

void text_add_lock(struct text_buffer *text, const struct finding_lock *lock)
{
	if (is_nowhere(lock)) {
		text_buffer_addf(text, "a %s", words_of(lock)->noun);
		return;
	}
	text_buffer_addf(text, "%s ", words_of(lock)->noun);
	add_place(text, lock, true);
}

void text_add_lock_briefly(struct text_buffer *text, const struct finding_lock *lock)
{
	if (is_nowhere(lock)) {
		text_add_lock(text, lock);
		return;
	}
	if (!lock->name || !*lock->name)
		text_buffer_addf(text, "%s ", words_of(lock)->noun);
	add_place(text, lock, false);
}

static void add_reader_count(struct text_buffer *text, uint32_t count)
{
	text_buffer_addf(text, ", held by %" PRIu32 " reader%s", count, count == 1 ? "" : "s");
}

static void add_holder(struct text_buffer *text, const struct evidence *evidence,
		       const struct finding_lock *lock, uint32_t held_by, const struct finding_thread *thread)
{
	uint32_t owner_tid = lock->owner_tid ? lock->owner_tid : held_by;
	if (owner_tid && owner_tid == thread->tid) {
		text_buffer_add(text, ", which it holds itself");
	} else if (owner_tid) {
		text_buffer_add(text, ", held by ");
		text_add_thread_name(text, evidence, owner_tid, lock->owner_tid ? lock->owner_comm : NULL);
		if (lock->owner_dead)
			text_buffer_add(text, ", which has ended");
	} else if (lock->owner_dead) {
		text_buffer_add(text, ", held by a thread that has ended");
	}
	if (lock->reader_count && lock->type == LOCK_TYPE_RWLOCK && !(owner_tid && lock->reader_count == 1))
		add_reader_count(text, lock->reader_count);
}

static void add_lock_wait(struct text_buffer *text, const struct evidence *evidence,
			  const struct finding_lock *lock, uint32_t held_by,
			  const struct finding_thread *thread)
{
	const struct lock_words *words = words_of(lock);
	text_buffer_addf(text, "%s ", thread->mode == WAIT_MODE_SHARED ? words->shared : words->exclusive);
	uint32_t joined_tid = lock->owner_tid ? lock->owner_tid : held_by;
	if (lock->type == LOCK_TYPE_JOIN && joined_tid) {
		text_buffer_add(text, "end of ");
		text_add_thread_name(text, evidence, joined_tid, lock->owner_comm);
		return;
	}
	text_add_lock(text, lock);
	add_holder(text, evidence, lock, held_by, thread);
}

static void add_activity(struct text_buffer *text, const struct finding_thread *thread)
{
	if (thread->activity && *thread->activity) {
		text_buffer_add_untrusted(text, thread->activity);
		return;
	}
	text_buffer_addf(text, "is %s", thread->state);
	if (thread->syscall && *thread->syscall)
		text_buffer_addf(text, " in %s", thread->syscall);
}

static void add_age(struct text_buffer *text, const struct finding_thread *thread, uint64_t known_ns)
{
	char age[DURATION_TEXT_BYTES], known[DURATION_TEXT_BYTES];
	duration_format(thread->since_ns, age);
	if (thread->since_ns && strcmp(age, duration_format(known_ns, known)))
		text_buffer_addf(text, "; for %s%s", thread->since_is_lower_bound ? "at least " : "", age);
}

void text_add_wait(struct text_buffer *text, const struct evidence *evidence,
		   const struct finding_cycle_step *cycle, size_t cycle_count,
		   const struct finding_thread *thread, uint64_t known_ns)
{
	bool waits = thread->waits_for >= 0 && (size_t)thread->waits_for < evidence->locks.count;
	if (waits) {
		/* Members of the cycle come first and in its order (finding.h). */
		size_t index = (size_t)(thread - evidence->threads.items);
		uint32_t held_by =
			index < cycle_count && cycle[index].tid == thread->tid ? cycle[index].held_by : 0;
		add_lock_wait(text, evidence, &evidence->locks.items[thread->waits_for], held_by, thread);
	} else {
		add_activity(text, thread);
	}
	if (thread->timed)
		text_buffer_add(text, ", with a timeout");
	add_age(text, thread, known_ns);
}
