/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/syscalls.h"
#include "model/world_state.h"

#define PID_NS_KEY (UINT64_C(1) << 32)
/* glibc's low-level lock: taken, and somebody waits (glibc: nptl/lowlevellock.c). */
#define LOW_LEVEL_LOCK_CONTENDED 2
#define MUTEX_OWNER_OFFSET 8

static uint64_t run_token(const struct event_thread *record)
{
	return record->flags & EVENT_THREAD_HAS_ARRIVAL ? record->run_count : record->switch_count;
}

static uint32_t ns_tid_of(const struct event_thread *record)
{
	return record->ns_tid ? record->ns_tid : record->tid;
}

static bool is_asleep(const struct event_thread *record)
{
	switch (record->state) {
	case EVENT_STATE_SLEEPING:
	case EVENT_STATE_BLOCKED:
	case EVENT_STATE_STOPPED:
	case EVENT_STATE_TRACED:
	case EVENT_STATE_FROZEN:
		return record->flags & EVENT_THREAD_IN_SYSCALL && !(record->flags & EVENT_THREAD_COMPAT);
	default:
		return false;
	}
}

static bool is_stopped(const struct event_thread *record)
{
	return (record->state == EVENT_STATE_STOPPED || record->state == EVENT_STATE_TRACED) &&
	       !(record->flags & EVENT_THREAD_COMPAT);
}

static struct sight sight_of(const struct event_thread *record)
{
	struct sight sight = {
		.seen = true,
		.asleep = is_asleep(record),
		.token = run_token(record),
		.syscall = -1,
	};
	if (sight.asleep) {
		sight.syscall = record->syscall;
		sight.wait_address = futex_call_decode(record->syscall, record->args).address;
	}
	return sight;
}

static void remove_key(struct hash_table *table, uint64_t a, uint64_t b, const struct thread *thread)
{
	if (hash_table_get(table, a, b) == thread)
		hash_table_remove(table, a, b);
}

void thread_drop_frames(struct world *world, struct thread *thread)
{
	world->frame_count -= thread->frame_count;
	free(thread->frames);
	thread->frames = NULL;
	thread->frame_count = 0;
	thread->frames_end = EVENT_FRAMES_COMPLETE;
	thread->has_frames = false;
}

void thread_remove(struct world *world, struct thread *thread)
{
	uint32_t ns_tid = ns_tid_of(&thread->record);
	remove_key(&world->threads, thread->record.tid, 0, thread);
	remove_key(&world->ns_threads, thread->process->tgid, ns_tid, thread);
	remove_key(&world->ns_threads, thread->record.pid_ns | PID_NS_KEY, ns_tid, thread);
	remove_key(&world->tid_words, thread->process->tgid, thread->record.clear_child_tid, thread);
	thread->process->owned_thread_count--;
	thread_drop_frames(world, thread);
	free(thread);
}

/* A thread whose id was given to another one in the middle of a scan is still in its process's list. */
static void unlist(struct thread *thread)
{
	for (size_t i = 0; i < thread->process->threads.count; i++)
		if (thread->process->threads.items[i] == thread) {
			thread->process->threads.items[i] =
				thread->process->threads.items[--thread->process->threads.count];
			return;
		}
}

static struct thread *add_thread(struct world *world, const struct event_thread *record)
{
	errno = 0;
	struct process *process = process_get_or_add(world, record->tgid, record->process_start_ns);
	if (!process)
		return NULL;
	if (world->threads.count >= world->limits.thread_count) {
		world_count_full(world, process);
		return NULL;
	}
	struct thread *thread = calloc(1, sizeof(*thread));
	uint32_t ns_tid = ns_tid_of(record);
	if (!thread || hash_table_put(&world->threads, record->tid, 0, thread) < 0) {
		free(thread);
		errno = ENOMEM;
		return NULL;
	}
	thread->process = process;
	thread->record = *record;
	process->owned_thread_count++;
	if (hash_table_put(&world->ns_threads, record->tgid, ns_tid, thread) < 0 ||
	    hash_table_put(&world->ns_threads, record->pid_ns | PID_NS_KEY, ns_tid, thread) < 0) {
		thread_remove(world, thread);
		errno = ENOMEM;
		return NULL;
	}
	return thread;
}

