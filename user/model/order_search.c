/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which cycles of the order graph count. Only edges inside a strongly connected component are searched, each
 * when it is new or has become able to do more, for the shortest cycle through it.
 *
 * SEMANTICS 4.8: a cycle counts if some choice of witnesses, one an edge, has pairwise different threads that
 * can overlap (by creation and join) and that no lock keeps apart.
 *
 * SEMANTICS 4.10: nodes are lock instances, never classes of locks. Reports of one bug are merged by their
 * sites.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/order_state.h"

/* Conditions that a search may leave out, to find out why a cycle is silent. */
enum relax {
	RELAX_THREADS = 1 << 0,
	RELAX_GUARDS = 1 << 1,
	RELAX_HISTORY = 1 << 2,
	RELAX_READERS = 1 << 3,
	RELAX_ALL = 15,
};

struct search {
	struct order_graph *graph;
	uint32_t relax;
	uint32_t goal; /* node where the cycle closes */
	uint32_t position; /* the first edge's witness must have it; ORDER_NONE: any */
	uint32_t *distance; /* to the goal, of nodes with the mark */
	uint32_t mark;
	uint32_t limit; /* edges */
	uint64_t visits;
	bool cut; /* too many visits */
	bool history_cut; /* create/join history too long, for the choice at hand */
	uint64_t guard; /* the last lock that kept two witnesses apart */
	uint32_t depth;
	uint32_t edges[ORDER_CYCLE_MAX];
	struct order_witness witnesses[ORDER_CYCLE_MAX];
	enum order_silence silence; /* what is noted with the cycles found */
	uint32_t met_count; /* cycles met, also those that are known already */
	int err;
};

/* ---- what keeps two witnesses apart ---- */

static uint32_t thread_of(const struct order_graph *graph, const struct order_witness *witness)
{
	return graph->history.positions.items[witness->position].thread;
}

/* A lock guards: held by both, by different threads, unless both only read (SEMANTICS 4.8). */
static bool excludes(uint64_t a, uint32_t a_holder, uint64_t b, uint32_t b_holder)
{
	return ORDER_GUARD_ADDRESS(a) == ORDER_GUARD_ADDRESS(b) && a_holder != b_holder &&
	       !(ORDER_GUARD_SHARED(a) && ORDER_GUARD_SHARED(b));
}

/* All that one witness's thread held: its guards and the edge's own lock. */
struct holding {
	const struct order_graph *graph;
	const struct order_guard_set *set;
	uint64_t own;
	uint32_t thread;
	uint64_t found; /* the guard that excludes */
};

static struct holding holding_of(const struct search *search, uint32_t depth,
				 const struct order_witness *witness)
{
	const struct order_graph *graph = search->graph;
	const struct order_edge *edge = order_edge(graph, search->edges[depth]);
	return (struct holding){
		.graph = graph,
		.set = &graph->history.guards.sets.items[witness->guards],
		.own = ORDER_GUARD(order_node(graph, edge->from)->address,
				   (edge->flags & ORDER_HELD_SHARED) != 0),
		.thread = thread_of(graph, witness),
	};
}

/* Does the thread itself hold something that excludes what `holder` holds? */
static bool holding_excludes(void *context, uint64_t guard, uint32_t holder)
{
	struct holding *holding = context;
	bool found = excludes(holding->own, holding->thread, guard, holder);
	for (uint32_t i = 0; !found && i < holding->set->count; i++)
		found = excludes(holding->set->guards[i], holding->thread, guard, holder);
	if (found)
		holding->found = ORDER_GUARD_ADDRESS(guard);
	return found;
}

/* One inherited guard against all that the other thread holds or has inherited. */
struct inherited {
	uint64_t guard;
	uint32_t holder;
};

static bool inherited_excludes(void *context, uint64_t guard, uint32_t holder)
{
	const struct inherited *other = context;
	return excludes(other->guard, other->holder, guard, holder);
}

