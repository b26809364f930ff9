/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/wait.h"

/*
 * Where struct pthread keeps its tid, the word that clear_child_tid points to (glibc nptl/descr.h: after a
 * thread control block of 704 bytes on x86-64, 24 pointers elsewhere, and a list of two pointers).
 */
#if defined(__x86_64__)
#define PTHREAD_TID_OFFSET 720
#else
#define PTHREAD_TID_OFFSET 208
#endif
/* No larger than this is struct pthread; its joinstate (glibc 2.43) lies in it, too. */
#define PTHREAD_BYTES 4096
/* A hostile process may have 100,000 joiners of nobody. */
#define JOIN_SEARCH_THREADS 1024
/* musl: joiners sleep on detach_state, two words after the tid (pthread_impl.h). */
#define MUSL_TID_BEFORE_DETACH_STATE 8
#define MUSL_JOINABLE 2

struct reader {
	const struct world *world;
	const struct process *process;
	bool used_first_pass; /* some word was not known from pass 2 */
};

static bool read_lock_word(void *context, uint64_t address, uint32_t *ret_word)
{
	struct reader *reader = context;
	uint32_t pass;
	if (!process_word(reader->process, address, ret_word, &pass))
		return false;
	reader->used_first_pass |= pass != 2;
	return true;
}

static uint32_t ns_tid(const struct thread *thread)
{
	return thread->record.ns_tid ? thread->record.ns_tid : thread->record.tid;
}

static uint32_t thread_of_pthread(void *context, uint64_t address)
{
	const struct reader *reader = context;
	const struct thread *thread =
		world_thread_by_tid_word(reader->world, reader->process, address + PTHREAD_TID_OFFSET);
	return thread ? ns_tid(thread) : 0;
}

/*
 * pthread_join sleeps until the kernel zeroes the target's clear_child_tid, with the target's id as value
 * (glibc nptl/pthread_join_common.c): the id leads to the thread, the address proves it. musl points all
 * threads' clear_child_tid at one lock of its own, so there the word before detach_state tells.
 */
static const struct thread *find_join_target(const struct world *world, const struct thread *thread,
					     const struct wait *wait, enum lock_hint hint, uint32_t libc_kind)
{
	const struct futex_call *call = &wait->call;
	const struct thread *target;
	uint32_t word, pass;
	if (call->kind != FUTEX_CALL_WAIT && call->kind != FUTEX_CALL_WAIT_BITSET)
		return NULL;
	if (libc_kind == EVENT_LIBC_MUSL) {
		if (call->expected != MUSL_JOINABLE ||
		    !process_word(thread->process, call->address - MUSL_TID_BEFORE_DETACH_STATE, &word, &pass))
			return NULL;
		target = world_thread_by_ns(world, thread->process, word, false);
		return target == thread ? NULL : target;
	}
	if (!call->is_private && call->expected && call->expected <= THREAD_ID_MAX) {
		target = world_thread_by_ns(world, thread->process, call->expected, false);
		if (target && target->record.flags & EVENT_THREAD_HAS_CLEAR_TID)
			return target->record.clear_child_tid == call->address ? target : NULL;
		/* /proc doesn't tell clear_child_tid; the word still holds the id. */
		if (target && process_word(thread->process, call->address, &word, &pass) &&
		    word == call->expected)
			return target;
		return NULL;
	}
	if (hint != LOCK_HINT_JOIN && hint != LOCK_HINT_STATIC)
		return NULL;
	size_t looked_at_count = 0;
	array_each(&thread->process->threads, slot) {
		if (++looked_at_count > JOIN_SEARCH_THREADS)
			break;
		uint64_t own = (*slot)->record.clear_child_tid;
		if (*slot != thread && (*slot)->record.flags & EVENT_THREAD_HAS_CLEAR_TID && own &&
		    call->address - own < PTHREAD_BYTES)
			return *slot;
	}
	return NULL;
}

struct wait wait_of_thread(const struct world *world, const struct thread *thread)
{
	struct wait wait = { 0 };
	if (!thread->sleep_began_ns)
		return wait;
	wait.call = futex_call_decode(thread->record.syscall, thread->record.args);
	if (wait.call.kind == FUTEX_CALL_NONE)
		return wait;
	const struct process *process = thread->process;
	struct reader reader = { .world = world, .process = process };
	struct lock_question question = {
		.call = wait.call,
		.stack_pointer = thread->record.regs.sp,
		.hint = lock_hint_of_frames(thread->frames, thread->frame_count),
		.libc_kind = process->has_libc ? process->libc_kind : (uint32_t)EVENT_LIBC_UNKNOWN,
		.libc_minor = process->has_libc && process->libc_major == 2 ? process->libc_minor : 0,
		.read = read_lock_word,
		.thread_of_pthread = thread_of_pthread,
		.context = &reader,
	};
	wait.is_stable = thread_is_stable(thread);
	wait.is_timed = wait.call.timed;
	wait.is_shared = !wait.call.is_private &&
			 (!process->mappings.count || process_address_is_shared(process, wait.call.address));
	wait.join_target = find_join_target(world, thread, &wait, question.hint, question.libc_kind);
	if (wait.join_target) {
		wait.lock = (struct lock_view){
			.type = LOCK_TYPE_JOIN,
			.mode = WAIT_MODE_EVENT,
			.address = wait.call.address,
			.fits = true,
		};
		wait.words_are_evidence = true;
		wait.is_shared = false;
		return wait;
	}
	wait.lock = lock_recognise(&question);
	wait.words_are_evidence = wait.lock.fits && !reader.used_first_pass;
	return wait;
}
