/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/order_graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/order_state.h"

struct order_limits order_default_limits(void)
{
	return (struct order_limits){
		.process_count = 4096,
		.thread_count = 1 << 16,
		.node_count = 1 << 18,
		.edge_count = 1 << 19,
		.witness_count = 1 << 18,
		.guard_count = 1 << 18,
		.stack_count = 1 << 12,
		.frame_count = 1 << 17,
		.symbol_count = 1 << 14,
		.cycle_count = 1 << 10,
		.string_bytes = 8 << 20,
		.insert_visits = 1 << 12,
		.search_visits = 1 << 15,
	};
}

struct order_graph *order_graph_new(const struct order_limits *limits)
{
	struct order_graph *graph = calloc(1, sizeof(*graph));
	if (!graph)
		return NULL;
	graph->limits = limits ? *limits : order_default_limits();
	limits = &graph->limits;
	order_topology_init(&graph->topology, limits->node_count, limits->edge_count, limits->insert_visits);
	graph->more.limit = limits->witness_count;
	graph->processes.limit = limits->process_count;
	hash_table_init(&graph->process_by_tgid);
	hash_table_init(&graph->stacks);
	hash_table_init(&graph->symbols);
	hash_table_init(&graph->holders);
	hash_table_init(&graph->cycle_by_key);
	hash_table_init(&graph->cycle_instances);
	string_pool_init(&graph->strings, limits->string_bytes);
	graph->recent = calloc(ORDER_RECENT_COUNT, sizeof(*graph->recent));
	if (order_history_init(&graph->history, limits->thread_count, limits->guard_count) < 0 ||
	    !graph->recent)
		return order_graph_free(graph);
	return graph;
}

static void free_holders(struct order_graph *graph)
{
	size_t at = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&graph->holders, &at));)
		free(entry->value);
	hash_table_release(&graph->holders);
}

struct order_graph *order_graph_free(struct order_graph *graph)
{
	if (!graph)
		return NULL;
	order_topology_release(&graph->topology);
	order_history_release(&graph->history);
	order_names_release(graph);
	free_holders(graph);
	order_index_release(&graph->node_index);
	order_index_release(&graph->edge_index);
	free(graph->more.items);
	free(graph->processes.items);
	hash_table_release(&graph->process_by_tgid);
	hash_table_release(&graph->cycle_by_key);
	hash_table_release(&graph->cycle_instances);
	array_release(&graph->cycles);
	free(graph->recent);
	free(graph);
	return NULL;
}

/* ---- nodes: locks {process, address, generation} ---- */

static uint64_t lock_hash(uint32_t process, uint64_t address)
{
	return order_mix(address + ((uint64_t)process << 48 | process));
}

static uint64_t node_hash(const void *owner, uint32_t item)
{
	const struct order_node *node = order_node(owner, item);
	return lock_hash(node->process, node->address);
}

static uint64_t ends_hash(uint32_t from, uint32_t to, uint32_t mode)
{
	return order_mix(((uint64_t)from << 32 | to) * 8 + mode);
}

static uint64_t edge_hash(const void *owner, uint32_t item)
{
	const struct order_edge *edge = order_edge(owner, item);
	return ends_hash(edge->from, edge->to, edge->flags & ORDER_EDGE_MODE);
}

static uint32_t find_node(const struct order_graph *graph, uint32_t process, uint64_t address)
{
	order_index_each(&graph->node_index, lock_hash(process, address),
			 item) if (order_node(graph, item)->address == address &&
				   order_node(graph, item)->process == process) return item;
	return ORDER_NONE;
}

static void remove_edge(struct order_graph *graph, uint32_t edge)
{
	order_index_remove(&graph->edge_index, graph, edge_hash, edge);
	order_witness_release(graph, edge);
	order_topology_remove_edge(&graph->topology, edge);
}

/*
 * SEMANTICS 4.11: the edges of an old generation die with it. What of them makes a cycle that hasn't been
 * judged is judged first.
 */
