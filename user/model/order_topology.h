/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which locks lie on cycles of the order graph: strongly connected components, kept up to date edge by edge.
 *
 * The components, seen as nodes, form a graph without cycles, which is kept in a topological order (Pearce
 * and Kelly, "A dynamic topological sort algorithm for directed acyclic graphs", JEA 2006). An edge against
 * the order is searched for forth and back between its ends; where the two searches meet they merge, and
 * the edge that closed the cycle stays inside the component: it is not dropped, or later cycles through it
 * would vanish. A search that gets too long leaves its edge to the batch pass (Tarjan 1972, without
 * recursion, over an array of targets), which also takes components apart after deletions.
 *
 * Until then a component may be too big (after a deletion) or too small (an edge is deferred);
 * order_topology_settle() makes it exact.
 */
#ifndef HOLDUP_ORDER_TOPOLOGY_H
#define HOLDUP_ORDER_TOPOLOGY_H

#include "base/array.h"
#include "model/order_table.h"

/* Three bits of mode (enum order_mode) and what the topology notes beside them. */
enum order_edge_flags {
	ORDER_EDGE_MODE = 7,
	ORDER_EDGE_LIVE = 1 << 3,
	ORDER_EDGE_DEFERRED = 1 << 4, /* not in the order yet */
};

/* A thread that did it: where in the create/join history, with what else held, from which stacks. */
struct order_witness {
	uint64_t held_acquisition, wanted_acquisition; /* name the stacks; 0: not known */
	uint64_t site; /* return address of the call that wanted the lock */
	uint32_t position; /* index of a struct order_position */
	uint32_t guards; /* index of a guard set */
};

struct order_edge {
	uint32_t from, to;
	uint32_t next_out, previous_out, next_in, previous_in;
	uint32_t flags; /* enum order_edge_flags */
	uint32_t first_seen, last_seen; /* serial numbers of acquisitions */
	uint32_t more; /* first further witness; of a free slot: the next free one */
	struct order_witness witness;
};

enum order_node_flags {
	ORDER_NODE_LIVE = 1 << 0,
	ORDER_NODE_WRITER_SEEN = 1 << 1, /* someone was ready to wait for it exclusively */
};

struct order_node {
	uint64_t address;
	uint32_t process, generation;
	uint16_t kind, flags;
	uint32_t component; /* the node that stands for it */
	uint32_t next_member; /* ring of the component's nodes */
	uint32_t member_count, order; /* of a component: its nodes; its place in topological order */
	uint32_t first_out, first_in;
	uint32_t forward_mark, backward_mark; /* the last search that came by */
	uint32_t next_free;
};

/* An edge to be judged: cycles through it may be new. */
struct order_dirty {
	uint32_t edge;
	uint32_t position; /* through this witness's position; ORDER_NONE: through any */
};

struct order_topology {
	ORDER_TABLE(struct order_node) nodes;
	ORDER_TABLE(struct order_edge) edges;
	ARRAY(struct order_dirty) dirty;
	ARRAY(uint32_t) deferred;
	ARRAY(uint64_t) forward, backward, pool; /* of the search at hand: order << 32 | component */
	uint32_t mark, next_order;
	uint32_t visit_cap;
	bool stale; /* a component may have come apart */
	uint64_t cyclic_nodes, visits, deferred_total, batch_passes;
};

void order_topology_init(struct order_topology *topology, uint32_t node_limit, uint32_t edge_limit,
			 uint32_t visit_cap);
void order_topology_release(struct order_topology *topology);

/* A node without edges, ORDER_NONE at the limit. Its identity is the caller's to fill. */
uint32_t order_topology_add_node(struct order_topology *topology);
/* Removes a node that has no edges. */
void order_topology_remove_node(struct order_topology *topology, uint32_t node);

/*
 * Adds an edge between two nodes (several of different modes may be) and updates the components. An edge
 * inside a component becomes dirty. ORDER_NONE at the limit. Witness and times are the caller's to fill.
 */
uint32_t order_topology_add_edge(struct order_topology *topology, uint32_t from, uint32_t to, uint32_t mode);
void order_topology_remove_edge(struct order_topology *topology, uint32_t edge);

/* Both ends in one component: a cycle may go through it. */
static inline bool order_edge_is_cyclic(const struct order_topology *topology, const struct order_edge *edge)
{
	return topology->nodes.items[edge->from].component == topology->nodes.items[edge->to].component;
}

/* Makes a cyclic edge dirty. */
void order_topology_touch(struct order_topology *topology, uint32_t edge, uint32_t position);

/* The batch pass, if anything is deferred or stale. Returns 0 or -ENOMEM (nothing changed). */
int order_topology_settle(struct order_topology *topology);

/* Fresh marks for a search of one's own; starts over when they wrap. */
uint32_t order_topology_new_mark(struct order_topology *topology);

/*
 * Strongly connected components of an array of targets: node i leads to targets[offsets[i]] up to
 * targets[offsets[i + 1]]. ret_component[i] counts from 0 against the topological order. Returns their
 * number, or -ENOMEM.
 */
long order_tarjan(uint32_t node_count, const uint32_t *offsets, const uint32_t *targets,
		  uint32_t *ret_component);

#endif
