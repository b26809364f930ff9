/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/order_topology.h"

#include <errno.h>
#include <string.h>

void order_topology_init(struct order_topology *topology, uint32_t node_limit, uint32_t edge_limit,
			 uint32_t visit_cap)
{
	*topology = (struct order_topology){ .visit_cap = visit_cap };
	topology->nodes.limit = node_limit;
	topology->edges.limit = edge_limit;
}

void order_topology_release(struct order_topology *topology)
{
	free(topology->nodes.items);
	free(topology->edges.items);
	array_release(&topology->dirty);
	array_release(&topology->deferred);
	array_release(&topology->forward);
	array_release(&topology->backward);
	array_release(&topology->pool);
	*topology = (struct order_topology){ 0 };
}

uint32_t order_topology_new_mark(struct order_topology *topology)
{
	if (++topology->mark == 0) {
		for (uint32_t i = 0; i < topology->nodes.count; i++)
			topology->nodes.items[i].forward_mark = topology->nodes.items[i].backward_mark = 0;
		topology->mark = 1;
	}
	return topology->mark;
}

uint32_t order_topology_add_node(struct order_topology *topology)
{
	if (topology->next_order == UINT32_MAX) {
		/* Numbers ran out after four thousand million nodes: the batch pass deals them anew. */
		topology->stale = true;
		if (order_topology_settle(topology) < 0)
			return ORDER_NONE;
	}
	uint32_t index = order_table_take(&topology->nodes, next_free);
	if (index == ORDER_NONE)
		return index;
	topology->nodes.items[index] = (struct order_node){
		.flags = ORDER_NODE_LIVE,
		.component = index,
		.next_member = index,
		.member_count = 1,
		.order = topology->next_order++,
		.first_out = ORDER_NONE,
		.first_in = ORDER_NONE,
	};
	return index;
}

void order_topology_remove_node(struct order_topology *topology, uint32_t index)
{
	struct order_node *node = &topology->nodes.items[index];
	node->flags &= (uint16_t)~ORDER_NODE_LIVE;
	/* Inside a component its slot stays until the batch pass has taken that apart. */
	if (node->next_member == index)
		order_table_give(&topology->nodes, index, next_free);
	else
		topology->stale = true;
}

static void link_edge(struct order_topology *topology, uint32_t index)
{
	struct order_edge *edges = topology->edges.items, *edge = &edges[index];
	struct order_node *from = &topology->nodes.items[edge->from], *to = &topology->nodes.items[edge->to];
	edge->previous_out = edge->previous_in = ORDER_NONE;
	edge->next_out = from->first_out;
	edge->next_in = to->first_in;
	if (edge->next_out != ORDER_NONE)
		edges[edge->next_out].previous_out = index;
	if (edge->next_in != ORDER_NONE)
		edges[edge->next_in].previous_in = index;
	from->first_out = to->first_in = index;
}

static void unlink_edge(struct order_topology *topology, uint32_t index)
{
	struct order_edge *edges = topology->edges.items, *edge = &edges[index];
	if (edge->previous_out != ORDER_NONE)
		edges[edge->previous_out].next_out = edge->next_out;
	else
		topology->nodes.items[edge->from].first_out = edge->next_out;
	if (edge->previous_in != ORDER_NONE)
		edges[edge->previous_in].next_in = edge->next_in;
	else
		topology->nodes.items[edge->to].first_in = edge->next_in;
	if (edge->next_out != ORDER_NONE)
		edges[edge->next_out].previous_out = edge->previous_out;
	if (edge->next_in != ORDER_NONE)
		edges[edge->next_in].previous_in = edge->previous_in;
}

void order_topology_touch(struct order_topology *topology, uint32_t edge, uint32_t position)
{
	struct order_dirty *dirty = array_add(&topology->dirty);
	/* Without memory the cycle is found when its next witness comes. */
	if (dirty)
		*dirty = (struct order_dirty){ edge, position };
}

/* ---- Pearce and Kelly, on components ---- */

/* A search from one component along its edges (or against them), between two orders. */
struct sweep {
	struct order_topology *topology;
	bool backward;
	uint32_t mark, low, high;
	uint32_t visits;
};

static uint64_t key_of(const struct order_topology *topology, uint32_t component)
{
	return (uint64_t)topology->nodes.items[component].order << 32 | component;
}

/* Takes a component into the sweep, if it lies in between and isn't in. False: out of memory. */
static bool sweep_take(struct sweep *sweep, uint32_t component)
{
	struct order_topology *topology = sweep->topology;
	struct order_node *node = &topology->nodes.items[component];
	uint32_t *mark = sweep->backward ? &node->backward_mark : &node->forward_mark;
	if (*mark == sweep->mark || node->order < sweep->low || node->order > sweep->high)
		return true;
	uint64_t *slot = sweep->backward ? array_add(&topology->backward) : array_add(&topology->forward);
	if (!slot)
		return false;
	*mark = sweep->mark;
	*slot = key_of(topology, component);
	return true;
}

static bool sweep_node(struct sweep *sweep, uint32_t index)
{
	struct order_topology *topology = sweep->topology;
	const struct order_node *nodes = topology->nodes.items;
	const struct order_edge *edges = topology->edges.items;
	uint32_t next = sweep->backward ? nodes[index].first_in : nodes[index].first_out;
	while (next != ORDER_NONE) {
		const struct order_edge *edge = &edges[next];
		if (++sweep->visits > topology->visit_cap)
			return false;
		if (!(edge->flags & ORDER_EDGE_DEFERRED) &&
		    !sweep_take(sweep, nodes[sweep->backward ? edge->from : edge->to].component))
			return false;
		next = sweep->backward ? edge->next_in : edge->next_out;
	}
	return true;
}

