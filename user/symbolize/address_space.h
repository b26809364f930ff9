/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The worker's view of processes: their mappings, and which file's module is behind each. Modules are kept
 * in a cache that is bounded in number and bytes; processes hold a slot number and a generation, so an
 * evicted module is simply asked for again.
 */
#ifndef HOLDUP_SYMBOLIZE_ADDRESS_SPACE_H
#define HOLDUP_SYMBOLIZE_ADDRESS_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "base/hash_table.h"
#include "symbolize/ask.h"
#include "symbolize/module.h"
#include "symbolize/perf_map.h"
#include "symbolize/spawner.h"

enum { MODULE_MAX = 512 };

/* All files together; what is left of the address space limit is for tables and debug information. */
#define MODULE_TOTAL_BYTES ((size_t)512 << 20)

struct module_slot {
	struct module *module;
	uint64_t generation;
	uint64_t last_use;
};

struct module_cache {
	struct module_slot slots[MODULE_MAX];
	size_t used_count;
	uint64_t clock;
};

struct space_mapping {
	struct message_mapping map;
	uint64_t bias;
	uint64_t generation;
	uint32_t slot;
	bool is_resolved; /* slot and generation are real (they may be stale) */
	bool is_refused; /* the file can't be had, or is no ELF: don't ask again */
};

struct address_space {
	uint32_t tgid;
	ARRAY(struct space_mapping) mappings; /* ascending, not overlapping */
	struct perf_map *perf_map;
};

struct worker_state {
	struct hash_table spaces; /* tgid -> struct address_space */
	struct module_cache modules;
	struct ask ask;
	struct crash_note *note;
};

/* The space of a process, made if it is new. NULL when out of memory or there are too many. */
struct address_space *address_space_get(struct worker_state *state, uint32_t tgid);
void address_space_forget(struct worker_state *state, uint32_t tgid);

/* Takes the body of a MESSAGE_MAPPINGS. Returns 0, -EPROTO or -ENOMEM. */
int address_space_update(struct worker_state *state, uint32_t tgid, struct message_reader *reader);

/* The mapping that contains an address, or NULL. */
struct space_mapping *address_space_find(struct address_space *space, uint64_t address);

/*
 * The module behind a mapping; loads it if need be. NULL when there is none. Valid until the next call.
 * Notes the file in the crash note, until address_space_done().
 */
struct module *address_space_module(struct worker_state *state, struct address_space *space,
				    struct space_mapping *mapping);

/* The parsing of watched files is over for now. */
void address_space_done(struct worker_state *state);

/* Frees everything. */
void worker_state_release(struct worker_state *state);

#endif