static void update_process(struct world *world, struct process *process, const struct event_thread *record)
{
	process->ns_tgid = record->ns_tgid ? record->ns_tgid : process->ns_tgid;
	process->pid_ns = record->pid_ns ? record->pid_ns : process->pid_ns;
	process->cgroup_id = record->cgroup_id ? record->cgroup_id : process->cgroup_id;
	process->pass_mask |= 1u << (record->pass - 1);
	/* An exec brings another name and another memory; what /proc told before is wrong then. */
	if (process->is_described && memcmp(process->comm, record->process_comm, sizeof(process->comm)) != 0)
		process_forget_description(world, process);
	memcpy(process->comm, record->process_comm, sizeof(process->comm));
}

static bool is_timed_wait_on_the_same_word(const struct event_thread *a, const struct event_thread *b)
{
	struct futex_call first = futex_call_decode(a->syscall, a->args);
	struct futex_call second = futex_call_decode(b->syscall, b->args);
	return is_asleep(a) && is_asleep(b) && first.kind != FUTEX_CALL_NONE && first.timed && second.timed &&
	       first.kind == second.kind && first.address == second.address;
}

/*
 * The sleep began when the thread had used up what it ran since it last got a CPU (kernel/sched: a switch
 * out leaves sched_info.last_arrival alone). Waits restarted with timeouts on the same word are one wait.
 */
static void date_sleep(struct world *world, struct thread *thread, const struct event_thread *record,
		       bool seen_by_last_scan)
{
	uint64_t restarted_ns = 0;
	if (thread->sleep_began_ns && seen_by_last_scan &&
	    is_timed_wait_on_the_same_word(&thread->record, record))
		restarted_ns = thread->sleep_began_ns;
	thread->sleep_began_ns = 0;
	thread->sleep_began_earlier = false;
	if (!is_asleep(record))
		return;
	uint64_t token = run_token(record);
	if (!thread->first_asleep_ns || thread->first_asleep_token != token) {
		thread->first_asleep_ns = world->monotonic_ns;
		thread->first_asleep_token = token;
	}
	if (record->flags & EVENT_THREAD_HAS_ARRIVAL) {
		uint64_t began =
			record->arrival_ns + record->ran_ns + (uint64_t)world->scheduler_clock_offset_ns;
		thread->sleep_began_ns = began < world->monotonic_ns ? began : world->monotonic_ns;
	} else {
		thread->sleep_began_ns = thread->first_asleep_ns;
		thread->sleep_began_earlier = true;
	}
	if (restarted_ns && restarted_ns < thread->sleep_began_ns)
		thread->sleep_began_ns = restarted_ns;
}

static int index_tid_word(struct world *world, struct thread *thread, uint64_t old,
			  const struct event_thread *record)
{
	if (record->clear_child_tid == old || !(record->flags & EVENT_THREAD_HAS_CLEAR_TID))
		return 0;
	remove_key(&world->tid_words, thread->process->tgid, old, thread);
	return hash_table_put(&world->tid_words, thread->process->tgid, record->clear_child_tid, thread);
}

