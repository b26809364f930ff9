/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From addresses of a process to names: of code (frames, inlined ones first) and of data. */
#ifndef HOLDUP_SYMBOLIZE_NAMING_H
#define HOLDUP_SYMBOLIZE_NAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbolize/address_space.h"
#include "symbolize/protocol.h"

struct named_frame {
	struct message_frame fixed; /* function_bytes and file_bytes are set */
	char function[MESSAGE_MAX_TEXT + 1];
	const char *file; /* lives as long as the module, or NULL */
};

struct named_pc {
	struct named_frame frames[MESSAGE_MAX_INLINED];
	size_t count; /* at least 1 */
	const uint8_t *build_id; /* lives as long as the module */
	size_t build_id_bytes;
};

/* Names a program counter. Never fails: what isn't known stays empty. */
void name_pc(struct worker_state *state, struct address_space *space, const struct message_pc *pc,
	     bool want_lines, struct named_pc *ret_named);

struct named_data {
	uint64_t start, size_bytes;
	char name[MESSAGE_MAX_TEXT + 1]; /* "": no symbol contains the address */
};

void name_data(struct worker_state *state, struct address_space *space, uint64_t address,
	       struct named_data *ret_named);

/* Which C library a process maps or has linked in. */
struct message_libc name_libc(struct worker_state *state, struct address_space *space);

/*
 * Reads the process's perf map again if it changed; call once before a batch of name_pc() that may contain
 * JIT code.
 */
void refresh_perf_map(struct worker_state *state, struct address_space *space);

#endif
