/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/return_scan.h"

#include "symbolize/elf_symbols.h"
#include "symbolize/unwind_arch.h"

enum {
	/* The frame of a C library's function is small; this is as much as one sample. */
	WORDS_PER_FRAME = 1024,
	/* Of one walk, all frames together. */
	WORDS_MAX = 4096,
	CODE_BYTES_MAX = 256 << 10,
	SLOT_READS_MAX = 64,
	/* Files that are opened only because a word of the stack points into them. */
	MODULES_MAX = 32,
	/* A call's target may jump on instead of calling: through a linkage table, and at its end. */
	JUMPS_MAX = 4,
	/* Where a function whose size isn't told is searched for jumps, and how near code belongs to it. */
	UNKNOWN_FUNCTION_BYTES = 512,
	FUNCTION_MAX_BYTES = 8192,
	/* The entry of a program is a handful of instructions before its one call. */
	ENTRY_MAX_BYTES = 64,
};

void return_scan_init(struct return_scan *scan, struct worker_state *state, struct address_space *space,
		      struct stack_memory *memory)
{
	*scan = (struct return_scan){
		.state = state,
		.space = space,
		.memory = memory,
		.words_left = WORDS_MAX,
		.code_bytes_left = CODE_BYTES_MAX,
		.slot_reads_left = SLOT_READS_MAX,
		.modules_left = MODULES_MAX,
	};
}

/* An address as code of a file. */
struct place {
	struct space_mapping *mapping;
	struct module *module;
	struct code code;
	/* The function that contains it, as the process has it mapped; end 0: no symbol tells. */
	uint64_t function_start, function_end;
};

static bool is_code(struct return_scan *scan, uint64_t address)
{
	const struct space_mapping *mapping = address_space_find(scan->space, address);
	return mapping && mapping->map.flags & EVENT_MAPPING_EXEC;
}

/* The module is valid until the next call. */
static bool find_place(struct return_scan *scan, uint64_t address, struct place *ret_place)
{
	struct space_mapping *mapping = address_space_find(scan->space, address);
	if (!mapping || !(mapping->map.flags & EVENT_MAPPING_EXEC) || mapping->is_refused ||
	    mapping->map.kind == MESSAGE_MAPPING_ANONYMOUS)
		return false;
	if (!mapping->is_resolved) {
		if (!scan->modules_left)
			return false;
		scan->modules_left--;
	}
	struct module *module = address_space_module(scan->state, scan->space, mapping);
	if (!module)
		return false;
	uint64_t own = address - mapping->bias;
	for (size_t i = 0; i < module->segment_count; i++) {
		const struct segment *segment = &module->segments[i];
		uint64_t inside = own - segment->address;
		if (!segment->executable || own < segment->address || inside >= segment->file_bytes ||
		    segment->offset > module->image.length ||
		    segment->file_bytes > module->image.length - segment->offset)
			continue;
		*ret_place = (struct place){
			.mapping = mapping,
			.module = module,
			.code = { module->image.bytes + segment->offset + inside, inside,
				  segment->file_bytes - inside, address },
		};
		return true;
	}
	return false;
}

static void find_function(struct return_scan *scan, struct place *place, uint64_t address)
{
	struct symbol symbol;
	uint64_t bias = place->mapping->bias;
	if (!elf_symbols_function(place->module, &scan->state->ask, place->mapping->map.start, address - bias,
				  false, &symbol))
		return;
	place->function_start = symbol.start + bias;
	place->function_end = symbol.start + symbol.size_bytes + bias;
}

static bool read_slot(struct return_scan *scan, uint64_t address, uint64_t *ret_word)
{
	if (!scan->slot_reads_left)
		return false;
	scan->slot_reads_left--;
	return ask_memory(&scan->state->ask, address, ret_word, sizeof(*ret_word)) == sizeof(*ret_word);
}

/* The function that is being left. */
struct callee {
	uint64_t pc;
	uint64_t function_start, function_end; /* end 0: no symbol tells */
	uint64_t device, inode;
};

static bool leads_to(struct return_scan *scan, const struct code_transfer *transfer,
		     const struct callee *callee, unsigned jumps_left);

/* Whether a function that doesn't contain the callee jumps to it. */
static bool jumps_to(struct return_scan *scan, const struct place *place, const struct callee *callee,
		     unsigned jumps_left)
{
	/* A copy, because the module may be gone after a look at another one. */
	const struct place here = *place;
	uint64_t start = here.code.address;
	size_t padding = unwind_arch()->code->entry_padding(&here.code);
	const struct code body = { here.code.bytes + padding, here.code.before + padding,
				   here.code.after - padding, start + padding };
	/* An entry of a linkage table, or a function that is nothing but a jump: what follows is another's. */
	struct code_transfer first = unwind_arch()->code->jump_at(&body);
	if (first.kind != TRANSFER_NONE)
		return jumps_left && leads_to(scan, &first, callee, jumps_left - 1);
	uint64_t length = here.function_end ? here.function_end - start : UNKNOWN_FUNCTION_BYTES;
	if (length > FUNCTION_MAX_BYTES)
		length = FUNCTION_MAX_BYTES;
	for (uint64_t i = 0; jumps_left && i < length && i < here.code.after; i++) {
		if (!scan->code_bytes_left)
			return true;
		scan->code_bytes_left--;
		const struct code at = { here.code.bytes + i, here.code.before + i, here.code.after - i,
					 start + i };
		struct code_transfer jump = unwind_arch()->code->jump_at(&at);
		/* Where the function's end isn't known, a jump to anywhere may be its neighbour's. */
		if (jump.kind == TRANSFER_NONE || (jump.kind == TRANSFER_UNKNOWN && !here.function_end) ||
		    (jump.kind == TRANSFER_DIRECT && jump.target >= start && jump.target - start < length))
			continue;
		struct place again;
		if (leads_to(scan, &jump, callee, jumps_left - 1))
			return true;
		if (!find_place(scan, start, &again) || again.code.bytes != here.code.bytes)
			return false;
	}
	return false;
}

