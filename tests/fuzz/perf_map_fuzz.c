/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Perf maps, which the watched program writes. The first 8 bytes are an address that is looked up. */
#include <string.h>

#include "fuzz.h"
#include "symbolize/perf_map.h"

int fuzz_one(const uint8_t *bytes, size_t length)
{
	uint64_t address;
	if (length < sizeof(address))
		return 0;
	memcpy(&address, bytes, sizeof(address));
	size_t text_bytes = length - sizeof(address);
	char *text = fuzz_copy(bytes + sizeof(address), text_bytes);
	struct perf_map *map = perf_map_parse(text, text_bytes);
	/* The map owns what it keeps. */
	free(text);
	fuzz_require(map);
	uint64_t start;
	const char *name;
	if (perf_map_find(map, address, &start, &name)) {
		fuzz_require(start <= address);
		fuzz_require(strlen(name) <= text_bytes);
	}
	perf_map_free(map);
	return 0;
}
