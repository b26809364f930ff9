/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/wait_graph.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

/* Where the owner's id stands in a lock object (lock_layout.c). */
#define MUTEX_OWNER_OFFSET 8
#define RWLOCK_WRITER_OFFSET 24

static int add_node(struct wait_graph *graph, const struct thread *thread, int *ret_index)
{
	int known = wait_graph_node(graph, thread);
	if (known >= 0) {
		*ret_index = known;
		return 0;
	}
	struct graph_node *node = array_add(&graph->nodes);
	if (!node)
		return -ENOMEM;
	*node = (struct graph_node){
		.thread = thread,
		.lock = -1,
		.blocker_node = -1,
		.first_behind = -1,
		.next_behind = -1,
		.next_waiter = -1,
		.first_held = -1,
		.root = -1,
	};
	*ret_index = (int)graph->nodes.count - 1;
	return hash_table_put(&graph->node_of_tid, thread->record.tid, 0, (void *)(uintptr_t)graph->nodes.count);
}

int wait_graph_node(const struct wait_graph *graph, const struct thread *thread)
{
	return (int)(uintptr_t)hash_table_get(&graph->node_of_tid, thread->record.tid, 0) - 1;
}

/* A private lock is {process, address}; one in shared memory {file, offset}, wherever it is mapped. */
static struct hash_key lock_key(const struct wait_graph *graph, const struct process *process,
				const struct wait *wait, uint64_t address)
{
	const struct mapping *mapping = wait->is_shared ? process_mapping(process, address) : NULL;
	if (!mapping)
		return (struct hash_key){ process->tgid, address };
	uint64_t file[] = { mapping->device_major, mapping->device_minor, mapping->inode };
	return (struct hash_key){
		hash_bytes(file, sizeof(file), graph->lock_of_key.seed) | UINT64_C(1) << 63,
		address - mapping->start + mapping->offset,
	};
}

/* Between the passes the lock went from one owner to another: contended, but not stuck. */
static bool owner_changed(const struct process *process, const struct lock_view *view)
{
	uint64_t address = view->address;
	if (view->type == LOCK_TYPE_MUTEX)
		address += MUTEX_OWNER_OFFSET;
	else if (view->type == LOCK_TYPE_RWLOCK)
		address += RWLOCK_WRITER_OFFSET;
	else if (view->type != LOCK_TYPE_PI_MUTEX && view->type != LOCK_TYPE_ROBUST_MUTEX)
		return false;
	uint32_t first, second;
	return process_word_in_pass(process, address, 1, &first) &&
	       process_word_in_pass(process, address, 2, &second) && first != second && view->names_owner &&
	       view->type != LOCK_TYPE_PI_MUTEX && view->type != LOCK_TYPE_ROBUST_MUTEX;
}

/* The waiters bit of a PI or robust word may be set meanwhile by another waiter: only the id counts. */
static bool word_owner_changed(const struct process *process, const struct lock_view *view, uint64_t word_address)
{
	uint32_t first, second;
	if (view->type != LOCK_TYPE_PI_MUTEX && view->type != LOCK_TYPE_ROBUST_MUTEX)
		return false;
	return process_word_in_pass(process, word_address, 1, &first) &&
	       process_word_in_pass(process, word_address, 2, &second) && ((first ^ second) & 0x3fffffff);
}

static bool tells_more(const struct lock_view *a, const struct lock_view *b)
{
	return (a->fits && !b->fits) || (a->fits == b->fits && a->owner_ns_tid && !b->owner_ns_tid);
}

