/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The batch pass over the whole order graph, and the oracle of the incremental one's tests. */
#include <errno.h>
#include <stdlib.h>

#include "model/order_topology.h"

/* Tarjan's state of one run; all arrays have one item a node. */
struct tarjan {
	uint32_t *number; /* 0: not visited; else 1 + the order of visits */
	uint32_t *low;
	uint32_t *next; /* the target to look at next */
	uint32_t *path; /* nodes being visited: the recursion that isn't */
	uint32_t *open; /* nodes whose component isn't complete */
};

static void close_component(struct tarjan *tarjan, uint32_t root, uint32_t *open_count, uint32_t component,
			    uint32_t *ret_component)
{
	uint32_t node;
	do {
		node = tarjan->open[--*open_count];
		ret_component[node] = component;
	} while (node != root);
}

static uint32_t visit_all(struct tarjan *tarjan, uint32_t node_count, const uint32_t *offsets,
			  const uint32_t *targets, uint32_t *ret_component)
{
	uint32_t visited = 0, components = 0, open_count = 0;
	for (uint32_t start = 0; start < node_count; start++) {
		if (tarjan->number[start])
			continue;
		uint32_t depth = 0, node = start;
		for (;;) {
			if (!tarjan->number[node]) {
				tarjan->number[node] = tarjan->low[node] = ++visited;
				tarjan->next[node] = offsets[node];
				tarjan->open[open_count++] = node;
				ret_component[node] = ORDER_NONE;
			}
			if (tarjan->next[node] < offsets[node + 1]) {
				uint32_t to = targets[tarjan->next[node]++];
				if (!tarjan->number[to]) {
					tarjan->path[depth++] = node;
					node = to;
				} else if (ret_component[to] == ORDER_NONE &&
					   tarjan->number[to] < tarjan->low[node]) {
					tarjan->low[node] = tarjan->number[to];
				}
				continue;
			}
			if (tarjan->low[node] == tarjan->number[node])
				close_component(tarjan, node, &open_count, components++, ret_component);
			if (!depth)
				break;
			uint32_t parent = tarjan->path[--depth];
			if (tarjan->low[node] < tarjan->low[parent])
				tarjan->low[parent] = tarjan->low[node];
			node = parent;
		}
	}
	return components;
}

long order_tarjan(uint32_t node_count, const uint32_t *offsets, const uint32_t *targets,
		  uint32_t *ret_component)
{
	size_t count = node_count ? node_count : 1;
	uint32_t *memory = calloc(count * 5, sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	struct tarjan tarjan = { memory, memory + count, memory + 2 * count, memory + 3 * count,
				 memory + 4 * count };
	long components = visit_all(&tarjan, node_count, offsets, targets, ret_component);
	free(memory);
	return components;
}

/* The targets of all nodes in one array. */
static int gather(const struct order_topology *topology, uint32_t **ret_offsets, uint32_t **ret_targets)
{
	uint32_t node_count = topology->nodes.count, edge_count = 0;
	uint32_t *offsets = calloc((size_t)node_count + 2, sizeof(*offsets));
	if (!offsets)
		return -ENOMEM;
	for (uint32_t i = 0; i < topology->edges.count; i++)
		if (topology->edges.items[i].flags & ORDER_EDGE_LIVE) {
			offsets[topology->edges.items[i].from + 2]++;
			edge_count++;
		}
	uint32_t *targets = malloc(sizeof(*targets) * ((size_t)edge_count + 1));
	if (!targets) {
		free(offsets);
		return -ENOMEM;
	}
	for (uint32_t i = 2; i <= node_count; i++)
		offsets[i] += offsets[i - 1];
	/* Filling moves each node's offset to the end of its range, which is where the next one begins. */
	for (uint32_t i = 0; i < topology->edges.count; i++)
		if (topology->edges.items[i].flags & ORDER_EDGE_LIVE)
			targets[offsets[topology->edges.items[i].from + 1]++] = topology->edges.items[i].to;
	*ret_offsets = offsets;
	*ret_targets = targets;
	return 0;
}

/* Components and their order as Tarjan numbered them; slots of dead nodes become free. */
static void adopt(struct order_topology *topology, const uint32_t *component, long component_count,
		  uint32_t *first_member)
{
	struct order_node *nodes = topology->nodes.items;
	topology->cyclic_nodes = 0;
	topology->nodes.first_free = topology->nodes.free_count = 0;
	for (long i = 0; i < component_count; i++)
		first_member[i] = ORDER_NONE;
	for (uint32_t i = 0; i < topology->nodes.count; i++) {
		if (!(nodes[i].flags & ORDER_NODE_LIVE)) {
			order_table_give(&topology->nodes, i, next_free);
			continue;
		}
		uint32_t first = first_member[component[i]];
		nodes[i].component = nodes[i].next_member = i;
		nodes[i].order = (uint32_t)component_count - 1 - component[i];
		nodes[i].member_count = 1;
		if (first == ORDER_NONE) {
			first_member[component[i]] = i;
			continue;
		}
		topology->cyclic_nodes += nodes[first].next_member == first ? 2 : 1;
		nodes[i].component = first;
		nodes[first].member_count++;
		nodes[i].next_member = nodes[first].next_member;
		nodes[first].next_member = i;
	}
	topology->next_order = (uint32_t)component_count;
}

int order_topology_settle(struct order_topology *topology)
{
	if (!topology->stale && !topology->deferred.count)
		return 0;
	uint32_t *offsets, *targets, node_count = topology->nodes.count;
	if (gather(topology, &offsets, &targets) < 0)
		return -ENOMEM;
	uint32_t *component = calloc((size_t)node_count + 1, 2 * sizeof(*component));
	long component_count = component ? order_tarjan(node_count, offsets, targets, component) : -ENOMEM;
	free(offsets);
	free(targets);
	if (component_count < 0) {
		free(component);
		return -ENOMEM;
	}
	adopt(topology, component, component_count, component + node_count);
	free(component);
	for (uint32_t i = 0; topology->stale && i < topology->edges.count; i++)
		/* Also those that could not be listed. */
		if (topology->edges.items[i].flags & ORDER_EDGE_DEFERRED) {
			topology->edges.items[i].flags &= ~(uint32_t)ORDER_EDGE_DEFERRED;
			if (order_edge_is_cyclic(topology, &topology->edges.items[i]))
				order_topology_touch(topology, i, ORDER_NONE);
		}
	array_each(&topology->deferred, index) {
		struct order_edge *edge = &topology->edges.items[*index];
		if (!(edge->flags & ORDER_EDGE_DEFERRED))
			continue;
		edge->flags &= ~(uint32_t)ORDER_EDGE_DEFERRED;
		if (order_edge_is_cyclic(topology, edge))
			order_topology_touch(topology, *index, ORDER_NONE);
	}
	array_clear(&topology->deferred);
	topology->stale = false;
	topology->batch_passes++;
	return 0;
}
