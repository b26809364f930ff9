/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/order_history.h"

#include <errno.h>
#include <string.h>

enum {
	/* Threads and joins looked through to order two positions. */
	WALK_MAX = 4096,
	/* Parents above a thread whose locks are looked at. */
	ANCESTORS_MAX = 16,
	PAGE_SHIFT = 12,
};

int order_history_init(struct order_history *history, uint32_t thread_limit, uint32_t guard_limit)
{
	*history = (struct order_history){ 0 };
	history->threads.limit = history->joins.limit = thread_limit;
	history->positions.limit = 4 * thread_limit;
	hash_table_init(&history->by_tid);
	hash_table_init(&history->by_page);
	return order_guard_sets_init(&history->guards, guard_limit);
}

void order_history_release(struct order_history *history)
{
	free(history->threads.items);
	free(history->joins.items);
	free(history->positions.items);
	order_guard_sets_release(&history->guards);
	hash_table_release(&history->by_tid);
	hash_table_release(&history->by_page);
	array_release(&history->walk);
	array_release(&history->unused);
	*history = (struct order_history){ 0 };
}

/* ---- lives ---- */

/* An ended thread stays until it was joined (the join must find it) and as long as something names it. */
static bool is_unused(const struct order_thread *thread)
{
	return !thread->uses && (thread->flags & ORDER_THREAD_EXITED) &&
	       (thread->flags & ORDER_THREAD_JOINED);
}

static void drop_use(struct order_history *history, uint32_t index)
{
	uint32_t *slot = --history->threads.items[index].uses ? NULL : array_add(&history->unused);
	/* Without memory the thread keeps its slot until its process is forgotten. */
	if (slot)
		*slot = index;
}

static void free_thread(struct order_history *history, uint32_t index)
{
	struct order_thread *thread = &history->threads.items[index];
	uint32_t join = thread->first_join;
	thread->process = ORDER_NONE;
	order_guard_sets_give(&history->guards, thread->guards_at_creation);
	order_guard_sets_give(&history->guards, thread->guards_at_join);
	while (join != ORDER_NONE) {
		uint32_t next = history->joins.items[join].next, joined = history->joins.items[join].thread;
		order_table_give(&history->joins, join, next);
		drop_use(history, joined);
		join = next;
	}
	if (thread->parent != ORDER_NONE)
		drop_use(history, thread->parent);
	order_table_give(&history->threads, index, next_free);
}

/* Frees the thread if nothing needs it, and then those that only it named. */
static void free_if_unused(struct order_history *history, uint32_t index)
{
	if (history->threads.items[index].process != ORDER_NONE && is_unused(&history->threads.items[index]))
		free_thread(history, index);
	while (history->unused.count) {
		index = history->unused.items[--history->unused.count];
		if (history->threads.items[index].process != ORDER_NONE &&
		    is_unused(&history->threads.items[index]))
			free_thread(history, index);
	}
}

static uint32_t find_by_tid(const struct order_history *history, uint32_t process, uint32_t tid)
{
	return (uint32_t)(uintptr_t)hash_table_get(&history->by_tid, process, tid) - 1;
}

static void end_thread(struct order_history *history, uint32_t index)
{
	struct order_thread *thread = &history->threads.items[index];
	if (find_by_tid(history, thread->process, thread->tid) == index)
		hash_table_remove(&history->by_tid, thread->process, thread->tid);
	thread->flags |= ORDER_THREAD_EXITED;
	free_if_unused(history, index);
}

/* The process at hand may churn threads that nobody joins: those that nothing names make room. */
static void make_room(struct order_history *history)
{
	for (uint32_t i = 0; i < history->threads.count; i++) {
		struct order_thread *thread = &history->threads.items[i];
		if (thread->process == ORDER_NONE || !(thread->flags & ORDER_THREAD_EXITED) || thread->uses)
			continue;
		thread->flags |= ORDER_THREAD_JOINED;
		free_if_unused(history, i);
	}
}

