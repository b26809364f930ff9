/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One ELF file, as the worker sees it: mapped privately from a descriptor (or copied, for the vdso), known
 * by device and inode, shared between the processes that map it. While it is mapped its inode can't be
 * reused, so the pair names it for certain.
 *
 * "Virtual address" means the file's own (p_vaddr) everywhere in the worker; a process's address is that
 * plus a bias.
 */
#ifndef HOLDUP_SYMBOLIZE_MODULE_H
#define HOLDUP_SYMBOLIZE_MODULE_H

#include <elfutils/libdw.h>
#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash_table.h"
#include "symbolize/protocol.h"

enum { SEGMENT_MAX = 64 };

struct segment {
	uint64_t offset, file_bytes;
	uint64_t address, memory_bytes;
	bool executable;
};

/* A file's bytes. */
struct image {
	const uint8_t *bytes;
	size_t length;
	bool mapped; /* else from malloc() */
};

/*
 * Maps a regular file, so that writes stay our own. Closes the descriptor in any case. Returns 0, -EFBIG
 * above `limit_bytes`, or another negative errno.
 */
int image_map(int fd, size_t limit_bytes, struct image *ret_image);
void image_release(struct image *image);

struct symbol_table;
struct debug_file;
struct dwarf_lines;

struct module {
	uint64_t device, inode;
	uint64_t size_bytes;
	int64_t modified_ns;
	struct image image;
	Elf *elf;
	struct segment segments[SEGMENT_MAX];
	size_t segment_count;
	uint64_t lowest_address; /* of the first segment, rounded down to a page */
	bool is_position_independent;
	uint8_t build_id[MESSAGE_MAX_BUILD_ID];
	size_t build_id_bytes;

	Dwarf_CFI *eh_cfi;
	bool eh_cfi_tried;
	struct hash_table rules; /* virtual address -> struct cfi_rule */

	/* Made on first use, by the file that knows how. */
	struct debug_file *debug_file;
	bool debug_file_tried;
	struct symbol_table *functions, *objects;
	bool symbols_tried;
	struct dwarf_lines *lines;
	bool lines_tried;
	bool libc_tried;
	struct message_libc libc;
};

/*
 * Reads the ELF structure of an image, which it takes over, also on failure. Returns 0; -ENOEXEC for what
 * isn't an ELF program or library of this machine; -ENOMEM.
 */
int module_open(struct image *image, struct module **ret_module);
/* Takes NULL; returns NULL. */
struct module *module_free(struct module *module);

/* What it costs: bytes mapped or held for it. */
size_t module_bytes(const struct module *module);

/*
 * The difference between a process's addresses and the file's, for a mapping of the file. Returns 0, or
 * -ENOENT when no segment can have been mapped from this offset.
 */
int module_bias(const struct module *module, uint64_t start, uint64_t offset, bool executable,
		uint64_t *ret_bias);

/* The unwind tables of the file itself, or NULL. */
Dwarf_CFI *module_eh_cfi(struct module *module);

/* The first section of this name: its data, not decompressed; false if there is none with bytes. */
bool elf_section_bytes(Elf *elf, const char *name, struct message_reader *ret_data);

/* Reads .note.gnu.build-id (of any note segment or section): its length, 0 if there is none. */
size_t elf_build_id(Elf *elf, uint8_t ret_build_id[static MESSAGE_MAX_BUILD_ID]);

/*
 * The start of the unwind entry (FDE) that covers a virtual address, from the sorted table of
 * .eh_frame_hdr. False when there is no table or no entry at or below the address. That the entry reaches
 * as far as the address is for the caller to know.
 */
bool module_function_start(const struct module *module, uint64_t address, uint64_t *ret_start);

#endif
