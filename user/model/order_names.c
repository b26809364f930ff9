/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tells an order's story: the acquisitions that name stacks, the stacks, the symbols of locks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/order_state.h"

void order_names_release(struct order_graph *graph)
{
	struct hash_table *tables[] = { &graph->stacks, &graph->symbols };
	for (size_t i = 0; i < 2; i++) {
		size_t at = 0;
		for (const struct hash_entry *entry; (entry = hash_table_next(tables[i], &at));)
			free(entry->value);
		hash_table_release(tables[i]);
	}
	free(graph->acquisitions.items);
	order_index_release(&graph->acquisition_index);
	string_pool_release(&graph->strings);
}

/* ---- acquisitions ---- */

static uint64_t acquisition_hash(const void *owner, uint32_t item)
{
	const struct order_graph *graph = owner;
	return order_mix(graph->acquisitions.items[item].key);
}

static void mark(uint8_t *used, uint32_t acquisition)
{
	if (acquisition != ORDER_NONE)
		used[acquisition / 8] |= (uint8_t)(1 << acquisition % 8);
}

/* The table is full: those that no witness names give way. Should one of them come again, its site is lost. */
static void sweep(struct order_graph *graph)
{
	uint8_t *used = calloc(graph->acquisitions.count / 8 + 1, 1);
	if (!used)
		return;
	for (uint32_t i = 0; i < graph->topology.edges.count; i++) {
		const struct order_edge *edge = order_edge(graph, i);
		if (!(edge->flags & ORDER_EDGE_LIVE))
			continue;
		mark(used, edge->witness.held_acquisition);
		mark(used, edge->witness.wanted_acquisition);
		for (uint32_t at = edge->more; at != ORDER_NONE; at = graph->more.items[at].next) {
			mark(used, graph->more.items[at].witness.held_acquisition);
			mark(used, graph->more.items[at].witness.wanted_acquisition);
		}
	}
	order_index_clear(&graph->acquisition_index);
	graph->acquisitions.first_free = graph->acquisitions.free_count = 0;
	for (uint32_t i = 0; i < graph->acquisitions.count; i++) {
		if ((used[i / 8] >> i % 8 & 1) &&
		    order_index_reserve(&graph->acquisition_index, graph, acquisition_hash,
					graph->acquisitions.count)) {
			order_index_add(&graph->acquisition_index, acquisition_hash(graph, i), i);
			continue;
		}
		order_table_give(&graph->acquisitions, i, next_free);
		graph->stats.dropped_acquisitions++;
	}
	free(used);
}

uint32_t order_acquisition(struct order_graph *graph, uint32_t process, uint64_t id, uint64_t site)
{
	uint64_t key = order_acquisition_key(graph, process, id), hash = order_mix(key);
	order_index_each(&graph->acquisition_index, hash,
			 item) if (graph->acquisitions.items[item].key == key)
	{
		if (site)
			graph->acquisitions.items[item].site = site;
		return item;
	}
	if (!graph->acquisitions.first_free && graph->acquisitions.count == graph->acquisitions.limit)
		sweep(graph);
	uint32_t index = order_index_reserve(&graph->acquisition_index, graph, acquisition_hash,
					     graph->acquisitions.count)
				 ? order_table_take(&graph->acquisitions, next_free)
				 : ORDER_NONE;
	if (index == ORDER_NONE) {
		graph->stats.dropped_acquisitions++;
		return index;
	}
	graph->acquisitions.items[index] = (struct order_acquisition){ .key = key, .site = site };
	order_index_add(&graph->acquisition_index, hash, index);
	return index;
}

/* ---- stacks and symbols ---- */

static struct order_stack_slot *make_stack(struct order_graph *graph, const struct event *event)
{
	uint32_t count = event->frames->count;
	struct order_stack_slot *slot = calloc(1, sizeof(*slot) + count * sizeof(struct order_frame));
	if (!slot)
		return NULL;
	size_t position = 0;
	const char *text[4];
	const struct event_frame *frame;
	while (slot->stack.frame_count < count && (frame = event_frame_next(event, &position, text)))
		slot->frames[slot->stack.frame_count++] = (struct order_frame){
			.ip = frame->ip,
			.offset = frame->offset,
			.line = frame->line,
			.column = frame->column,
			.flags = frame->flags,
			.language = frame->language,
			.function = string_pool_intern(&graph->strings, text[0]),
			.file = string_pool_intern(&graph->strings, text[1]),
			.module = string_pool_intern(&graph->strings, text[2]),
			.build_id = string_pool_intern(&graph->strings, text[3]),
		};
	slot->stack.frames = slot->frames;
	slot->stack.end = event->frames->end;
	return slot;
}

