/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/cfi_rule.h"

#include <dwarf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symbolize/dwarf_expression.h"

enum {
	/* Rules of one file. One costs about 350 bytes; a program that sleeps in more places is unheard of. */
	RULE_MAX = 8192,
	EXPRESSION_OPS_MAX = 256,
};

static void rule_free(struct cfi_rule *rule)
{
	if (!rule)
		return;
	for (size_t i = 0; i < rule->expression_count; i++)
		free(rule->expressions[i].ops);
	free(rule->expressions);
	free(rule);
}

void cfi_rules_release(struct hash_table *rules)
{
	size_t position = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(rules, &position));)
		rule_free(entry->value);
	hash_table_release(rules);
}

static int add_expression(struct cfi_rule *rule, const Dwarf_Op *ops, size_t count, uint16_t *ret_index)
{
	if (!count || count > EXPRESSION_OPS_MAX)
		return -EINVAL;
	struct cfi_expression *grown =
		realloc(rule->expressions, (rule->expression_count + 1U) * sizeof(*rule->expressions));
	if (!grown)
		return -ENOMEM;
	rule->expressions = grown;
	Dwarf_Op *copy = malloc(count * sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, ops, count * sizeof(*copy));
	grown[rule->expression_count].ops = copy;
	grown[rule->expression_count].count = count;
	*ret_index = rule->expression_count++;
	return 0;
}

static bool fits_offset(uint64_t number)
{
	return (int64_t)number == (int32_t)number;
}

/* The usual forms of a CFA: a register plus an offset. Anything else stays an expression. */
static int compile_cfa(struct cfi_rule *rule, Dwarf_Frame *frame)
{
	Dwarf_Op *ops;
	size_t count;
	if (dwarf_frame_cfa(frame, &ops, &count) || !count)
		return -ENODATA;
	rule->cfa.how = CFI_REGISTER;
	if (count == 1 && ops[0].atom >= DW_OP_breg0 && ops[0].atom <= DW_OP_breg31 &&
	    fits_offset(ops[0].number)) {
		rule->cfa.other = ops[0].atom - DW_OP_breg0;
		rule->cfa.offset = (int32_t)ops[0].number;
	} else if (count == 1 && ops[0].atom == DW_OP_bregx && ops[0].number < UNWIND_REG_COUNT &&
		   fits_offset(ops[0].number2)) {
		rule->cfa.other = (uint8_t)ops[0].number;
		rule->cfa.offset = (int32_t)ops[0].number2;
	} else {
		rule->cfa.how = CFI_VALUE_EXPRESSION;
		return add_expression(rule, ops, count, &rule->cfa.expression);
	}
	return 0;
}

/*
 * libdw gives a location description: [call_frame_cfa, plus_uconst offset] for "saved at CFA + offset",
 * with a final stack_value for "is CFA + offset"; [regx] for another register; a general expression
 * otherwise.
 */
static int compile_register(struct cfi_rule *rule, Dwarf_Frame *frame, int number)
{
	struct cfi_register *reg = &rule->registers[number];
	Dwarf_Op scratch[3], *ops;
	size_t count;
	if (dwarf_frame_register(frame, number, scratch, &ops, &count))
		return -EINVAL;
	if (!count) {
		reg->how = ops ? CFI_UNDEFINED : CFI_SAME;
		return 0;
	}
	bool is_value = ops[count - 1].atom == DW_OP_stack_value;
	size_t body = count - is_value;
	if (count == 1 && ops[0].atom == DW_OP_regx && ops[0].number < UNWIND_REG_COUNT) {
		reg->how = CFI_REGISTER;
		reg->other = (uint8_t)ops[0].number;
	} else if (body && body <= 2 && ops[0].atom == DW_OP_call_frame_cfa &&
		   (body == 1 || (ops[1].atom == DW_OP_plus_uconst && fits_offset(ops[1].number)))) {
		reg->how = is_value ? CFI_VALUE : CFI_SAVED;
		reg->offset = body == 2 ? (int32_t)ops[1].number : 0;
	} else {
		reg->how = is_value ? CFI_VALUE_EXPRESSION : CFI_EXPRESSION;
		return add_expression(rule, ops, body, &reg->expression);
	}
	return 0;
}

