/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifdef __aarch64__
#include <elf.h>

#include "symbolize/unwind_arch.h"

/*
 * Numbers: DWARF for the Arm 64-bit Architecture (AADWARF64). Frame record: AAPCS64, x29 -> { caller's x29,
 * x30 }. Return addresses may be signed above the 48 bits of a user address (pointer authentication).
 */
const struct unwind_arch *unwind_arch(void)
{
	static const struct unwind_arch arch = {
		.elf_machine = EM_AARCH64,
		.register_count = 33,
		.stack_pointer = 31,
		.frame_pointer = 29,
		.saved = { 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30 },
		.saved_count = 12,
		.frame_pointer_offset = 0,
		.return_address_offset = 8,
		.frame_bytes = 16,
		.code_address_mask = (UINT64_C(1) << 48) - 1,
		/* A call leaves its return address in x30; where a function keeps it is its own affair. */
		.code = NULL,
	};
	return &arch;
}
#endif
