/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/address_space.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* The kernel's vdso is two or three pages. */
	VDSO_MAX_BYTES = MESSAGE_MAX_MEMORY,
};

/* The vdso has no inode; any number but a real device's will do. */
#define VDSO_DEVICE UINT64_MAX

static struct address_space *space_free(struct address_space *space)
{
	if (space) {
		array_release(&space->mappings);
		perf_map_free(space->perf_map);
		free(space);
	}
	return NULL;
}

struct address_space *address_space_get(struct worker_state *state, uint32_t tgid)
{
	struct address_space *space = hash_table_get(&state->spaces, tgid, 0);
	if (space || state->spaces.count >= PROCESS_MAX)
		return space;
	space = calloc(1, sizeof(*space));
	if (!space)
		return NULL;
	space->tgid = tgid;
	if (hash_table_put(&state->spaces, tgid, 0, space))
		return space_free(space);
	return space;
}

void address_space_forget(struct worker_state *state, uint32_t tgid)
{
	space_free(hash_table_remove(&state->spaces, tgid, 0));
}

int address_space_update(struct worker_state *state, uint32_t tgid, struct message_reader *reader)
{
	struct message_mappings head;
	struct address_space *space = address_space_get(state, tgid);
	if (!space)
		return -ENOMEM;
	if (!message_read(reader, &head, sizeof(head)))
		return -EPROTO;
	if (head.first)
		array_clear(&space->mappings);
	for (uint32_t i = 0; i < head.count; i++) {
		struct message_mapping map;
		if (!message_read(reader, &map, sizeof(map)) || space->mappings.count >= MAPPING_MAX)
			return -EPROTO;
		size_t count = space->mappings.count;
		if (map.end <= map.start || (count && map.start < space->mappings.items[count - 1].map.end))
			return -EPROTO;
		struct space_mapping *mapping = array_add(&space->mappings);
		if (!mapping)
			return -ENOMEM;
		mapping->map = map;
	}
	return 0;
}

struct space_mapping *address_space_find(struct address_space *space, uint64_t address)
{
	size_t low = 0, high = space->mappings.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct space_mapping *mapping = &space->mappings.items[middle];
		if (address < mapping->map.start)
			high = middle;
		else if (address >= mapping->map.end)
			low = middle + 1;
		else
			return mapping;
	}
	return NULL;
}

static void evict(struct module_cache *cache, struct module_slot *slot)
{
	slot->module = module_free(slot->module);
	slot->generation++;
	cache->used_count--;
}

/* Makes room for one more module of this size: the least recently used go first. */
static void make_room(struct module_cache *cache, size_t bytes)
{
	for (;;) {
		struct module_slot *oldest = NULL;
		size_t total = bytes;
		for (size_t i = 0; i < MODULE_MAX; i++) {
			struct module_slot *slot = &cache->slots[i];
			if (!slot->module)
				continue;
			total += module_bytes(slot->module);
			if (!oldest || slot->last_use < oldest->last_use)
				oldest = slot;
		}
		if (!oldest || (total <= MODULE_TOTAL_BYTES && cache->used_count < MODULE_MAX))
			return;
		evict(cache, oldest);
	}
}

static struct module_slot *find_cached(struct module_cache *cache, uint64_t device, uint64_t inode,
				       uint64_t size_bytes, int64_t modified_ns)
{
	for (size_t i = 0; i < MODULE_MAX; i++) {
		struct module *module = cache->slots[i].module;
		if (!module || module->device != device || module->inode != inode)
			continue;
		if (module->size_bytes == size_bytes && module->modified_ns == modified_ns)
			return &cache->slots[i];
		/* The file was written to: what we know of it is void. */
		evict(cache, &cache->slots[i]);
	}
	return NULL;
}

static struct module_slot *insert(struct module_cache *cache, struct module *module)
{
	struct module_slot *slot = cache->slots;
	while (slot->module)
		slot++;
	slot->module = module;
	slot->last_use = ++cache->clock;
	cache->used_count++;
	return slot;
}

