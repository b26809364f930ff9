/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/naming.h"

#include <string.h>

#include "symbolize/cfi_rule.h"
#include "symbolize/debug_file.h"
#include "symbolize/demangle.h"
#include "symbolize/dwarf_lines.h"
#include "symbolize/elf_symbols.h"
#include "symbolize/libc_identify.h"

enum {
	/* Files that are looked at for a C library when none has the name of one. */
	LIBC_CANDIDATE_MAX = 64,
};

void refresh_perf_map(struct worker_state *state, struct address_space *space)
{
	int fd = ask_perf_map(&state->ask);
	space->perf_map = fd < 0 ? perf_map_free(space->perf_map) : perf_map_read(fd, space->perf_map);
}

static void set_function(struct named_frame *frame, const char *name, enum event_language language)
{
	enum event_language mangling;
	frame->fixed.function_bytes =
		(uint16_t)demangle(name, frame->function, sizeof(frame->function), &mangling);
	/* The mangling knows what the unit's language tag may only guess. */
	frame->fixed.language = mangling != EVENT_LANGUAGE_UNKNOWN ? mangling : language;
}

static bool is_covered(struct module *module, uint64_t address)
{
	Dwarf_CFI *cfi = module_eh_cfi(module);
	return cfi && cfi_rule_find(&module->rules, cfi, address);
}

static void take_source(struct named_frame *frame, const struct source_frame *source,
			enum event_language language)
{
	if (source->name)
		set_function(frame, source->name, language);
	else
		frame->fixed.language = language;
	frame->fixed.line = source->line;
	frame->fixed.column = source->column;
	frame->file = source->file;
	frame->fixed.file_bytes = source->file ? (uint16_t)strnlen(source->file, MESSAGE_MAX_TEXT) : 0;
}

/*
 * The out-of-line function is the last frame; what was inlined into it comes before and shares its offset.
 * The symbol table tells where the code starts and knows the name that people call it by
 * (pthread_cond_wait, where debug information says ___pthread_cond_wait).
 */
static void name_from_module(struct worker_state *state, struct space_mapping *mapping, struct module *module,
			     uint64_t pc, uint64_t lookup, bool want_lines, struct named_pc *named)
{
	uint64_t address = lookup - mapping->bias, offset = pc - mapping->bias - module->lowest_address;
	struct source_position source = { 0 };
	struct symbol symbol;
	bool has_symbol = elf_symbols_function(module, &state->ask, mapping->map.start, address,
					       is_covered(module, address), &symbol);
	/* The C library's lines say nothing of the program, and unpacking them takes longer than all else. */
	if (want_lines && mapping->map.kind != MESSAGE_MAPPING_LIBC)
		dwarf_lines_find(module, &state->ask, mapping->map.start, address, &source);
	named->count = source.count ? source.count : 1;
	for (size_t i = 0; i < source.count; i++) {
		take_source(&named->frames[i], &source.frames[i], source.language);
		named->frames[i].fixed.flags = EVENT_FRAME_INLINED | EVENT_FRAME_EXACT;
	}
	struct named_frame *last = &named->frames[named->count - 1];
	if (has_symbol) {
		set_function(last, symbol.name, source.language);
		offset = pc - mapping->bias - symbol.start;
	} else if (last->fixed.function_bytes && source.function_start) {
		offset = pc - mapping->bias - source.function_start;
	}
	last->fixed.flags = last->fixed.function_bytes ? EVENT_FRAME_EXACT : 0;
	for (size_t i = 0; i < named->count; i++)
		named->frames[i].fixed.offset = offset;
	named->build_id = module->build_id;
	named->build_id_bytes = module->build_id_bytes;
}

static void name_jit(struct address_space *space, const struct space_mapping *mapping, uint64_t pc,
		     uint64_t lookup, struct named_frame *frame)
{
	const char *name;
	uint64_t start;
	frame->fixed.offset = pc - mapping->map.start;
	if (!space->perf_map || !perf_map_find(space->perf_map, lookup, &start, &name))
		return;
	frame->fixed.function_bytes = (uint16_t)strnlen(name, MESSAGE_MAX_TEXT);
	memcpy(frame->function, name, frame->fixed.function_bytes);
	frame->function[frame->fixed.function_bytes] = '\0';
	frame->fixed.offset = pc - start;
	frame->fixed.flags = EVENT_FRAME_EXACT;
	frame->fixed.language = EVENT_LANGUAGE_JIT;
}

