/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/stack_memory.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES ((uint64_t)4096)

void stack_memory_init(struct stack_memory *memory, struct ask *ask, uint64_t start, const uint8_t *sample,
		       size_t sample_length)
{
	memory->ask = ask;
	memory->sample_start = start;
	memory->sample = sample;
	memory->sample_length = sample_length;
	memory->piece_count = 0;
	memory->missed_beyond_sample = false;
}

void stack_memory_release(struct stack_memory *memory)
{
	for (size_t i = 0; i < memory->piece_count; i++)
		free(memory->pieces[i].bytes);
	memory->piece_count = 0;
}

static bool copy_word(const uint8_t *bytes, uint64_t start, size_t length, uint64_t address,
		      uint64_t *ret_word)
{
	if (length < sizeof(*ret_word) || address < start || address - start > length - sizeof(*ret_word))
		return false;
	memcpy(ret_word, bytes + (address - start), sizeof(*ret_word));
	return true;
}

static const struct stack_piece *fetch(struct stack_memory *memory, uint64_t address)
{
	if (!memory->ask || memory->piece_count >= STACK_PIECE_MAX)
		return NULL;
	struct stack_piece *piece = &memory->pieces[memory->piece_count];
	piece->start = address & ~(PAGE_BYTES - 1);
	piece->bytes = malloc(STACK_PIECE_BYTES);
	if (!piece->bytes)
		return NULL;
	ssize_t got = ask_memory(memory->ask, piece->start, piece->bytes, STACK_PIECE_BYTES);
	if (got <= 0) {
		free(piece->bytes);
		return NULL;
	}
	piece->length = (size_t)got;
	memory->piece_count++;
	return piece;
}

bool stack_memory_read_word(void *context, uint64_t address, uint64_t *ret_word)
{
	struct stack_memory *memory = context;
	if (copy_word(memory->sample, memory->sample_start, memory->sample_length, address, ret_word))
		return true;
	for (size_t i = memory->piece_count; i-- > 0;) {
		const struct stack_piece *piece = &memory->pieces[i];
		if (copy_word(piece->bytes, piece->start, piece->length, address, ret_word))
			return true;
	}
	const struct stack_piece *piece = fetch(memory, address);
	if (piece && copy_word(piece->bytes, piece->start, piece->length, address, ret_word))
		return true;
	if (address >= memory->sample_start &&
	    address - memory->sample_start < STACK_PIECE_MAX * STACK_PIECE_BYTES)
		memory->missed_beyond_sample = true;
	return false;
}
