/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "detect/evidence.h"

#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>

static const char *keep(struct evidence_builder *builder, const char *text)
{
	if (!text || !*text)
		return "";
	/* The world's strings are interned: the same pointer is the same text. */
	char *known = hash_table_get(&builder->strings, (uintptr_t)text, 0);
	if (known)
		return known;
	const char *copy = evidence_keep(builder->evidence, text);
	if (*copy && hash_table_put(&builder->strings, (uintptr_t)text, 0, (void *)copy) < 0)
		builder->failed = true;
	builder->failed |= !*copy;
	return copy;
}

/* The build-id of the executable is that of any frame in it. */
static const char *find_build_id(const struct process *process)
{
	array_each(&process->threads, slot)
		for (size_t i = 0; i < (*slot)->frame_count; i++) {
			const struct frame *frame = &(*slot)->frames[i];
			if (*frame->build_id && strcmp(frame->module, process->exe) == 0)
				return frame->build_id;
		}
	return "";
}

void evidence_begin(struct evidence_builder *builder, const struct wait_graph *graph,
		    const struct process *process, struct evidence *evidence)
{
	*builder = (struct evidence_builder){ .graph = graph, .evidence = evidence };
	hash_table_init(&builder->threads);
	hash_table_init(&builder->locks);
	hash_table_init(&builder->groups);
	hash_table_init(&builder->strings);
	evidence->process = (struct finding_process){
		.pid = process->tgid,
		.ns_pid = process->ns_tgid ? process->ns_tgid : process->tgid,
		.comm = evidence_keep(evidence, process->comm),
		.exe = evidence_keep(evidence, process->exe),
		.build_id = evidence_keep(evidence, find_build_id(process)),
		.cgroup = evidence_keep(evidence, process->cgroup),
		.container = evidence_keep(evidence, process->container),
		.start_realtime_ns = world_realtime_of_boottime(graph->world, process->start_ns),
		.exe_deleted = process->flags & EVENT_PROCESS_EXE_DELETED,
	};
}

int evidence_end(struct evidence_builder *builder)
{
	hash_table_release(&builder->threads);
	hash_table_release(&builder->locks);
	hash_table_release(&builder->groups);
	hash_table_release(&builder->strings);
	return builder->failed ? -ENOMEM : 0;
}

/* ---- locks ---- */

static const char *lock_name(struct evidence_builder *builder, const struct graph_lock *lock)
{
	const struct symbol *symbol = world_symbol(builder->graph->world, lock->process->tgid, lock->address);
	if (!symbol || !*symbol->name)
		return "";
	if (lock->address == symbol->start)
		return keep(builder, symbol->name);
	return evidence_keepf(builder->evidence, "%s+0x%" PRIx64, symbol->name, lock->address - symbol->start);
}

static void fill_lock_words(const struct graph_lock *lock, struct finding_lock *out)
{
	uint32_t most = lock_object_bytes(lock->view.type) / 4, pass;
	while (out->word_count < most && out->word_count < 4 && lock->address &&
	       process_word(lock->process, lock->address + 4 * out->word_count, &out->words[out->word_count], &pass))
		out->word_count++;
}

static void fill_lock_owner(struct evidence_builder *builder, const struct graph_lock *lock, struct finding_lock *out)
{
	const struct wait_graph *graph = builder->graph;
	if (lock->view.type == LOCK_TYPE_JOIN) {
		const struct thread *target = graph->nodes.items[lock->first_waiter].wait.join_target;
		out->owner_tid = target ? target->record.tid : 0;
		out->owner_comm = target ? evidence_keep(builder->evidence, target->record.comm) : "";
		return;
	}
	if (lock->owner_node >= 0) {
		const struct thread *owner = graph->nodes.items[lock->owner_node].thread;
		out->owner_tid = owner->record.tid;
		out->owner_comm = evidence_keep(builder->evidence, owner->record.comm);
	} else if (lock->view.owner_ns_tid && !lock->was_handed_over) {
		out->owner_tid = lock->view.owner_ns_tid;
		out->owner_dead = graph->nodes.items[lock->first_waiter].blocker == BLOCKER_DEAD;
	}
}