static void clear(struct named_frame *frame)
{
	frame->fixed = (struct message_frame){ 0 };
	frame->function[0] = '\0';
	frame->file = NULL;
}

void name_pc(struct worker_state *state, struct address_space *space, const struct message_pc *pc,
	     bool want_lines, struct named_pc *ret_named)
{
	uint64_t lookup = pc->flags & MESSAGE_PC_EXACT ? pc->pc : pc->pc - 1;
	for (size_t i = 0; i < MESSAGE_MAX_INLINED; i++)
		clear(&ret_named->frames[i]);
	ret_named->count = 1;
	ret_named->build_id = NULL;
	ret_named->build_id_bytes = 0;
	struct space_mapping *mapping = address_space_find(space, lookup);
	if (!mapping)
		return;
	struct module *module = address_space_module(state, space, mapping);
	if (module)
		name_from_module(state, mapping, module, pc->pc, lookup, want_lines, ret_named);
	else
		name_jit(space, mapping, pc->pc, lookup, &ret_named->frames[0]);
}

/*
 * The file whose data an address is: that of its mapping, or for .bss, which is anonymous memory, that of
 * the file mapped right before it without a gap.
 */
static struct space_mapping *file_of_data(struct address_space *space, uint64_t address)
{
	struct space_mapping *mapping = address_space_find(space, address);
	while (mapping && mapping->map.kind == MESSAGE_MAPPING_ANONYMOUS) {
		if (mapping == space->mappings.items || mapping[-1].map.end != mapping->map.start)
			return NULL;
		mapping--;
	}
	return mapping;
}

static bool is_data_of(const struct module *module, uint64_t address)
{
	for (size_t i = 0; i < module->segment_count; i++) {
		const struct segment *segment = &module->segments[i];
		if (!segment->executable && address >= segment->address &&
		    address - segment->address < segment->memory_bytes)
			return true;
	}
	return false;
}

void name_data(struct worker_state *state, struct address_space *space, uint64_t address,
	       struct named_data *ret_named)
{
	ret_named->start = ret_named->size_bytes = 0;
	ret_named->name[0] = '\0';
	struct space_mapping *mapping = file_of_data(space, address);
	struct module *module = mapping ? address_space_module(state, space, mapping) : NULL;
	struct symbol symbol;
	if (!module || !is_data_of(module, address - mapping->bias) ||
	    !elf_symbols_object(module, &state->ask, mapping->map.start, address - mapping->bias, &symbol))
		return;
	enum event_language language;
	demangle(symbol.name, ret_named->name, sizeof(ret_named->name), &language);
	ret_named->start = symbol.start + mapping->bias;
	ret_named->size_bytes = symbol.size_bytes;
}

static struct message_libc libc_of(struct worker_state *state, struct address_space *space,
				   struct space_mapping *mapping)
{
	struct module *module = address_space_module(state, space, mapping);
	struct message_libc none = { .kind = EVENT_LIBC_UNKNOWN };
	return module ? libc_identify(module, &state->ask, mapping->map.start) : none;
}

/* A file that has a C library's name is asked first; else every executable one, the program itself first. */
struct message_libc name_libc(struct worker_state *state, struct address_space *space)
{
	struct message_libc libc = { .kind = EVENT_LIBC_UNKNOWN };
	array_each(&space->mappings, mapping) {
		if (mapping->map.kind == MESSAGE_MAPPING_LIBC && mapping->map.flags & EVENT_MAPPING_EXEC)
			libc = libc_of(state, space, mapping);
		if (libc.kind != EVENT_LIBC_UNKNOWN)
			return libc;
	}
	unsigned candidates = 0;
	array_each(&space->mappings, mapping) {
		if (mapping->map.kind != MESSAGE_MAPPING_FILE || !(mapping->map.flags & EVENT_MAPPING_EXEC))
			continue;
		if (++candidates > LIBC_CANDIDATE_MAX)
			break;
		libc = libc_of(state, space, mapping);
		if (libc.kind != EVENT_LIBC_UNKNOWN)
			break;
	}
	return libc;
}
