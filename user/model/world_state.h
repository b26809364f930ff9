/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of struct world: for the model's own files only. */
#ifndef HOLDUP_MODEL_WORLD_STATE_H
#define HOLDUP_MODEL_WORLD_STATE_H

#include "base/string_pool.h"
#include "model/world.h"

struct world {
	struct world_limits limits;
	uint64_t monotonic_ns, realtime_ns, boottime_offset_ns;
	int64_t scheduler_clock_offset_ns;
	uint32_t backend;
	uint64_t scan_number;
	bool scan_is_lossy;
	bool in_pass; /* between a SCAN_BEGIN and its SCAN_END */
	uint64_t visited_thread_count, visited_process_count, kernel_ns;
	uint64_t lost[EVENT_LOST_CAUSE_COUNT];
	/* What the bounded tables hold now, all processes together. */
	uint64_t window_count[WORLD_WORD_PASS_COUNT], mapping_count, frame_count, symbol_count, descriptor_count;
	struct string_pool strings;
	struct hash_table processes; /* by tgid */
	struct hash_table threads; /* by tid */
	struct hash_table ns_threads; /* by (tgid, ns_tid) and by (pid_ns | bit 32, ns_tid) */
	struct hash_table tid_words; /* by (tgid, clear_child_tid) */
	struct hash_table handed_locks; /* by (tgid, address); values: the processes */
	ARRAY(struct process *) ordered; /* by tgid */
};

/* process.c: processes, their mappings, symbols and descriptors, and the words of their locks. */
struct process *process_get_or_add(struct world *world, uint32_t tgid, uint64_t start_ns);
void process_remove(struct world *world, struct process *process);
void process_begin_scan(struct world *world, struct process *process);
/* Forgets what an exec makes wrong, and all texts. */
void process_forget_description(struct world *world, struct process *process);
void process_sort_windows(struct process *process, uint32_t pass);
int process_take_memory(struct world *world, const struct event *event);
int process_take_process(struct world *world, const struct event *event);
int process_take_mapping(struct world *world, const struct event *event);
int process_take_libc(struct world *world, const struct event *event);
int process_take_descriptor(struct world *world, const struct event *event);
int process_take_symbol(struct world *world, const struct event *event);

/* thread.c: threads, their sleeps and stacks. */
int thread_take(struct world *world, const struct event *event);
int thread_take_frames(struct world *world, const struct event *event);
void thread_drop_frames(struct world *world, struct thread *thread);
void thread_remove(struct world *world, struct thread *thread);
/* After pass 3: remembers whom each waiter waits for. After pass 1: learns which locks were handed over. */
void thread_watch_owner(struct world *world, struct thread *thread);
int thread_learn_hand_over(struct world *world, struct thread *thread);

/* A record didn't fit into a bounded table. */
void world_count_full(struct world *world, struct process *process);

#endif
