/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/dwarf_expression.h"

#include <dwarf.h>
#include <errno.h>
#include <stdbool.h>

enum {
	STACK_MAX = 64,
	STEP_MAX = 4096,
};

struct stack {
	uint64_t items[STACK_MAX];
	size_t count;
};

static int push(struct stack *stack, uint64_t value)
{
	if (stack->count >= STACK_MAX)
		return -EINVAL;
	stack->items[stack->count++] = value;
	return 0;
}

/* The item `depth` below the top, or NULL. */
static uint64_t *peek(struct stack *stack, size_t depth)
{
	return depth < stack->count ? &stack->items[stack->count - 1 - depth] : NULL;
}

static int push_register(const struct dwarf_machine *machine, struct stack *stack, uint64_t number,
			 uint64_t offset)
{
	if (number >= UNWIND_REG_COUNT)
		return -EINVAL;
	if (!(machine->regs->known >> number & 1))
		return -ENODATA;
	return push(stack, machine->regs->values[number] + offset);
}

static int dereference(const struct dwarf_machine *machine, struct stack *stack, uint64_t size_bytes)
{
	uint64_t *top = peek(stack, 0);
	if (!top || !size_bytes || size_bytes > 8)
		return -EINVAL;
	uint64_t word;
	if (!machine->memory->read_word(machine->memory->context, *top, &word))
		return -EFAULT;
	/* Little-endian: the low bytes come first. */
	*top = size_bytes == 8 ? word : word & ((UINT64_C(1) << (size_bytes * 8)) - 1);
	return 0;
}

static int unary(struct stack *stack, const Dwarf_Op *op)
{
	uint64_t *top = peek(stack, 0);
	if (!top)
		return -EINVAL;
	switch (op->atom) {
	case DW_OP_abs:
		*top = (int64_t)*top < 0 ? -*top : *top;
		return 0;
	case DW_OP_neg:
		*top = -*top;
		return 0;
	case DW_OP_not:
		*top = ~*top;
		return 0;
	case DW_OP_plus_uconst:
		*top += op->number;
		return 0;
	}
	return -EINVAL;
}

static int binary(struct stack *stack, uint8_t atom)
{
	uint64_t *right = peek(stack, 0), *left = peek(stack, 1);
	if (!left)
		return -EINVAL;
	uint64_t a = *left, b = *right, value;
	bool shifts_out = b > 63;
	switch (atom) {
	case DW_OP_and:
		value = a & b;
		break;
	case DW_OP_or:
		value = a | b;
		break;
	case DW_OP_xor:
		value = a ^ b;
		break;
	case DW_OP_plus:
		value = a + b;
		break;
	case DW_OP_minus:
		value = a - b;
		break;
	case DW_OP_mul:
		value = a * b;
		break;
	case DW_OP_div:
		if (!b || ((int64_t)a == INT64_MIN && (int64_t)b == -1))
			return -EINVAL;
		value = (uint64_t)((int64_t)a / (int64_t)b);
		break;
	case DW_OP_mod:
		if (!b)
			return -EINVAL;
		value = a % b;
		break;
	case DW_OP_shl:
		value = shifts_out ? 0 : a << b;
		break;
	case DW_OP_shr:
		value = shifts_out ? 0 : a >> b;
		break;
	case DW_OP_shra:
		value = (uint64_t)((int64_t)a >> (shifts_out ? 63 : b));
		break;
	case DW_OP_le:
		value = (int64_t)a <= (int64_t)b;
		break;
	case DW_OP_ge:
		value = (int64_t)a >= (int64_t)b;
		break;
	case DW_OP_eq:
		value = a == b;
		break;
	case DW_OP_lt:
		value = (int64_t)a < (int64_t)b;
		break;
	case DW_OP_gt:
		value = (int64_t)a > (int64_t)b;
		break;
	case DW_OP_ne:
		value = a != b;
		break;
	default:
		return -EINVAL;
	}
	stack->count--;
	*left = value;
	return 0;
}

