/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the client keeps of a process: its mappings, as the worker was told them, and the names of program
 * counters that the worker has given already, valid as long as the mappings stay as they are.
 */
#ifndef HOLDUP_SYMBOLIZE_CLIENT_PROCESS_H
#define HOLDUP_SYMBOLIZE_CLIENT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "base/hash_table.h"
#include "event/event.h"
#include "symbolize/protocol.h"

struct client_mapping {
	struct event_mapping map;
	const char *path; /* of this mapping or, where equal, of the one before */
	bool owns_path;
};

/* The frames that one program counter stands for; one block of memory with all its strings. */
struct known_pc {
	size_t frame_count; /* 0: asked for, not answered yet */
	size_t bytes;
	uint64_t epoch; /* of the call that asked */
	bool is_fleeting; /* code made at run time: its name may change, so valid in this epoch only */
	struct frame_value frames[];
};

struct client_process {
	uint32_t tgid;
	ARRAY(struct client_mapping) mappings; /* ascending, not overlapping */
	uint64_t list_hash; /* of the mappings */
	uint64_t last_use;
	/* What the worker was told: by which incarnation, of which list, how much. */
	uint64_t told_worker, told_hash;
	size_t told_count;
	struct hash_table known; /* pc, flags -> struct known_pc */
	uint64_t known_hash; /* list_hash when they were asked for */
	size_t known_bytes;
	uint64_t checked_epoch;
};

struct client_process *client_process_new(uint32_t tgid);
/* Takes NULL; returns NULL. */
struct client_process *client_process_free(struct client_process *process);

/* Adds a line of the memory map. Returns 0, -EINVAL when it isn't above the one before, -ENOSPC, -ENOMEM. */
int client_process_add_mapping(struct client_process *process, const struct event *mapping);

/* The mapping that contains an address, or NULL. */
const struct client_mapping *client_process_find(const struct client_process *process, uint64_t address);

/* The path of the file that an address belongs to, its .bss included; "" if there is none. Never NULL. */
const char *client_process_file(const struct client_process *process, uint64_t address);

/* Drops names: all that are no longer true, or every one. */
void client_process_forget_stale(struct client_process *process, uint64_t epoch);
void client_process_forget_names(struct client_process *process);

struct known_pc *client_process_known(const struct client_process *process, const struct message_pc *pc);

/*
 * Remembers what a program counter stands for (values are copied), in place of what was known before.
 * Returns 0 or -ENOMEM.
 */
int client_process_remember(struct client_process *process, const struct message_pc *pc, uint64_t epoch,
			    bool is_fleeting, const struct frame_value *frames, size_t frame_count);

/* A mapping as the worker is told. */
struct message_mapping client_mapping_message(const struct client_mapping *mapping);

#endif