static void remove_node(struct order_graph *graph, uint32_t index)
{
	const struct order_node *node = order_node(graph, index);
	if (node->first_in != ORDER_NONE && node->first_out != ORDER_NONE &&
	    (graph->topology.dirty.count || graph->topology.deferred.count))
		order_graph_search(graph, graph->all_orders);
	while (order_node(graph, index)->first_out != ORDER_NONE)
		remove_edge(graph, order_node(graph, index)->first_out);
	while (order_node(graph, index)->first_in != ORDER_NONE)
		remove_edge(graph, order_node(graph, index)->first_in);
	order_index_remove(&graph->node_index, graph, node_hash, index);
	order_topology_remove_node(&graph->topology, index);
	graph->recent_epoch++;
}

/* The node of a lock as it is now; ORDER_NONE: the record is about an older generation, or no room. */
static uint32_t get_node(struct order_graph *graph, uint32_t process, uint64_t address, uint32_t generation,
			 uint32_t kind)
{
	uint32_t index = find_node(graph, process, address);
	if (index != ORDER_NONE) {
		const struct order_node *node = order_node(graph, index);
		if (node->generation == generation && node->kind == (uint16_t)kind)
			return index;
		/* Records of several CPUs may overtake each other. */
		if (node->generation > generation)
			return ORDER_NONE;
		/* Another kind of lock at the same address is another lock, though no reset was seen. */
		remove_node(graph, index);
	}
	index = order_index_reserve(&graph->node_index, graph, node_hash, graph->topology.nodes.count)
			? order_topology_add_node(&graph->topology)
			: ORDER_NONE;
	if (index == ORDER_NONE) {
		graph->stats.dropped_nodes++;
		return index;
	}
	struct order_node *node = order_node(graph, index);
	node->address = address;
	node->process = process;
	node->generation = generation;
	node->kind = (uint16_t)kind;
	order_index_add(&graph->node_index, node_hash(graph, index), index);
	return index;
}

/* ---- processes ---- */

static uint32_t get_process(struct order_graph *graph, uint32_t tgid)
{
	const struct order_process_slot *recent =
		graph->recent_process ? &graph->processes.items[graph->recent_process - 1] : NULL;
	if (recent && recent->used && !recent->process.ended && recent->process.tgid == tgid)
		return graph->recent_process - 1;
	uint32_t index = (uint32_t)(uintptr_t)hash_table_get(&graph->process_by_tgid, tgid, 0) - 1;
	graph->recent_process = index + 1;
	if (index != ORDER_NONE)
		return index;
	index = order_table_take(&graph->processes, next_free);
	if (index != ORDER_NONE &&
	    hash_table_put(&graph->process_by_tgid, tgid, 0, (void *)(uintptr_t)(index + 1)) < 0) {
		graph->processes.items[index].used = false;
		order_table_give(&graph->processes, index, next_free);
		index = ORDER_NONE;
	}
	if (index == ORDER_NONE) {
		graph->stats.dropped_processes++;
		return index;
	}
	graph->processes.items[index] = (struct order_process_slot){
		.process = { .tgid = tgid, .comm = "", .exe = "", .cgroup = "", .container = "" },
		.serial = ++graph->process_serial,
		.used = true,
	};
	return index;
}

/* It exited, or became another program: what is known of it stays until the caller has read it. */
static void end_process(struct order_graph *graph, uint32_t tgid)
{
	uint32_t index = (uint32_t)(uintptr_t)hash_table_remove(&graph->process_by_tgid, tgid, 0) - 1;
	if (index != ORDER_NONE)
		graph->processes.items[index].process.ended = true;
}

static void apply_process(struct order_graph *graph, const struct event *event)
{
	const struct event_process *record = event->process;
	if (record->flags & EVENT_PROCESS_EXITED) {
		end_process(graph, record->tgid);
		return;
	}
	uint32_t index = get_process(graph, record->tgid);
	if (index == ORDER_NONE)
		return;
	struct order_process *process = &graph->processes.items[index].process;
	process->ns_tgid = record->ns_tgid;
	process->start_ns = record->start_ns;
	process->exe_deleted = record->flags & EVENT_PROCESS_EXE_DELETED;
	process->comm = string_pool_intern(&graph->strings, record->comm);
	process->exe = string_pool_intern(&graph->strings, event->text[0]);
	process->cgroup = string_pool_intern(&graph->strings, event->text[1]);
	process->container = string_pool_intern(&graph->strings, event->text[2]);
}

