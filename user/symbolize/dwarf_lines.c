/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/dwarf_lines.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "symbolize/debug_file.h"

enum {
	UNIT_MAX = 1 << 17,
	UNIT_RANGE_MAX = 1 << 20,
	/* Functions of all units that were looked at; beyond it the lists are made anew. */
	FUNCTION_MAX = 1 << 20,
	/* Entries visited for the functions of one unit, and for the inlined calls in one function. */
	VISIT_MAX = 1 << 20,
	NEST_MAX = 64,
};

struct range {
	uint64_t start, end;
	uint64_t which; /* a unit's index, or a function's offset in .debug_info */
};

struct unit {
	Dwarf_Off die;
	ARRAY(struct range) functions;
	bool functions_read;
};

struct dwarf_lines {
	Dwarf *dwarf;
	ARRAY(struct unit) units;
	ARRAY(struct range) ranges; /* of units, ascending */
	size_t function_count; /* in all units */
};

static int compare(const void *left, const void *right)
{
	const struct range *a = left, *b = right;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->end < b->end ? -1 : a->end > b->end;
}

/* Ranges don't overlap in sound files: the last that starts at or below the address has it, or none. */
static const struct range *find_range(const struct range *ranges, size_t count, uint64_t address)
{
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (ranges[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low && address < ranges[low - 1].end ? &ranges[low - 1] : NULL;
}

static void read_units(struct dwarf_lines *lines)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die;
	uint8_t type;
	while (!dwarf_get_units(lines->dwarf, cu, &cu, NULL, &type, &die, NULL) &&
	       lines->units.count < UNIT_MAX) {
		if (type != DW_UT_compile && type != DW_UT_skeleton)
			continue;
		struct unit *unit = array_add(&lines->units);
		if (!unit)
			return;
		unit->die = dwarf_dieoffset(&die);
		Dwarf_Addr base, start, end;
		for (ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &start, &end)) > 0;) {
			struct range *range = start < end && lines->ranges.count < UNIT_RANGE_MAX
						      ? array_add(&lines->ranges)
						      : NULL;
			if (range)
				*range = (struct range){ start, end, lines->units.count - 1 };
			else if (lines->ranges.count >= UNIT_RANGE_MAX)
				return;
		}
	}
}

static struct dwarf_lines *lines_of(struct module *module, struct ask *ask, uint64_t mapping_start)
{
	if (module->lines_tried)
		return module->lines;
	module->lines_tried = true;
	Dwarf *dwarf = debug_file_dwarf(module, ask, mapping_start);
	if (!dwarf)
		return NULL;
	struct dwarf_lines *lines = module->lines = calloc(1, sizeof(*lines));
	if (!lines)
		return NULL;
	lines->dwarf = dwarf;
	read_units(lines);
	if (lines->ranges.count)
		qsort(lines->ranges.items, lines->ranges.count, sizeof(struct range), compare);
	return lines;
}

static void forget_functions(struct dwarf_lines *lines)
{
	array_each(&lines->units, unit) {
		array_release(&unit->functions);
		unit->functions_read = false;
	}
	lines->function_count = 0;
}

struct dwarf_lines *dwarf_lines_free(struct dwarf_lines *lines)
{
	if (lines) {
		forget_functions(lines);
		array_release(&lines->units);
		array_release(&lines->ranges);
		free(lines);
	}
	return NULL;
}

/* Things that functions are written inside of. */
static bool holds_functions(int tag)
{
	return tag == DW_TAG_namespace || tag == DW_TAG_structure_type || tag == DW_TAG_class_type ||
	       tag == DW_TAG_module || tag == DW_TAG_union_type || tag == DW_TAG_enumeration_type;
}

static void add_function(struct dwarf_lines *lines, struct unit *unit, Dwarf_Die *die)
{
	Dwarf_Addr base, start, end;
	for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &start, &end)) > 0;) {
		if (start >= end || lines->function_count >= FUNCTION_MAX)
			continue;
		struct range *range = array_add(&unit->functions);
		if (!range)
			return;
		*range = (struct range){ start, end, dwarf_dieoffset(die) };
		lines->function_count++;
	}
}

static void collect_functions(struct dwarf_lines *lines, struct unit *unit, Dwarf_Die *parent,
			      unsigned *visits, unsigned depth)
{
	Dwarf_Die die;
	if (depth > NEST_MAX || dwarf_child(parent, &die))
		return;
	do {
		int tag = dwarf_tag(&die);
		if (++*visits > VISIT_MAX)
			return;
		if (tag == DW_TAG_subprogram)
			add_function(lines, unit, &die);
		/* Rust and Ada write functions inside functions. */
		if (tag == DW_TAG_subprogram || holds_functions(tag))
			collect_functions(lines, unit, &die, visits, depth + 1);
	} while (!dwarf_siblingof(&die, &die));
}

static void read_functions(struct dwarf_lines *lines, struct unit *unit, Dwarf_Die *unit_die)
{
	unsigned visits = 0;
	if (unit->functions_read)
		return;
	if (lines->function_count >= FUNCTION_MAX)
		forget_functions(lines);
	unit->functions_read = true;
	collect_functions(lines, unit, unit_die, &visits, 0);
	if (unit->functions.count)
		qsort(unit->functions.items, unit->functions.count, sizeof(struct range), compare);
}

static const char *linkage_or_name(Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	static const unsigned names[] = { DW_AT_linkage_name, DW_AT_MIPS_linkage_name, DW_AT_name };
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const char *name = dwarf_formstring(dwarf_attr_integrate(die, names[i], &attribute));
		if (name && *name)
			return name;
	}
	return NULL;
}

