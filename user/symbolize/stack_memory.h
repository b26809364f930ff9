/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stack of a sleeping thread: the sample's bytes, and pieces fetched from the target beyond them. */
#ifndef HOLDUP_SYMBOLIZE_STACK_MEMORY_H
#define HOLDUP_SYMBOLIZE_STACK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbolize/ask.h"

enum {
	STACK_PIECE_BYTES = 16384,
	/* One walk fetches at most this many pieces (512 KiB). */
	STACK_PIECE_MAX = 32,
};

struct stack_piece {
	uint64_t start;
	size_t length;
	uint8_t *bytes;
};

struct stack_memory {
	struct ask *ask;
	uint64_t sample_start;
	const uint8_t *sample;
	size_t sample_length;
	struct stack_piece pieces[STACK_PIECE_MAX];
	size_t piece_count;
	bool missed_beyond_sample; /* a read failed above the sample: the stack goes on, but can't be had */
};

/* Borrows the sample's bytes. `ask` NULL: there is nothing beyond the sample. */
void stack_memory_init(struct stack_memory *memory, struct ask *ask, uint64_t start, const uint8_t *sample,
		       size_t sample_length);
void stack_memory_release(struct stack_memory *memory);

/* Reads 8 bytes of the target (context is a struct stack_memory); false when they can't be had. */
bool stack_memory_read_word(void *context, uint64_t address, uint64_t *ret_word);

#endif
