/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the unwinder must know of an architecture: one file for each, unwind_<arch>.c, of which the one of
 * the machine is compiled in. Register numbers are DWARF's.
 */
#ifndef HOLDUP_SYMBOLIZE_UNWIND_ARCH_H
#define HOLDUP_SYMBOLIZE_UNWIND_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"

enum { UNWIND_REG_COUNT = 33 };

struct unwind_regs {
	uint64_t values[UNWIND_REG_COUNT];
	uint64_t known; /* a bit for each register that has a value */
};

/* How an instruction passes control on. */
enum transfer_kind {
	TRANSFER_NONE,
	TRANSFER_DIRECT, /* to `target` */
	TRANSFER_SLOT, /* to where the word at `target` points: a table of addresses such as .got */
	TRANSFER_UNKNOWN, /* a register or computed memory: anywhere */
};

struct code_transfer {
	enum transfer_kind kind;
	uint64_t target;
};

/* Code bytes around an address. */
struct code {
	const uint8_t *bytes; /* at the address */
	size_t before, after; /* how many may be read on either side */
	uint64_t address;
};

/* Ways to read the bytes before an address as a call: instructions have many lengths. */
enum { CALL_READINGS_MAX = 7 };

/* What the last-resort search for return addresses must know: only where calls push them on the stack. */
struct unwind_arch_code {
	/* All calls that may end at the address; returns how many there are. */
	size_t (*calls_before)(const struct code *code,
			       struct code_transfer ret_calls[static CALL_READINGS_MAX]);
	/* The jump that begins at the address. */
	struct code_transfer (*jump_at)(const struct code *code);
	/* Landing pads and the like, which a function may begin with: their length. */
	size_t (*entry_padding)(const struct code *code);
	/* Whether the code at the address, behind a call, ends the thread. */
	bool (*ends_thread)(const struct code *code);
};

struct unwind_arch {
	uint16_t elf_machine;
	uint8_t register_count;
	uint8_t stack_pointer, frame_pointer;
	/* Register of each of event_regs.saved. */
	uint8_t saved[EVENT_SAVED_REGS];
	uint8_t saved_count;
	/* From the frame pointer to the caller's frame pointer, and to the return address. */
	uint8_t frame_pointer_offset, return_address_offset;
	/* Stack bytes that a frame-pointer frame ends with: the caller's stack pointer is fp + this. */
	uint8_t frame_bytes;
	/* Bits of a return address that are an address: the rest may be a signature. */
	uint64_t code_address_mask;
	/* NULL: return addresses are not searched for. */
	const struct unwind_arch_code *code;
};

const struct unwind_arch *unwind_arch(void);

#endif