int evidence_add_lock(struct evidence_builder *builder, int graph_lock)
{
	int known = (int)(uintptr_t)hash_table_get(&builder->locks, (uint64_t)graph_lock, 0) - 1;
	if (known >= 0)
		return known;
	const struct graph_lock *lock = &builder->graph->locks.items[graph_lock];
	struct finding_lock *out = array_add(&builder->evidence->locks);
	if (!out || hash_table_put(&builder->locks, (uint64_t)graph_lock, 0,
				   (void *)(uintptr_t)builder->evidence->locks.count) < 0) {
		builder->failed = true;
		return -1;
	}
	int index = (int)builder->evidence->locks.count - 1;
	snprintf(out->id, sizeof(out->id), "L%d", index + 1);
	out->address = lock->address;
	out->type = lock->view.type;
	out->name = lock_name(builder, lock);
	const struct mapping *mapping = process_mapping(lock->process, lock->address);
	out->mapping = mapping ? keep(builder, mapping->path) : "";
	out->owner_comm = "";
	out->reader_count = lock->view.reader_count;
	out->waiter_count = lock->waiter_count;
	fill_lock_owner(builder, lock, out);
	fill_lock_words(lock, out);
	return index;
}

const char *evidence_lock_text(struct evidence *evidence, const struct finding_lock *lock)
{
	static const char *const words[LOCK_TYPE_COUNT] = {
		[LOCK_TYPE_FUTEX] = "futex word",
		[LOCK_TYPE_MUTEX] = "mutex",
		[LOCK_TYPE_RWLOCK] = "rwlock",
		[LOCK_TYPE_COND] = "condition variable",
		[LOCK_TYPE_SEM] = "semaphore",
		[LOCK_TYPE_BARRIER] = "barrier",
		[LOCK_TYPE_ONCE] = "one-time initialization",
		[LOCK_TYPE_SPIN] = "spin lock",
		[LOCK_TYPE_PI_MUTEX] = "PI mutex",
		[LOCK_TYPE_ROBUST_MUTEX] = "robust mutex",
	};
	if (lock->type == LOCK_TYPE_JOIN)
		return *lock->owner_comm ? evidence_keepf(evidence, "the end of thread %s (%u)", lock->owner_comm,
							  lock->owner_tid)
					 : "the end of a thread";
	if (*lock->name)
		return evidence_keepf(evidence, "%s %s", words[lock->type], lock->name);
	if (!lock->address)
		return evidence_keepf(evidence, "a %s", words[lock->type]);
	return evidence_keepf(evidence, "%s 0x%" PRIx64, words[lock->type], lock->address);
}

/* ---- threads ---- */

static const char *state_name(const struct event_thread *record)
{
	switch (record->state) {
	case EVENT_STATE_RUNNING:
		return "running";
	case EVENT_STATE_SLEEPING:
		return "sleeping";
	case EVENT_STATE_BLOCKED:
		return "uninterruptible";
	case EVENT_STATE_STOPPED:
		return "stopped";
	case EVENT_STATE_TRACED:
		return "traced";
	case EVENT_STATE_FROZEN:
		return "frozen";
	case EVENT_STATE_DEAD:
		return "dead";
	}
	return "unknown";
}

static const char *syscall_name(struct evidence_builder *builder, const struct event_thread *record)
{
	if (!(record->flags & EVENT_THREAD_IN_SYSCALL) || record->syscall < 0 || record->syscall > INT32_MAX)
		return "";
	char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)record->syscall);
	const char *kept = name ? evidence_keep(builder->evidence, name)
				: evidence_keepf(builder->evidence, "syscall_%d", (int)record->syscall);
	free(name);
	return kept;
}

const char *evidence_stack_end(uint32_t end)
{
	switch (end) {
	case EVENT_FRAMES_COMPLETE:
		return "";
	case EVENT_FRAMES_NO_SAMPLE:
		return "the stack could not be read";
	case EVENT_FRAMES_NO_UNWIND_INFO:
		return "no unwind information here";
	case EVENT_FRAMES_STACK_END:
		return "the sample ends here";
	case EVENT_FRAMES_BAD_MEMORY:
		return "the stack leads nowhere";
	case EVENT_FRAMES_TOO_DEEP:
		return "more frames than the limit";
	case EVENT_FRAMES_NO_SYMBOLIZER:
		return "the symbolizer failed";
	}
	return "ended early";
}

