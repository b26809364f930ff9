/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The symbols of a module as sorted arrays: functions, and data objects. From .symtab of the file or of its
 * debug file, .dynsym, and the compressed table of .gnu_debugdata.
 */
#ifndef HOLDUP_SYMBOLIZE_ELF_SYMBOLS_H
#define HOLDUP_SYMBOLIZE_ELF_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "symbolize/ask.h"
#include "symbolize/module.h"

struct symbol_table;

struct symbol {
	uint64_t start, size_bytes; /* virtual; size 0: not told */
	const char *name; /* as in the file: mangled, maybe with "@VERSION"; lives as long as the module */
};

/*
 * The function that contains a virtual address: it lies inside [start, start + size), or the symbol has no
 * size and an unwind entry that covers the address starts where the symbol does (`is_covered`: the unwind
 * tables have a rule for the address). The nearest symbol before the address is not an answer.
 */
bool elf_symbols_function(struct module *module, struct ask *ask, uint64_t mapping_start, uint64_t address,
			  bool is_covered, struct symbol *ret_symbol);

/* The data object that contains a virtual address. */
bool elf_symbols_object(struct module *module, struct ask *ask, uint64_t mapping_start, uint64_t address,
			struct symbol *ret_symbol);

/* Whether the file itself or its debug file defines a symbol of this name. */
bool elf_symbols_defines(struct module *module, struct ask *ask, uint64_t mapping_start, const char *name);

/* Takes NULL; returns NULL. */
struct symbol_table *symbol_table_free(struct symbol_table *table);

#endif
