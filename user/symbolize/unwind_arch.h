/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the unwinder must know of an architecture: one file for each, unwind_<arch>.c, of which the one of
 * the machine is compiled in. Register numbers are DWARF's.
 */
#ifndef HOLDUP_SYMBOLIZE_UNWIND_ARCH_H
#define HOLDUP_SYMBOLIZE_UNWIND_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "events.h"

enum { UNWIND_REG_COUNT = 33 };

struct unwind_regs {
	uint64_t values[UNWIND_REG_COUNT];
	uint64_t known; /* a bit for each register that has a value */
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
};

const struct unwind_arch *unwind_arch(void);

#endif