static int add_lock(struct wait_graph *graph, int index)
{
	struct graph_node *node = &graph->nodes.items[index];
	const struct process *process = node->thread->process;
	const struct lock_view *view = &node->wait.lock;
	struct hash_key key = lock_key(graph, process, &node->wait, view->address);
	/* The mutex that the kernel refused isn't known: each is a lock of its own. */
	int known = view->parked ? -1 : (int)(uintptr_t)hash_table_get(&graph->lock_of_key, key.a, key.b) - 1;
	if (known < 0) {
		struct graph_lock *lock = array_add(&graph->locks);
		if (!lock)
			return -ENOMEM;
		known = (int)graph->locks.count - 1;
		*lock = (struct graph_lock){
			.process = process,
			.address = view->address,
			.view = *view,
			.is_shared = node->wait.is_shared,
			.was_handed_over = world_lock_was_handed_over(graph->world, process, view->address),
			.owner_node = -1,
			.first_writer = -1,
			.first_waiter = -1,
			.next_held = -1,
		};
		int err = view->parked ? 0
				       : hash_table_put(&graph->lock_of_key, key.a, key.b,
							(void *)(uintptr_t)graph->locks.count);
		if (err)
			return err;
	}
	struct graph_lock *lock = &graph->locks.items[known];
	if (tells_more(view, &lock->view))
		lock->view = *view;
	lock->is_evidence |= node->wait.words_are_evidence;
	lock->is_moving |= owner_changed(process, view) || word_owner_changed(process, view, node->wait.call.address);
	lock->waiter_count++;
	node->lock = known;
	if (view->role == WAIT_ROLE_BEHIND_READERS && node->wait.is_stable)
		lock->first_writer = index;
	return 0;
}

/*
 * A TID may be given to another thread after its owner died. A lock is handed on by waking a waiter, so an
 * owner younger than every wait for it never had it from them.
 */
static bool owner_is_reused(const struct wait_graph *graph, const struct graph_lock *lock,
			    const struct thread *owner)
{
	uint64_t born_ns = world_monotonic_of_boottime(graph->world, owner->record.start_ns);
	for (int i = lock->first_waiter; i >= 0; i = graph->nodes.items[i].next_waiter) {
		const struct thread *waiter = graph->nodes.items[i].thread;
		if (waiter->sleep_began_earlier || waiter->sleep_began_ns >= born_ns ||
		    !graph->nodes.items[i].wait.is_stable)
			return false;
	}
	return true;
}

static void hold(struct wait_graph *graph, int lock_index, int node_index)
{
	struct graph_lock *lock = &graph->locks.items[lock_index];
	struct graph_node *node = &graph->nodes.items[node_index];
	lock->owner_node = node_index;
	lock->next_held = node->first_held;
	node->first_held = lock_index;
}

/* Finds the owner's node, and makes one where it doesn't wait itself. */
static int find_owner(struct wait_graph *graph, int lock_index)
{
	struct graph_lock *lock = &graph->locks.items[lock_index];
	if (!lock_type_has_holder(lock->view.type) || !lock->view.owner_ns_tid || lock->was_handed_over)
		return 0;
	const struct thread *owner =
		world_thread_by_ns(graph->world, lock->process, lock->view.owner_ns_tid, lock->is_shared);
	if (!owner || !thread_is_alive(owner))
		return 0;
	if (owner_is_reused(graph, lock, owner)) {
		lock->owner_is_reused = true;
		return 0;
	}
	int node;
	int err = add_node(graph, owner, &node);
	if (!err)
		hold(graph, lock_index, node);
	return err;
}

static enum blocker blocker_of_owned(const struct wait_graph *graph, const struct graph_lock *lock)
{
	if (lock->owner_node >= 0)
		return BLOCKER_THREAD;
	if (lock->was_handed_over || !lock->view.owner_ns_tid)
		return BLOCKER_UNKNOWN;
	if (lock->owner_is_reused)
		return BLOCKER_DEAD;
	const struct thread *owner =
		world_thread_by_ns(graph->world, lock->process, lock->view.owner_ns_tid, lock->is_shared);
	/* A process that wasn't looked at may hold a shared lock; an incomplete list may lack a living owner. */
	if (owner)
		return BLOCKER_DEAD;
	return lock->is_shared || !process_is_complete(graph->world, lock->process) ? BLOCKER_UNKNOWN
										      : BLOCKER_DEAD;
}

static void set_blocker(struct wait_graph *graph, int index, enum blocker blocker, int blocker_node)
{
	struct graph_node *node = &graph->nodes.items[index];
	node->blocker = blocker;
	node->blocker_node = blocker == BLOCKER_THREAD ? blocker_node : -1;
	if (blocker != BLOCKER_THREAD)
		return;
	node->next_behind = graph->nodes.items[blocker_node].first_behind;
	graph->nodes.items[blocker_node].first_behind = index;
}