static struct module_slot *load_file(struct worker_state *state, const struct message_mapping *map)
{
	int fd = ask_module(&state->ask, map->start);
	if (fd < 0)
		return NULL;
	struct stat status;
	if (fstat(fd, &status)) {
		close(fd);
		return NULL;
	}
	int64_t modified_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
	struct module_slot *slot = find_cached(&state->modules, status.st_dev, status.st_ino,
					       (uint64_t)status.st_size, modified_ns);
	if (slot) {
		close(fd);
		return slot;
	}
	struct image image;
	struct module *module;
	make_room(&state->modules, (size_t)status.st_size);
	if (image_map(fd, MODULE_TOTAL_BYTES, &image) || module_open(&image, &module))
		return NULL;
	module->device = status.st_dev;
	module->inode = status.st_ino;
	module->size_bytes = (uint64_t)status.st_size;
	module->modified_ns = modified_ns;
	return insert(&state->modules, module);
}

static struct module_slot *load_vdso(struct worker_state *state, const struct message_mapping *map)
{
	size_t length = map->end - map->start;
	if (length > VDSO_MAX_BYTES)
		return NULL;
	uint8_t *bytes = malloc(length);
	if (!bytes)
		return NULL;
	ssize_t got = ask_memory(&state->ask, map->start, bytes, length);
	if (got <= 0) {
		free(bytes);
		return NULL;
	}
	uint64_t hash = hash_bytes(bytes, (size_t)got, 0);
	struct module_slot *slot = find_cached(&state->modules, VDSO_DEVICE, hash, (uint64_t)got, 0);
	if (slot) {
		free(bytes);
		return slot;
	}
	struct image image = { bytes, (size_t)got, false };
	struct module *module;
	make_room(&state->modules, (size_t)got);
	if (module_open(&image, &module))
		return NULL;
	module->device = VDSO_DEVICE;
	module->inode = hash;
	module->size_bytes = (uint64_t)got;
	return insert(&state->modules, module);
}

static bool is_same_file(const struct message_mapping *a, const struct message_mapping *b)
{
	return a->kind == b->kind && a->device == b->device && a->inode == b->inode;
}

/* Resolves every mapping of the same file in one go, so that each file is asked for once. */
static void resolve(struct worker_state *state, struct address_space *space,
		    const struct message_mapping *map)
{
	struct module_slot *slot =
		map->kind == MESSAGE_MAPPING_VDSO ? load_vdso(state, map) : load_file(state, map);
	array_each(&space->mappings, mapping) {
		if (!is_same_file(&mapping->map, map))
			continue;
		mapping->is_resolved = false;
		mapping->is_refused = true;
		if (!slot || module_bias(slot->module, mapping->map.start, mapping->map.offset,
					 mapping->map.flags & EVENT_MAPPING_EXEC, &mapping->bias))
			continue;
		mapping->is_resolved = true;
		mapping->is_refused = false;
		mapping->slot = (uint32_t)(slot - state->modules.slots);
		mapping->generation = slot->generation;
	}
}

static struct module_slot *current_slot(struct worker_state *state, const struct space_mapping *mapping)
{
	if (!mapping->is_resolved)
		return NULL;
	struct module_slot *slot = &state->modules.slots[mapping->slot];
	return slot->module && slot->generation == mapping->generation ? slot : NULL;
}

struct module *address_space_module(struct worker_state *state, struct address_space *space,
				    struct space_mapping *mapping)
{
	if (mapping->is_refused || mapping->map.kind == MESSAGE_MAPPING_ANONYMOUS)
		return NULL;
	if (state->note)
		*state->note = (struct crash_note){ mapping->map.device, mapping->map.inode };
	struct module_slot *slot = current_slot(state, mapping);
	if (!slot) {
		/* A copy: the list doesn't move, but the entry is rewritten. */
		struct message_mapping map = mapping->map;
		resolve(state, space, &map);
		slot = current_slot(state, mapping);
	}
	if (!slot)
		return NULL;
	slot->last_use = ++state->modules.clock;
	return slot->module;
}

void address_space_done(struct worker_state *state)
{
	if (state->note)
		*state->note = (struct crash_note){ 0 };
}

void worker_state_release(struct worker_state *state)
{
	size_t position = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&state->spaces, &position));)
		space_free(entry->value);
	hash_table_release(&state->spaces);
	for (size_t i = 0; i < MODULE_MAX; i++)
		state->modules.slots[i].module = module_free(state->modules.slots[i].module);
	state->modules.used_count = 0;
}
