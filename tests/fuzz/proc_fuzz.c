/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parsers of /proc text: names and paths in it are the watched program's. The first byte, a digit,
 * chooses the parser (in the order of the table below), the rest is the text.
 */
#include <string.h>

#include "fuzz.h"
#include "source/proc_parse.h"

#define require_terminated(array) fuzz_require(memchr((array), 0, sizeof(array)))

static void parse_mapping(const char *text, size_t length)
{
	struct event_mapping mapping;
	char path[PROC_PATH_BYTES];
	if (proc_parse_mapping(text, length, &mapping, path) == 0)
		require_terminated(path);
}

static void parse_stat(const char *text, size_t length)
{
	struct proc_stat stat;
	if (proc_parse_stat(text, length, &stat) == 0)
		require_terminated(stat.comm);
}

static void parse_status(const char *text, size_t length)
{
	struct proc_status status = { 0 };
	proc_parse_status_line(text, length, &status);
}

static void parse_syscall(const char *text, size_t length)
{
	struct proc_syscall syscall;
	proc_parse_syscall(text, length, &syscall);
}

static void parse_cgroup(const char *text, size_t length)
{
	struct proc_cgroup cgroup = { 0 };
	char container[PROC_CONTAINER_BYTES];
	proc_parse_cgroup_line(text, length, &cgroup);
	require_terminated(cgroup.path);
	require_terminated(cgroup.container);
	if (proc_container_of_path(cgroup.path, container))
		require_terminated(container);
}

static void parse_link(const char *text, size_t length)
{
	struct proc_link link;
	char path[PROC_PATH_BYTES];
	size_t kept = length < sizeof(path) - 1 ? length : sizeof(path) - 1;
	memcpy(path, text, kept);
	path[kept] = 0;
	proc_parse_link(path, &link);
	proc_strip_deleted(path);
	fuzz_require(strlen(path) <= kept);
}

static void parse_fdinfo(const char *text, size_t length)
{
	struct proc_fdinfo fdinfo = { 0 };
	proc_parse_fdinfo_line(text, length, &fdinfo);
}

static void parse_socket(const char *text, size_t length)
{
	struct proc_socket socket;
	char shown[PROC_SOCKET_TEXT_BYTES];
	for (int v6 = 0; v6 < 2; v6++) {
		if (proc_parse_socket(text, length, v6, &socket))
			continue;
		proc_socket_text("tcp", &socket, shown);
		require_terminated(shown);
		fuzz_require(proc_address_equal(&socket.local, &socket.local));
	}
}

static void parse_unix(const char *text, size_t length)
{
	struct proc_unix_socket socket;
	if (proc_parse_unix_socket(text, length, &socket) == 0)
		require_terminated(socket.name);
}

static void parse_auxv(const char *text, size_t length)
{
	proc_auxv_is_native(text, length, 4096);
}

int fuzz_one(const uint8_t *bytes, size_t length)
{
	static void (*const parsers[])(const char *text, size_t length) = {
		parse_mapping, parse_stat, parse_status, parse_syscall, parse_cgroup,
		parse_link, parse_fdinfo, parse_socket, parse_unix, parse_auxv,
	};
	if (!length)
		return 0;
	char *text = fuzz_copy(bytes + 1, length - 1);
	parsers[(uint8_t)(bytes[0] - '0') % (sizeof(parsers) / sizeof(*parsers))](text, length - 1);
	free(text);
	return 0;
}