void order_names_frames(struct order_graph *graph, uint32_t process, const struct event *event)
{
	uint64_t acquisition = event->frames->run_token, serial = graph->processes.items[process].serial;
	struct order_stack_slot *old = hash_table_get(&graph->stacks, serial, acquisition);
	bool fits = graph->frame_count + event->frames->count <= graph->limits.frame_count &&
		    (old || graph->stacks.count < graph->limits.stack_count);
	struct order_stack_slot *slot = fits ? make_stack(graph, event) : NULL;
	if (!slot || hash_table_put(&graph->stacks, serial, acquisition, slot) < 0) {
		free(slot);
		graph->stats.dropped_stacks++;
		return;
	}
	graph->frame_count += slot->stack.frame_count - (old ? old->stack.frame_count : 0);
	free(old);
}

void order_names_symbol(struct order_graph *graph, uint32_t process, const struct event *event)
{
	uint64_t serial = graph->processes.items[process].serial;
	struct order_symbol *symbol = hash_table_get(&graph->symbols, serial, event->symbol->address);
	bool is_new = !symbol;
	if (is_new && graph->symbols.count < graph->limits.symbol_count)
		symbol = calloc(1, sizeof(*symbol));
	if (!symbol ||
	    (is_new && hash_table_put(&graph->symbols, serial, event->symbol->address, symbol) < 0)) {
		free(symbol);
		graph->stats.dropped_symbols++;
		return;
	}
	symbol->start = event->symbol->start;
	symbol->name = string_pool_intern(&graph->strings, event->text[0]);
	symbol->module = string_pool_intern(&graph->strings, event->text[1]);
}

bool order_graph_stack(const struct order_graph *graph, uint32_t process, uint64_t acquisition,
		       struct order_stack *ret_stack)
{
	const struct order_stack_slot *slot =
		hash_table_get(&graph->stacks, graph->processes.items[process].serial, acquisition);
	if (slot)
		*ret_stack = slot->stack;
	return slot;
}

bool order_graph_symbol(const struct order_graph *graph, uint32_t process, uint64_t address,
			struct order_symbol *ret_symbol)
{
	const struct order_symbol *symbol =
		hash_table_get(&graph->symbols, graph->processes.items[process].serial, address);
	if (symbol)
		*ret_symbol = *symbol;
	return symbol;
}

/* Takes what belongs to one process out of a table. */
static void forget(struct hash_table *table, uint64_t serial, uint64_t *frame_count)
{
	struct hash_table kept = { .seed = table->seed };
	size_t at = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(table, &at));) {
		if (entry->key.a != serial &&
		    !hash_table_put(&kept, entry->key.a, entry->key.b, entry->value))
			continue;
		if (frame_count)
			*frame_count -= ((struct order_stack_slot *)entry->value)->stack.frame_count;
		free(entry->value);
	}
	hash_table_release(table);
	*table = kept;
}

void order_names_forget_process(struct order_graph *graph, uint32_t process)
{
	uint64_t serial = graph->processes.items[process].serial;
	forget(&graph->stacks, serial, &graph->frame_count);
	forget(&graph->symbols, serial, NULL);
}

uint64_t order_names_bytes(const struct order_graph *graph)
{
	return (uint64_t)graph->acquisitions.capacity * sizeof(*graph->acquisitions.items) +
	       (uint64_t)graph->acquisition_index.slot_count * sizeof(uint32_t) + graph->strings.bytes +
	       graph->frame_count * sizeof(struct order_frame) +
	       graph->stacks.count * sizeof(struct order_stack_slot) +
	       graph->symbols.count * sizeof(struct order_symbol) +
	       (graph->stacks.slot_count + graph->symbols.slot_count + graph->strings.table.slot_count) *
		       sizeof(struct hash_entry);
}
