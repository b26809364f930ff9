/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stack machine for the DWARF expressions of unwind tables (DWARF 5, section 2.5). */
#ifndef HOLDUP_SYMBOLIZE_DWARF_EXPRESSION_H
#define HOLDUP_SYMBOLIZE_DWARF_EXPRESSION_H

#include <elfutils/libdw.h>
#include <stddef.h>
#include <stdint.h>

#include "symbolize/cfi_rule.h"

struct dwarf_machine {
	const struct unwind_regs *regs;
	const struct cfi_memory *memory;
	uint64_t cfa;
	uint64_t bias; /* added to DW_OP_addr */
};

/*
 * Runs an expression. Steps and stack are bounded. Returns 0 and the top of the stack; -ENODATA when it
 * needs a register that isn't known; -EFAULT when it needs memory that can't be read; -EINVAL when it is
 * senseless or uses what unwind tables may not.
 */
int dwarf_expression_run(const struct dwarf_machine *machine, const Dwarf_Op *ops, size_t op_count,
			 uint64_t *ret_value);

#endif
