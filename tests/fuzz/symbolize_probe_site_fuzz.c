/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Probe sites. The first byte says of what: 0, of an ELF file (the rest); else of bare code, whose entry and
 * size are the next two bytes; bits of the first byte are the number of arguments and what the kernel emulates.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "symbolize/probe_site.h"
#include "symbolize/probe_site_arch.h"

static void check_flags(uint32_t flags)
{
	fuzz_require(!(flags & ~(uint32_t)(EVENT_SITE_EMULATED | EVENT_SITE_REPEATS)));
}

static void fuzz_code(const uint8_t *bytes, size_t length)
{
	if (length < 4)
		return;
	uint8_t *copy = fuzz_copy(bytes + 3, length - 3);
	const struct probe_code code = {
		.bytes = copy,
		.length = length - 3,
		.entry = bytes[1],
		.function_bytes = bytes[2],
		.argument_count = 1 + (bytes[0] >> 1 & 1),
		.kernel_flags = bytes[0] & 4 ? MESSAGE_KERNEL_EMULATES_LONG_NOPS : 0,
	};
	struct probe_choice choice = { 0 };
	int err = probe_site_choose(&code, &choice);
	fuzz_require(!err || err == -ENOENT || err == -ENOTSUP);
	if (!err) {
		size_t site = code.entry + choice.entry_distance_bytes;
		fuzz_require(site < code.length);
		fuzz_require(!code.function_bytes || choice.entry_distance_bytes < code.function_bytes);
		fuzz_require(code.function_bytes || !choice.entry_distance_bytes);
		fuzz_require(choice.return_address_offset_bytes <= PROBE_STACK_MAX_BYTES);
		/* A distance can only come from instructions that were passed. */
		fuzz_require(choice.entry_distance_bytes || !choice.return_address_offset_bytes);
		check_flags(choice.flags);
	}
	free(copy);
}

static void fuzz_elf(const uint8_t *bytes, size_t length)
{
	static struct probe_sites sites;
	struct image image = { fuzz_copy(bytes, length), length, false };
	struct module *module;
	if (module_open(&image, &module))
		return;
	/* Asks nobody: there is no client. */
	struct ask ask = { .socket = -1 };
	probe_sites_find(module, &ask, 0, 0, &sites);
	fuzz_require(sites.count <= PROBE_SITE_FILE_MAX);
	for (uint32_t i = 0; i < sites.count; i++) {
		const struct message_probe_site *site = &sites.sites[i];
		fuzz_require(site->file_offset < length);
		fuzz_require(site->function > 0 && site->function < EVENT_FUNCTION_COUNT);
		fuzz_require(site->entry_distance_bytes < PROBE_WINDOW_BYTES);
		fuzz_require(strnlen(sites.names[i], PROBE_SITE_NAME_MAX + 1) <= PROBE_SITE_NAME_MAX);
		check_flags(site->flags);
	}
	module_free(module);
}

int fuzz_one(const uint8_t *bytes, size_t length)
{
	if (!length)
		return 0;
	if (*bytes)
		fuzz_code(bytes, length);
	else
		fuzz_elf(bytes + 1, length - 1);
	return 0;
}