const struct order_process *order_graph_process(const struct order_graph *graph, uint32_t process)
{
	return &graph->processes.items[process].process;
}

static void forget_process(struct order_graph *graph, uint32_t process)
{
	for (uint32_t i = 0; i < graph->topology.nodes.count; i++)
		if ((order_node(graph, i)->flags & ORDER_NODE_LIVE) &&
		    order_node(graph, i)->process == process)
			remove_node(graph, i);
	order_history_forget_process(&graph->history, process);
	order_names_forget_process(graph, process);
	order_search_forget_process(graph, process);
	graph->processes.items[process].used = false;
	order_table_give(&graph->processes, process, next_free);
}

void order_graph_forget_ended(struct order_graph *graph)
{
	for (uint32_t i = 0; i < graph->processes.count; i++)
		if (graph->processes.items[i].used && graph->processes.items[i].process.ended)
			forget_process(graph, i);
}

/* ---- acquisitions ---- */

/* A record as it is worked on. */
struct acquire {
	const struct event_acquire *record;
	const struct event_held *held;
	uint32_t process, thread;
	uint32_t wanted; /* node */
	uint32_t last_edge;
};

/* May a record of this thread, in its present segment, of these locks in these modes, tell anything new? */
static struct order_recent *find_recent(struct order_graph *graph, const struct acquire *acquire,
					uint64_t *ret_key)
{
	const struct event_acquire *record = acquire->record;
	const struct order_thread *thread = &graph->history.threads.items[acquire->thread];
	uint64_t key = order_mix(record->lock + graph->recent_epoch) ^
		       order_mix((uint64_t)record->tid << 32 | thread->segment);
	key = order_mix(key + record->acquisition + ((uint64_t)record->flags << 32 | record->generation));
	key ^= order_mix(graph->processes.items[acquire->process].serial + thread->start_ns);
	for (uint32_t i = 0; i < record->held_count; i++)
		key = order_mix(key + acquire->held[i].lock + acquire->held[i].acquisition) +
		      ((uint64_t)acquire->held[i].flags << 32 | acquire->held[i].generation);
	*ret_key = key ? key : 1;
	return &graph->recent[key & (ORDER_RECENT_COUNT - 1)];
}

static uint32_t edge_mode(const struct event_held *held, const struct event_acquire *wanted)
{
	return (held->flags & EVENT_ACQUIRE_SHARED ? (uint32_t)ORDER_HELD_SHARED : 0) |
	       (wanted->flags & EVENT_ACQUIRE_SHARED ? (uint32_t)ORDER_WANTED_SHARED : 0) |
	       (wanted->flags & EVENT_ACQUIRE_RECURSIVE_READ ? (uint32_t)ORDER_WANTED_RECURSIVE_READ : 0);
}

/* The other locks that the thread holds, as a guard set. */
static uint32_t take_guards(struct order_graph *graph, const struct event_held *held, uint32_t count,
			    uint64_t but_address, uint64_t but_wanted)
{
	uint64_t guards[EVENT_HELD_MAX];
	uint32_t guard_count = 0;
	for (uint32_t i = 0; i < count; i++)
		if (held[i].lock != but_address && held[i].lock != but_wanted)
			guards[guard_count++] =
				ORDER_GUARD(held[i].lock, (held[i].flags & EVENT_ACQUIRE_SHARED) != 0);
	return order_guard_sets_take(&graph->history.guards, guards, guard_count);
}

static uint32_t find_edge(const struct order_graph *graph, uint32_t from, uint32_t to, uint32_t mode)
{
	order_index_each(&graph->edge_index, ends_hash(from, to, mode), item)
	{
		const struct order_edge *edge = order_edge(graph, item);
		if (edge->from == from && edge->to == to && (edge->flags & ORDER_EDGE_MODE) == mode)
			return item;
	}
	return ORDER_NONE;
}

