/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lock-order inversions as text. */
#include <inttypes.h>

#include "sink/text_sink.h"
#include "sink/text_wait.h"

static const struct finding_lock *lock_at(const struct finding *finding, int index)
{
	const struct evidence *evidence = &finding->evidence;
	return index >= 0 && (size_t)index < evidence->locks.count ? &evidence->locks.items[index] : NULL;
}

static void add_brief(struct text_buffer *line, const struct finding *finding, int index)
{
	const struct finding_lock *lock = lock_at(finding, index);
	if (!lock)
		text_buffer_add(line, "a lock");
	else if (*lock->name)
		text_buffer_add_untrusted(line, lock->name);
	else
		text_buffer_addf(line, "0x%" PRIx64, lock->address);
}

static void add_full(struct text_buffer *line, const struct finding *finding, int index)
{
	const struct finding_lock *lock = lock_at(finding, index);
	if (lock)
		text_add_lock(line, lock);
	else
		text_buffer_add(line, "a lock");
}

void text_compose_orders(struct text_sink *self, const struct finding *finding)
{
	struct text_buffer *line = &self->line;
	text_buffer_add(line, ":");
	array_each(&finding->edges, edge) {
		size_t index = (size_t)(edge - finding->edges.items);
		const char *site = edge->witnesses.count ? edge->witnesses.items[0].site : "";
		text_buffer_add(line, index ? ", " : " ");
		add_brief(line, finding, edge->from);
		text_buffer_add(line, " -> ");
		add_brief(line, finding, edge->to);
		if (*site) {
			text_buffer_add(line, " in ");
			text_buffer_add_untrusted(line, site);
		} else {
			text_buffer_add(line, index ? " there" : " here");
		}
	}
}

static void add_titled_stack(struct text_sink *self, const struct finding *finding, int lock, const char *how,
			     const struct finding_stack *stack)
{
	add_brief(&self->line, finding, lock);
	text_buffer_addf(&self->line, " %s at", how);
	text_end_paragraph(self, 4, 6, 0, NULL);
	text_add_stack(self, stack);
}

static void add_guards(struct text_sink *self, const struct finding *finding,
		       const struct finding_witness *witness)
{
	if (!witness->guards.count)
		return;
	array_each(&witness->guards, guard) {
		text_buffer_add(&self->line, guard == witness->guards.items ? "also holds " : ", ");
		add_brief(&self->line, finding, *guard);
	}
	if (witness->more_guards)
		text_buffer_addf(&self->line, " and %" PRIu32 " more", witness->more_guards);
	text_end_paragraph(self, 4, 6, 0, NULL);
}

/* "t1 (4712) holds mutex X (0x..) and wants mutex Y (0x..)", with the words of the modes. */
static void add_order(struct text_sink *self, const struct finding *finding, const struct finding_edge *edge,
		      const struct finding_witness *witness)
{
	struct text_buffer *line = &self->line;
	const struct finding_lock *wanted = lock_at(finding, edge->to);
	text_buffer_add_untrusted(line, *witness->comm ? witness->comm : "thread");
	size_t name_bytes = line->length;
	text_buffer_addf(line, " (%" PRIu32 ") holds ", witness->tid);
	add_full(line, finding, edge->from);
	if (edge->from_shared)
		text_buffer_add(line, " for reading");
	text_buffer_add(line, " and wants ");
	if (wanted && wanted->type == LOCK_TYPE_RWLOCK)
		text_buffer_add(line, edge->mode == WAIT_MODE_SHARED ? "to read " : "to write ");
	add_full(line, finding, edge->to);
	text_end_paragraph(self, 2, 6, name_bytes, COLOR_BOLD);
	add_titled_stack(self, finding, edge->from, "taken", &witness->stack_from);
	add_titled_stack(self, finding, edge->to, "wanted", &witness->stack_to);
	add_guards(self, finding, witness);
	if (edge->witness_count > 1) {
		text_buffer_addf(line, "(one of %" PRIu32 " ways in which this order was seen)",
				 edge->witness_count);
		text_end_paragraph(self, 4, 6, 0, NULL);
	}
}

void text_add_orders(struct text_sink *self, const struct finding *finding)
{
	array_each(&finding->edges, edge)
		array_each(&edge->witnesses, witness)
			add_order(self, finding, edge, witness);
}
