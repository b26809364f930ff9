/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF files: the first 8 bytes are an address to look up, the rest is the file. What the worker does with
 * one: segments, build-id, unwind rules, symbols, the C library.
 */
#include <string.h>

#include "fuzz.h"
#include "symbolize/cfi_rule.h"
#include "symbolize/elf_symbols.h"
#include "symbolize/libc_identify.h"
#include "symbolize/module.h"

int fuzz_one(const uint8_t *bytes, size_t length)
{
	uint64_t address, bias, start;
	if (length <= sizeof(address))
		return 0;
	memcpy(&address, bytes, sizeof(address));
	struct image image = { fuzz_copy(bytes + sizeof(address), length - sizeof(address)),
			       length - sizeof(address), false };
	struct module *module;
	if (module_open(&image, &module))
		return 0;
	/* Asks nobody: there is no client. */
	struct ask ask = { .socket = -1 };
	struct symbol symbol;
	fuzz_require(module->segment_count && module->segment_count <= SEGMENT_MAX);
	fuzz_require(module->build_id_bytes <= MESSAGE_MAX_BUILD_ID);
	module_bias(module, 0x7f0000000000, address & 0xfffff000, true, &bias);
	if (module_function_start(module, address, &start))
		fuzz_require(start <= address);
	Dwarf_CFI *cfi = module_eh_cfi(module);
	bool is_covered = cfi && cfi_rule_find(&module->rules, cfi, address);
	if (elf_symbols_function(module, &ask, 0, address, is_covered, &symbol))
		fuzz_require(symbol.start <= address && *symbol.name);
	if (elf_symbols_object(module, &ask, 0, address, &symbol))
		fuzz_require(address - symbol.start < symbol.size_bytes);
	fuzz_require(libc_identify(module, &ask, 0).kind <= EVENT_LIBC_MUSL);
	fuzz_require(!module_free(module));
	return 0;
}
