/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of the text sink, shared by the files that implement it (and by nobody else). */
#ifndef HOLDUP_TEXT_SINK_H
#define HOLDUP_TEXT_SINK_H

#include <stdio.h>

#include "base/hash_table.h"
#include "base/text_buffer.h"
#include "sink/sink.h"

enum {
	TEXT_FRAME_INDENT = 6,
};

#define COLOR_OFF "\033[0m"
#define COLOR_BOLD "\033[1m"
#define COLOR_RED "\033[1;31m"
#define COLOR_YELLOW "\033[1;33m"
#define COLOR_GREEN "\033[1;32m"

struct text_sink {
	struct sink sink;
	FILE *out;
	struct text_sink_options options;
	struct text_buffer text; /* of the object being rendered */
	struct text_buffer line; /* the paragraph being composed */
	/* Threads whose stack stands above already; `explain` only. */
	struct hash_table shown_tids;
};

/* Ends the paragraph in `line`: its first emphasis_bytes in `color`, then empties it. */
void text_end_paragraph(struct text_sink *self, unsigned indent, unsigned hang, size_t emphasis_bytes,
			const char *color);
void text_add_stack(struct text_sink *self, const struct finding_stack *stack);

/* An inversion's locks in a ring, for the headline: "X -> Y in transfer, Y -> X in refund". */
void text_compose_orders(struct text_sink *self, const struct finding *finding);
/* Each of its orders: the thread, both stacks, what guards it. */
void text_add_orders(struct text_sink *self, const struct finding *finding);

#endif