static uint32_t new_edge(struct order_graph *graph, uint32_t from, uint32_t to, uint32_t mode)
{
	uint32_t index =
		order_index_reserve(&graph->edge_index, graph, edge_hash, graph->topology.edges.count)
			? order_topology_add_edge(&graph->topology, from, to, mode)
			: ORDER_NONE;
	if (index == ORDER_NONE) {
		graph->stats.dropped_edges++;
		return index;
	}
	order_index_add(&graph->edge_index, ends_hash(from, to, mode), index);
	order_edge(graph, index)->first_seen = graph->acquire_serial;
	return index;
}

/* Asks for what adding an edge will look at. */
static void prefetch_edge(const struct order_graph *graph, uint32_t from, uint32_t to, uint32_t mode)
{
	order_index_prefetch(&graph->edge_index, ends_hash(from, to, mode));
	if (order_node(graph, from)->first_out != ORDER_NONE)
		__builtin_prefetch(order_edge(graph, order_node(graph, from)->first_out));
	if (order_node(graph, to)->first_in != ORDER_NONE)
		__builtin_prefetch(order_edge(graph, order_node(graph, to)->first_in));
}

/*
 * SEMANTICS 4.1: an edge held -> wanted for each blocking attempt, before the wait. One for each lock held,
 * not only for the last one taken: that one may be released before the others.
 */
static void add_edge(struct order_graph *graph, struct acquire *acquire, const struct event_held *held)
{
	const struct event_acquire *record = acquire->record;
	uint32_t from = get_node(graph, acquire->process, held->lock, held->generation, held->type);
	if (from == ORDER_NONE || acquire->wanted == ORDER_NONE)
		return;
	uint32_t mode = edge_mode(held, record);
	prefetch_edge(graph, from, acquire->wanted, mode);
	struct order_witness witness = {
		.position = order_history_take_position(&graph->history, acquire->thread),
		.held_acquisition = held->acquisition,
		.wanted_acquisition = record->acquisition,
		.site = record->site,
	};
	if (witness.position == ORDER_NONE) {
		graph->stats.dropped_witnesses++;
		return;
	}
	witness.guards = record->held_count > 1 ? take_guards(graph, acquire->held, record->held_count,
							      held->lock, record->lock)
						: ORDER_NO_GUARDS;
	uint32_t index = find_edge(graph, from, acquire->wanted, mode);
	bool is_new = index == ORDER_NONE;
	if (is_new)
		index = new_edge(graph, from, acquire->wanted, mode);
	if (index == ORDER_NONE) {
		order_history_give_position(&graph->history, witness.position);
		order_guard_sets_give(&graph->history.guards, witness.guards);
		return;
	}
	struct order_edge *edge = order_edge(graph, index);
	edge->last_seen = graph->acquire_serial;
	acquire->last_edge = index;
	if (is_new)
		edge->witness = witness;
	else if (order_witness_add(graph, index, &witness) && order_edge_is_cyclic(&graph->topology, edge))
		order_topology_touch(&graph->topology, index, witness.position);
	else
		graph->stats.repeats++;
}

/* A reader that others' reads don't stop waits only behind writers: the first one makes old edges count. */
static void note_writer(struct order_graph *graph, uint32_t index)
{
	struct order_node *node = order_node(graph, index);
	if (node->flags & ORDER_NODE_WRITER_SEEN)
		return;
	node->flags |= ORDER_NODE_WRITER_SEEN;
	for (uint32_t at = node->first_in; at != ORDER_NONE; at = order_edge(graph, at)->next_in)
		if ((order_edge(graph, at)->flags & ORDER_WANTED_SHARED) &&
		    order_edge_is_cyclic(&graph->topology, order_edge(graph, at)))
			order_topology_touch(&graph->topology, at, ORDER_NONE);
}

/* SEMANTICS 4.8: a creator's lock guards its thread no longer once another thread is seen to hold it. */
static void note_holder(struct order_graph *graph, const struct acquire *acquire, uint64_t address)
{
	if (!graph->holders.count)
		return;
	struct order_holder *holder =
		hash_table_get(&graph->holders, graph->processes.items[acquire->process].serial, address);
	if (!holder || holder->thread == acquire->thread)
		return;
	*holder = (struct order_holder){ graph->acquire_serial, acquire->thread };
	graph->history.guards_shrank = true;
}