/*
 * Whether a call or jump can lead to the callee, directly or by further jumps. What can't be told is true:
 * a target in a register, code without a file, or two functions of one file of which no symbol is known.
 */
static bool leads_to(struct return_scan *scan, const struct code_transfer *transfer,
		     const struct callee *callee, unsigned jumps_left)
{
	uint64_t target = transfer->target;
	if (transfer->kind == TRANSFER_UNKNOWN)
		return true;
	if (transfer->kind == TRANSFER_SLOT && !read_slot(scan, transfer->target, &target))
		return false;
	if (!is_code(scan, target))
		return false;
	struct place place;
	if (!find_place(scan, target, &place))
		return true;
	if (callee->function_end && target >= callee->function_start && target < callee->function_end)
		return true;
	find_function(scan, &place, target);
	if (place.function_end) {
		if (callee->pc >= place.function_start && callee->pc < place.function_end)
			return true;
		/* A jump into the middle of a known function is none, but bytes that look like one. */
		if (jumps_left < JUMPS_MAX && target != place.function_start)
			return false;
	} else if (!callee->function_end && place.mapping->map.device == callee->device &&
		   place.mapping->map.inode == callee->inode && target <= callee->pc &&
		   (jumps_left == JUMPS_MAX || callee->pc - target < UNKNOWN_FUNCTION_BYTES)) {
		return true;
	}
	return jumps_to(scan, &place, callee, jumps_left);
}

static struct callee find_callee(struct return_scan *scan, uint64_t pc)
{
	struct callee callee = { .pc = pc };
	struct place place;
	/* pc may be a return address, the last byte of a function and one more. */
	if (!find_place(scan, pc - 1, &place))
		return callee;
	find_function(scan, &place, pc - 1);
	callee.pc = pc - 1;
	callee.function_start = place.function_start;
	callee.function_end = place.function_end;
	callee.device = place.mapping->map.device;
	callee.inode = place.mapping->map.inode;
	return callee;
}

static bool can_return_to(struct return_scan *scan, const struct place *place, const struct callee *callee)
{
	struct code_transfer calls[CALL_READINGS_MAX];
	size_t count = unwind_arch()->code->calls_before(&place->code, calls);
	for (size_t i = 0; i < count; i++) {
		if (leads_to(scan, &calls[i], callee, JUMPS_MAX))
			return true;
	}
	return false;
}

bool return_scan_is_outermost(struct return_scan *scan, uint64_t pc)
{
	struct place place;
	if (!unwind_arch()->code || !find_place(scan, pc, &place))
		return false;
	GElf_Ehdr header;
	if (gelf_getehdr(place.module->elf, &header) && header.e_entry) {
		uint64_t entry = header.e_entry + place.mapping->bias;
		if (pc > entry && pc - entry <= ENTRY_MAX_BYTES)
			return true;
	}
	struct code_transfer calls[CALL_READINGS_MAX];
	return unwind_arch()->code->calls_before(&place.code, calls) &&
	       unwind_arch()->code->ends_thread(&place.code);
}

bool return_scan_allows(struct return_scan *scan, uint64_t word, uint64_t pc)
{
	struct place place;
	if (!unwind_arch()->code || !is_code(scan, word - 1) || !find_place(scan, word, &place))
		return true;
	struct callee callee = find_callee(scan, pc);
	/* Looked up again: finding the callee may have made room by closing the file. */
	return !find_place(scan, word, &place) || can_return_to(scan, &place, &callee);
}

bool return_scan_find(struct return_scan *scan, uint64_t pc, uint64_t sp, uint64_t limit, uint64_t *ret_slot,
		      uint64_t *ret_pc)
{
	if (!unwind_arch()->code)
		return false;
	struct callee callee = find_callee(scan, pc);
	/* A search that runs out of stack isn't a stack that can't be read. */
	bool missed = scan->memory->missed_beyond_sample, found = false;
	uint64_t at = (sp + sizeof(at) - 1) & ~(uint64_t)(sizeof(at) - 1);
	for (size_t i = 0; i < WORDS_PER_FRAME && scan->words_left && scan->code_bytes_left && at >= sp &&
			   at < limit && !found;
	     i++, at += sizeof(at)) {
		uint64_t word;
		struct place place;
		scan->words_left--;
		if (!stack_memory_read_word(scan->memory, at, &word))
			break;
		found = is_code(scan, word) && find_place(scan, word, &place) &&
			can_return_to(scan, &place, &callee);
		if (found) {
			*ret_slot = at;
			*ret_pc = word;
		}
	}
	scan->memory->missed_beyond_sample = missed;
	return found;
}
