/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/unwind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symbolize/cfi_rule.h"
#include "symbolize/debug_file.h"
#include "symbolize/return_scan.h"
#include "symbolize/stack_memory.h"
#include "symbolize/unwind_arch.h"

struct walk {
	struct worker_state *state;
	struct address_space *space;
	struct stack_memory memory;
	struct return_scan scan;
	struct unwind_regs regs;
	uint64_t pc;
	bool is_exact; /* pc is where the thread is, not a return address */
	bool is_guessed; /* pc was searched for, or reached by way of one that was */
};

enum step {
	STEP_CALLER, /* the walk stands in the caller */
	STEP_OUTERMOST,
	STEP_NO_RULE,
	STEP_BAD_MEMORY,
};

static void take_registers(const struct stack_sample *sample, struct unwind_regs *ret_regs)
{
	const struct unwind_arch *arch = unwind_arch();
	*ret_regs = (struct unwind_regs){ 0 };
	ret_regs->values[arch->stack_pointer] = sample->regs->sp;
	ret_regs->known = UINT64_C(1) << arch->stack_pointer;
	/* Registers that the source couldn't get are unknown, not zero. */
	for (uint8_t i = 0; sample->flags & EVENT_THREAD_HAS_REGS && i < arch->saved_count; i++) {
		ret_regs->values[arch->saved[i]] = sample->regs->saved[i];
		ret_regs->known |= UINT64_C(1) << arch->saved[i];
	}
}

static bool is_executable(struct address_space *space, uint64_t address)
{
	const struct space_mapping *mapping = address_space_find(space, address);
	return mapping && mapping->map.flags & EVENT_MAPPING_EXEC;
}

/* The rule of the code at a file's virtual address, wherever it is written. */
static const struct cfi_rule *find_rule(struct walk *walk, struct space_mapping *mapping, uint64_t lookup)
{
	struct module *module = address_space_module(walk->state, walk->space, mapping);
	if (!module)
		return NULL;
	const struct cfi_rule *rule = NULL;
	Dwarf_CFI *cfi = module_eh_cfi(module);
	if (cfi)
		rule = cfi_rule_find(&module->rules, cfi, lookup - mapping->bias);
	if (rule)
		return rule;
	cfi = debug_file_cfi(module, &walk->state->ask, mapping->map.start);
	return cfi ? cfi_rule_find(&module->rules, cfi, lookup - mapping->bias) : NULL;
}

/*
 * A frame must lie above the one it called: a lower or equal stack pointer with the same program counter
 * is a loop. A switch of stacks (a signal's, a coroutine's) may go anywhere once.
 */
static bool is_loop(const struct walk *walk, const struct unwind_regs *caller, uint64_t caller_pc)
{
	uint8_t sp = unwind_arch()->stack_pointer;
	return caller_pc == walk->pc && caller->known >> sp & 1 &&
	       caller->values[sp] <= walk->regs.values[sp];
}

static enum step step_by_rule(struct walk *walk, const struct cfi_rule *rule, uint64_t bias)
{
	const struct cfi_memory memory = { stack_memory_read_word, &walk->memory };
	struct unwind_regs caller;
	uint64_t cfa;
	int err = cfi_rule_apply(rule, &walk->regs, bias, &memory, &caller, &cfa);
	if (err)
		return err == -EFAULT ? STEP_BAD_MEMORY : STEP_NO_RULE;
	if (!(caller.known >> rule->return_register & 1))
		return STEP_OUTERMOST;
	uint64_t pc = caller.values[rule->return_register] & unwind_arch()->code_address_mask;
	if (!pc)
		return STEP_OUTERMOST;
	if (is_loop(walk, &caller, pc))
		return STEP_BAD_MEMORY;
	walk->regs = caller;
	walk->pc = pc;
	/* The handler of a signal interrupted its caller: that pc is exact. */
	walk->is_exact = rule->is_signal_frame;
	return STEP_CALLER;
}

/* A caller that a step would lead to. */
struct caller {
	struct unwind_regs regs;
	uint64_t pc;
};

/*
 * Code without unwind tables: if it keeps frame pointers, the chain grows towards the stack's start and the
 * return addresses are code. A zero frame pointer marks the outermost frame (System V ABI, 3.4.1).
 */
static enum step find_by_frame_pointer(struct walk *walk, struct caller *ret_caller)
{
	const struct unwind_arch *arch = unwind_arch();
	if (!(walk->regs.known >> arch->frame_pointer & 1))
		return STEP_NO_RULE;
	uint64_t fp = walk->regs.values[arch->frame_pointer], sp = walk->regs.values[arch->stack_pointer];
	bool sp_known = walk->regs.known >> arch->stack_pointer & 1;
	if (!fp)
		return STEP_OUTERMOST;
	uint64_t caller_fp, pc, caller_sp = fp + arch->frame_bytes;
	if (fp % sizeof(uint64_t) || (sp_known && caller_sp <= sp) ||
	    !stack_memory_read_word(&walk->memory, fp + arch->frame_pointer_offset, &caller_fp) ||
	    !stack_memory_read_word(&walk->memory, fp + arch->return_address_offset, &pc))
		return STEP_NO_RULE;
	pc &= arch->code_address_mask;
	if (!pc)
		return STEP_OUTERMOST;
	if (!is_executable(walk->space, pc - 1))
		return STEP_NO_RULE;
	struct unwind_regs regs = { .known = UINT64_C(1) << arch->stack_pointer |
					     UINT64_C(1) << arch->frame_pointer };
	regs.values[arch->stack_pointer] = caller_sp;
	regs.values[arch->frame_pointer] = caller_fp;
	*ret_caller = (struct caller){ regs, pc };
	return STEP_CALLER;
}