/* Collects what the component reaches; false when the cap or memory ends. */
static bool sweep_from(struct sweep *sweep, uint32_t component)
{
	struct order_topology *topology = sweep->topology;
	if (!sweep_take(sweep, component))
		return false;
	for (size_t at = 0; at < (sweep->backward ? topology->backward.count : topology->forward.count);
	     at++) {
		uint64_t key = (sweep->backward ? topology->backward.items : topology->forward.items)[at];
		uint32_t first = (uint32_t)key, member = first;
		do {
			if (++sweep->visits > topology->visit_cap || !sweep_node(sweep, member))
				return false;
			member = topology->nodes.items[member].next_member;
		} while (member != first);
	}
	return true;
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

/* Makes one component of two and returns the node that stands for it. */
static uint32_t merge(struct order_topology *topology, uint32_t a, uint32_t b)
{
	struct order_node *nodes = topology->nodes.items;
	topology->cyclic_nodes += (nodes[a].member_count == 1) + (nodes[b].member_count == 1);
	if (nodes[a].member_count < nodes[b].member_count) {
		uint32_t other = a;
		a = b;
		b = other;
	}
	nodes[a].member_count += nodes[b].member_count;
	uint32_t member = b;
	do {
		nodes[member].component = a;
		member = nodes[member].next_member;
	} while (member != b);
	uint32_t next = nodes[a].next_member;
	nodes[a].next_member = nodes[b].next_member;
	nodes[b].next_member = next;
	return a;
}

/*
 * What reaches the edge's start comes first, then what both searches met (now one component), then what the
 * edge's end reaches, each part in its old order; they share the places that they had.
 */
static void reorder(struct order_topology *topology, uint32_t mark)
{
	struct order_node *nodes = topology->nodes.items;
	uint64_t *pool = topology->pool.items;
	size_t pool_count = 0, at = 0;
	qsort(topology->forward.items, topology->forward.count, sizeof(uint64_t), compare_keys);
	qsort(topology->backward.items, topology->backward.count, sizeof(uint64_t), compare_keys);
	array_each(&topology->forward, key)
		pool[pool_count++] = *key >> 32;
	array_each(&topology->backward, key)
		if (nodes[(uint32_t)*key].forward_mark != mark)
			pool[pool_count++] = *key >> 32;
	qsort(pool, pool_count, sizeof(*pool), compare_keys);

	array_each(&topology->backward, key)
		if (nodes[(uint32_t)*key].forward_mark != mark)
			nodes[(uint32_t)*key].order = (uint32_t)pool[at++];
	size_t last = pool_count;
	for (size_t i = topology->forward.count; i-- > 0;) {
		uint32_t component = (uint32_t)topology->forward.items[i];
		if (nodes[component].backward_mark != mark)
			nodes[component].order = (uint32_t)pool[--last];
	}
	uint32_t merged = ORDER_NONE;
	array_each(&topology->forward, key)
		if (nodes[(uint32_t)*key].backward_mark == mark)
			merged = merged == ORDER_NONE ? (uint32_t)*key
						      : merge(topology, merged, (uint32_t)*key);
	if (merged != ORDER_NONE)
		nodes[merged].order = (uint32_t)pool[at];
}

/* Restores the order after a new edge. False: not done, the edge has to be deferred. */
static bool restore_order(struct order_topology *topology, uint32_t from, uint32_t to)
{
	const struct order_node *nodes = topology->nodes.items;
	struct sweep sweep = {
		.topology = topology,
		.mark = order_topology_new_mark(topology),
		.low = nodes[to].order,
		.high = nodes[from].order,
	};
	array_clear(&topology->forward);
	array_clear(&topology->backward);
	bool done = sweep_from(&sweep, to);
	sweep.backward = true;
	done = done && sweep_from(&sweep, from) &&
	       array_reserve(&topology->pool, topology->forward.count + topology->backward.count);
	topology->visits += sweep.visits;
	if (done)
		reorder(topology, sweep.mark);
	return done;
}

uint32_t order_topology_add_edge(struct order_topology *topology, uint32_t from, uint32_t to, uint32_t mode)
{
	uint32_t index = order_table_take(&topology->edges, more);
	if (index == ORDER_NONE)
		return index;
	struct order_edge *edge = &topology->edges.items[index];
	*edge = (struct order_edge){
		.from = from, .to = to, .flags = mode | ORDER_EDGE_LIVE, .more = ORDER_NONE
	};
	link_edge(topology, index);
	const struct order_node *nodes = topology->nodes.items;
	uint32_t a = nodes[from].component, b = nodes[to].component;
	if (a != b && nodes[a].order > nodes[b].order) {
		/* The sweeps must not go through the edge that isn't in order yet. */
		edge->flags |= ORDER_EDGE_DEFERRED;
		if (restore_order(topology, a, b)) {
			edge->flags &= ~(uint32_t)ORDER_EDGE_DEFERRED;
		} else {
			uint32_t *slot = array_add(&topology->deferred);
			if (slot)
				*slot = index;
			topology->stale |= !slot;
			topology->deferred_total++;
		}
	}
	if (order_edge_is_cyclic(topology, edge))
		order_topology_touch(topology, index, ORDER_NONE);
	return index;
}

void order_topology_remove_edge(struct order_topology *topology, uint32_t index)
{
	struct order_edge *edge = &topology->edges.items[index];
	if (order_edge_is_cyclic(topology, edge))
		topology->stale = true;
	unlink_edge(topology, index);
	edge->flags = 0;
	order_table_give(&topology->edges, index, more);
}
