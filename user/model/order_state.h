/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of the order graph, shared by the files that implement it (and by nobody else). */
#ifndef HOLDUP_ORDER_STATE_H
#define HOLDUP_ORDER_STATE_H

#include "base/string_pool.h"
#include "model/order_graph.h"
#include "model/order_history.h"
#include "model/order_topology.h"

enum {
	/* Direct-mapped memory of acquisitions that told nothing new. */
	ORDER_RECENT_COUNT = 1 << 16,
	/* Cycles of the shortest length, and choices of their witnesses, that one search looks at. */
	ORDER_SEARCH_MET_MAX = 64,
};

struct order_more_witness {
	struct order_witness witness;
	uint32_t next; /* of the same edge; of a free slot: the next free one */
};

struct order_stack_slot {
	struct order_stack stack;
	struct order_frame frames[];
};

struct order_process_slot {
	struct order_process process;
	uint64_t serial; /* never comes again */
	bool used;
	uint32_t next_free;
};

struct order_recent {
	uint64_t key;
	uint32_t edge; /* of the only lock held; ORDER_NONE: of none */
};

struct order_graph {
	struct order_limits limits;
	struct order_stats stats; /* the counters; the rest is filled when asked for */
	struct order_topology topology;
	struct order_history history;
	struct order_index node_index, edge_index;
	ORDER_TABLE(struct order_more_witness) more;
	ORDER_TABLE(struct order_process_slot) processes;
	uint32_t recent_process; /* + 1: the last one that was asked for */
	struct hash_table process_by_tgid; /* tgid -> index + 1 of the one that lives */
	struct hash_table stacks; /* (process, acquisition) -> struct order_stack_slot */
	struct hash_table symbols; /* (process, address) -> struct order_symbol */
	struct hash_table holders; /* (process, address) -> struct order_holder, of guards at creations */
	struct string_pool strings;
	uint64_t frame_count;
	ARRAY(struct order_cycle) cycles;
	struct hash_table cycle_by_key; /* -> index + 1 */
	struct hash_table cycle_instances; /* (key, locks): counted already */
	uint64_t cycle_serial, process_serial;
	uint32_t acquire_serial; /* counts ACQUIRE records; stays at its maximum */
	uint64_t now_ns; /* of the last record */
	uint64_t recent_epoch; /* changes when edges die */
	struct order_recent *recent;
	bool all_orders;
};

/* The last thread other than a creator that was seen to hold (or to have got) a lock that guards children. */
struct order_holder {
	uint64_t serial;
	uint32_t thread;
};

static inline struct order_node *order_node(const struct order_graph *graph, uint32_t index)
{
	return &graph->topology.nodes.items[index];
}

static inline struct order_edge *order_edge(const struct order_graph *graph, uint32_t index)
{
	return &graph->topology.edges.items[index];
}

/* ---- order_witness.c ---- */

/* Returns true when the edge can do more than before. Takes over the uses of position and guards. */
bool order_witness_add(struct order_graph *graph, uint32_t edge, const struct order_witness *witness);
void order_witness_release(struct order_graph *graph, uint32_t edge);
uint32_t order_witness_count(const struct order_graph *graph, const struct order_edge *edge);

/* ---- order_names.c ---- */

void order_names_release(struct order_graph *graph);
void order_names_frames(struct order_graph *graph, uint32_t process, const struct event *event);
void order_names_symbol(struct order_graph *graph, uint32_t process, const struct event *event);
void order_names_forget_process(struct order_graph *graph, uint32_t process);
uint64_t order_names_bytes(const struct order_graph *graph);

/* ---- order_stats.c ---- */

/* A node as others see it. */
struct order_lock order_lock_of(const struct order_graph *graph, uint32_t index);

/* ---- order_search.c ---- */

/* Has the holder let go of the lock since then? (order_released_fn; the context is the graph.) */
bool order_was_released(const void *context, uint32_t process, uint64_t address, uint32_t holder,
			uint64_t since_serial);
void order_search_forget_process(struct order_graph *graph, uint32_t process);

#endif