/* A frame that was searched for: nothing is known but where its caller's stack begins. */
static bool find_by_search(struct walk *walk, uint64_t limit, struct caller *ret_caller)
{
	uint8_t sp = unwind_arch()->stack_pointer;
	uint64_t slot, pc;
	if (!(walk->regs.known >> sp & 1) ||
	    !return_scan_find(&walk->scan, walk->pc, walk->regs.values[sp], limit, &slot, &pc))
		return false;
	struct unwind_regs regs = { .known = UINT64_C(1) << sp };
	regs.values[sp] = slot + sizeof(slot);
	*ret_caller = (struct caller){ regs, pc };
	return true;
}

/*
 * A compiler's code in a file may keep anything in the frame pointer's register, or leave there what an
 * outer function put: the chain is believed if the call before its return address can have led here. Else,
 * and where there is no chain, the return address is searched for, below the frame that the register names.
 */
static enum step step_without_rule(struct walk *walk, struct space_mapping *mapping)
{
	struct caller caller = { 0 };
	enum step result = find_by_frame_pointer(walk, &caller);
	if (address_space_module(walk->state, walk->space, mapping) &&
	    (result != STEP_CALLER || !return_scan_allows(&walk->scan, caller.pc, walk->pc))) {
		if (!walk->is_exact && return_scan_is_outermost(&walk->scan, walk->pc))
			return STEP_OUTERMOST;
		uint64_t limit = UINT64_MAX;
		if (result == STEP_CALLER)
			limit = caller.regs.values[unwind_arch()->stack_pointer];
		if (find_by_search(walk, limit, &caller)) {
			walk->is_guessed = true;
			result = STEP_CALLER;
		}
	}
	if (result == STEP_CALLER) {
		walk->regs = caller.regs;
		walk->pc = caller.pc;
		walk->is_exact = false;
	}
	return result;
}

static enum step step(struct walk *walk)
{
	/* A return address may be the first byte behind a function that never returns: look before it. */
	uint64_t lookup = walk->is_exact ? walk->pc : walk->pc - 1;
	struct space_mapping *mapping = address_space_find(walk->space, lookup);
	if (!mapping || !(mapping->map.flags & EVENT_MAPPING_EXEC))
		return STEP_BAD_MEMORY;
	const struct cfi_rule *rule = find_rule(walk, mapping, lookup);
	if (rule) {
		enum step result = step_by_rule(walk, rule, mapping->bias);
		if (result != STEP_NO_RULE)
			return result;
	}
	return step_without_rule(walk, mapping);
}

static enum event_frames_end end_of(enum step step, const struct stack_memory *memory)
{
	if (step == STEP_OUTERMOST)
		return EVENT_FRAMES_COMPLETE;
	if (memory->missed_beyond_sample)
		return EVENT_FRAMES_STACK_END;
	return step == STEP_NO_RULE ? EVENT_FRAMES_NO_UNWIND_INFO : EVENT_FRAMES_BAD_MEMORY;
}

enum event_frames_end unwind_stack(struct worker_state *state, struct address_space *space,
				   const struct stack_sample *sample, struct message_pc *ret_pcs,
				   size_t max_frames, size_t *ret_count)
{
	struct walk walk = {
		.state = state,
		.space = space,
		.pc = sample->regs->ip,
		.is_exact = true,
	};
	/* A stack that moves on has nothing to add to its sample. */
	struct ask *ask = sample->flags & EVENT_STACK_MOVING ? NULL : &state->ask;
	stack_memory_init(&walk.memory, ask, sample->regs->sp, sample->bytes, sample->length);
	return_scan_init(&walk.scan, state, space, &walk.memory);
	take_registers(sample, &walk.regs);
	enum step result = STEP_CALLER;
	size_t count = 0;
	while (count < max_frames && result == STEP_CALLER) {
		uint32_t flags =
			(walk.is_exact ? MESSAGE_PC_EXACT : 0) | (walk.is_guessed ? MESSAGE_PC_GUESSED : 0);
		ret_pcs[count++] = (struct message_pc){ walk.pc, flags, 0 };
		result = step(&walk);
	}
	enum event_frames_end end =
		result == STEP_CALLER ? EVENT_FRAMES_TOO_DEEP : end_of(result, &walk.memory);
	stack_memory_release(&walk.memory);
	*ret_count = count;
	return end;
}
