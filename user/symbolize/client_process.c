/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/client_process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

struct client_process *client_process_new(uint32_t tgid)
{
	struct client_process *process = calloc(1, sizeof(*process));
	if (process) {
		process->tgid = tgid;
		hash_table_init(&process->known);
	}
	return process;
}

static void clear_mappings(struct client_process *process)
{
	array_each(&process->mappings, mapping) {
		if (mapping->owns_path)
			free((char *)mapping->path);
	}
	array_clear(&process->mappings);
	process->list_hash = 0;
}

struct client_process *client_process_free(struct client_process *process)
{
	if (process) {
		client_process_forget_names(process);
		hash_table_release(&process->known);
		clear_mappings(process);
		array_release(&process->mappings);
		free(process);
	}
	return NULL;
}

int client_process_add_mapping(struct client_process *process, const struct event *mapping)
{
	const struct event_mapping *map = mapping->mapping;
	const char *path = mapping->text[0];
	if (map->flags & EVENT_MAPPING_FIRST)
		clear_mappings(process);
	size_t count = process->mappings.count;
	const struct client_mapping *before = count ? &process->mappings.items[count - 1] : NULL;
	if (map->end <= map->start || (before && map->start < before->map.end))
		return -EINVAL;
	if (count >= MAPPING_MAX)
		return -ENOSPC;
	const char *kept = before && !strcmp(before->path, path) ? before->path : NULL;
	bool owns_path = !kept;
	if (!kept)
		kept = strdup(path);
	struct client_mapping *added = kept ? array_add(&process->mappings) : NULL;
	if (!added) {
		if (owns_path)
			free((char *)kept);
		return -ENOMEM;
	}
	*added = (struct client_mapping){ *map, kept, owns_path };
	added->map.flags &= ~(uint32_t)EVENT_MAPPING_FIRST;
	struct message_mapping told = client_mapping_message(added);
	process->list_hash = hash_bytes(&told, sizeof(told), process->list_hash);
	process->list_hash = hash_bytes(kept, strlen(kept), process->list_hash);
	return 0;
}

const struct client_mapping *client_process_find(const struct client_process *process, uint64_t address)
{
	size_t low = 0, high = process->mappings.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct client_mapping *mapping = &process->mappings.items[middle];
		if (address < mapping->map.start)
			high = middle;
		else if (address >= mapping->map.end)
			low = middle + 1;
		else
			return mapping;
	}
	return NULL;
}

const char *client_process_file(const struct client_process *process, uint64_t address)
{
	const struct client_mapping *mapping = client_process_find(process, address);
	/* .bss is anonymous memory right behind its file's last mapping. */
	while (mapping && !*mapping->path) {
		if (mapping == process->mappings.items || mapping[-1].map.end != mapping->map.start)
			return "";
		mapping--;
	}
	return mapping ? mapping->path : "";
}

void client_process_forget_names(struct client_process *process)
{
	size_t position = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&process->known, &position));)
		free(entry->value);
	hash_table_clear(&process->known);
	process->known_bytes = 0;
}

void client_process_forget_stale(struct client_process *process, uint64_t epoch)
{
	if (process->checked_epoch == epoch)
		return;
	process->checked_epoch = epoch;
	bool is_stale = process->known_hash != process->list_hash;
	size_t position = 0;
	for (const struct hash_entry *entry;
	     !is_stale && (entry = hash_table_next(&process->known, &position));) {
		const struct known_pc *known = entry->value;
		is_stale = known->is_fleeting && known->epoch != epoch;
	}
	if (is_stale)
		client_process_forget_names(process);
	process->known_hash = process->list_hash;
}

struct known_pc *client_process_known(const struct client_process *process, const struct message_pc *pc)
{
	return hash_table_get(&process->known, pc->pc, pc->flags);
}

static size_t text_bytes(const char *text)
{
	return strlen(text ? text : "") + 1;
}

static const char *keep(char **free_space, const char *text)
{
	char *kept = *free_space;
	size_t bytes = text_bytes(text);
	memcpy(kept, text ? text : "", bytes);
	*free_space += bytes;
	return kept;
}

int client_process_remember(struct client_process *process, const struct message_pc *pc, uint64_t epoch,
			    bool is_fleeting, const struct frame_value *frames, size_t frame_count)
{
	size_t bytes = sizeof(struct known_pc) + frame_count * sizeof(*frames);
	for (size_t i = 0; i < frame_count; i++)
		bytes += text_bytes(frames[i].function) + text_bytes(frames[i].file) +
			 text_bytes(frames[i].module) + text_bytes(frames[i].build_id);
	struct known_pc *known = malloc(bytes);
	if (!known)
		return -ENOMEM;
	known->frame_count = frame_count;
	known->bytes = bytes;
	known->epoch = epoch;
	known->is_fleeting = is_fleeting;
	char *free_space = (char *)&known->frames[frame_count];
	for (size_t i = 0; i < frame_count; i++) {
		known->frames[i] = frames[i];
		known->frames[i].function = keep(&free_space, frames[i].function);
		known->frames[i].file = keep(&free_space, frames[i].file);
		known->frames[i].module = keep(&free_space, frames[i].module);
		known->frames[i].build_id = keep(&free_space, frames[i].build_id);
	}
	struct known_pc *old = client_process_known(process, pc);
	if (hash_table_put(&process->known, pc->pc, pc->flags, known)) {
		free(known);
		return -ENOMEM;
	}
	process->known_bytes += bytes - (old ? old->bytes : 0);
	free(old);
	return 0;
}

static bool is_libc_name(const char *path)
{
	static const char *const names[] = { "libc.so", "libc-2.", "libc.musl-", "ld-musl-" };
	const char *slash = strrchr(path, '/');
	for (size_t i = 0; slash && i < sizeof(names) / sizeof(*names); i++) {
		if (!strncmp(slash + 1, names[i], strlen(names[i])))
			return true;
	}
	return false;
}

struct message_mapping client_mapping_message(const struct client_mapping *mapping)
{
	const struct event_mapping *map = &mapping->map;
	uint32_t kind = MESSAGE_MAPPING_ANONYMOUS;
	if (!strcmp(mapping->path, "[vdso]"))
		kind = MESSAGE_MAPPING_VDSO;
	else if (map->inode && *mapping->path == '/')
		kind = is_libc_name(mapping->path) ? MESSAGE_MAPPING_LIBC : MESSAGE_MAPPING_FILE;
	return (struct message_mapping){
		.start = map->start,
		.end = map->end,
		.offset = map->offset,
		.device = makedev(map->device_major, map->device_minor),
		.inode = map->inode,
		.flags = map->flags,
		.kind = kind,
	};
}