static bool both_excludes(void *context, uint64_t guard, uint32_t holder)
{
	struct holding *holding = context;
	struct inherited inherited = { guard, holder };
	if (holding_excludes(holding, guard, holder))
		return true;
	bool found = order_history_inherited(&holding->graph->history, holding->thread, order_was_released,
					     holding->graph, inherited_excludes, &inherited);
	if (found)
		holding->found = ORDER_GUARD_ADDRESS(guard);
	return found;
}

static bool are_guarded(struct search *search, uint32_t i, uint32_t j, const struct order_witness *witness)
{
	const struct order_graph *graph = search->graph;
	struct holding a = holding_of(search, i, &search->witnesses[i]), b = holding_of(search, j, witness);
	bool found = holding_excludes(&a, b.own, b.thread);
	for (uint32_t k = 0; !found && k < b.set->count; k++)
		found = holding_excludes(&a, b.set->guards[k], b.thread);
	found = found || order_history_inherited(&graph->history, b.thread, order_was_released, graph,
						 both_excludes, &a);
	if (!found) {
		found = order_history_inherited(&graph->history, a.thread, order_was_released, graph,
						holding_excludes, &b);
		a.found = b.found;
	}
	if (found)
		search->guard = a.found;
	return found;
}

bool order_was_released(const void *context, uint32_t process, uint64_t address, uint32_t holder,
			uint64_t since_serial)
{
	const struct order_graph *graph = context;
	const struct order_holder *known =
		hash_table_get(&graph->holders, graph->processes.items[process].serial, address);
	return known && known->thread != ORDER_NONE && known->thread != holder &&
	       known->serial > since_serial;
}

/* Can this witness meet those chosen for the edges before? */
static bool can_meet(struct search *search, const struct order_witness *witness)
{
	struct order_history *history = &search->graph->history;
	for (uint32_t i = 0; i < search->depth; i++) {
		const struct order_witness *other = &search->witnesses[i];
		search->visits++;
		if (thread_of(search->graph, other) == thread_of(search->graph, witness)) {
			if (!(search->relax & RELAX_THREADS))
				return false;
			continue;
		}
		if (!(search->relax & RELAX_GUARDS) && are_guarded(search, i, search->depth, witness))
			return false;
		if (!(search->relax & RELAX_HISTORY) &&
		    order_history_are_ordered(history, other->position, witness->position,
					      &search->history_cut))
			return false;
	}
	return true;
}

/*
 * SEMANTICS 4.6: does who wants the lock between two edges wait for who holds it? Exclusive waits for all. A
 * reader waits for a writer; for another reader only behind a waiting writer, if there ever is one, and never
 * if it may pass that (lockdep's recursive read: no (*R)->(S*) pair).
 */
static bool blocks(const struct search *search, const struct order_edge *into,
		   const struct order_edge *out_of)
{
	if (!(out_of->flags & ORDER_HELD_SHARED) || !(into->flags & ORDER_WANTED_SHARED) ||
	    (search->relax & RELAX_READERS))
		return true;
	return !(into->flags & ORDER_WANTED_RECURSIVE_READ) &&
	       (order_node(search->graph, into->to)->flags & ORDER_NODE_WRITER_SEEN);
}

/* ---- what was found, as values ---- */

static void fill_step(const struct search *search, uint32_t i, struct order_step *step)
{
	const struct order_graph *graph = search->graph;
	const struct order_edge *edge = order_edge(graph, search->edges[i]);
	const struct order_witness *witness = &search->witnesses[i];
	const struct order_thread *thread = &graph->history.threads.items[thread_of(graph, witness)];
	const struct order_guard_set *set = &graph->history.guards.sets.items[witness->guards];
	*step = (struct order_step){
		.held = order_lock_of(graph, edge->from),
		.wanted = order_lock_of(graph, edge->to),
		.mode = edge->flags & ORDER_EDGE_MODE,
		.witness_count = order_witness_count(graph, edge),
		.tid = thread->tid,
		.thread_start_ns = thread->start_ns,
		.held_acquisition = witness->held_acquisition,
		.wanted_acquisition = witness->wanted_acquisition,
		.site = witness->site,
		.guard_count = set->count,
	};
	memcpy(step->comm, thread->comm, sizeof(step->comm));
	for (uint32_t k = 0; k < set->count && k < ORDER_GUARDS_SHOWN; k++)
		step->guards[k] = (struct order_guard){ ORDER_GUARD_ADDRESS(set->guards[k]),
							ORDER_GUARD_SHARED(set->guards[k]) };
}

