/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Line numbers and inlined frames from debug information, own or separate. The list of units is made on
 * first use of a file, the list of a unit's functions on first use of the unit; a look-up then walks one
 * function's tree. Every table and walk is bounded.
 */
#ifndef HOLDUP_SYMBOLIZE_DWARF_LINES_H
#define HOLDUP_SYMBOLIZE_DWARF_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "symbolize/ask.h"
#include "symbolize/module.h"

struct dwarf_lines;

/* A function that an address lies in; strings live as long as the module. */
struct source_frame {
	const char *name; /* mangled where it is; NULL: not known */
	const char *file; /* NULL: not known */
	uint32_t line, column; /* 0: not known */
};

struct source_position {
	struct source_frame frames[MESSAGE_MAX_INLINED]; /* innermost first; the last one is out of line */
	size_t count; /* 0: nothing is known */
	enum event_language language;
	uint64_t function_start; /* virtual, of the last frame; 0: not known */
};

void dwarf_lines_find(struct module *module, struct ask *ask, uint64_t mapping_start, uint64_t address,
		      struct source_position *ret_position);

/* Takes NULL; returns NULL. */
struct dwarf_lines *dwarf_lines_free(struct dwarf_lines *lines);

#endif
