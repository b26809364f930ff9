/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifdef __x86_64__
#include <elf.h>

#include "symbolize/unwind_arch.h"

/* Numbers: System V ABI, AMD64 supplement, figure 3.36. Frame: rbp -> { caller's rbp, return address }. */
const struct unwind_arch *unwind_arch(void)
{
	static const struct unwind_arch arch = {
		.elf_machine = EM_X86_64,
		.register_count = 17, /* the 17th is the return address */
		.stack_pointer = 7,
		.frame_pointer = 6,
		.saved = { 6, 3, 12, 13, 14, 15 },
		.saved_count = 6,
		.frame_pointer_offset = 0,
		.return_address_offset = 8,
		.frame_bytes = 16,
		.code_address_mask = UINT64_MAX,
	};
	return &arch;
}
#endif