/* A sum over neighbours is the same wherever the cycle begins. */
static uint64_t hash_ring(const uint64_t *items, uint32_t count)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < count; i++)
		sum += order_mix(items[i] + order_mix(items[(i + 1) % count] + 1));
	return order_mix(sum + count);
}

static void name_cycle(const struct search *search, struct order_cycle *cycle, uint64_t *ret_locks)
{
	uint64_t sites[ORDER_CYCLE_MAX], locks[ORDER_CYCLE_MAX];
	uint32_t first = 0;
	uint32_t last = UINT32_MAX;
	for (uint32_t i = 0; i < cycle->step_count; i++) {
		const struct order_step *step = &cycle->steps[i];
		const struct order_edge *edge = order_edge(search->graph, search->edges[i]);
		sites[i] = order_mix((step->site ? step->site : step->wanted.address) * 8 + step->mode);
		locks[i] = order_mix(step->held.address + step->held.generation);
		first = edge->first_seen > first ? edge->first_seen : first;
		last = edge->last_seen < last ? edge->last_seen : last;
	}
	cycle->site_key = hash_ring(sites, cycle->step_count) + cycle->silence +
			  order_mix(search->graph->processes.items[cycle->process].serial);
	*ret_locks = hash_ring(locks, cycle->step_count);
	cycle->coexisted = first <= last;
}

static void keep_cycle(struct search *search)
{
	struct order_graph *graph = search->graph;
	uint32_t process = order_node(graph, search->goal)->process;
	struct order_cycle cycle = {
		.process = process,
		.tgid = graph->processes.items[process].process.tgid,
		.time_ns = graph->now_ns,
		.silence = search->silence,
		.guard = search->silence == ORDER_SILENT_GUARDED ? search->guard : 0,
		.order_uncertain = search->history_cut,
		.instance_count = 1,
		.step_count = search->depth,
	};
	for (uint32_t i = 0; i < search->depth; i++)
		fill_step(search, i, &cycle.steps[i]);
	uint64_t locks;
	search->met_count++;
	name_cycle(search, &cycle, &locks);
	struct order_cycle *known = NULL;
	uint32_t same_sites = (uint32_t)(uintptr_t)hash_table_get(&graph->cycle_by_key, cycle.site_key, 0);
	uint32_t same = (uint32_t)(uintptr_t)hash_table_get(&graph->cycle_instances, cycle.site_key, locks);
	if (same) {
		/* Seen again: by now its edges may be known to have been there together. */
		known = &graph->cycles.items[same - 1];
		known->coexisted |= cycle.coexisted;
		return;
	}
	for (size_t i = 0; same_sites > ORDER_CYCLES_PER_SITES && !known && i < graph->cycles.count; i++)
		if (graph->cycles.items[i].site_key == cycle.site_key)
			known = &graph->cycles.items[i];
	if (known) {
		known->instance_count++;
		return;
	}
	struct order_cycle *slot =
		graph->cycles.count < graph->limits.cycle_count ? array_add(&graph->cycles) : NULL;
	if (!slot ||
	    hash_table_put(&graph->cycle_instances, cycle.site_key, locks,
			   (void *)(uintptr_t)graph->cycles.count) < 0 ||
	    hash_table_put(&graph->cycle_by_key, cycle.site_key, 0, (void *)(uintptr_t)(same_sites + 1)) <
		    0) {
		graph->cycles.count -= slot != NULL;
		graph->stats.dropped_cycles++;
		return;
	}
	cycle.serial = ++graph->cycle_serial;
	*slot = cycle;
}

/* ---- the search ---- */

