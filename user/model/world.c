/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/world_state.h"

struct world_limits world_default_limits(void)
{
	return (struct world_limits){
		.process_count = 32768,
		.thread_count = 100000,
		.window_count = 65536,
		.mappings_per_process = 65536,
		.mapping_count = 300000,
		.frames_per_thread = 512,
		.frame_count = 400000,
		.symbol_count = 65536,
		.descriptor_count = 65536,
		.handed_lock_count = 4096,
		.string_bytes = 32 << 20,
	};
}

struct world *world_new(const struct world_limits *limits)
{
	struct world *world = calloc(1, sizeof(*world));
	if (!world)
		return NULL;
	world->limits = limits ? *limits : world_default_limits();
	string_pool_init(&world->strings, world->limits.string_bytes);
	hash_table_init(&world->processes);
	hash_table_init(&world->threads);
	hash_table_init(&world->ns_threads);
	hash_table_init(&world->tid_words);
	hash_table_init(&world->handed_locks);
	return world;
}

/*
 * Removes the threads that this scan has not shown (they have gone, or no longer wait), and processes
 * without threads. Returns false when nothing is left to do.
 */
static bool purge(struct world *world)
{
	struct thread *gone[256];
	size_t position = 0, count = 0;
	const struct hash_entry *entry;
	while (count < sizeof(gone) / sizeof(*gone) && (entry = hash_table_next(&world->threads, &position))) {
		struct thread *thread = entry->value;
		if (thread->scan_number != world->scan_number)
			gone[count++] = thread;
	}
	for (size_t i = 0; i < count; i++)
		thread_remove(world, gone[i]);
	if (count)
		return true;
	for (size_t i = world->ordered.count; i-- > 0;)
		if (!world->ordered.items[i]->owned_thread_count)
			process_remove(world, world->ordered.items[i]);
	return false;
}

struct world *world_free(struct world *world)
{
	if (!world)
		return NULL;
	world->scan_number++;
	while (purge(world))
		;
	array_release(&world->ordered);
	hash_table_release(&world->processes);
	hash_table_release(&world->threads);
	hash_table_release(&world->ns_threads);
	hash_table_release(&world->tid_words);
	hash_table_release(&world->handed_locks);
	string_pool_release(&world->strings);
	free(world);
	return NULL;
}

void world_count_full(struct world *world, struct process *process)
{
	world->lost[EVENT_LOST_TABLE_FULL]++;
	if (process)
		process->lossy = true;
	else
		world->scan_is_lossy = true;
}

/*
 * Texts are interned and never freed one by one, so a watch that goes on for weeks fills the pool with
 * those of dead processes. Then everything described is forgotten at once; the engine asks again.
 */
static void forget_texts_when_full(struct world *world)
{
	if (world->strings.bytes < world->limits.string_bytes / 4 * 3)
		return;
	array_each(&world->ordered, process)
		process_forget_description(world, *process);
	string_pool_release(&world->strings);
	string_pool_init(&world->strings, world->limits.string_bytes);
}

static void begin_scan(struct world *world)
{
	world->scan_number++;
	world->scan_is_lossy = false;
	world->visited_thread_count = world->visited_process_count = world->kernel_ns = 0;
	memset(world->window_count, 0, sizeof(world->window_count));
	forget_texts_when_full(world);
	array_each(&world->ordered, process)
		process_begin_scan(world, *process);
}

static void take_scan_begin(struct world *world, const struct event_scan_begin *begin)
{
	world->monotonic_ns = begin->monotonic_ns;
	world->realtime_ns = begin->realtime_ns;
	world->scheduler_clock_offset_ns = begin->scheduler_clock_offset_ns;
	world->boottime_offset_ns = begin->boottime_offset_ns;
	world->backend = begin->backend;
	world->in_pass = true;
	if (begin->pass == 1)
		begin_scan(world);
}

/* Before the purge: threads that no longer wait teach which locks were handed over. */
static int learn_hand_overs(struct world *world)
{
	size_t position = 0;
	const struct hash_entry *entry;
	while ((entry = hash_table_next(&world->threads, &position))) {
		int err = thread_learn_hand_over(world, entry->value);
		if (err)
			return err;
	}
	return 0;
}

static int end_first_pass(struct world *world)
{
	int err = learn_hand_overs(world);
	while (purge(world))
		;
	return err;
}

static int take_scan_end(struct world *world, const struct event_scan_end *end)
{
	if (end->monotonic_ns > world->monotonic_ns) {
		world->realtime_ns += end->monotonic_ns - world->monotonic_ns;
		world->monotonic_ns = end->monotonic_ns;
	}
	world->kernel_ns += end->kernel_ns;
	world->in_pass = false;
	array_each(&world->ordered, process)
		process_sort_windows(*process, end->pass);
	if (end->pass == 1) {
		world->visited_thread_count = end->thread_count;
		world->visited_process_count = end->process_count;
		return end_first_pass(world);
	}
	if (end->pass == WORLD_PASS_COUNT)
		array_each(&world->ordered, process)
			array_each(&(*process)->threads, thread)
				thread_watch_owner(world, *thread);
	return 0;
}