/*
 * SEMANTICS 4.3: taking a lock that one holds already adds no edge. 4.4: a condition variable's wait has let
 * go of its mutex before it takes it again, so that one isn't held, whatever the list says.
 */
static bool is_recursive(const struct acquire *acquire)
{
	const struct event_acquire *record = acquire->record;
	for (uint32_t i = 0; !(record->flags & EVENT_ACQUIRE_AGAIN) && i < record->held_count; i++)
		if (acquire->held[i].lock == record->lock)
			return true;
	return false;
}

static void add_edges(struct order_graph *graph, struct acquire *acquire)
{
	const struct event_acquire *record = acquire->record;
	for (uint32_t i = 0; i < record->held_count; i++) {
		bool again = acquire->held[i].lock == record->lock;
		for (uint32_t j = 0; j < i; j++)
			again |= acquire->held[j].lock == acquire->held[i].lock;
		if (!again)
			add_edge(graph, acquire, &acquire->held[i]);
		if (!(acquire->held[i].flags & EVENT_ACQUIRE_SHARED))
			note_holder(graph, acquire, acquire->held[i].lock);
	}
}

enum { PREFETCH_HELD = 4 };

/* Asks for all that will be looked up: first the slots of the index, then the nodes that those name. */
static void prefetch(const struct order_graph *graph, const struct acquire *acquire)
{
	const struct event_acquire *record = acquire->record;
	uint32_t held_count = record->held_count < PREFETCH_HELD ? record->held_count : PREFETCH_HELD;
	uint64_t locks[1 + PREFETCH_HELD];
	for (uint32_t i = 0; i <= held_count; i++) {
		locks[i] = lock_hash(acquire->process, i ? acquire->held[i - 1].lock : record->lock);
		order_index_prefetch(&graph->node_index, locks[i]);
	}
	for (uint32_t i = 0; i <= held_count; i++) {
		uint32_t at = (uint32_t)locks[i], item;
		if (order_index_next(&graph->node_index, locks[i], &at, &item))
			__builtin_prefetch(order_node(graph, item));
	}
}

static int apply_acquire(struct order_graph *graph, const struct event *event)
{
	struct acquire acquire = {
		.record = event->acquire, .held = event->held, .wanted = ORDER_NONE, .last_edge = ORDER_NONE
	};
	const struct event_acquire *record = event->acquire;
	uint64_t key;
	acquire.process = get_process(graph, record->tgid);
	if (acquire.process == ORDER_NONE)
		return -ENOMEM;
	acquire.thread = order_history_thread(&graph->history, acquire.process, record->tid,
					      record->thread_start_ns, record->comm);
	if (acquire.thread == ORDER_NONE)
		return -ENOMEM;
	graph->now_ns = record->time_ns;
	if (record->flags & EVENT_ACQUIRE_HELD_CUT)
		graph->processes.items[acquire.process].process.held_cut = true;
	if (graph->acquire_serial < UINT32_MAX)
		graph->acquire_serial++;
	struct order_recent *recent = find_recent(graph, &acquire, &key);
	if (recent->key == key) {
		if (recent->edge != ORDER_NONE)
			order_edge(graph, recent->edge)->last_seen = graph->acquire_serial;
		graph->stats.repeats++;
		return 0;
	}
	prefetch(graph, &acquire);
	/*
	 * SEMANTICS 4.2: what gives up instead of waiting (trylock, timed locks) joins the held set, as the
	 * tracer tells in later records, but nothing can deadlock for want of it: no incoming edge.
	 * SEMANTICS 4.5 (an unlock by another thread clears the owner's entry) is the tracer's, too.
	 */
	if (!(record->flags & EVENT_ACQUIRE_NO_WAIT) && !is_recursive(&acquire)) {
		bool is_writer = !(record->flags & EVENT_ACQUIRE_SHARED);
		if (record->held_count || record->kind == EVENT_LOCK_RWLOCK)
			acquire.wanted = get_node(graph, acquire.process, record->lock, record->generation,
						  record->kind);
		if (is_writer && acquire.wanted != ORDER_NONE)
			note_writer(graph, acquire.wanted);
		if (is_writer)
			note_holder(graph, &acquire, record->lock);
		add_edges(graph, &acquire);
	}
	if (record->held_count <= 1)
		*recent = (struct order_recent){ key, acquire.last_edge };
	/* A few searches that were too long are cheaper done at once; not each by itself, though. */
	if (graph->topology.deferred.count > 1024 + order_table_used(&graph->topology.edges) / 16)
		return order_topology_settle(&graph->topology);
	return 0;
}

