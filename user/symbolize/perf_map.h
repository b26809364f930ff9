/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of code made at run time, from the file that JIT compilers write for perf: a line for each piece of
 * code, "START SIZE NAME", in hexadecimal (Linux: tools/perf/Documentation/jit-interface.txt). The file is
 * the watched program's and may hold anything.
 */
#ifndef HOLDUP_SYMBOLIZE_PERF_MAP_H
#define HOLDUP_SYMBOLIZE_PERF_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct perf_map;

/* Parses text; lines that don't fit the format are skipped. NULL when out of memory. */
struct perf_map *perf_map_parse(const char *text, size_t length);

/*
 * Reads the file behind a descriptor (at most 64 MiB of it), which it closes. When the file is the one that
 * `old` was read from, unchanged, gives `old` back; else frees it. NULL when it can't be read.
 */
struct perf_map *perf_map_read(int fd, struct perf_map *old);

/* The code that contains an address, the one written last where several do: its start and name. */
bool perf_map_find(const struct perf_map *map, uint64_t address, uint64_t *ret_start, const char **ret_name);

/* Takes NULL; returns NULL. */
struct perf_map *perf_map_free(struct perf_map *map);

#endif
