/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SEMANTICS 4.7: an edge keeps up to 8 witnesses, and never only the first: a guarded order seen first must
 * not hide an unguarded one.
 *
 * A witness whose thread and position another one shares, with fewer guards, adds nothing and is not kept.
 * When eight are kept, a ninth takes the place of one that adds least: another one of a thread that has
 * several, else one with guards, if the new one has none.
 */
#include "model/order_state.h"

uint32_t order_witness_count(const struct order_graph *graph, const struct order_edge *edge)
{
	uint32_t count = 1;
	for (uint32_t at = edge->more; at != ORDER_NONE; at = graph->more.items[at].next)
		count++;
	return count;
}

static void give_uses(struct order_graph *graph, const struct order_witness *witness)
{
	order_history_give_position(&graph->history, witness->position);
	order_guard_sets_give(&graph->history.guards, witness->guards);
}

void order_witness_release(struct order_graph *graph, uint32_t index)
{
	struct order_edge *edge = order_edge(graph, index);
	give_uses(graph, &edge->witness);
	for (uint32_t at = edge->more; at != ORDER_NONE;) {
		uint32_t next = graph->more.items[at].next;
		give_uses(graph, &graph->more.items[at].witness);
		order_table_give(&graph->more, at, next);
		at = next;
	}
	edge->more = ORDER_NONE;
}

static uint32_t thread_of(const struct order_graph *graph, const struct order_witness *witness)
{
	return graph->history.positions.items[witness->position].thread;
}

/* The witnesses of an edge, at most ORDER_WITNESS_MAX. */
static uint32_t list(struct order_graph *graph, struct order_edge *edge,
		     struct order_witness *ret_list[static ORDER_WITNESS_MAX])
{
	uint32_t count = 0;
	ret_list[count++] = &edge->witness;
	for (uint32_t at = edge->more; at != ORDER_NONE && count < ORDER_WITNESS_MAX;
	     at = graph->more.items[at].next)
		ret_list[count++] = &graph->more.items[at].witness;
	return count;
}

/* The one that adds least, NULL when the new one adds less. */
static struct order_witness *find_victim(const struct order_graph *graph, struct order_witness *const *kept,
					 uint32_t count, const struct order_witness *witness)
{
	bool is_new_thread = true;
	for (uint32_t i = 0; i < count; i++)
		is_new_thread &= thread_of(graph, kept[i]) != thread_of(graph, witness);
	for (uint32_t i = count; is_new_thread && i-- > 1;)
		for (uint32_t j = 0; j < i; j++)
			if (thread_of(graph, kept[i]) == thread_of(graph, kept[j]))
				return kept[kept[i]->guards == ORDER_NO_GUARDS ? j : i];
	for (uint32_t i = count; witness->guards == ORDER_NO_GUARDS && i-- > 0;)
		if (kept[i]->guards != ORDER_NO_GUARDS)
			return kept[i];
	return NULL;
}

bool order_witness_add(struct order_graph *graph, uint32_t index, const struct order_witness *witness)
{
	struct order_edge *edge = order_edge(graph, index);
	const struct order_guard_sets *sets = &graph->history.guards;
	struct order_witness *kept[ORDER_WITNESS_MAX], *place = NULL;
	uint32_t count = list(graph, edge, kept);
	for (uint32_t i = 0; i < count; i++) {
		/* Another site is another story, even of the same thread. */
		if (kept[i]->position != witness->position || kept[i]->site != witness->site)
			continue;
		if (order_guards_are_subset(sets, kept[i]->guards, witness->guards)) {
			give_uses(graph, witness);
			return false;
		}
		if (order_guards_are_subset(sets, witness->guards, kept[i]->guards))
			place = kept[i];
	}
	if (!place && count < ORDER_WITNESS_MAX) {
		uint32_t slot = order_table_take(&graph->more, next);
		if (slot != ORDER_NONE) {
			graph->more.items[slot] = (struct order_more_witness){ *witness, edge->more };
			edge->more = slot;
			return true;
		}
	}
	if (!place && !(place = find_victim(graph, kept, count, witness))) {
		graph->stats.dropped_witnesses++;
		give_uses(graph, witness);
		return false;
	}
	struct order_witness old = *place;
	*place = *witness;
	give_uses(graph, &old);
	return true;
}