static int find_blocker(struct wait_graph *graph, int index)
{
	struct graph_node *node = &graph->nodes.items[index];
	const struct wait *wait = &node->wait;
	if (wait->lock.type == LOCK_TYPE_JOIN) {
		int target;
		if (!wait->join_target || !thread_is_alive(wait->join_target)) {
			set_blocker(graph, index, BLOCKER_EVENT, -1);
			return 0;
		}
		int err = add_node(graph, wait->join_target, &target);
		if (!err)
			set_blocker(graph, index, BLOCKER_THREAD, target);
		return err;
	}
	if (wait->lock.parked) {
		set_blocker(graph, index, BLOCKER_REFUSED, -1);
		return 0;
	}
	if (!lock_type_has_holder(wait->lock.type)) {
		set_blocker(graph, index, BLOCKER_EVENT, -1);
		return 0;
	}
	const struct graph_lock *lock = &graph->locks.items[node->lock];
	if (lock->owner_node >= 0 || lock->view.owner_ns_tid) {
		set_blocker(graph, index, blocker_of_owned(graph, lock), lock->owner_node);
	} else if (wait->lock.role == WAIT_ROLE_BEHIND_FIRST_WRITER && lock->first_writer >= 0) {
		node->is_soft = true;
		set_blocker(graph, index, BLOCKER_THREAD, lock->first_writer);
	} else if (wait->lock.role != WAIT_ROLE_PLAIN && wait->lock.reader_count) {
		set_blocker(graph, index, BLOCKER_READERS, -1);
	} else {
		set_blocker(graph, index, BLOCKER_UNKNOWN, -1);
	}
	return 0;
}

static int add_waiters(struct wait_graph *graph, const struct process *process)
{
	array_each(&process->threads, slot) {
		struct wait wait = wait_of_thread(graph->world, *slot);
		int index;
		if (wait.call.kind == FUTEX_CALL_NONE || !thread_is_alive(*slot))
			continue;
		int err = add_node(graph, *slot, &index);
		if (err)
			return err;
		graph->nodes.items[index].wait = wait;
		err = add_lock(graph, index);
		if (err)
			return err;
	}
	return 0;
}

static int next_in_chain(const struct wait_graph *graph, int index)
{
	const struct graph_node *node = &graph->nodes.items[index];
	return node->blocker == BLOCKER_THREAD && node->wait.is_stable ? node->blocker_node : -1;
}

/*
 * At most one edge leaves a node, so every chain is walked once: until it meets a node whose root is known,
 * ends, or comes back to this very walk (a mark below -1 names the walk), which closes a cycle.
 */
static void find_roots(struct wait_graph *graph)
{
	struct graph_node *nodes = graph->nodes.items;
	for (int start = 0; start < (int)graph->nodes.count; start++) {
		int mark = -2 - start, end = start;
		while (nodes[end].root == -1 && next_in_chain(graph, end) >= 0) {
			nodes[end].root = mark;
			end = next_in_chain(graph, end);
		}
		int root = nodes[end].root;
		bool cyclic = root == mark || (root >= 0 && nodes[end].leads_to_cycle);
		if (root == mark) {
			int member = end;
			do {
				nodes[member].in_cycle = true;
				member = next_in_chain(graph, member);
			} while (member != end);
		}
		if (root < 0)
			root = end;
		for (int at = start;;) {
			bool first_visit = nodes[at].root < 0;
			nodes[at].root = first_visit ? root : nodes[at].root;
			nodes[at].leads_to_cycle |= cyclic;
			at = next_in_chain(graph, at);
			if (!first_visit || at < 0)
				break;
		}
	}
}

static int find_freedom(struct wait_graph *graph, const struct process *process)
{
	enum thread_freedom freest = THREAD_STUCK;
	array_each(&process->threads, slot) {
		enum thread_freedom own = thread_is_alive(*slot) ? thread_freedom(graph, *slot) : THREAD_STUCK;
		freest = own > freest ? own : freest;
	}
	if (!process_is_complete(graph->world, process))
		freest = THREAD_BUSY;
	return hash_table_put(&graph->freedom_of_process, process->tgid, 0, (void *)((uintptr_t)freest + 1));
}