static uint32_t add_thread(struct order_history *history, uint32_t process, uint32_t tid, uint64_t start_ns)
{
	if (history->threads.count == history->threads.limit && !history->threads.first_free)
		make_room(history);
	uint32_t index = order_table_take(&history->threads, next_free);
	if (index != ORDER_NONE &&
	    hash_table_put(&history->by_tid, process, tid, (void *)(uintptr_t)(index + 1)) < 0) {
		history->threads.items[index].process = ORDER_NONE;
		order_table_give(&history->threads, index, next_free);
		index = ORDER_NONE;
	}
	if (index == ORDER_NONE) {
		history->dropped_threads++;
		return index;
	}
	history->threads.items[index] = (struct order_thread){
		.start_ns = start_ns,
		.process = process,
		.tid = tid,
		.position = ORDER_NONE,
		.parent = ORDER_NONE,
		.first_join = ORDER_NONE,
	};
	return index;
}

uint32_t order_history_thread(struct order_history *history, uint32_t process, uint32_t tid,
			      uint64_t start_ns, const char *comm)
{
	uint32_t *recent = &history->recent[tid % ORDER_THREADS_RECENT];
	uint32_t index = *recent ? *recent - 1 : ORDER_NONE;
	const struct order_thread *last = index == ORDER_NONE ? NULL : &history->threads.items[index];
	if (!last || last->tid != tid || last->process != process || (last->flags & ORDER_THREAD_EXITED))
		index = find_by_tid(history, process, tid);
	if (index != ORDER_NONE) {
		struct order_thread *known = &history->threads.items[index];
		if (start_ns && known->start_ns && known->start_ns != start_ns) {
			end_thread(history, index);
			index = ORDER_NONE;
		} else if (start_ns) {
			known->start_ns = start_ns;
		}
	}
	if (index == ORDER_NONE)
		index = add_thread(history, process, tid, start_ns);
	*recent = index + 1;
	if (index != ORDER_NONE && comm)
		memcpy(history->threads.items[index].comm, comm, EVENT_COMM_BYTES);
	return index;
}

static void next_segment(struct order_thread *thread)
{
	/* A thread that has done this four thousand million times stays in its last segment. */
	if (thread->segment < UINT32_MAX - 1)
		thread->segment++;
	thread->position = ORDER_NONE;
}

void order_history_create(struct order_history *history, uint32_t process, const struct event_task *task,
			  uint64_t serial, uint32_t held_guards)
{
	uint32_t parent = order_history_thread(history, process, task->tid, 0, NULL);
	uint32_t child = order_history_thread(history, process, task->other, task->other_start_ns, NULL);
	if (parent == ORDER_NONE || child == ORDER_NONE || parent == child) {
		order_guard_sets_give(&history->guards, held_guards);
		return;
	}
	struct order_thread *thread = &history->threads.items[child];
	if (thread->parent != ORDER_NONE) {
		order_guard_sets_give(&history->guards, held_guards);
		return;
	}
	thread->parent = parent;
	thread->parent_segment = history->threads.items[parent].segment;
	thread->guards_at_creation = held_guards;
	thread->created_serial = serial;
	thread->flags |= ORDER_THREAD_COMPLETE;
	history->threads.items[parent].uses++;
	next_segment(&history->threads.items[parent]);
	if (task->handle)
		hash_table_put(&history->by_page, process, task->handle >> PAGE_SHIFT,
			       (void *)(uintptr_t)(child + 1));
}

void order_history_exit(struct order_history *history, uint32_t process, uint32_t tid, uint64_t handle)
{
	uint32_t index = find_by_tid(history, process, tid);
	if (index == ORDER_NONE)
		return;
	/* Its creation may have been before our time: now its pthread_t is known. */
	if (handle)
		hash_table_put(&history->by_page, process, handle >> PAGE_SHIFT,
			       (void *)(uintptr_t)(index + 1));
	end_thread(history, index);
}

