/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the next pass should look at, and what to ask about it. */
#include <errno.h>
#include <stdlib.h>

#include "model/wait_graph.h"

#define STACKS_PER_LOCK 32
/* Stacks of one process in a scan: more waiters than this tell nothing new. */
#define STACKS_PER_PROCESS 1024
#define SYMBOLS_PER_PROCESS 4096
#define DESCRIPTORS_PER_PROCESS 1024
#define OWN_STACK_BYTES 4096

static int add_id(id_array *ids, uint32_t id)
{
	uint32_t *slot = array_add(ids);
	if (!slot)
		return -ENOMEM;
	*slot = id;
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	return left < right ? -1 : left > right;
}

static void sort_unique(id_array *ids)
{
	size_t kept = 0;
	if (!ids->count)
		return;
	qsort(ids->items, ids->count, sizeof(*ids->items), compare_ids);
	for (size_t i = 0; i < ids->count; i++)
		if (!kept || ids->items[kept - 1] != ids->items[i])
			ids->items[kept++] = ids->items[i];
	ids->count = kept;
}

/* Before its stack is known, glibc's endless sleep after a refused PI lock is a zero on its own stack. */
static bool may_be_parked(const struct thread *thread, const struct wait *wait)
{
	uint64_t sp = thread->record.regs.sp;
	return wait->lock.parked || (wait->lock.type == LOCK_TYPE_FUTEX && !wait->call.expected && !wait->is_timed &&
				     sp && wait->call.address - sp < OWN_STACK_BYTES);
}

/* The owner of a shared lock: its process if it is known, else its id where the namespaces are the same. */
static int add_foreign_owner(const struct world *world, const struct thread *thread, const struct wait *wait,
			     id_array *ids)
{
	uint32_t owner_id = wait->lock.owner_ns_tid;
	if (wait->call.is_private || !owner_id ||
	    world_thread_by_ns(world, thread->process, owner_id, false))
		return 0;
	const struct thread *owner = world_thread_by_ns(world, thread->process, owner_id, true);
	if (owner)
		return add_id(ids, owner->process->tgid);
	return thread->record.ns_tid == thread->record.tid ? add_id(ids, owner_id) : 0;
}

struct suspicion {
	bool suspected;
	bool leader_waits; /* its main thread waits without timeout */
	bool all_wait; /* so do all others that were seen, for long enough */
};

static int look_at_waiter(const struct world *world, const struct thread *thread, uint64_t min_wait_ns,
			  struct suspicion *suspicion, id_array *ids)
{
	struct wait wait = wait_of_thread(world, thread);
	bool is_long = thread_asleep_ns(world, thread) >= min_wait_ns;
	if (wait.call.kind == FUTEX_CALL_NONE || wait.is_timed || !is_long)
		suspicion->all_wait = false;
	else if (thread->record.tid == thread->process->tgid)
		suspicion->leader_waits = true;
	if (wait.call.kind == FUTEX_CALL_NONE)
		return 0;
	if (wait.lock.type == LOCK_TYPE_JOIN && wait.join_target) {
		struct wait next = wait_of_thread(world, wait.join_target);
		if (next.call.kind != FUTEX_CALL_NONE &&
		    (next.lock.type == LOCK_TYPE_JOIN || lock_type_has_holder(next.lock.type)))
			suspicion->suspected = true;
		return 0;
	}
	if (!lock_type_has_holder(wait.lock.type) && !may_be_parked(thread, &wait))
		return 0;
	if (wait.is_timed && !is_long)
		return 0;
	suspicion->suspected = true;
	return add_foreign_owner(world, thread, &wait, ids);
}

