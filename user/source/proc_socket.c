/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "source/proc_internal.h"
#include "source/source.h"

/*
 * A table of sockets is read up to here, some 50,000 connections. The target's own /proc/PID/net is used, for
 * it may live in another network namespace, and diagnostics by netlink know no other than the caller's.
 */
enum { TABLE_LIMIT_BYTES = 8 << 20 };

static const struct {
	const char *file, *protocol;
	bool v6;
} inet_tables[] = {
	{ "net/tcp", "tcp", false },
	{ "net/tcp6", "tcp", true },
	{ "net/udp", "udp", false },
	{ "net/udp6", "udp", true },
};

typedef bool (*row_test)(const struct proc_socket *row, const void *argument);

static bool has_inode(const struct proc_socket *row, const void *argument)
{
	return row->inode == *(const uint64_t *)argument;
}

/* The other end of a connection inside this network namespace. */
static bool is_mirror(const struct proc_socket *row, const void *argument)
{
	const struct proc_socket *socket = argument;
	return row->inode && proc_address_equal(&row->local, &socket->remote) &&
	       proc_address_equal(&row->remote, &socket->local);
}

static bool find_row(int dir, const char *file, bool v6, row_test test, const void *argument,
		     struct proc_socket *ret_socket)
{
	struct proc_lines lines;
	const char *line;
	size_t length;
	bool found = false;
	if (proc_lines_open(&lines, dir, file, TABLE_LIMIT_BYTES))
		return false;
	while (!found && proc_lines_next(&lines, &line, &length) > 0)
		found = !proc_parse_socket(line, length, v6, ret_socket) && test(ret_socket, argument);
	proc_lines_close(&lines);
	return found;
}

static void add_holders(uint64_t inode, char *text)
{
	char link[64];
	struct proc_holders holders;
	snprintf(link, sizeof(link), "socket:[%" PRIu64 "]", inode);
	proc_find_holders(link, PROC_ACCESS_ANY, &holders);
	proc_holders_text(&holders, text, PROC_PATH_BYTES);
}

/* The mirror may be a row of the other table: an IPv6 socket can have an IPv4 peer. */
static void add_mirror(int dir, const char *protocol, const struct proc_socket *row, char *text)
{
	struct proc_socket mirror;
	bool found = false;
	for (size_t i = 0; !found && i < sizeof(inet_tables) / sizeof(*inet_tables); i++)
		found = !strcmp(inet_tables[i].protocol, protocol) &&
			find_row(dir, inet_tables[i].file, inet_tables[i].v6, is_mirror, row, &mirror);
	if (found)
		add_holders(mirror.inode, text);
}

static bool describe_inet(int dir, uint64_t inode, char *text)
{
	for (size_t i = 0; i < sizeof(inet_tables) / sizeof(*inet_tables); i++) {
		struct proc_socket row;
		if (!find_row(dir, inet_tables[i].file, inet_tables[i].v6, has_inode, &inode, &row))
			continue;
		proc_socket_text(inet_tables[i].protocol, &row, text);
		if (row.remote.port)
			add_mirror(dir, inet_tables[i].protocol, &row, text);
		return true;
	}
	return false;
}

/* What the kernel's diagnostics say, for sockets of holdup's own network namespace. */
static bool describe_unix_here(uint64_t inode, char *text)
{
	struct proc_unix_peer socket, peer = { 0 };
	if (proc_unix_diagnose(inode, &socket))
		return false;
	if (socket.peer_inode && proc_unix_diagnose(socket.peer_inode, &peer))
		peer.name[0] = '\0';
	/* A client's socket has no name of its own; the other end bears the server's. */
	const char *name = socket.name[0] ? socket.name : peer.name;
	snprintf(text, PROC_PATH_BYTES, "unix socket%s%s%s", name[0] ? " " : "", name,
		 socket.listens ? " (LISTEN)" : "");
	if (socket.peer_inode)
		add_holders(socket.peer_inode, text);
	return true;
}

static bool describe_unix(int dir, uint64_t inode, char *text)
{
	struct proc_lines lines;
	const char *line;
	size_t length;
	bool found = false;
	uint32_t here = proc_read_namespace(AT_FDCWD, "/proc/self/ns/net");
	if (here && here == proc_read_namespace(dir, "ns/net") && describe_unix_here(inode, text))
		return true;
	if (proc_lines_open(&lines, dir, "net/unix", TABLE_LIMIT_BYTES))
		return false;
	while (!found && proc_lines_next(&lines, &line, &length) > 0) {
		struct proc_unix_socket socket;
		found = !proc_parse_unix_socket(line, length, &socket) && socket.inode == inode;
		if (found)
			snprintf(text, PROC_PATH_BYTES, "unix socket%s%s%s", socket.name[0] ? " " : "",
				 socket.name, socket.listens ? " (LISTEN)" : "");
	}
	proc_lines_close(&lines);
	return found;
}

void proc_socket_describe(int dir, uint64_t inode, char ret_text[static PROC_PATH_BYTES])
{
	if (!describe_unix(dir, inode, ret_text) && !describe_inet(dir, inode, ret_text))
		snprintf(ret_text, PROC_PATH_BYTES, "socket");
}
