/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/host.h"

#include "source/source.h"

static int open_mapping(void *context, uint32_t tgid, const struct event_mapping *mapping, const char *path)
{
	return proc_open_mapping(tgid, mapping, path);
}

static int open_debug_file(void *context, uint32_t tgid, const char *module_path, const uint8_t *build_id,
			   size_t build_id_bytes, const char *debuglink)
{
	return proc_open_debug_file(tgid, module_path, build_id, build_id_bytes, debuglink);
}

static int open_perf_map(void *context, uint32_t tgid)
{
	return proc_open_perf_map(tgid);
}

static ssize_t read_memory(void *context, uint32_t tgid, uint64_t address, void *buffer, size_t length)
{
	return proc_read_memory(tgid, address, buffer, length);
}

const struct symbolizer_host symbolizer_live_host = {
	.open_mapping = open_mapping,
	.open_debug_file = open_debug_file,
	.open_perf_map = open_perf_map,
	.read_memory = read_memory,
};
