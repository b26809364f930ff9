/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the debug information of a module is: in the file itself, in a separate file (by build-id or
 * .gnu_debuglink, which the client opens), or in a compressed symbol table (.gnu_debugdata).
 */
#ifndef HOLDUP_SYMBOLIZE_DEBUG_FILE_H
#define HOLDUP_SYMBOLIZE_DEBUG_FILE_H

#include <elfutils/libdw.h>
#include <libelf.h>
#include <stddef.h>
#include <stdint.h>

#include "symbolize/ask.h"
#include "symbolize/module.h"

/*
 * The ELF of the separate debug file, asked for once, or NULL. `start` is that of a mapping of the module.
 * A file that belongs to another build (neither build-id nor checksum agree) is not taken.
 */
Elf *debug_file_elf(struct module *module, struct ask *ask, uint64_t start);

/* Debug information with .debug_info, own or separate, or NULL. */
Dwarf *debug_file_dwarf(struct module *module, struct ask *ask, uint64_t start);

/* Unwind tables from .debug_frame, own or separate, or NULL. */
Dwarf_CFI *debug_file_cfi(struct module *module, struct ask *ask, uint64_t start);

/* The ELF inside .gnu_debugdata, unpacked once, or NULL. */
Elf *debug_file_mini(struct module *module);

/* Bytes mapped or held. */
size_t debug_file_bytes(const struct debug_file *file);

/* Takes NULL; returns NULL. */
struct debug_file *debug_file_free(struct debug_file *file);

#endif