/* Distances to the goal, against the edges, inside its component. */
static void measure(struct search *search, uint32_t component)
{
	struct order_topology *topology = &search->graph->topology;
	struct order_node *nodes = topology->nodes.items;
	search->mark = order_topology_new_mark(topology);
	array_clear(&topology->pool);
	uint64_t *slot = array_add(&topology->pool);
	if (!slot) {
		search->err = -ENOMEM;
		return;
	}
	*slot = search->goal;
	nodes[search->goal].backward_mark = search->mark;
	search->distance[search->goal] = 0;
	for (size_t at = 0; at < topology->pool.count; at++) {
		uint32_t here = (uint32_t)topology->pool.items[at];
		if (search->distance[here] >= ORDER_CYCLE_MAX)
			break;
		for (uint32_t in = nodes[here].first_in; in != ORDER_NONE;
		     in = topology->edges.items[in].next_in) {
			uint32_t from = topology->edges.items[in].from;
			if (++search->visits > search->graph->limits.search_visits) {
				search->cut = true;
				return;
			}
			if (nodes[from].component != component || nodes[from].backward_mark == search->mark)
				continue;
			nodes[from].backward_mark = search->mark;
			search->distance[from] = search->distance[here] + 1;
			slot = array_add(&topology->pool);
			if (!slot) {
				search->err = -ENOMEM;
				return;
			}
			*slot = from;
		}
	}
}

static void extend(struct search *search, uint32_t from);

/* The edge at `depth` is set: tries its witnesses, and goes on with each that can meet the others. */
static void try_witnesses(struct search *search)
{
	struct order_graph *graph = search->graph;
	uint32_t depth = search->depth, to = order_edge(graph, search->edges[depth])->to;
	const struct order_witness *witness = &order_edge(graph, search->edges[depth])->witness;
	uint32_t next = order_edge(graph, search->edges[depth])->more;
	for (;;) {
		bool wanted =
			depth || search->position == ORDER_NONE || witness->position == search->position;
		if (wanted && can_meet(search, witness)) {
			search->witnesses[depth] = *witness;
			search->depth = depth + 1;
			if (to == search->goal)
				keep_cycle(search);
			else
				extend(search, to);
			search->depth = depth;
		}
		/* All of the shortest length: another choice of witnesses may be another bug. */
		if (next == ORDER_NONE || search->cut || search->met_count >= ORDER_SEARCH_MET_MAX)
			return;
		witness = &graph->more.items[next].witness;
		next = graph->more.items[next].next;
	}
}

static bool is_on_path(const struct search *search, uint32_t node)
{
	for (uint32_t i = 0; i < search->depth; i++)
		if (order_edge(search->graph, search->edges[i])->from == node)
			return true;
	return false;
}

/* All ways on that can still close within the limit. Recursion is as deep as the longest cycle: 12. */
static void extend(struct search *search, uint32_t from)
{
	struct order_graph *graph = search->graph;
	const struct order_node *nodes = graph->topology.nodes.items;
	for (uint32_t at = nodes[from].first_out; at != ORDER_NONE; at = order_edge(graph, at)->next_out) {
		const struct order_edge *edge = order_edge(graph, at);
		if (++search->visits > graph->limits.search_visits)
			search->cut = true;
		if (search->cut || search->err || search->met_count >= ORDER_SEARCH_MET_MAX)
			return;
		if (nodes[edge->to].backward_mark != search->mark ||
		    search->depth + 1 + search->distance[edge->to] > search->limit)
			continue;
		bool closes = edge->to == search->goal;
		/* Exactly the limit: shorter cycles were looked for before. */
		if (closes ? search->depth + 1 != search->limit : is_on_path(search, edge->to))
			continue;
		if (!blocks(search, order_edge(graph, search->edges[search->depth - 1]), edge) ||
		    (closes && !blocks(search, edge, order_edge(graph, search->edges[0]))))
			continue;
		search->edges[search->depth] = at;
		try_witnesses(search);
	}
}