int thread_take(struct world *world, const struct event *event)
{
	const struct event_thread *record = event->thread;
	if (record->pass < 1 || record->pass > WORLD_PASS_COUNT)
		return 0;
	struct thread *thread = hash_table_get(&world->threads, record->tid, 0);
	if (thread && (thread->record.start_ns != record->start_ns || thread->process->tgid != record->tgid ||
		       thread->record.process_start_ns != record->process_start_ns)) {
		unlist(thread);
		thread_remove(world, thread);
		thread = NULL;
	}
	bool is_new = !thread;
	if (is_new) {
		thread = add_thread(world, record);
		if (!thread)
			return -errno;
	}
	bool seen_by_last_scan = !is_new && thread->scan_number + 1 >= world->scan_number;
	if (is_new || thread->scan_number != world->scan_number) {
		struct thread **slot = array_add(&thread->process->threads);
		if (!slot)
			return -ENOMEM;
		*slot = thread;
		thread->scan_number = world->scan_number;
		memset(thread->sights, 0, sizeof(thread->sights));
	}
	struct sight *sight = &thread->sights[record->pass - 1];
	if (record->pass == WORLD_PASS_COUNT && !sight->seen)
		thread->process->seen_in_last_pass_count++;
	*sight = sight_of(record);
	date_sleep(world, thread, record, seen_by_last_scan);
	int err = index_tid_word(world, thread, is_new ? 0 : thread->record.clear_child_tid, record);
	thread->record = *record;
	if (thread->has_frames && (!thread_has_stack(thread) || thread->frames_token != sight->token))
		thread_drop_frames(world, thread);
	update_process(world, thread->process, record);
	return err;
}

int thread_take_frames(struct world *world, const struct event *event)
{
	const struct event_frames *record = event->frames;
	struct thread *thread = hash_table_get(&world->threads, record->tid, 0);
	if (!thread || thread->process->tgid != record->tgid ||
	    run_token(&thread->record) != record->run_token)
		return 0;
	thread_drop_frames(world, thread);
	size_t want = record->count < world->limits.frames_per_thread ? record->count
								      : world->limits.frames_per_thread;
	if (world->frame_count + want > world->limits.frame_count) {
		world->lost[EVENT_LOST_TABLE_FULL]++;
		want = 0;
	}
	struct frame *frames = want ? calloc(want, sizeof(*frames)) : NULL;
	if (want && !frames)
		return -ENOMEM;
	size_t position = 0;
	const char *text[4];
	for (size_t i = 0; i < want; i++) {
		const struct event_frame *frame = event_frame_next(event, &position, text);
		if (!frame) {
			want = i;
			break;
		}
		frames[i] = (struct frame){
			.ip = frame->ip,
			.offset = frame->offset,
			.line = frame->line,
			.column = frame->column,
			.flags = frame->flags,
			.language = frame->language,
			.function = string_pool_intern(&world->strings, text[0]),
			.file = string_pool_intern(&world->strings, text[1]),
			.module = string_pool_intern(&world->strings, text[2]),
			.build_id = string_pool_intern(&world->strings, text[3]),
		};
	}
	thread->frames = frames;
	thread->frame_count = want;
	thread->frames_end = want < record->count ? (uint32_t)EVENT_FRAMES_TOO_DEEP : record->end;
	thread->frames_token = record->run_token;
	thread->has_frames = true;
	world->frame_count += want;
	return 0;
}

const struct thread *world_thread_by_ns(const struct world *world, const struct process *process,
					uint32_t ns_tid, bool shared)
{
	const struct thread *thread = hash_table_get(&world->ns_threads, process->tgid, ns_tid);
	if (!thread && shared)
		thread = hash_table_get(&world->ns_threads, process->pid_ns | PID_NS_KEY, ns_tid);
	return thread && thread->scan_number == world->scan_number ? thread : NULL;
}

const struct thread *world_thread_by_tid_word(const struct world *world, const struct process *process,
					      uint64_t address)
{
	const struct thread *thread = hash_table_get(&world->tid_words, process->tgid, address);
	return thread && thread->scan_number == world->scan_number ? thread : NULL;
}

bool thread_is_stable(const struct thread *thread)
{
	const struct sight *first = &thread->sights[0], *last = &thread->sights[WORLD_PASS_COUNT - 1];
	return first->asleep && last->asleep && first->token == last->token &&
	       first->syscall == last->syscall && first->wait_address &&
	       first->wait_address == last->wait_address;
}

