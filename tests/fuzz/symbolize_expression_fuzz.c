/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DWARF expressions of unwind tables: ten bytes an operation, as libdw would hand them over. */
#include <string.h>

#include "fuzz.h"
#include "symbolize/dwarf_expression.h"

enum { OP_BYTES = 10, OP_MAX = 256 };

/* Every other page can be read. */
static bool read_word(void *context, uint64_t address, uint64_t *ret_word)
{
	*ret_word = address * 3;
	return address >> 12 & 1;
}

int fuzz_one(const uint8_t *bytes, size_t length)
{
	Dwarf_Op ops[OP_MAX];
	size_t count = 0;
	for (; count < OP_MAX && (count + 1) * OP_BYTES <= length; count++) {
		const uint8_t *at = bytes + count * OP_BYTES;
		ops[count] = (Dwarf_Op){ .atom = at[0], .offset = at[1] };
		memcpy(&ops[count].number, at + 2, sizeof(ops[count].number));
		ops[count].number2 = at[2];
	}
	const struct unwind_regs regs = { .values = { 1, 2, 3, 0x1000, 0x2000, 5, 6, 0x3000 },
					  .known = 0xff };
	const struct cfi_memory memory = { read_word, NULL };
	const struct dwarf_machine machine = { &regs, &memory, 0x1010, 0x400000 };
	uint64_t value = 0;
	if (count && dwarf_expression_run(&machine, ops, count, &value) > 0)
		abort();
	return 0;
}