/* The shortest cycles through the edge that meet the conditions. Returns whether there are any. */
static bool find_through(struct search *search, uint32_t index, uint32_t position)
{
	const struct order_edge *edge = order_edge(search->graph, index);
	search->goal = edge->from;
	search->position = position;
	search->visits = search->met_count = search->depth = 0;
	search->cut = search->history_cut = false;
	measure(search, order_node(search->graph, edge->from)->component);
	if (order_node(search->graph, edge->to)->backward_mark != search->mark)
		return false;
	uint32_t shortest = search->distance[edge->to] + 1;
	for (search->limit = shortest; search->limit <= ORDER_CYCLE_MAX; search->limit++) {
		search->edges[0] = index;
		search->depth = 0;
		try_witnesses(search);
		if (search->met_count || search->cut || search->err)
			break;
	}
	search->graph->stats.search_visits += search->visits;
	search->graph->stats.search_cuts += search->cut;
	return search->met_count;
}

/* Why is the cycle through this edge silent? The one condition without which there is one; else several. */
static void find_silent(struct search *search, uint32_t index, uint32_t position)
{
	static const struct {
		uint32_t relax;
		enum order_silence silence;
	} steps[] = {
		{ RELAX_THREADS, ORDER_SILENT_SINGLE_THREAD },
		{ RELAX_GUARDS, ORDER_SILENT_GUARDED },
		{ RELAX_HISTORY, ORDER_SILENT_CREATE_JOIN },
		{ RELAX_READERS, ORDER_SILENT_READERS },
		{ RELAX_ALL, ORDER_SILENT_MIXED },
	};
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps) && !search->err; i++) {
		search->relax = steps[i].relax;
		search->silence = steps[i].silence;
		if (find_through(search, index, position))
			return;
	}
}

static void judge(struct search *search, const struct order_dirty *dirty)
{
	const struct order_topology *topology = &search->graph->topology;
	const struct order_edge *edge = &topology->edges.items[dirty->edge];
	/* It may have died, or have turned out to lie on no cycle. */
	if (!(edge->flags & ORDER_EDGE_LIVE) || !order_edge_is_cyclic(topology, edge))
		return;
	search->relax = 0;
	search->silence = ORDER_COUNTS;
	if (!find_through(search, dirty->edge, dirty->position) && search->graph->all_orders && !search->err)
		find_silent(search, dirty->edge, dirty->position);
}

static void touch_all(struct order_topology *topology)
{
	for (uint32_t i = 0; i < topology->edges.count; i++)
		if ((topology->edges.items[i].flags & ORDER_EDGE_LIVE) &&
		    order_edge_is_cyclic(topology, &topology->edges.items[i]))
			order_topology_touch(topology, i, ORDER_NONE);
}

int order_graph_search(struct order_graph *graph, bool all_orders)
{
	struct order_topology *topology = &graph->topology;
	graph->all_orders = all_orders;
	int err = order_topology_settle(topology);
	if (!err && graph->history.guards_shrank && topology->cyclic_nodes)
		touch_all(topology);
	graph->history.guards_shrank = false;
	if (err || !topology->dirty.count)
		return err;
	struct search search = { .graph = graph };
	search.distance = malloc(sizeof(*search.distance) * topology->nodes.count);
	if (!search.distance)
		return -ENOMEM;
	/* Searching makes nothing dirty. */
	array_each(&topology->dirty, dirty)
		if (!search.err)
			judge(&search, dirty);
	array_clear(&topology->dirty);
	free(search.distance);
	return search.err;
}

/* ---- the cycles kept ---- */

size_t order_graph_cycle_count(const struct order_graph *graph)
{
	return graph->cycles.count;
}

const struct order_cycle *order_graph_cycle(const struct order_graph *graph, size_t index)
{
	return &graph->cycles.items[index];
}