static const char *why_incomplete(const struct thread *thread)
{
	if (!thread->has_frames)
		return thread_has_stack(thread) ? "no stack was sampled" : "it runs";
	return evidence_stack_end(thread->frames_end);
}

const char *evidence_language(uint16_t language)
{
	switch (language) {
	case EVENT_LANGUAGE_C:
		return "c";
	case EVENT_LANGUAGE_CXX:
		return "c++";
	case EVENT_LANGUAGE_RUST:
		return "rust";
	case EVENT_LANGUAGE_JIT:
		return "jit";
	default:
		return "";
	}
}

static void fill_stack(struct evidence_builder *builder, const struct thread *thread, struct finding_stack *stack)
{
	stack->incomplete = why_incomplete(thread);
	stack->frames = thread->frame_count ? calloc(thread->frame_count, sizeof(*stack->frames)) : NULL;
	if (thread->frame_count && !stack->frames) {
		builder->failed = true;
		return;
	}
	stack->frame_count = thread->frame_count;
	for (size_t i = 0; i < thread->frame_count; i++) {
		const struct frame *frame = &thread->frames[i];
		stack->frames[i] = (struct finding_frame){
			.ip = frame->ip,
			.offset = frame->offset,
			.line = frame->line,
			.column = frame->column,
			.inlined = frame->flags & EVENT_FRAME_INLINED,
			.guessed = frame->flags & EVENT_FRAME_GUESSED,
			.function = keep(builder, frame->function),
			.file = keep(builder, frame->file),
			.module = keep(builder, frame->module),
			.build_id = keep(builder, frame->build_id),
			.language = evidence_language(frame->language),
		};
	}
}

/* Two hashes of where it is and what it waits for: alike in both is the same. */
static struct hash_key group_key(const struct thread *thread, const struct finding_thread *own)
{
	uint64_t a = hash_bytes(own->activity, strlen(own->activity), 1), b = hash_bytes(own->state, strlen(own->state), 2);
	uint64_t wait[] = { (uint64_t)own->waits_for, own->mode, own->timed, own->holds.count, thread->frames_end };
	a = hash_bytes(wait, sizeof(wait), a);
	for (size_t i = 0; i < thread->frame_count; i++) {
		a = hash_bytes(&thread->frames[i].ip, sizeof(uint64_t), a);
		b = hash_bytes(&thread->frames[i].ip, sizeof(uint64_t), b + 1);
	}
	return (struct hash_key){ a, b };
}

/* Returns true if an earlier thread stands for this one. */
static bool join_group(struct evidence_builder *builder, const struct thread *thread, int index)
{
	struct finding_thread *own = &builder->evidence->threads.items[index];
	own->same_count = 1;
	if (!builder->group_threads || !thread->frame_count || own->holds.count)
		return false;
	struct hash_key key = group_key(thread, own);
	int first = (int)(uintptr_t)hash_table_get(&builder->groups, key.a, key.b) - 1;
	if (first < 0) {
		builder->failed |= hash_table_put(&builder->groups, key.a, key.b, (void *)(uintptr_t)(index + 1)) < 0;
		uint32_t *tid = array_add(&own->same_tids);
		builder->failed |= !tid;
		if (tid)
			*tid = own->tid;
		return false;
	}
	struct finding_thread *leader = &builder->evidence->threads.items[first];
	own->same_as = leader->tid;
	leader->same_count++;
	if (leader->same_tids.count < EVIDENCE_GROUP_TIDS_MAX) {
		uint32_t *tid = array_add(&leader->same_tids);
		builder->failed |= !tid;
		if (tid)
			*tid = own->tid;
	}
	return true;
}

static void fill_wait(struct evidence_builder *builder, const struct graph_node *node, int index)
{
	int lock = evidence_add_lock(builder, node->lock);
	struct finding_thread *own = &builder->evidence->threads.items[index];
	own->waits_for = lock;
	own->mode = node->wait.lock.mode;
	own->timed = node->wait.is_timed;
}