static int fill(struct wait_graph *graph)
{
	size_t position = 0;
	const struct process *process;
	int err;
	while ((process = world_next_process(graph->world, &position))) {
		if (!(process->pass_mask & 1u << (WORLD_PASS_COUNT - 1)))
			continue;
		err = add_waiters(graph, process);
		if (err)
			return err;
	}
	size_t waiter_count = graph->nodes.count;
	/* Lists grow at their head: backwards makes them run forwards. */
	for (size_t i = waiter_count; i-- > 0;) {
		struct graph_lock *lock = &graph->locks.items[graph->nodes.items[i].lock];
		graph->nodes.items[i].next_waiter = lock->first_waiter;
		lock->first_waiter = (int)i;
	}
	for (size_t i = 0; i < graph->locks.count; i++) {
		err = find_owner(graph, (int)i);
		if (err)
			return err;
	}
	for (size_t i = waiter_count; i-- > 0;) {
		err = find_blocker(graph, (int)i);
		if (err)
			return err;
	}
	find_roots(graph);
	position = 0;
	while ((process = world_next_process(graph->world, &position))) {
		err = process->pass_mask & 1u << (WORLD_PASS_COUNT - 1) ? find_freedom(graph, process) : 0;
		if (err)
			return err;
	}
	return 0;
}

int wait_graph_build(const struct world *world, struct wait_graph **ret_graph)
{
	struct wait_graph *graph = calloc(1, sizeof(*graph));
	if (!graph)
		return -ENOMEM;
	graph->world = world;
	hash_table_init(&graph->node_of_tid);
	hash_table_init(&graph->lock_of_key);
	hash_table_init(&graph->freedom_of_process);
	int err = fill(graph);
	if (err) {
		wait_graph_free(graph);
		return err;
	}
	*ret_graph = graph;
	return 0;
}

struct wait_graph *wait_graph_free(struct wait_graph *graph)
{
	if (!graph)
		return NULL;
	array_release(&graph->nodes);
	array_release(&graph->locks);
	hash_table_release(&graph->node_of_tid);
	hash_table_release(&graph->lock_of_key);
	hash_table_release(&graph->freedom_of_process);
	free(graph);
	return NULL;
}

bool wait_graph_is_firm(const struct wait_graph *graph, int index)
{
	const struct graph_node *node = &graph->nodes.items[index];
	return node->lock >= 0 && node->wait.is_stable && !node->wait.is_timed &&
	       node->blocker != BLOCKER_EVENT && node->blocker != BLOCKER_UNKNOWN;
}

enum thread_freedom thread_freedom(const struct wait_graph *graph, const struct thread *thread)
{
	const struct event_thread *record = &thread->record;
	if (!thread_is_still(thread))
		return THREAD_BUSY;
	int index = wait_graph_node(graph, thread);
	const struct wait *wait = index >= 0 ? &graph->nodes.items[index].wait : NULL;
	if (wait && wait->call.kind != FUTEX_CALL_NONE) {
		/* Robust mutexes use shared operations on private memory, too; without the map it can't be told. */
		bool private_anyway = !thread->process->mappings.count &&
				      wait->lock.type == LOCK_TYPE_ROBUST_MUTEX;
		if (wait->is_timed || (wait->is_shared && !private_anyway))
			return wait->lock.type == LOCK_TYPE_COND ? THREAD_AT_REST : THREAD_IDLE;
		return wait->is_stable ? THREAD_STUCK : THREAD_BUSY;
	}
	switch (syscall_class(record->syscall, record->args)) {
	case SYSCALL_SIGNAL:
		return syscall_is_timed(record->syscall, record->args) ? THREAD_IDLE : THREAD_AWAITS_SIGNAL;
	case SYSCALL_EPOLL:
	case SYSCALL_ACCEPT:
		return THREAD_AT_REST;
	default:
		return THREAD_IDLE;
	}
}

enum thread_freedom process_freedom(const struct wait_graph *graph, const struct process *process)
{
	uintptr_t known = (uintptr_t)hash_table_get(&graph->freedom_of_process, process->tgid, 0);
	return known ? (enum thread_freedom)(known - 1) : THREAD_BUSY;
}
