/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Components as they are kept edge by edge against a batch pass over the same graph, on random graphs with
 * deletions; and the batch pass against plain reachability.
 */
#include <string.h>

#include "model/order_topology.h"
#include "unit.h"

enum { NODES_MAX = 32, STEPS = 1000 };

/* libcheck's own writes to a pipe each time: too slow for inner loops. */
#define must(condition)                                 \
	do {                                            \
		if (!(condition))                       \
			ck_abort_msg("%s", #condition); \
	} while (0)

static uint32_t random_below(uint64_t *state, uint32_t below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*state >> 33) % below;
}

/* Who reaches whom, by Warshall: slow, and simple enough to be right. */
static void close_over(const struct order_topology *topology, bool reach[NODES_MAX][NODES_MAX])
{
	memset(reach, 0, sizeof(bool) * NODES_MAX * NODES_MAX);
	for (uint32_t i = 0; i < topology->edges.count; i++)
		if (topology->edges.items[i].flags & ORDER_EDGE_LIVE)
			reach[topology->edges.items[i].from][topology->edges.items[i].to] = true;
	for (int k = 0; k < NODES_MAX; k++)
		for (int i = 0; i < NODES_MAX; i++)
			for (int j = 0; reach[i][k] && j < NODES_MAX; j++)
				reach[i][j] |= reach[k][j];
}

static bool is_live(const struct order_topology *topology, uint32_t node)
{
	return node < topology->nodes.count && (topology->nodes.items[node].flags & ORDER_NODE_LIVE);
}

static void check_rings(const struct order_topology *topology)
{
	for (uint32_t i = 0; i < topology->nodes.count; i++) {
		const struct order_node *node = &topology->nodes.items[i];
		if (!is_live(topology, i) || node->component != i)
			continue;
		uint32_t count = 0, member = i;
		do {
			must(topology->nodes.items[member].component == i);
			member = topology->nodes.items[member].next_member;
			must(++count < NODES_MAX + 1);
		} while (member != i);
		must(count == node->member_count);
	}
}

static void check_order(const struct order_topology *topology)
{
	for (uint32_t i = 0; i < topology->edges.count; i++) {
		const struct order_edge *edge = &topology->edges.items[i];
		if (!(edge->flags & ORDER_EDGE_LIVE) || (edge->flags & ORDER_EDGE_DEFERRED) ||
		    order_edge_is_cyclic(topology, edge))
			continue;
		uint32_t from = topology->nodes.items[edge->from].component;
		uint32_t to = topology->nodes.items[edge->to].component;
		must(topology->nodes.items[from].order < topology->nodes.items[to].order);
	}
}

/* Exact when nothing waits for the batch pass; else never too small, but for what is deferred. */
static void check(const struct order_topology *topology)
{
	static bool reach[NODES_MAX][NODES_MAX];
	uint64_t cyclic = 0;
	close_over(topology, reach);
	check_rings(topology);
	check_order(topology);
	for (uint32_t i = 0; i < NODES_MAX; i++) {
		bool on_cycle = false;
		for (uint32_t j = 0; is_live(topology, i) && j < NODES_MAX; j++) {
			if (!is_live(topology, j) || i == j)
				continue;
			bool together =
				topology->nodes.items[i].component == topology->nodes.items[j].component;
			bool strongly = reach[i][j] && reach[j][i];
			on_cycle |= strongly;
			if (!topology->deferred.count)
				must(together || !strongly);
			if (!topology->stale)
				must(strongly || !together);
		}
		cyclic += on_cycle;
	}
	if (!topology->stale && !topology->deferred.count)
		must(topology->cyclic_nodes == cyclic);
}

static uint32_t random_edge(const struct order_topology *topology, uint64_t *seed)
{
	uint32_t start = random_below(seed, topology->edges.count ? topology->edges.count : 1);
	for (uint32_t i = 0; i < topology->edges.count; i++) {
		uint32_t at = (start + i) % topology->edges.count;
		if (topology->edges.items[at].flags & ORDER_EDGE_LIVE)
			return at;
	}
	return ORDER_NONE;
}

static void remove_node(struct order_topology *topology, uint32_t node)
{
	while (topology->nodes.items[node].first_out != ORDER_NONE)
		order_topology_remove_edge(topology, topology->nodes.items[node].first_out);
	while (topology->nodes.items[node].first_in != ORDER_NONE)
		order_topology_remove_edge(topology, topology->nodes.items[node].first_in);
	order_topology_remove_node(topology, node);
}