static void take_lost(struct world *world, const struct event_lost *lost)
{
	if (lost->cause >= EVENT_LOST_CAUSE_COUNT)
		return;
	world->lost[lost->cause] += lost->count;
	struct process *process = hash_table_get(&world->processes, lost->tgid, 0);
	/* A pass that couldn't see all threads of a process; afterwards it has merely ended, or keeps its names. */
	if (lost->cause == EVENT_LOST_PROCESS && process && world->in_pass)
		process->lossy = true;
	/* These alone can hide a thread or a lock; a lost stack or symbol hides nothing that was judged. */
	if (lost->cause != EVENT_LOST_RING_FULL && lost->cause != EVENT_LOST_TABLE_FULL &&
	    lost->cause != EVENT_LOST_MALFORMED)
		return;
	if (process)
		process->lossy = true;
	else
		world->scan_is_lossy = true;
}

int world_apply(struct world *world, const struct event *event)
{
	switch (event->type) {
	case EVENT_SCAN_BEGIN:
		take_scan_begin(world, event->scan_begin);
		return 0;
	case EVENT_THREAD:
		return thread_take(world, event);
	case EVENT_MEMORY:
		return process_take_memory(world, event);
	case EVENT_SCAN_END:
		return take_scan_end(world, event->scan_end);
	case EVENT_PROCESS:
		return process_take_process(world, event);
	case EVENT_MAPPING:
		return process_take_mapping(world, event);
	case EVENT_DESCRIPTOR:
		return process_take_descriptor(world, event);
	case EVENT_LIBC:
		return process_take_libc(world, event);
	case EVENT_FRAMES:
		return thread_take_frames(world, event);
	case EVENT_SYMBOL:
		return process_take_symbol(world, event);
	case EVENT_TICK:
		world->monotonic_ns = event->tick->monotonic_ns;
		world->realtime_ns = event->tick->realtime_ns;
		return 0;
	case EVENT_LOST:
		take_lost(world, event->lost);
		return 0;
	default:
		/* Stacks are the symbolizer's; the other tiers have models of their own. */
		return 0;
	}
}

static int sink_take(void *context, const struct event_header *record)
{
	struct world *world = context;
	struct event event;
	long size = event_decode(record, record->size, &event);
	if (size > 0)
		return world_apply(world, &event);
	world->lost[EVENT_LOST_MALFORMED]++;
	world->scan_is_lossy = true;
	return 0;
}

struct event_sink world_sink(struct world *world)
{
	return (struct event_sink){ .take = sink_take, .context = world };
}

uint64_t world_monotonic_ns(const struct world *world)
{
	return world->monotonic_ns;
}

uint64_t world_realtime_ns(const struct world *world)
{
	return world->realtime_ns;
}

uint64_t world_monotonic_of_boottime(const struct world *world, uint64_t boottime_ns)
{
	return boottime_ns > world->boottime_offset_ns ? boottime_ns - world->boottime_offset_ns : 0;
}

uint64_t world_realtime_of_boottime(const struct world *world, uint64_t boottime_ns)
{
	return world->realtime_ns - world->monotonic_ns - world->boottime_offset_ns + boottime_ns;
}

uint32_t world_backend(const struct world *world)
{
	return world->backend;
}

const uint64_t *world_lost(const struct world *world)
{
	return world->lost;
}

bool world_scan_is_lossy(const struct world *world)
{
	return world->scan_is_lossy;
}

uint64_t world_visited_thread_count(const struct world *world)
{
	return world->visited_thread_count;
}

uint64_t world_visited_process_count(const struct world *world)
{
	return world->visited_process_count;
}

uint64_t world_kernel_ns(const struct world *world)
{
	return world->kernel_ns;
}

const struct process *world_process(const struct world *world, uint32_t tgid)
{
	return hash_table_get(&world->processes, tgid, 0);
}

const struct thread *world_thread(const struct world *world, uint32_t tid)
{
	const struct thread *thread = hash_table_get(&world->threads, tid, 0);
	return thread && thread->scan_number == world->scan_number ? thread : NULL;
}

const struct process *world_next_process(const struct world *world, size_t *position)
{
	return *position < world->ordered.count ? world->ordered.items[(*position)++] : NULL;
}

bool world_lock_was_handed_over(const struct world *world, const struct process *process, uint64_t address)
{
	return hash_table_get(&world->handed_locks, process->tgid, address) == process;
}