/* The thread whose clear_child_tid lies inside [handle, handle + one page). */
static uint32_t find_by_handle(const struct order_history *history, uint32_t process, uint64_t handle)
{
	for (uint64_t page = handle >> PAGE_SHIFT; page <= (handle >> PAGE_SHIFT) + 1; page++) {
		uint32_t index = (uint32_t)(uintptr_t)hash_table_get(&history->by_page, process, page) - 1;
		if (index != ORDER_NONE && history->threads.items[index].process == process &&
		    !(history->threads.items[index].flags & ORDER_THREAD_JOINED))
			return index;
	}
	return ORDER_NONE;
}

void order_history_join(struct order_history *history, uint32_t process, uint32_t tid, uint64_t handle,
			uint32_t held_guards)
{
	uint32_t joiner = order_history_thread(history, process, tid, 0, NULL);
	uint32_t joined = handle ? find_by_handle(history, process, handle) : ORDER_NONE;
	uint32_t join = joiner == ORDER_NONE || joined == ORDER_NONE || joiner == joined
				? ORDER_NONE
				: order_table_take(&history->joins, next);
	if (join == ORDER_NONE) {
		order_guard_sets_give(&history->guards, held_guards);
		return;
	}
	struct order_thread *thread = &history->threads.items[joiner],
			    *child = &history->threads.items[joined];
	next_segment(thread);
	history->joins.items[join] = (struct order_join){ joined, thread->segment, thread->first_join };
	thread->first_join = join;
	child->uses++;
	child->flags |= ORDER_THREAD_JOINED;
	if (child->parent == joiner) {
		child->flags |= ORDER_THREAD_JOINED_BY_PARENT;
		child->guards_at_join = held_guards;
	} else {
		order_guard_sets_give(&history->guards, held_guards);
	}
	if (child->guards_at_creation != ORDER_NO_GUARDS &&
	    child->guards_at_join != child->guards_at_creation)
		history->guards_shrank = true;
	/* The page may belong to another thread soon: glibc uses a joined thread's stack again. */
}

/* Also ends what names others: nothing of this process is looked at any more. */
void order_history_forget_process(struct order_history *history, uint32_t process)
{
	for (uint32_t i = 0; i < history->threads.count; i++) {
		struct order_thread *thread = &history->threads.items[i];
		if (thread->process != process)
			continue;
		if (find_by_tid(history, process, thread->tid) == i)
			hash_table_remove(&history->by_tid, process, thread->tid);
		for (uint32_t join = thread->first_join; join != ORDER_NONE;) {
			uint32_t next = history->joins.items[join].next;
			order_table_give(&history->joins, join, next);
			join = next;
		}
		order_guard_sets_give(&history->guards, thread->guards_at_creation);
		order_guard_sets_give(&history->guards, thread->guards_at_join);
		thread->process = ORDER_NONE;
		order_table_give(&history->threads, i, next_free);
	}
	struct hash_table kept = { .seed = history->by_page.seed };
	size_t at = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&history->by_page, &at));)
		if (entry->key.a != process)
			hash_table_put(&kept, entry->key.a, entry->key.b, entry->value);
	hash_table_release(&history->by_page);
	history->by_page = kept;
}

/* ---- positions ---- */

uint32_t order_history_take_position(struct order_history *history, uint32_t index)
{
	struct order_thread *thread = &history->threads.items[index];
	if (thread->position == ORDER_NONE) {
		uint32_t position = order_table_take(&history->positions, next_free);
		if (position == ORDER_NONE)
			return position;
		history->positions.items[position] = (struct order_position){ index, thread->segment, 0, 0 };
		thread->position = position;
		thread->uses++;
	}
	history->positions.items[thread->position].uses++;
	return thread->position;
}

void order_history_give_position(struct order_history *history, uint32_t index)
{
	struct order_position *position = &history->positions.items[index];
	if (--position->uses)
		return;
	struct order_thread *thread = &history->threads.items[position->thread];
	if (thread->position == index)
		thread->position = ORDER_NONE;
	uint32_t owner = position->thread;
	order_table_give(&history->positions, index, next_free);
	drop_use(history, owner);
	free_if_unused(history, owner);
}

