/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Findings made by hand, for the tests of the sinks: the deadlock of the command contract, and rarer shapes. */
#ifndef HOLDUP_TESTS_SINK_SAMPLE_H
#define HOLDUP_TESTS_SINK_SAMPLE_H

#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "detect/finding.h"
#include "unit.h"

/* 2026-11-22T16:40:00.123456Z */
#define SAMPLE_TIME_NS UINT64_C(1795365600123456789)

static inline void sample_process(struct finding_process *process)
{
	*process = (struct finding_process){
		.pid = 4711,
		.ns_pid = 4711,
		.comm = "dl",
		.exe = "/srv/dl",
		.build_id = "ab12cd34",
		.cgroup = "/system.slice/dl.service",
		.container = "",
		.start_realtime_ns = SAMPLE_TIME_NS - 60 * NS_PER_S,
	};
}

/* Gives a thread `count` frames of an unknown function; the evidence frees them. */
static inline struct finding_frame *sample_frames(struct finding_thread *thread, size_t count)
{
	struct finding_frame *frames = calloc(count, sizeof(*frames));
	ck_assert_ptr_nonnull(frames);
	thread->stack.frames = frames;
	thread->stack.frame_count = count;
	for (size_t i = 0; i < count; i++) {
		frames[i] = (struct finding_frame){
			.ip = 0x7f0000001000 + i * 16,
			.offset = 18,
			.function = "",
			.file = "",
			.module = "/usr/lib/x86_64-linux-gnu/libc.so.6",
			.build_id = "",
			.language = "",
		};
	}
	return frames;
}

/* A pthread_mutex_lock() called by `function` at bank.c:line. */
static inline void sample_stack(struct finding_thread *thread, const char *function, uint32_t line)
{
	sample_frames(thread, 4);
	thread->stack.frames[0].function = "__lll_lock_wait";
	thread->stack.frames[1].function = "pthread_mutex_lock";
	for (size_t i = 2; i < 4; i++) {
		thread->stack.frames[i].module = "/srv/dl";
		thread->stack.frames[i].file = "src/bank.c";
		thread->stack.frames[i].language = "c";
	}
	thread->stack.frames[2].function = function;
	thread->stack.frames[2].line = line;
	thread->stack.frames[3].function = "worker";
	thread->stack.frames[3].line = 77;
}

static inline struct finding_thread *sample_thread(struct evidence *evidence, uint32_t tid, const char *comm)
{
	struct finding_thread *thread = array_add(&evidence->threads);
	ck_assert_ptr_nonnull(thread);
	thread->tid = thread->ns_tid = tid;
	thread->comm = comm;
	thread->state = "sleeping";
	thread->syscall = "futex";
	thread->activity = "";
	thread->waits_for = -1;
	thread->same_count = 1;
	thread->stack.incomplete = "";
	return thread;
}

static inline struct finding_lock *sample_lock(struct evidence *evidence, enum lock_type type,
					       const char *name, uint64_t address)
{
	struct finding_lock *lock = array_add(&evidence->locks);
	ck_assert_ptr_nonnull(lock);
	snprintf(lock->id, sizeof(lock->id), "L%zu", evidence->locks.count);
	lock->type = type;
	lock->name = name;
	lock->address = address;
	lock->mapping = "";
	lock->owner_comm = "";
	return lock;
}

static inline void sample_holds(struct finding_thread *thread, int index)
{
	int *slot = array_add(&thread->holds);
	ck_assert_ptr_nonnull(slot);
	*slot = index;
}

static inline struct finding *sample_finding(enum finding_kind kind, enum certainty certainty)
{
	struct finding *finding = finding_new();
	ck_assert_ptr_nonnull(finding);
	finding->kind = kind;
	finding->certainty = certainty;
	finding->fingerprint = 0x6f2c;
	finding->time_realtime_ns = SAMPLE_TIME_NS;
	finding->stuck_ns = 12300 * NS_PER_MS;
	finding->summary = "";
	finding->advice = "";
	sample_process(&finding->evidence.process);
	return finding;
}

/* The two threads of the command contract. */
static inline struct finding *sample_deadlock(void)
{
	struct finding *finding = sample_finding(FINDING_DEADLOCK, CERTAINTY_CERTAIN);
	struct evidence *evidence = &finding->evidence;
	finding->summary =
		"2 threads of dl (pid 4711) deadlocked for 12.3 s: dl-b waits for m1, held by dl-a, which "
		"waits for m2, held by dl-b";
	finding->advice = "No thread of this cycle can ever run again. Restart the process; fix the order at "
			  "bank.c:42 / bank.c:58.";
	for (int i = 0; i < 2; i++) {
		struct finding_lock *lock =
			sample_lock(evidence, LOCK_TYPE_MUTEX, i ? "m2" : "m1", i ? 0x55d0c0e0 : 0x55d0c0a0);
		lock->owner_tid = i ? 4711 : 4712;
		lock->owner_comm = i ? "dl-a" : "dl-b";
		lock->waiter_count = 1;
		lock->words[0] = 2;
		lock->words[2] = lock->owner_tid;
		lock->words[3] = 1;
		lock->word_count = 4;
		struct finding_thread *thread =
			sample_thread(evidence, 4711 + (uint32_t)i, i ? "dl-b" : "dl-a");
		thread->waits_for = i;
		thread->since_ns = i ? 12300 * NS_PER_MS : 12345678901;
		thread->in_cycle = true;
		sample_stack(thread, i ? "refund" : "transfer", i ? 58 : 42);
		sample_holds(thread, !i);
		struct finding_cycle_step *step = array_add(&finding->cycle);
		ck_assert_ptr_nonnull(step);
		*step = (struct finding_cycle_step){ thread->tid, i, i ? 4711 : 4712 };
	}
	return finding;
}

#endif