static void step(struct order_topology *topology, uint64_t *seed, uint32_t density)
{
	uint32_t a = random_below(seed, NODES_MAX), b = random_below(seed, NODES_MAX);
	switch (random_below(seed, 16)) {
	case 0:
		if (is_live(topology, a))
			remove_node(topology, a);
		return;
	case 1:
	case 2:
	case 3: {
		uint32_t edge = random_edge(topology, seed);
		if (edge != ORDER_NONE)
			order_topology_remove_edge(topology, edge);
		return;
	}
	case 4:
	case 5:
		order_topology_add_node(topology);
		return;
	case 6:
		array_clear(&topology->dirty);
		must(order_topology_settle(topology) == 0);
		return;
	default:
		if (a != b && is_live(topology, a) && is_live(topology, b) &&
		    topology->edges.count - topology->edges.free_count < density)
			must(order_topology_add_edge(topology, a, b, 0) != ORDER_NONE);
	}
}

static void run(uint64_t seed, uint32_t density, uint32_t visit_cap)
{
	struct order_topology topology;
	order_topology_init(&topology, NODES_MAX, 4096, visit_cap);
	for (int i = 0; i < NODES_MAX / 2; i++)
		order_topology_add_node(&topology);
	for (int i = 0; i < STEPS; i++) {
		step(&topology, &seed, density);
		check(&topology);
	}
	must(order_topology_settle(&topology) == 0);
	must(!topology.stale && !topology.deferred.count);
	check(&topology);
	order_topology_release(&topology);
}

START_TEST(incremental_agrees_with_reachability)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		run(seed, 24, 1 << 20);
		run(seed, 60, 1 << 20);
		run(seed, 200, 1 << 20);
	}
}
END_TEST

START_TEST(capped_searches_are_made_up_for)
{
	for (uint64_t seed = 11; seed <= 16; seed++) {
		run(seed, 60, 8);
		run(seed, 60, 1);
	}
}
END_TEST

START_TEST(only_new_cycles_are_dirty)
{
	struct order_topology topology;
	order_topology_init(&topology, 8, 16, 100);
	for (int i = 0; i < 4; i++)
		order_topology_add_node(&topology);
	order_topology_add_edge(&topology, 0, 1, 0);
	order_topology_add_edge(&topology, 1, 2, 0);
	order_topology_add_edge(&topology, 3, 0, 0);
	ck_assert_uint_eq(topology.dirty.count, 0);
	uint32_t closing = order_topology_add_edge(&topology, 2, 0, 0);
	ck_assert_uint_eq(topology.dirty.count, 1);
	ck_assert_uint_eq(topology.dirty.items[0].edge, closing);
	ck_assert_uint_eq(topology.cyclic_nodes, 3);
	/* A later cycle through the edge that closed the first one. */
	closing = order_topology_add_edge(&topology, 2, 3, 0);
	ck_assert_uint_eq(topology.dirty.count, 2);
	ck_assert_uint_eq(topology.dirty.items[1].edge, closing);
	ck_assert_uint_eq(topology.cyclic_nodes, 4);
	order_topology_release(&topology);
}
END_TEST

START_TEST(limits_refuse)
{
	struct order_topology topology;
	order_topology_init(&topology, 2, 1, 100);
	uint32_t a = order_topology_add_node(&topology), b = order_topology_add_node(&topology);
	ck_assert_uint_eq(order_topology_add_node(&topology), ORDER_NONE);
	ck_assert_uint_eq(order_topology_add_edge(&topology, a, b, 0), 0);
	ck_assert_uint_eq(order_topology_add_edge(&topology, b, a, 0), ORDER_NONE);
	order_topology_remove_edge(&topology, 0);
	order_topology_remove_node(&topology, a);
	ck_assert_uint_eq(order_topology_add_node(&topology), a);
	order_topology_release(&topology);
}
END_TEST

/* A path of a hundred thousand nodes, closed: recursion would end badly. */
START_TEST(long_paths_need_no_stack)
{
	enum { LENGTH = 100000 };
	struct order_topology topology;
	order_topology_init(&topology, LENGTH, LENGTH, 16);
	for (uint32_t i = 0; i < LENGTH; i++)
		order_topology_add_node(&topology);
	for (uint32_t i = 0; i < LENGTH; i++)
		order_topology_add_edge(&topology, i, (i + 1) % LENGTH, 0);
	ck_assert_uint_eq(topology.deferred.count, 1);
	ck_assert_int_eq(order_topology_settle(&topology), 0);
	ck_assert_uint_eq(topology.cyclic_nodes, LENGTH);
	ck_assert_uint_eq(topology.batch_passes, 1);
	order_topology_release(&topology);
}
END_TEST

UNIT_TESTS("order_topology", incremental_agrees_with_reachability, capped_searches_are_made_up_for,
	   only_new_cycles_are_dirty, limits_refuse, long_paths_need_no_stack)