static void fill_holds(struct evidence_builder *builder, const struct graph_node *node, int index)
{
	for (int held = node->first_held; held >= 0; held = builder->graph->locks.items[held].next_held) {
		int lock = evidence_add_lock(builder, held);
		int *slot = lock < 0 ? NULL : array_add(&builder->evidence->threads.items[index].holds);
		builder->failed |= !slot;
		if (slot)
			*slot = lock;
	}
}

int evidence_add_thread(struct evidence_builder *builder, const struct thread *thread)
{
	int known = (int)(uintptr_t)hash_table_get(&builder->threads, thread->record.tid, 0) - 1;
	if (known >= 0)
		return known;
	struct finding_thread *own = array_add(&builder->evidence->threads);
	if (!own || hash_table_put(&builder->threads, thread->record.tid, 0,
				   (void *)(uintptr_t)builder->evidence->threads.count) < 0) {
		builder->failed = true;
		return -1;
	}
	int index = (int)builder->evidence->threads.count - 1;
	const struct event_thread *record = &thread->record;
	*own = (struct finding_thread){
		.tid = record->tid,
		.ns_tid = record->ns_tid ? record->ns_tid : record->tid,
		.comm = evidence_keep(builder->evidence, record->comm),
		.state = state_name(record),
		.syscall = syscall_name(builder, record),
		.waits_for = -1,
		.mode = WAIT_MODE_EVENT,
		.since_ns = thread_asleep_ns(builder->graph->world, thread),
		.since_is_lower_bound = thread->sleep_began_earlier,
		.activity = "",
		.stack.incomplete = "",
	};
	int node = wait_graph_node(builder->graph, thread);
	if (node >= 0 && builder->graph->nodes.items[node].lock >= 0)
		fill_wait(builder, &builder->graph->nodes.items[node], index);
	if (node >= 0)
		fill_holds(builder, &builder->graph->nodes.items[node], index);
	own = &builder->evidence->threads.items[index];
	own->activity = evidence_activity(builder, thread, own);
	if (!join_group(builder, thread, index))
		fill_stack(builder, thread, &builder->evidence->threads.items[index].stack);
	return index;
}

/* ---- victims ---- */

struct victims {
	struct evidence_builder *builder;
	bool *explained;
	size_t listed_count;
	ARRAY(int) queue;
};

static void enqueue(struct victims *victims, int node)
{
	if (victims->explained[node] || !victims->builder->graph->nodes.items[node].wait.is_stable)
		return;
	victims->explained[node] = true;
	int *slot = array_add(&victims->queue);
	victims->builder->failed |= !slot;
	if (slot)
		*slot = node;
}

static void enqueue_behind(struct victims *victims, int node)
{
	const struct wait_graph *graph = victims->builder->graph;
	for (int i = graph->nodes.items[node].first_behind; i >= 0; i = graph->nodes.items[i].next_behind)
		enqueue(victims, i);
}

static void list_victims(struct victims *victims)
{
	struct evidence_builder *builder = victims->builder;
	for (size_t at = 0; at < victims->queue.count; at++) {
		int node = victims->queue.items[at];
		if (victims->listed_count < EVIDENCE_VICTIMS_MAX) {
			victims->listed_count++;
			evidence_add_thread(builder, builder->graph->nodes.items[node].thread);
		} else {
			builder->evidence->more_threads++;
		}
		enqueue_behind(victims, node);
	}
	array_release(&victims->queue);
}

void evidence_add_victims(struct evidence_builder *builder, int node, bool *explained)
{
	struct victims victims = { .builder = builder, .explained = explained };
	explained[node] = true;
	enqueue_behind(&victims, node);
	list_victims(&victims);
}

void evidence_add_waiters(struct evidence_builder *builder, int graph_lock, bool *explained)
{
	struct victims victims = { .builder = builder, .explained = explained };
	const struct wait_graph *graph = builder->graph;
	for (int i = graph->locks.items[graph_lock].first_waiter; i >= 0; i = graph->nodes.items[i].next_waiter)
		enqueue(&victims, i);
	list_victims(&victims);
}
