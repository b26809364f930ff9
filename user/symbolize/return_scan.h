/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The last resort of the unwinder: code that has neither unwind rows nor frame pointers (Debian's musl). The
 * caller's return address is on the stack somewhere above the stack pointer; what is looked for is the first
 * word that can be one. Old return addresses lie about on stacks, so a word counts only if the instruction
 * before it is a call, and only if that call can have led to the function that is being left, as far as its
 * target and symbols tell. It is a guess all the same.
 *
 * All work of one walk is bounded: the stack, the code and the symbols are the watched program's.
 */
#ifndef HOLDUP_SYMBOLIZE_RETURN_SCAN_H
#define HOLDUP_SYMBOLIZE_RETURN_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbolize/address_space.h"
#include "symbolize/stack_memory.h"

struct return_scan {
	struct worker_state *state;
	struct address_space *space;
	struct stack_memory *memory;
	/* What this walk may still do. */
	size_t words_left, code_bytes_left, slot_reads_left, modules_left;
};

/* Borrows all three. */
void return_scan_init(struct return_scan *scan, struct worker_state *state, struct address_space *space,
		      struct stack_memory *memory);

/* Whether code at pc, which is a return address, can have no caller: a program's entry, a thread's start. */
bool return_scan_is_outermost(struct return_scan *scan, uint64_t pc);

/*
 * Whether `word` can be the return address of a call that led to the function at pc. True as well for what
 * can't be judged: code without a file.
 */
bool return_scan_allows(struct return_scan *scan, uint64_t word, uint64_t pc);

/*
 * Finds the first word in [sp, limit) that is the return address, in code of a file, of a call that can have
 * led to pc. Looks at 1024 words at most. *ret_slot is where it is, *ret_pc what it is.
 */
bool return_scan_find(struct return_scan *scan, uint64_t pc, uint64_t sp, uint64_t limit, uint64_t *ret_slot,
		      uint64_t *ret_pc);

#endif
