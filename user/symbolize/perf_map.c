/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/perf_map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"

enum {
	FILE_MAX_BYTES = 64 << 20,
	ENTRY_MAX = 1 << 20,
	NAME_MAX_BYTES = 512,
	/* Entries before an address that are looked at for one that contains it. */
	LOOK_BACK_MAX = 4096,
};

struct entry {
	uint64_t start, size_bytes;
	uint64_t reach; /* greatest end of this entry and all before it */
	uint32_t line; /* later lines replace earlier ones: code memory is used again */
	const char *name;
};

struct perf_map {
	char *text; /* names point into it */
	ARRAY(struct entry) entries;
	struct stat identity;
};

static bool parse_hex(const char **at, const char *end, uint64_t *ret_number)
{
	const char *next = *at;
	uint64_t number = 0;
	if (end - next > 2 && next[0] == '0' && (next[1] | 0x20) == 'x')
		next += 2;
	const char *first = next;
	for (; next < end; next++) {
		unsigned digit;
		if (*next >= '0' && *next <= '9')
			digit = (unsigned)(*next - '0');
		else if ((*next | 0x20) >= 'a' && (*next | 0x20) <= 'f')
			digit = (unsigned)((*next | 0x20) - 'a') + 10;
		else
			break;
		if (number >> 60)
			return false;
		number = number << 4 | digit;
	}
	*at = next;
	*ret_number = number;
	return next > first;
}

static bool parse_line(char *line, char *end, struct entry *ret_entry)
{
	const char *at = line;
	uint64_t start, size_bytes;
	if (!parse_hex(&at, end, &start) || at == end || *at++ != ' ' || !parse_hex(&at, end, &size_bytes) ||
	    at == end || *at++ != ' ' || at == end || !size_bytes || start + size_bytes < start)
		return false;
	if (end - at > NAME_MAX_BYTES)
		end = (char *)at + NAME_MAX_BYTES;
	*end = '\0';
	*ret_entry = (struct entry){ .start = start, .size_bytes = size_bytes, .name = at };
	return true;
}

static int compare(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->line < b->line ? -1 : a->line > b->line;
}

/* Takes over `text`, which has room for a NUL at text[length]. */
static struct perf_map *parse_owned(char *text, size_t length)
{
	struct perf_map *map = calloc(1, sizeof(*map));
	if (!map) {
		free(text);
		return NULL;
	}
	map->text = text;
	char *end = text + length;
	uint32_t line_number = 0;
	for (char *line = text; line < end && map->entries.count < ENTRY_MAX; line_number++) {
		char *line_end = memchr(line, '\n', (size_t)(end - line));
		struct entry parsed;
		if (!line_end)
			line_end = end;
		if (parse_line(line, line_end, &parsed)) {
			struct entry *entry = array_add(&map->entries);
			if (!entry)
				break;
			*entry = parsed;
			entry->line = line_number;
		}
		line = line_end + 1;
	}
	if (map->entries.count)
		qsort(map->entries.items, map->entries.count, sizeof(struct entry), compare);
	uint64_t reach = 0;
	array_each(&map->entries, entry) {
		if (entry->start + entry->size_bytes > reach)
			reach = entry->start + entry->size_bytes;
		entry->reach = reach;
	}
	return map;
}

struct perf_map *perf_map_parse(const char *text, size_t length)
{
	char *copy = malloc(length + 1);
	if (!copy)
		return NULL;
	memcpy(copy, text, length);
	return parse_owned(copy, length);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Read, not mapped: the owner may cut the file at any moment. */
static struct perf_map *read_file(int fd, const struct stat *status)
{
	size_t want = status->st_size > FILE_MAX_BYTES ? FILE_MAX_BYTES : (size_t)status->st_size;
	char *text = malloc(want + 1);
	if (!text)
		return NULL;
	size_t got = 0;
	while (got < want) {
		ssize_t piece = pread(fd, text + got, want - got, (off_t)got);
		if (piece <= 0)
			break;
		got += (size_t)piece;
	}
	struct perf_map *map = parse_owned(text, got);
	if (map)
		map->identity = *status;
	return map;
}

struct perf_map *perf_map_read(int fd, struct perf_map *old)
{
	struct stat status;
	struct perf_map *map = NULL;
	bool readable = !fstat(fd, &status) && S_ISREG(status.st_mode) && status.st_size > 0;
	if (readable && old && is_same(&status, &old->identity)) {
		map = old;
		old = NULL;
	} else if (readable) {
		map = read_file(fd, &status);
	}
	close(fd);
	perf_map_free(old);
	return map;
}

bool perf_map_find(const struct perf_map *map, uint64_t address, uint64_t *ret_start, const char **ret_name)
{
	size_t low = 0, high = map->entries.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (map->entries.items[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	const struct entry *best = NULL;
	for (size_t i = low; i > 0 && low - i < LOOK_BACK_MAX; i--) {
		const struct entry *entry = &map->entries.items[i - 1];
		if (entry->reach <= address)
			break;
		if (address - entry->start < entry->size_bytes && (!best || entry->line > best->line))
			best = entry;
	}
	if (!best)
		return false;
	*ret_start = best->start;
	*ret_name = best->name;
	return true;
}

struct perf_map *perf_map_free(struct perf_map *map)
{
	if (map) {
		array_release(&map->entries);
		free(map->text);
		free(map);
	}
	return NULL;
}