static int shuffle(struct stack *stack, const Dwarf_Op *op)
{
	uint64_t *top = peek(stack, 0), *second = peek(stack, 1), *third = peek(stack, 2), *picked, kept;
	switch (op->atom) {
	case DW_OP_dup:
		return top ? push(stack, *top) : -EINVAL;
	case DW_OP_drop:
		if (!top)
			return -EINVAL;
		stack->count--;
		return 0;
	case DW_OP_over:
		return second ? push(stack, *second) : -EINVAL;
	case DW_OP_pick:
		picked = peek(stack, op->number);
		return picked ? push(stack, *picked) : -EINVAL;
	case DW_OP_swap:
		if (!second)
			return -EINVAL;
		kept = *top;
		*top = *second;
		*second = kept;
		return 0;
	case DW_OP_rot:
		if (!third)
			return -EINVAL;
		kept = *top;
		*top = *second;
		*second = *third;
		*third = kept;
		return 0;
	}
	return -EINVAL;
}

static int constant_or_register(const struct dwarf_machine *machine, struct stack *stack, const Dwarf_Op *op)
{
	if (op->atom >= DW_OP_lit0 && op->atom <= DW_OP_lit31)
		return push(stack, op->atom - DW_OP_lit0);
	if (op->atom >= DW_OP_breg0 && op->atom <= DW_OP_breg31)
		return push_register(machine, stack, op->atom - DW_OP_breg0, op->number);
	if (op->atom >= DW_OP_reg0 && op->atom <= DW_OP_reg31)
		return push_register(machine, stack, op->atom - DW_OP_reg0, 0);
	switch (op->atom) {
	case DW_OP_addr:
		return push(stack, op->number + machine->bias);
	case DW_OP_const1u:
	case DW_OP_const2u:
	case DW_OP_const4u:
	case DW_OP_const8u:
	case DW_OP_constu:
	case DW_OP_const1s:
	case DW_OP_const2s:
	case DW_OP_const4s:
	case DW_OP_const8s:
	case DW_OP_consts:
		/* libdw has extended the sign already. */
		return push(stack, op->number);
	case DW_OP_bregx:
		return push_register(machine, stack, op->number, op->number2);
	case DW_OP_regx:
		return push_register(machine, stack, op->number, 0);
	case DW_OP_call_frame_cfa:
		return push(stack, machine->cfa);
	}
	return -EINVAL;
}

static int step(const struct dwarf_machine *machine, struct stack *stack, const Dwarf_Op *op)
{
	switch (op->atom) {
	case DW_OP_nop:
	case DW_OP_stack_value:
		return 0;
	case DW_OP_deref:
		return dereference(machine, stack, 8);
	case DW_OP_deref_size:
		return dereference(machine, stack, op->number);
	case DW_OP_dup:
	case DW_OP_drop:
	case DW_OP_over:
	case DW_OP_pick:
	case DW_OP_swap:
	case DW_OP_rot:
		return shuffle(stack, op);
	case DW_OP_abs:
	case DW_OP_neg:
	case DW_OP_not:
	case DW_OP_plus_uconst:
		return unary(stack, op);
	}
	int err = constant_or_register(machine, stack, op);
	return err == -EINVAL ? binary(stack, op->atom) : err;
}

/*
 * Where a branch leads: its operand counts bytes from the operation behind it, and libdw gives each
 * operation's own byte offset. A branch is 3 bytes long.
 */
static int branch(const Dwarf_Op *ops, size_t op_count, size_t *at)
{
	uint64_t target = ops[*at].offset + 3 + (uint64_t)(int64_t)(int16_t)ops[*at].number;
	uint64_t end = ops[op_count - 1].offset;
	for (size_t i = 0; i < op_count; i++) {
		if (ops[i].offset == target) {
			*at = i;
			return 0;
		}
	}
	if (target > end) {
		*at = op_count;
		return 0;
	}
	return -EINVAL;
}

int dwarf_expression_run(const struct dwarf_machine *machine, const Dwarf_Op *ops, size_t op_count,
			 uint64_t *ret_value)
{
	struct stack stack;
	stack.count = 0;
	size_t at = 0;
	for (unsigned steps = 0; at < op_count; steps++) {
		int err = 0;
		bool jumps = ops[at].atom == DW_OP_skip;
		if (steps >= STEP_MAX)
			return -EINVAL;
		if (ops[at].atom == DW_OP_bra) {
			if (!stack.count)
				return -EINVAL;
			jumps = stack.items[--stack.count];
		} else if (!jumps) {
			err = step(machine, &stack, &ops[at]);
		}
		if (!err && jumps)
			err = branch(ops, op_count, &at);
		else
			at++;
		if (err)
			return err;
	}
	if (!stack.count)
		return -EINVAL;
	*ret_value = stack.items[stack.count - 1];
	return 0;
}