/* ---- before and after ---- */

/* Notes that all of `thread` up to `segment` comes before. False: out of memory. */
static bool reach(struct order_history *history, uint32_t thread, uint32_t segment)
{
	struct order_thread *known = &history->threads.items[thread];
	if (known->mark == history->mark && known->mark_segment >= segment)
		return true;
	known->mark = history->mark;
	known->mark_segment = segment;
	struct order_position *slot = array_add(&history->walk);
	if (slot)
		*slot = (struct order_position){ thread, segment, 0, 0 };
	return slot;
}

/* Walks back from `to`: creation leads to the parent, joins to the joined. */
static bool precedes(struct order_history *history, const struct order_position *from,
		     const struct order_position *to, bool *ret_cut)
{
	uint32_t steps = 0;
	if (++history->mark == 0) {
		for (uint32_t i = 0; i < history->threads.count; i++)
			history->threads.items[i].mark = 0;
		history->mark = 1;
	}
	array_clear(&history->walk);
	if (!reach(history, to->thread, to->segment)) {
		*ret_cut = true;
		return false;
	}
	for (size_t at = 0; at < history->walk.count; at++) {
		struct order_position here = history->walk.items[at];
		if (here.thread == from->thread && here.segment >= from->segment)
			return true;
		const struct order_thread *thread = &history->threads.items[here.thread];
		bool room = thread->parent == ORDER_NONE ||
			    reach(history, thread->parent, thread->parent_segment);
		for (uint32_t join = thread->first_join; room && join != ORDER_NONE;) {
			const struct order_join *done = &history->joins.items[join];
			if (done->segment <= here.segment)
				room = reach(history, done->thread, UINT32_MAX);
			join = done->next;
			room = room && ++steps < WALK_MAX;
		}
		if (!room || ++steps >= WALK_MAX) {
			*ret_cut = true;
			return false;
		}
	}
	return false;
}

bool order_history_are_ordered(struct order_history *history, uint32_t a, uint32_t b, bool *ret_cut)
{
	struct order_position first = history->positions.items[a], second = history->positions.items[b];
	return precedes(history, &first, &second, ret_cut) || precedes(history, &second, &first, ret_cut);
}

/* ---- inherited guards ---- */

static bool set_has(const struct order_guard_set *set, uint64_t guard)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (set->guards[i] == guard)
			return true;
	return false;
}

bool order_history_inherited(const struct order_history *history, uint32_t index, order_released_fn *released,
			     const void *released_context, order_inherited_fn *visit, void *visit_context)
{
	const struct order_guard_set *sets = history->guards.sets.items;
	for (int depth = 0; depth < ANCESTORS_MAX; depth++) {
		const struct order_thread *thread = &history->threads.items[index];
		if (thread->parent == ORDER_NONE)
			return false;
		const struct order_guard_set *at_creation = &sets[thread->guards_at_creation];
		bool joined = thread->flags & ORDER_THREAD_JOINED;
		for (uint32_t i = 0; i < at_creation->count; i++) {
			uint64_t guard = at_creation->guards[i];
			bool guards = joined ? (thread->flags & ORDER_THREAD_JOINED_BY_PARENT) &&
						       set_has(&sets[thread->guards_at_join], guard)
					     : !released(released_context, thread->process,
							 ORDER_GUARD_ADDRESS(guard), thread->parent,
							 thread->created_serial);
			if (guards && visit(visit_context, guard, thread->parent))
				return true;
		}
		/* What guards the parent guards a child only while that can't outlive the parent. */
		bool within = joined ? thread->flags & ORDER_THREAD_JOINED_BY_PARENT
				     : !(history->threads.items[thread->parent].flags & ORDER_THREAD_JOINED);
		if (!within)
			return false;
		index = thread->parent;
	}
	return false;
}
