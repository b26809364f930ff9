/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/world_state.h"

/* A look for the window around a word passes over at most so many that start nearer to it. */
#define WINDOW_SEARCH_STEPS 64

static size_t ordered_index(const struct world *world, uint32_t tgid)
{
	size_t low = 0, high = world->ordered.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (world->ordered.items[middle]->tgid < tgid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Frees the values of a table of malloc'ed answers. Returns how many there were. */
static size_t release_answers(struct hash_table *table)
{
	size_t position = 0, count = table->count;
	const struct hash_entry *entry;
	while ((entry = hash_table_next(table, &position)))
		free(entry->value);
	hash_table_release(table);
	return count;
}

void process_forget_description(struct world *world, struct process *process)
{
	process->is_described = process->has_libc = false;
	process->exe = process->cgroup = process->container = "";
	world->mapping_count -= process->mappings.count;
	array_release(&process->mappings);
	world->symbol_count -= release_answers(&process->symbols);
	world->descriptor_count -= release_answers(&process->descriptors);
	array_each(&process->threads, thread)
		thread_drop_frames(world, *thread);
}

void process_begin_scan(struct world *world, struct process *process)
{
	array_clear(&process->threads);
	for (int pass = 0; pass < WORLD_WORD_PASS_COUNT; pass++)
		array_clear(&process->windows[pass]);
	process->pass_mask = process->seen_in_last_pass_count = 0;
	process->lossy = false;
	/* A descriptor number may mean another file by now. */
	world->descriptor_count -= release_answers(&process->descriptors);
}

/* Some of the process's threads: those of older scans that this one didn't show are in no list. */
static void remove_threads(struct world *world, const struct process *process)
{
	struct thread *own[64];
	size_t position = 0, count = 0;
	const struct hash_entry *entry;
	while (count < sizeof(own) / sizeof(*own) && (entry = hash_table_next(&world->threads, &position))) {
		struct thread *thread = entry->value;
		if (thread->process == process)
			own[count++] = thread;
	}
	for (size_t i = 0; i < count; i++)
		thread_remove(world, own[i]);
}

static void forget_handed_locks(struct world *world, const struct process *process)
{
	size_t position = 0;
	const struct hash_entry *entry;
	while ((entry = hash_table_next(&world->handed_locks, &position)))
		if (entry->value == process) {
			hash_table_remove(&world->handed_locks, entry->key.a, entry->key.b);
			position = 0;
		}
}

void process_remove(struct world *world, struct process *process)
{
	while (process->owned_thread_count)
		remove_threads(world, process);
	array_clear(&process->threads);
	process_forget_description(world, process);
	if (process->has_handed_locks)
		forget_handed_locks(world, process);
	array_release(&process->threads);
	for (int pass = 0; pass < WORLD_WORD_PASS_COUNT; pass++) {
		world->window_count[pass] -= process->windows[pass].count;
		array_release(&process->windows[pass]);
	}
	size_t index = ordered_index(world, process->tgid);
	memmove(&world->ordered.items[index], &world->ordered.items[index + 1],
		(world->ordered.count - index - 1) * sizeof(*world->ordered.items));
	world->ordered.count--;
	hash_table_remove(&world->processes, process->tgid, 0);
	free(process);
}

struct process *process_get_or_add(struct world *world, uint32_t tgid, uint64_t start_ns)
{
	struct process *process = hash_table_get(&world->processes, tgid, 0);
	if (process && process->start_ns && start_ns && process->start_ns != start_ns) {
		/* The id was given to another process. */
		process_remove(world, process);
		process = NULL;
	}
	if (process) {
		process->start_ns = start_ns ? start_ns : process->start_ns;
		return process;
	}
	if (world->ordered.count >= world->limits.process_count) {
		world_count_full(world, NULL);
		return NULL;
	}
	process = calloc(1, sizeof(*process));
	if (!process || !array_reserve(&world->ordered, world->ordered.count + 1) ||
	    hash_table_put(&world->processes, tgid, 0, process) < 0) {
		free(process);
		errno = ENOMEM;
		return NULL;
	}
	process->tgid = tgid;
	process->start_ns = start_ns;
	process->exe = process->cgroup = process->container = "";
	hash_table_init(&process->symbols);
	hash_table_init(&process->descriptors);
	size_t index = ordered_index(world, tgid);
	memmove(&world->ordered.items[index + 1], &world->ordered.items[index],
		(world->ordered.count - index) * sizeof(*world->ordered.items));
	world->ordered.items[index] = process;
	world->ordered.count++;
	return process;
}

/* Bytes longer than a window are cut into several; lock words are aligned, so none is torn. */
int process_take_memory(struct world *world, const struct event *event)
{
	const struct event_memory *memory = event->memory;
	struct process *process = hash_table_get(&world->processes, memory->tgid, 0);
	if (!process || memory->pass < 1 || memory->pass > WORLD_WORD_PASS_COUNT)
		return 0;
	uint32_t pass = memory->pass - 1;
	for (size_t at = 0; at < event->byte_count;) {
		if (world->window_count[pass] >= world->limits.window_count) {
			world_count_full(world, process);
			return 0;
		}
		struct memory_window *window = array_add(&process->windows[pass]);
		if (!window)
			return -ENOMEM;
		world->window_count[pass]++;
		size_t length = event->byte_count - at;
		window->address = memory->address + at;
		window->length = (uint32_t)(length < WORLD_WINDOW_BYTES ? length : WORLD_WINDOW_BYTES);
		memcpy(window->bytes, event->bytes + at, window->length);
		at += window->length;
	}
	return 0;
}

static int compare_windows(const void *a, const void *b)
{
	const struct memory_window *left = a, *right = b;
	return left->address < right->address ? -1 : left->address > right->address;
}

void process_sort_windows(struct process *process, uint32_t pass)
{
	if (pass < 1 || pass > WORLD_WORD_PASS_COUNT || process->windows[pass - 1].count < 2)
		return;
	qsort(process->windows[pass - 1].items, process->windows[pass - 1].count, sizeof(struct memory_window),
	      compare_windows);
}

bool process_word_in_pass(const struct process *process, uint64_t address, uint32_t pass, uint32_t *ret_word)
{
	if (pass < 1 || pass > WORLD_WORD_PASS_COUNT)
		return false;
	const struct memory_window *windows = process->windows[pass - 1].items;
	size_t low = 0, high = process->windows[pass - 1].count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (windows[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (int step = 0; low > 0 && step < WINDOW_SEARCH_STEPS; step++) {
		const struct memory_window *window = &windows[--low];
		uint64_t offset = address - window->address;
		if (offset >= WORLD_WINDOW_BYTES)
			return false;
		if (offset + sizeof(*ret_word) <= window->length) {
			memcpy(ret_word, window->bytes + offset, sizeof(*ret_word));
			return true;
		}
	}
	return false;
}

bool process_word(const struct process *process, uint64_t address, uint32_t *ret_word, uint32_t *ret_pass)
{
	for (uint32_t pass = WORLD_WORD_PASS_COUNT; pass >= 1; pass--)
		if (process_word_in_pass(process, address, pass, ret_word)) {
			*ret_pass = pass;
			return true;
		}
	return false;
}

int process_take_process(struct world *world, const struct event *event)
{
	const struct event_process *record = event->process;
	struct process *process = hash_table_get(&world->processes, record->tgid, 0);
	if (record->flags & EVENT_PROCESS_EXITED) {
		if (process)
			process_remove(world, process);
		return 0;
	}
	if (!process) {
		errno = 0;
		/* /proc tells start times in clock ticks only: threads bring the exact one. */
		process = process_get_or_add(world, record->tgid, 0);
		if (!process)
			return -errno;
	}
	process->is_described = true;
	process->described_scan_number = world->scan_number;
	process->ns_tgid = record->ns_tgid ? record->ns_tgid : process->ns_tgid;
	process->pid_ns = record->pid_ns ? record->pid_ns : process->pid_ns;
	process->uid = record->uid;
	process->flags = record->flags;
	process->described_thread_count = record->thread_count;
	memcpy(process->comm, record->comm, sizeof(process->comm));
	process->exe = string_pool_intern(&world->strings, event->text[0]);
	process->cgroup = string_pool_intern(&world->strings, event->text[1]);
	process->container = string_pool_intern(&world->strings, event->text[2]);
	return 0;
}

int process_take_mapping(struct world *world, const struct event *event)
{
	const struct event_mapping *record = event->mapping;
	struct process *process = hash_table_get(&world->processes, record->tgid, 0);
	if (!process)
		return 0;
	if (record->flags & EVENT_MAPPING_FIRST) {
		world->mapping_count -= process->mappings.count;
		array_clear(&process->mappings);
	}
	/* /proc/PID/maps comes in order; what doesn't would make the search miss. */
	size_t count = process->mappings.count;
	if (record->start >= record->end || (count && record->start < process->mappings.items[count - 1].end)) {
		world->lost[EVENT_LOST_MALFORMED]++;
		return 0;
	}
	if (count >= world->limits.mappings_per_process || world->mapping_count >= world->limits.mapping_count) {
		world->lost[EVENT_LOST_TABLE_FULL]++;
		return 0;
	}
	struct mapping *mapping = array_add(&process->mappings);
	if (!mapping)
		return -ENOMEM;
	world->mapping_count++;
	*mapping = (struct mapping){
		.start = record->start,
		.end = record->end,
		.offset = record->offset,
		.inode = record->inode,
		.device_major = record->device_major,
		.device_minor = record->device_minor,
		.flags = record->flags,
		.path = string_pool_intern(&world->strings, event->text[0]),
	};
	return 0;
}

const struct mapping *process_mapping(const struct process *process, uint64_t address)
{
	size_t low = 0, high = process->mappings.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct mapping *mapping = &process->mappings.items[middle];
		if (address < mapping->start)
			high = middle;
		else if (address >= mapping->end)
			low = middle + 1;
		else
			return mapping;
	}
	return NULL;
}

bool process_address_is_shared(const struct process *process, uint64_t address)
{
	const struct mapping *mapping = process_mapping(process, address);
	return mapping && mapping->flags & EVENT_MAPPING_SHARED;
}

int process_take_libc(struct world *world, const struct event *event)
{
	struct process *process = hash_table_get(&world->processes, event->libc->tgid, 0);
	if (!process)
		return 0;
	process->has_libc = true;
	process->libc_kind = event->libc->kind;
	process->libc_major = event->libc->major;
	process->libc_minor = event->libc->minor;
	return 0;
}

/* Puts an answer into a table of them; frees the one it replaces. */
static int put_answer(struct hash_table *table, uint64_t key, void *answer, uint64_t *count)
{
	void *old = hash_table_get(table, key, 0);
	int err = hash_table_put(table, key, 0, answer);
	if (err) {
		free(answer);
		return err;
	}
	*count += !old;
	free(old);
	return 0;
}

int process_take_descriptor(struct world *world, const struct event *event)
{
	struct process *process = hash_table_get(&world->processes, event->descriptor->tgid, 0);
	if (!process)
		return 0;
	if (world->descriptor_count >= world->limits.descriptor_count) {
		world->lost[EVENT_LOST_TABLE_FULL]++;
		return 0;
	}
	struct descriptor *descriptor = malloc(sizeof(*descriptor));
	if (!descriptor)
		return -ENOMEM;
	descriptor->kind = event->descriptor->kind;
	descriptor->text = string_pool_intern(&world->strings, event->text[0]);
	return put_answer(&process->descriptors, (uint32_t)event->descriptor->fd, descriptor,
			  &world->descriptor_count);
}

int process_take_symbol(struct world *world, const struct event *event)
{
	struct process *process = hash_table_get(&world->processes, event->symbol->tgid, 0);
	if (!process)
		return 0;
	if (world->symbol_count >= world->limits.symbol_count) {
		world->lost[EVENT_LOST_TABLE_FULL]++;
		return 0;
	}
	struct symbol *symbol = malloc(sizeof(*symbol));
	if (!symbol)
		return -ENOMEM;
	*symbol = (struct symbol){
		.start = event->symbol->start,
		.bytes = event->symbol->symbol_bytes,
		.name = string_pool_intern(&world->strings, event->text[0]),
		.module = string_pool_intern(&world->strings, event->text[1]),
	};
	return put_answer(&process->symbols, event->symbol->address, symbol, &world->symbol_count);
}

const struct descriptor *world_descriptor(const struct world *world, uint32_t tgid, int fd)
{
	const struct process *process = world_process(world, tgid);
	return process ? hash_table_get(&process->descriptors, (uint32_t)fd, 0) : NULL;
}

const struct symbol *world_symbol(const struct world *world, uint32_t tgid, uint64_t address)
{
	const struct process *process = world_process(world, tgid);
	return process ? hash_table_get(&process->symbols, address, 0) : NULL;
}

bool process_is_complete(const struct world *world, const struct process *process)
{
	if ((process->pass_mask & 6) != 6 || process->lossy || world->scan_is_lossy)
		return false;
	if (process->described_scan_number != world->scan_number)
		return true;
	/* The kernel counts a main thread that has exited, but it has no memory left and isn't visited. */
	const struct thread *leader = world_thread(world, process->tgid);
	uint32_t unseen_leader = !leader;
	return process->described_thread_count <= process->seen_in_last_pass_count + unseen_leader;
}
