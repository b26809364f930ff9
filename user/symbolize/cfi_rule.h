/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unwind rules: what .eh_frame or .debug_frame says of one program counter, computed once by libdw and kept
 * in a form that is applied in nanoseconds.
 */
#ifndef HOLDUP_SYMBOLIZE_CFI_RULE_H
#define HOLDUP_SYMBOLIZE_CFI_RULE_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash_table.h"
#include "symbolize/unwind_arch.h"

enum cfi_how {
	CFI_UNDEFINED, /* lost: not recoverable */
	CFI_SAME,
	CFI_SAVED, /* in memory, at CFA + offset */
	CFI_VALUE, /* CFA + offset itself */
	CFI_REGISTER, /* another register + offset */
	CFI_EXPRESSION, /* in memory, at the address that the expression gives */
	CFI_VALUE_EXPRESSION,
};

struct cfi_expression {
	Dwarf_Op *ops;
	size_t count;
};

struct cfi_register {
	uint8_t how; /* enum cfi_how */
	uint8_t other; /* CFI_REGISTER */
	uint16_t expression; /* index */
	int32_t offset;
};

struct cfi_rule {
	struct cfi_register cfa; /* CFI_REGISTER or CFI_VALUE_EXPRESSION; CFI_UNDEFINED: there is no rule */
	struct cfi_register registers[UNWIND_REG_COUNT];
	struct cfi_expression *expressions;
	uint16_t expression_count;
	uint8_t return_register;
	bool is_signal_frame;
};

/* How a rule reads memory: false when the address can't be read. */
struct cfi_memory {
	bool (*read_word)(void *context, uint64_t address, uint64_t *ret_word);
	void *context;
};

/*
 * The rule of a virtual address, from a bounded cache or computed. The address must be one that the frame
 * is *in* (a return address minus one). NULL when the tables have none, or garbage.
 */
const struct cfi_rule *cfi_rule_find(struct hash_table *rules, Dwarf_CFI *cfi, uint64_t address);

/* Frees all rules of a cache. */
void cfi_rules_release(struct hash_table *rules);

/*
 * Computes the caller's registers. `bias` turns the file's addresses into the process's. The caller's
 * program counter is in ret_caller's return_register; its bit in `known` is clear when the frame is the
 * outermost one. Returns 0; -ENODATA when the CFA depends on a register that isn't known; -EFAULT when
 * memory that is needed for the CFA or the return address can't be read; -EINVAL for a senseless
 * expression.
 */
int cfi_rule_apply(const struct cfi_rule *rule, const struct unwind_regs *regs, uint64_t bias,
		   const struct cfi_memory *memory, struct unwind_regs *ret_caller, uint64_t *ret_cfa);

#endif