/* ---- resets and tasks ---- */

static void apply_reset(struct order_graph *graph, const struct event_lock_reset *reset)
{
	uint32_t process = (uint32_t)(uintptr_t)hash_table_get(&graph->process_by_tgid, reset->tgid, 0) - 1;
	uint32_t node = process == ORDER_NONE ? ORDER_NONE : find_node(graph, process, reset->lock);
	graph->now_ns = reset->time_ns;
	if (node != ORDER_NONE && order_node(graph, node)->generation < reset->generation)
		remove_node(graph, node);
}

/* What `tid` held at a creation or join: struct event_held to the record's end. */
static uint32_t take_held_guards(struct order_graph *graph, uint32_t process, const struct event *event)
{
	uint32_t count = (uint32_t)(event->byte_count / sizeof(*event->held));
	if (!count || count > EVENT_HELD_MAX)
		return ORDER_NO_GUARDS;
	uint64_t serial = graph->processes.items[process].serial;
	for (uint32_t i = 0; i < count && event->task->what == EVENT_TASK_CREATE; i++) {
		if (hash_table_get(&graph->holders, serial, event->held[i].lock) ||
		    graph->holders.count >= graph->limits.symbol_count)
			continue;
		struct order_holder *holder = calloc(1, sizeof(*holder));
		if (holder)
			holder->thread = ORDER_NONE;
		if (holder && hash_table_put(&graph->holders, serial, event->held[i].lock, holder) < 0)
			free(holder);
	}
	return take_guards(graph, event->held, count, 0, 0);
}

static int apply_task(struct order_graph *graph, const struct event *event)
{
	const struct event_task *task = event->task;
	graph->now_ns = task->time_ns;
	if (task->what == EVENT_TASK_EXEC) {
		end_process(graph, task->tgid);
		return 0;
	}
	if (task->what != EVENT_TASK_CREATE && task->what != EVENT_TASK_EXIT && task->what != EVENT_TASK_JOIN)
		return 0;
	uint32_t process = get_process(graph, task->tgid);
	if (process == ORDER_NONE)
		return -ENOMEM;
	if (task->what == EVENT_TASK_CREATE)
		order_history_create(&graph->history, process, task, graph->acquire_serial,
				     take_held_guards(graph, process, event));
	else if (task->what == EVENT_TASK_EXIT)
		order_history_exit(&graph->history, process, task->tid, task->handle);
	else
		order_history_join(&graph->history, process, task->tid, task->handle,
				   take_held_guards(graph, process, event));
	return 0;
}

int order_graph_apply(struct order_graph *graph, const struct event *event)
{
	uint32_t process;
	switch (event->type) {
	case EVENT_ACQUIRE:
		return apply_acquire(graph, event);
	case EVENT_LOCK_RESET:
		apply_reset(graph, event->lock_reset);
		return 0;
	case EVENT_TASK:
		return apply_task(graph, event);
	case EVENT_PROCESS:
		apply_process(graph, event);
		return 0;
	case EVENT_FRAMES:
	case EVENT_SYMBOL:
		process = event->type == EVENT_FRAMES ? event->frames->tgid : event->symbol->tgid;
		process = (uint32_t)(uintptr_t)hash_table_get(&graph->process_by_tgid, process, 0) - 1;
		if (process != ORDER_NONE && event->type == EVENT_FRAMES)
			order_names_frames(graph, process, event);
		else if (process != ORDER_NONE)
			order_names_symbol(graph, process, event);
		return 0;
	default:
		return 0;
	}
}
