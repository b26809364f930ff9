/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/elf_symbols.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "symbolize/debug_file.h"

enum {
	SYMBOL_MAX = 4 << 20, /* of one file: 128 MiB of table */
	/* Symbols before an address that are looked at for one that contains it. */
	LOOK_BACK_MAX = 4096,
};

struct entry {
	uint64_t start, size_bytes;
	uint64_t reach; /* greatest end of this entry and all before it */
	const char *name;
	uint8_t binding;
};

struct symbol_table {
	struct entry *entries;
	size_t count, capacity;
};

struct symbol_table *symbol_table_free(struct symbol_table *table)
{
	if (table) {
		free(table->entries);
		free(table);
	}
	return NULL;
}

static void add(struct symbol_table *table, const GElf_Sym *symbol, const char *name)
{
	if (table->count >= SYMBOL_MAX)
		return;
	if (!array_grow((void **)&table->entries, &table->capacity, table->count + 1,
			sizeof(*table->entries)))
		return;
	table->entries[table->count++] = (struct entry){
		.start = symbol->st_value,
		.size_bytes = symbol->st_size,
		.name = name,
		.binding = GELF_ST_BIND(symbol->st_info),
	};
}

/* Mapping symbols of arm ("$x"), and the assembler's local labels, name no function. */
static bool is_name(const char *name)
{
	return *name && *name != '$' && strncmp(name, ".L", 2) != 0;
}

static void read_table(struct module *module, Elf *elf, Elf_Scn *section, const GElf_Shdr *header)
{
	Elf_Data *data = elf_getdata(section, NULL);
	if (!data || !data->d_buf || data->d_type != ELF_T_SYM)
		return;
	size_t count = data->d_size / sizeof(Elf64_Sym);
	for (size_t i = 1; i < count && i <= SYMBOL_MAX; i++) {
		GElf_Sym symbol;
		if (!gelf_getsym(data, (int)i, &symbol) || symbol.st_shndx == SHN_UNDEF ||
		    symbol.st_shndx == SHN_ABS)
			continue;
		const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!name || !is_name(name))
			continue;
		switch (GELF_ST_TYPE(symbol.st_info)) {
		case STT_FUNC:
		case STT_GNU_IFUNC:
		case STT_NOTYPE:
			add(module->functions, &symbol, name);
			break;
		case STT_OBJECT:
		case STT_COMMON:
			if (symbol.st_size)
				add(module->objects, &symbol, name);
			break;
		}
	}
}

/* Reads every table of this type; true if there was one. */
static bool read_tables(struct module *module, Elf *elf, GElf_Word type)
{
	bool found = false;
	for (Elf_Scn *section = NULL; elf && (section = elf_nextscn(elf, section));) {
		GElf_Shdr header;
		if (!gelf_getshdr(section, &header) || header.sh_type != type)
			continue;
		read_table(module, elf, section, &header);
		found = true;
	}
	return found;
}

static int compare(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->size_bytes != b->size_bytes)
		return a->size_bytes < b->size_bytes ? -1 : 1;
	return 0;
}

static void finish(struct symbol_table *table)
{
	uint64_t reach = 0;
	if (!table->count)
		return;
	qsort(table->entries, table->count, sizeof(*table->entries), compare);
	for (size_t i = 0; i < table->count; i++) {
		struct entry *entry = &table->entries[i];
		uint64_t end = entry->start + entry->size_bytes;
		if (end >= entry->start && end > reach)
			reach = end;
		entry->reach = reach;
	}
}

static bool load(struct module *module, struct ask *ask, uint64_t mapping_start)
{
	if (!module->symbols_tried) {
		module->symbols_tried = true;
		module->functions = calloc(1, sizeof(*module->functions));
		module->objects = calloc(1, sizeof(*module->objects));
		if (!module->functions || !module->objects)
			return false;
		/* .symtab has all that .dynsym has; a debug file has the .symtab that strip took away. */
		bool complete = read_tables(module, module->elf, SHT_SYMTAB) ||
				read_tables(module, debug_file_elf(module, ask, mapping_start), SHT_SYMTAB);
		if (!complete) {
			read_tables(module, module->elf, SHT_DYNSYM);
			read_tables(module, debug_file_mini(module), SHT_SYMTAB);
		}
		finish(module->functions);
		finish(module->objects);
	}
	return module->functions && module->objects;
}