static int compile_frame(struct cfi_rule *rule, Dwarf_Frame *frame)
{
	int return_register = dwarf_frame_info(frame, NULL, NULL, &rule->is_signal_frame);
	if (return_register < 0 || return_register >= unwind_arch()->register_count)
		return -EINVAL;
	rule->return_register = (uint8_t)return_register;
	int err = compile_cfa(rule, frame);
	if (err)
		return err;
	/* A register that makes no sense is lost; what doesn't need it can still be unwound. */
	for (int i = 0; i < unwind_arch()->register_count; i++) {
		if (compile_register(rule, frame, i))
			rule->registers[i] = (struct cfi_register){ .how = CFI_UNDEFINED };
	}
	return 0;
}

/* That there is no rule is worth remembering too: it has an undefined CFA. */
static struct cfi_rule *compile(Dwarf_CFI *cfi, uint64_t address)
{
	struct cfi_rule *rule = calloc(1, sizeof(*rule));
	Dwarf_Frame *frame;
	if (!rule || dwarf_cfi_addrframe(cfi, address, &frame))
		return rule;
	if (compile_frame(rule, frame))
		rule->cfa.how = CFI_UNDEFINED;
	free(frame);
	return rule;
}

const struct cfi_rule *cfi_rule_find(struct hash_table *rules, Dwarf_CFI *cfi, uint64_t address)
{
	struct cfi_rule *rule = hash_table_get(rules, address, (uintptr_t)cfi);
	if (!rule) {
		rule = compile(cfi, address);
		if (!rule)
			return NULL;
		if (rules->count >= RULE_MAX)
			cfi_rules_release(rules);
		if (hash_table_put(rules, address, (uintptr_t)cfi, rule)) {
			rule_free(rule);
			return NULL;
		}
	}
	return rule->cfa.how == CFI_UNDEFINED ? NULL : rule;
}

static bool get(const struct unwind_regs *regs, uint8_t number, uint64_t *ret_value)
{
	if (!(regs->known >> number & 1))
		return false;
	*ret_value = regs->values[number];
	return true;
}

static int apply_register(const struct cfi_rule *rule, const struct cfi_register *reg, uint8_t number,
			  const struct dwarf_machine *machine, uint64_t *ret_value)
{
	const struct cfi_memory *memory = machine->memory;
	const struct cfi_expression *expression;
	uint64_t address;
	int err;
	switch ((enum cfi_how)reg->how) {
	case CFI_UNDEFINED:
		return -ENODATA;
	case CFI_SAME:
		return get(machine->regs, number, ret_value) ? 0 : -ENODATA;
	case CFI_REGISTER:
		if (!get(machine->regs, reg->other, ret_value))
			return -ENODATA;
		*ret_value += (uint64_t)(int64_t)reg->offset;
		return 0;
	case CFI_VALUE:
		*ret_value = machine->cfa + (uint64_t)(int64_t)reg->offset;
		return 0;
	case CFI_SAVED:
		address = machine->cfa + (uint64_t)(int64_t)reg->offset;
		return memory->read_word(memory->context, address, ret_value) ? 0 : -EFAULT;
	case CFI_EXPRESSION:
	case CFI_VALUE_EXPRESSION:
		expression = &rule->expressions[reg->expression];
		err = dwarf_expression_run(machine, expression->ops, expression->count, &address);
		if (err)
			return err;
		if (reg->how == CFI_VALUE_EXPRESSION) {
			*ret_value = address;
			return 0;
		}
		return memory->read_word(memory->context, address, ret_value) ? 0 : -EFAULT;
	}
	return -EINVAL;
}

int cfi_rule_apply(const struct cfi_rule *rule, const struct unwind_regs *regs, uint64_t bias,
		   const struct cfi_memory *memory, struct unwind_regs *ret_caller, uint64_t *ret_cfa)
{
	struct dwarf_machine machine = { .regs = regs, .memory = memory, .bias = bias };
	int err = apply_register(rule, &rule->cfa, 0, &machine, &machine.cfa);
	if (err)
		return err;
	struct unwind_regs caller = { 0 };
	uint8_t count = unwind_arch()->register_count;
	for (uint8_t i = 0; i < count; i++) {
		err = apply_register(rule, &rule->registers[i], i, &machine, &caller.values[i]);
		if (!err)
			caller.known |= UINT64_C(1) << i;
		/* A lost return address marks the outermost frame; one that can't be had is an error. */
		else if (i == rule->return_register && rule->registers[i].how != CFI_UNDEFINED)
			return err;
	}
	*ret_caller = caller;
	*ret_cfa = machine.cfa;
	return 0;
}