int world_suspects(const struct world *world, uint64_t min_wait_ns, id_array *ret_tgids)
{
	id_array ids = { 0 };
	size_t position = 0;
	const struct process *process;
	int err = 0;
	while (!err && (process = world_next_process(world, &position))) {
		struct suspicion suspicion = { .all_wait = process->threads.count > 0 };
		array_each(&process->threads, slot) {
			err = look_at_waiter(world, *slot, min_wait_ns, &suspicion, &ids);
			if (err)
				break;
		}
		if (!err && (suspicion.suspected || (suspicion.all_wait && suspicion.leader_waits)))
			err = add_id(&ids, process->tgid);
	}
	if (err) {
		array_release(&ids);
		return err;
	}
	sort_unique(&ids);
	array_release(ret_tgids);
	ret_tgids->items = ids.items;
	ret_tgids->count = ids.count;
	ret_tgids->capacity = ids.capacity;
	return 0;
}

/* May this waiter become part of a finding? */
static bool is_interesting(const struct wait_graph *graph, const struct graph_node *node, uint64_t min_wait_ns)
{
	if (node->lock < 0 || !node->wait.is_stable)
		return false;
	if (node->leads_to_cycle || node->blocker == BLOCKER_DEAD || node->blocker == BLOCKER_READERS ||
	    may_be_parked(node->thread, &node->wait))
		return true;
	return lock_type_has_holder(node->wait.lock.type) &&
	       thread_asleep_ns(graph->world, node->thread) >= min_wait_ns;
}

/* Everybody in it has slept long enough, and nobody outside can wake it. */
static bool may_be_stalled(const struct wait_graph *graph, const struct process *process, uint64_t min_wait_ns)
{
	if (!process->threads.count || process_freedom(graph, process) != THREAD_STUCK)
		return false;
	array_each(&process->threads, slot)
		if (thread_is_alive(*slot) && thread_asleep_ns(graph->world, *slot) < min_wait_ns)
			return false;
	return true;
}

static int want_stack(const struct thread *thread, id_array *tids)
{
	if (thread->has_frames || !thread_has_stack(thread))
		return 0;
	return add_id(tids, thread->record.tid);
}

static int want_descriptor(const struct world *world, const struct thread *thread, struct wants *wants)
{
	if (!thread->sleep_began_ns)
		return 0;
	int fd = syscall_descriptor(thread->record.syscall, thread->record.args);
	uint32_t tgid = thread->process->tgid;
	if (fd < 0 || world_descriptor(world, tgid, fd))
		return 0;
	size_t own_count = 0;
	for (size_t i = wants->descriptors.count; i-- > 0 && wants->descriptors.items[i].tgid == tgid;)
		if (wants->descriptors.items[i].fd == fd || ++own_count >= DESCRIPTORS_PER_PROCESS)
			return 0;
	struct descriptor_want *want = array_add(&wants->descriptors);
	if (!want)
		return -ENOMEM;
	*want = (struct descriptor_want){ .tgid = tgid, .fd = fd };
	return 0;
}

static int want_about_lock(const struct wait_graph *graph, const struct graph_lock *lock, struct wants *wants)
{
	uint32_t listed_count = 0;
	for (int i = lock->first_waiter; i >= 0; i = graph->nodes.items[i].next_waiter) {
		const struct graph_node *node = &graph->nodes.items[i];
		if (!node->wait.is_stable || (listed_count >= STACKS_PER_LOCK && !node->in_cycle))
			continue;
		listed_count++;
		int err = want_stack(node->thread, &wants->stack_tids);
		if (err)
			return err;
	}
	if (!lock->address || world_symbol(graph->world, lock->process->tgid, lock->address))
		return 0;
	struct symbol_want *want = array_add(&wants->symbols);
	if (!want)
		return -ENOMEM;
	*want = (struct symbol_want){ .tgid = lock->process->tgid, .address = lock->address };
	return 0;
}

/* The threads that others of interesting processes wait for. */
static int want_about_blocker(const struct wait_graph *graph, const struct thread *thread, struct wants *wants)
{
	int err = want_stack(thread, &wants->stack_tids);
	return err ? err : want_descriptor(graph->world, thread, wants);
}

