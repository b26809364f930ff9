/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What there is in an order graph, for a picture and for the status. */
#include "model/order_state.h"

struct order_lock order_lock_of(const struct order_graph *graph, uint32_t index)
{
	const struct order_node *node = order_node(graph, index);
	return (struct order_lock){ node->address, node->generation, node->kind, node->generation > 0 };
}

bool order_graph_next_edge(const struct order_graph *graph, size_t *position,
			   struct order_edge_view *ret_edge)
{
	while (*position < graph->topology.edges.count) {
		const struct order_edge *edge = order_edge(graph, (uint32_t)(*position)++);
		if (!(edge->flags & ORDER_EDGE_LIVE))
			continue;
		uint32_t process = order_node(graph, edge->from)->process;
		*ret_edge = (struct order_edge_view){
			.process = process,
			.tgid = graph->processes.items[process].process.tgid,
			.held = order_lock_of(graph, edge->from),
			.wanted = order_lock_of(graph, edge->to),
			.mode = edge->flags & ORDER_EDGE_MODE,
			.witness_count = order_witness_count(graph, edge),
			.cyclic = order_edge_is_cyclic(&graph->topology, edge),
		};
		return true;
	}
	return false;
}

void order_graph_stats(const struct order_graph *graph, struct order_stats *ret_stats)
{
	const struct order_topology *topology = &graph->topology;
	const struct order_history *history = &graph->history;
	struct order_stats stats = graph->stats;
	stats.nodes = order_table_used(&topology->nodes);
	stats.edges = order_table_used(&topology->edges);
	stats.witnesses = stats.edges + order_table_used(&graph->more);
	stats.threads = order_table_used(&history->threads);
	stats.processes = order_table_used(&graph->processes);
	stats.cyclic_nodes = topology->cyclic_nodes;
	stats.insert_visits = topology->visits;
	stats.deferred_edges = topology->deferred_total;
	stats.batch_passes = topology->batch_passes;
	stats.dropped_threads = history->dropped_threads;
	stats.dropped_guards = history->guards.dropped_count;
	stats.bytes =
		sizeof(*graph) + order_names_bytes(graph) +
		(uint64_t)topology->nodes.capacity * sizeof(struct order_node) +
		(uint64_t)topology->edges.capacity * sizeof(struct order_edge) +
		((uint64_t)graph->node_index.slot_count + graph->edge_index.slot_count) * sizeof(uint32_t) +
		(topology->forward.capacity + topology->backward.capacity + topology->pool.capacity) * 8 +
		topology->dirty.capacity * sizeof(struct order_dirty) + topology->deferred.capacity * 4 +
		(uint64_t)graph->more.capacity * sizeof(struct order_more_witness) +
		(uint64_t)graph->processes.capacity * sizeof(struct order_process_slot) +
		(uint64_t)history->threads.capacity * sizeof(struct order_thread) +
		(uint64_t)history->joins.capacity * sizeof(struct order_join) +
		(uint64_t)history->positions.capacity * sizeof(struct order_position) +
		(uint64_t)history->guards.sets.capacity * sizeof(struct order_guard_set) +
		history->guards.guard_count * 8 + graph->cycles.capacity * sizeof(struct order_cycle) +
		ORDER_RECENT_COUNT * sizeof(struct order_recent) +
		(history->by_tid.slot_count + history->by_page.slot_count +
		 history->guards.by_key.slot_count + graph->cycle_by_key.slot_count +
		 graph->cycle_instances.slot_count + graph->process_by_tgid.slot_count +
		 graph->holders.slot_count) *
			sizeof(struct hash_entry);
	*ret_stats = stats;
}