/* The keys are made anew: they lead to indices that change. */
void order_search_forget_process(struct order_graph *graph, uint32_t process)
{
	size_t kept = 0;
	uint64_t serial = graph->processes.items[process].serial;
	struct hash_table instances = { .seed = graph->cycle_instances.seed },
			  keys = { .seed = graph->cycle_by_key.seed };
	struct hash_table holders = { .seed = graph->holders.seed };
	uint32_t *moved = calloc(graph->cycles.count + 1, sizeof(*moved));
	for (size_t i = 0; i < graph->cycles.count; i++) {
		if (graph->cycles.items[i].process == process)
			continue;
		graph->cycles.items[kept++] = graph->cycles.items[i];
		if (moved)
			moved[i] = (uint32_t)kept;
	}
	size_t at = 0;
	/* Without memory a known cycle may be kept, and told, a second time. */
	for (const struct hash_entry *entry;
	     moved && (entry = hash_table_next(&graph->cycle_instances, &at));) {
		uint32_t index = moved[(uint32_t)(uintptr_t)entry->value - 1];
		uint32_t count = (uint32_t)(uintptr_t)hash_table_get(&keys, entry->key.a, 0);
		if (index &&
		    !hash_table_put(&instances, entry->key.a, entry->key.b, (void *)(uintptr_t)index))
			hash_table_put(&keys, entry->key.a, 0, (void *)(uintptr_t)(count + 1));
	}
	at = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&graph->holders, &at));)
		if (entry->key.a == serial ||
		    hash_table_put(&holders, entry->key.a, entry->key.b, entry->value) < 0)
			free(entry->value);
	hash_table_release(&graph->cycle_instances);
	hash_table_release(&graph->cycle_by_key);
	hash_table_release(&graph->holders);
	graph->cycle_instances = instances;
	graph->cycle_by_key = keys;
	graph->holders = holders;
	graph->cycles.count = kept;
	free(moved);
}

static bool add_want(struct hash_table *asked, uint64_t serial, uint32_t tgid, uint64_t value,
		     struct order_want *(*add)(struct order_wants *), struct order_wants *wants)
{
	if (!value || hash_table_get(asked, serial, value))
		return true;
	struct order_want *slot = add(wants);
	if (!slot || hash_table_put(asked, serial, value, wants) < 0)
		return false;
	*slot = (struct order_want){ tgid, value };
	return true;
}

static struct order_want *add_stack(struct order_wants *wants)
{
	return array_add(&wants->stacks);
}

static struct order_want *add_symbol(struct order_wants *wants)
{
	return array_add(&wants->symbols);
}

void order_wants_release(struct order_wants *wants)
{
	array_release(&wants->stacks);
	array_release(&wants->symbols);
}

int order_graph_wants(const struct order_graph *graph, struct order_wants *ret_wants)
{
	struct hash_table stacks = { 0 }, symbols = { 0 };
	bool ok = true;
	array_clear(&ret_wants->stacks);
	array_clear(&ret_wants->symbols);
	array_each(&graph->cycles, cycle) {
		const struct order_process_slot *slot = &graph->processes.items[cycle->process];
		for (uint32_t i = 0; i < cycle->step_count && !slot->process.ended; i++) {
			const struct order_step *step = &cycle->steps[i];
			uint64_t ways[] = { step->held_acquisition, step->wanted_acquisition };
			uint64_t locks[1 + ORDER_GUARDS_SHOWN] = { step->held.address };
			uint32_t shown = step->guard_count < ORDER_GUARDS_SHOWN ? step->guard_count
										: ORDER_GUARDS_SHOWN;
			for (uint32_t k = 0; k < shown; k++)
				locks[1 + k] = step->guards[k].address;
			for (uint32_t k = 0; k < 2; k++)
				if (!hash_table_get(&graph->stacks, slot->serial, ways[k]))
					ok &= add_want(&stacks, slot->serial, cycle->tgid, ways[k], add_stack,
						       ret_wants);
			for (uint32_t k = 0; k < 1 + shown; k++)
				if (!hash_table_get(&graph->symbols, slot->serial, locks[k]))
					ok &= add_want(&symbols, slot->serial, cycle->tgid, locks[k],
						       add_symbol, ret_wants);
		}
	}
	hash_table_release(&stacks);
	hash_table_release(&symbols);
	return ok ? 0 : -ENOMEM;
}
