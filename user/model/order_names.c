/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tells an order's story: stacks, by the acquisitions that name them, and symbols of locks. */
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
	string_pool_release(&graph->strings);
}

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
	return graph->strings.bytes + graph->frame_count * sizeof(struct order_frame) +
	       graph->stacks.count * sizeof(struct order_stack_slot) +
	       graph->symbols.count * sizeof(struct order_symbol) +
	       (graph->stacks.slot_count + graph->symbols.slot_count + graph->strings.table.slot_count) *
		       sizeof(struct hash_entry);
}