static uint32_t number_of(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;
	Dwarf_Word value;
	if (!dwarf_attr(die, name, &attribute) || dwarf_formudata(&attribute, &value) || value > UINT32_MAX)
		return 0;
	return (uint32_t)value;
}

/* Where an inlined function was called from: a position in the function around it. */
static void read_call(Dwarf_Die *unit_die, Dwarf_Die *inlined, struct source_frame *frame)
{
	Dwarf_Files *files;
	size_t file_count;
	uint32_t file = number_of(inlined, DW_AT_call_file);
	frame->line = number_of(inlined, DW_AT_call_line);
	frame->column = number_of(inlined, DW_AT_call_column);
	if (!dwarf_getsrcfiles(unit_die, &files, &file_count) && file < file_count)
		frame->file = dwarf_filesrc(files, file, NULL, NULL);
}

static bool is_block(int tag)
{
	return tag == DW_TAG_lexical_block || tag == DW_TAG_try_block || tag == DW_TAG_catch_block ||
	       tag == DW_TAG_with_stmt;
}

/* The innermost inlined call below `parent` that contains the address, passing through plain blocks. */
static bool find_inlined(Dwarf_Die *parent, uint64_t address, unsigned *visits, Dwarf_Die *ret_inlined)
{
	Dwarf_Die scope = *parent, die;
	for (unsigned depth = 0; depth < NEST_MAX && !dwarf_child(&scope, &die); depth++) {
		bool entered = false;
		do {
			int tag = dwarf_tag(&die);
			if (++*visits > VISIT_MAX)
				return false;
			if ((tag != DW_TAG_inlined_subroutine && !is_block(tag)) ||
			    dwarf_haspc(&die, address) <= 0)
				continue;
			if (tag == DW_TAG_inlined_subroutine) {
				*ret_inlined = die;
				return true;
			}
			scope = die;
			entered = true;
			break;
		} while (!dwarf_siblingof(&die, &die));
		if (!entered)
			return false;
	}
	return false;
}

static enum event_language language_of(Dwarf_Die *unit_die)
{
	switch (dwarf_srclang(unit_die)) {
	case DW_LANG_C:
	case DW_LANG_C89:
	case DW_LANG_C99:
	case DW_LANG_C11:
		return EVENT_LANGUAGE_C;
	case DW_LANG_C_plus_plus:
	case DW_LANG_C_plus_plus_03:
	case DW_LANG_C_plus_plus_11:
	case DW_LANG_C_plus_plus_14:
		return EVENT_LANGUAGE_CXX;
	case DW_LANG_Rust:
		return EVENT_LANGUAGE_RUST;
	default:
		return EVENT_LANGUAGE_UNKNOWN;
	}
}

static void read_line(Dwarf_Die *unit_die, uint64_t address, struct source_frame *frame)
{
	int number;
	Dwarf_Line *line = dwarf_getsrc_die(unit_die, address);
	if (!line)
		return;
	frame->file = dwarf_linesrc(line, NULL, NULL);
	if (!dwarf_lineno(line, &number) && number > 0)
		frame->line = (uint32_t)number;
	if (!dwarf_linecol(line, &number) && number > 0)
		frame->column = (uint32_t)number;
}

/*
 * The function and the calls inlined at the address, outermost first. Frame i is inside call i + 1's
 * caller: its position is that call's.
 */
static size_t read_chain(struct dwarf_lines *lines, struct unit *unit, Dwarf_Die *unit_die, uint64_t address,
			 struct source_frame *chain, uint64_t *ret_function_start)
{
	Dwarf_Die die;
	unsigned visits = 0;
	read_functions(lines, unit, unit_die);
	const struct range *function = find_range(unit->functions.items, unit->functions.count, address);
	if (!function || !dwarf_offdie(lines->dwarf, function->which, &die))
		return 0;
	Dwarf_Addr entry;
	*ret_function_start = dwarf_entrypc(&die, &entry) ? function->start : entry;
	size_t count = 0;
	chain[count++].name = linkage_or_name(&die);
	Dwarf_Die inlined;
	while (count < MESSAGE_MAX_INLINED && find_inlined(&die, address, &visits, &inlined)) {
		read_call(unit_die, &inlined, &chain[count - 1]);
		chain[count++].name = linkage_or_name(&inlined);
		die = inlined;
	}
	return count;
}

void dwarf_lines_find(struct module *module, struct ask *ask, uint64_t mapping_start, uint64_t address,
		      struct source_position *ret_position)
{
	*ret_position = (struct source_position){ 0 };
	struct dwarf_lines *lines = lines_of(module, ask, mapping_start);
	if (!lines)
		return;
	const struct range *range = find_range(lines->ranges.items, lines->ranges.count, address);
	if (!range)
		return;
	struct unit *unit = &lines->units.items[range->which];
	Dwarf_Die unit_die;
	if (!dwarf_offdie(lines->dwarf, unit->die, &unit_die))
		return;
	ret_position->language = language_of(&unit_die);
	struct source_frame chain[MESSAGE_MAX_INLINED] = { 0 };
	size_t count = read_chain(lines, unit, &unit_die, address, chain, &ret_position->function_start);
	if (!count)
		count = 1;
	read_line(&unit_die, address, &chain[count - 1]);
	for (size_t i = 0; i < count; i++)
		ret_position->frames[i] = chain[count - 1 - i];
	ret_position->count = count;
}