static size_t leading_underscores(const char *name)
{
	return strspn(name, "_");
}

static int binding_rank(uint8_t binding)
{
	return binding == STB_GLOBAL ? 0 : binding == STB_WEAK ? 1 : 2;
}

/*
 * Which of two symbols that contain the same address names it better: the one that starts later (the
 * inner one), then the smaller; of aliases, the name that people call it by (pthread_mutex_lock rather than
 * ___pthread_mutex_lock).
 */
static bool is_better(const struct entry *a, const struct entry *b)
{
	if (a->start != b->start)
		return a->start > b->start;
	if (a->size_bytes != b->size_bytes)
		return a->size_bytes < b->size_bytes;
	size_t a_underscores = leading_underscores(a->name), b_underscores = leading_underscores(b->name);
	if (a_underscores != b_underscores)
		return a_underscores < b_underscores;
	if (a->binding != b->binding)
		return binding_rank(a->binding) < binding_rank(b->binding);
	size_t a_length = strlen(a->name), b_length = strlen(b->name);
	if (a_length != b_length)
		return a_length < b_length;
	return strcmp(a->name, b->name) < 0;
}

/* Entries that start at or below the address: their number. */
static size_t count_before(const struct symbol_table *table, uint64_t address)
{
	size_t low = 0, high = table->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (table->entries[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct entry *find_sized(const struct symbol_table *table, uint64_t address)
{
	const struct entry *best = NULL;
	size_t before = count_before(table, address);
	for (size_t i = before; i > 0 && before - i < LOOK_BACK_MAX; i--) {
		const struct entry *entry = &table->entries[i - 1];
		if (entry->reach <= address || (best && entry->start < best->start))
			break;
		if (address - entry->start < entry->size_bytes && (!best || is_better(entry, best)))
			best = entry;
	}
	return best;
}

static const struct entry *find_sizeless(const struct symbol_table *table, uint64_t function_start)
{
	const struct entry *best = NULL;
	for (size_t i = count_before(table, function_start); i > 0; i--) {
		const struct entry *entry = &table->entries[i - 1];
		if (entry->start != function_start)
			break;
		if (!entry->size_bytes && (!best || is_better(entry, best)))
			best = entry;
	}
	return best;
}

static bool give(const struct entry *entry, struct symbol *ret_symbol)
{
	if (entry)
		*ret_symbol = (struct symbol){ entry->start, entry->size_bytes, entry->name };
	return entry;
}

bool elf_symbols_function(struct module *module, struct ask *ask, uint64_t mapping_start, uint64_t address,
			  bool is_covered, struct symbol *ret_symbol)
{
	if (!load(module, ask, mapping_start))
		return false;
	const struct entry *entry = find_sized(module->functions, address);
	uint64_t start;
	if (!entry && is_covered && module_function_start(module, address, &start))
		entry = find_sizeless(module->functions, start);
	return give(entry, ret_symbol);
}

bool elf_symbols_object(struct module *module, struct ask *ask, uint64_t mapping_start, uint64_t address,
			struct symbol *ret_symbol)
{
	return load(module, ask, mapping_start) && give(find_sized(module->objects, address), ret_symbol);
}

static bool table_defines(const struct symbol_table *table, const char *name)
{
	for (size_t i = 0; i < table->count; i++) {
		if (!strcmp(table->entries[i].name, name))
			return true;
	}
	return false;
}

bool elf_symbols_defines(struct module *module, struct ask *ask, uint64_t mapping_start, const char *name)
{
	return load(module, ask, mapping_start) &&
	       (table_defines(module->functions, name) || table_defines(module->objects, name));
}