bool thread_is_still(const struct thread *thread)
{
	const struct sight *first = NULL, *last = NULL;
	for (int pass = 0; pass < WORLD_PASS_COUNT; pass++) {
		const struct sight *sight = &thread->sights[pass];
		if (!sight->seen)
			continue;
		first = first ? first : sight;
		last = sight;
	}
	return first != last && first->asleep && last->asleep && first->token == last->token &&
	       first->syscall == last->syscall && thread_is_alive(thread);
}

bool thread_has_stack(const struct thread *thread)
{
	return is_asleep(&thread->record) || is_stopped(&thread->record);
}

bool thread_is_alive(const struct thread *thread)
{
	if (thread->record.state == EVENT_STATE_DEAD || thread->record.flags & EVENT_THREAD_EXITING)
		return false;
	for (int pass = WORLD_PASS_COUNT; pass >= 1; pass--)
		if (thread->process->pass_mask & 1u << (pass - 1))
			return thread->sights[pass - 1].seen;
	return false;
}

uint64_t thread_asleep_ns(const struct world *world, const struct thread *thread)
{
	if (!thread->sleep_began_ns || thread->sleep_began_ns > world->monotonic_ns)
		return 0;
	return world->monotonic_ns - thread->sleep_began_ns;
}

void thread_watch_owner(struct world *world, struct thread *thread)
{
	memset(&thread->watched, 0, sizeof(thread->watched));
	if (!thread_is_stable(thread))
		return;
	struct futex_call call = futex_call_decode(thread->record.syscall, thread->record.args);
	uint32_t word, owner;
	if ((call.kind != FUTEX_CALL_WAIT && call.kind != FUTEX_CALL_WAIT_BITSET) ||
	    !process_word_in_pass(thread->process, call.address, 2, &word) ||
	    word != LOW_LEVEL_LOCK_CONTENDED ||
	    !process_word_in_pass(thread->process, call.address + MUTEX_OWNER_OFFSET, 2, &owner))
		return;
	const struct thread *holder = world_thread_by_ns(world, thread->process, owner, false);
	if (!owner || !holder || !holder->sights[WORLD_PASS_COUNT - 1].asleep)
		return;
	thread->watched.address = call.address;
	thread->watched.token = run_token(&thread->record);
	thread->watched.owner_ns_tid = owner;
	thread->watched.owner_token = run_token(&holder->record);
}

/* True if the thread has gone on since it was watched: it ran, and doesn't wait for the same word again. */
static bool went_on(const struct world *world, const struct thread *thread)
{
	if (thread->scan_number != world->scan_number)
		return !world->scan_is_lossy && !thread->process->lossy;
	return run_token(&thread->record) != thread->watched.token &&
	       thread->sights[0].wait_address != thread->watched.address;
}

/*
 * A mutex that another thread unlocks is a semaphore in disguise (SEMANTICS.md, 3). Seen from outside: a
 * waiter got on although the owner that the mutex named has slept all the time. When waiter and owner are
 * one, it could not have unlocked what it waited for; a signal may have woken it, so a waiter that still
 * waits for the same word teaches nothing.
 */
int thread_learn_hand_over(struct world *world, struct thread *thread)
{
	uint64_t address = thread->watched.address;
	uint32_t owner_ns_tid = thread->watched.owner_ns_tid;
	if (!address || !went_on(world, thread))
		return 0;
	thread->watched.address = 0;
	if (owner_ns_tid != ns_tid_of(&thread->record)) {
		const struct thread *owner = world_thread_by_ns(world, thread->process, owner_ns_tid, false);
		if (!owner || run_token(&owner->record) != thread->watched.owner_token)
			return 0;
	}
	if (world->handed_locks.count >= world->limits.handed_lock_count) {
		/* What was learnt is only a memory of the past: start anew. */
		hash_table_clear(&world->handed_locks);
		world->lost[EVENT_LOST_TABLE_FULL]++;
	}
	thread->process->has_handed_locks = true;
	return hash_table_put(&world->handed_locks, thread->process->tgid, address, thread->process);
}