static int want_about_process(const struct wait_graph *graph, const struct process *process, bool everything,
			      struct wants *wants)
{
	int err = 0;
	if (!process->is_described || !process->has_libc || !process->mappings.count)
		err = add_id(&wants->process_tgids, process->tgid);
	if (err || !everything)
		return err;
	array_each(&process->threads, slot) {
		err = want_about_blocker(graph, *slot, wants);
		if (err)
			return err;
	}
	return 0;
}


static int find_interesting(const struct wait_graph *graph, const struct want_options *options,
			    struct hash_table *interesting)
{
	size_t position = 0;
	const struct process *process;
	array_each(&graph->nodes, node) {
		const struct process *own = node->thread->process;
		if (!options->tgid && is_interesting(graph, node, options->min_wait_ns) &&
		    hash_table_put(interesting, own->tgid, 0, (void *)own) < 0)
			return -ENOMEM;
	}
	while ((process = world_next_process(graph->world, &position))) {
		bool wanted = options->tgid ? process->tgid == options->tgid
					    : may_be_stalled(graph, process, options->min_wait_ns);
		if (wanted && hash_table_put(interesting, process->tgid, 0, (void *)process) < 0)
			return -ENOMEM;
	}
	/* Owners of shared locks live elsewhere. */
	array_each(&graph->nodes, node)
		if (node->blocker == BLOCKER_THREAD && hash_table_get(interesting, node->thread->process->tgid, 0)) {
			const struct process *other = graph->nodes.items[node->blocker_node].thread->process;
			if (hash_table_put(interesting, other->tgid, 0, (void *)other) < 0)
				return -ENOMEM;
		}
	return 0;
}

static int collect(const struct wait_graph *graph, const struct want_options *options,
		   const struct hash_table *interesting, struct wants *wants)
{
	size_t position = 0;
	const struct process *process;
	int err;
	while ((process = world_next_process(graph->world, &position))) {
		if (!hash_table_get(interesting, process->tgid, 0))
			continue;
		err = want_about_process(graph, process, process->tgid == options->tgid, wants);
		if (err)
			return err;
	}
	uint32_t tgid = 0;
	size_t first_stack = 0, first_symbol = 0;
	array_each(&graph->locks, lock) {
		/* Locks come process by process: the bounds are each process's own. */
		if (lock->process->tgid != tgid) {
			tgid = lock->process->tgid;
			first_stack = wants->stack_tids.count;
			first_symbol = wants->symbols.count;
		}
		if (!hash_table_get(interesting, tgid, 0) ||
		    wants->symbols.count - first_symbol >= SYMBOLS_PER_PROCESS ||
		    (!options->tgid && wants->stack_tids.count - first_stack >= STACKS_PER_PROCESS))
			continue;
		err = want_about_lock(graph, lock, wants);
		if (err)
			return err;
	}
	array_each(&graph->nodes, node) {
		if (node->first_behind < 0 || !hash_table_get(interesting, node->thread->process->tgid, 0))
			continue;
		err = want_about_blocker(graph, node->thread, wants);
		if (err)
			return err;
	}
	return 0;
}

int world_wants(const struct world *world, const struct want_options *options, struct wants *ret_wants)
{
	struct wait_graph *graph = NULL;
	struct hash_table interesting;
	hash_table_init(&interesting);
	array_clear(&ret_wants->process_tgids);
	array_clear(&ret_wants->stack_tids);
	array_clear(&ret_wants->descriptors);
	array_clear(&ret_wants->symbols);
	int err = wait_graph_build(world, &graph);
	if (!err)
		err = find_interesting(graph, options, &interesting);
	if (!err)
		err = collect(graph, options, &interesting, ret_wants);
	sort_unique(&ret_wants->process_tgids);
	sort_unique(&ret_wants->stack_tids);
	hash_table_release(&interesting);
	wait_graph_free(graph);
	return err;
}

void wants_release(struct wants *wants)
{
	array_release(&wants->process_tgids);
	array_release(&wants->stack_tids);
	array_release(&wants->descriptors);
	array_release(&wants->symbols);
}
