/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "source/proc_internal.h"
#include "source/source.h"

/* An epoll instance has a line for every descriptor it watches. */
enum { FDINFO_LIMIT_BYTES = 1 << 20 };

static bool read_fdinfo(int dir, int fd, struct proc_fdinfo *ret_info)
{
	char name[32];
	struct proc_lines lines;
	const char *line;
	size_t length;
	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	if (proc_lines_open(&lines, dir, name, FDINFO_LIMIT_BYTES))
		return false;
	while (proc_lines_next(&lines, &line, &length) > 0)
		proc_parse_fdinfo_line(line, length, ret_info);
	proc_lines_close(&lines);
	return true;
}

static void describe_pipe(int dir, int fd, const char *link, char *text)
{
	struct proc_fdinfo info = { 0 };
	struct proc_holders holders;
	snprintf(text, PROC_PATH_BYTES, "pipe");
	if (!read_fdinfo(dir, fd, &info) || !info.has_flags || (info.open_flags & O_ACCMODE) == O_RDWR)
		return;
	bool reads = (info.open_flags & O_ACCMODE) == O_RDONLY;
	proc_find_holders(link, reads ? PROC_ACCESS_WRITE : PROC_ACCESS_READ, &holders);
	if (holders.count)
		proc_holders_text(&holders, text, PROC_PATH_BYTES);
	else if (holders.complete)
		snprintf(text, PROC_PATH_BYTES, "pipe, no process has the other end open");
}

static void describe_anonymous(int dir, int fd, const struct proc_link *link, char *text)
{
	struct proc_fdinfo info = { 0 };
	snprintf(text, PROC_PATH_BYTES, "%s", link->name);
	if (!read_fdinfo(dir, fd, &info))
		return;
	if (link->kind == EVENT_DESCRIPTOR_EPOLL)
		snprintf(text, PROC_PATH_BYTES, "%s on %" PRIu64 " descriptor%s", link->name,
			 info.epoll_count, info.epoll_count == 1 ? "" : "s");
	else if (info.pidfd_pid > 0)
		snprintf(text, PROC_PATH_BYTES, "%s of process %" PRId64, link->name, info.pidfd_pid);
	else if (info.pidfd_pid < 0)
		snprintf(text, PROC_PATH_BYTES, "%s of a process that is gone", link->name);
}

/*
 * Only links and /proc's own files are read. The object behind the link is never touched: a stat of a file
 * on a dead network file system would hang the one who asks why others hang.
 */
int proc_describe_descriptor(uint32_t tgid, int fd, const struct event_sink *sink)
{
	struct event_descriptor record = { .header.type = EVENT_DESCRIPTOR, .tgid = tgid, .fd = fd };
	char name[32], link_text[PROC_PATH_BYTES], text[PROC_PATH_BYTES];
	struct proc_link link;
	int dir = proc_open_live_dir(tgid);
	if (dir < 0)
		return dir;
	snprintf(name, sizeof(name), "fd/%d", fd);
	ssize_t length = proc_read_link(dir, name, link_text, sizeof(link_text));
	int err = length < 0 && length != -ESRCH ? (int)length : 0;
	/* No such descriptor, or no such process any more? */
	if (!err && faccessat(dir, "stat", F_OK, 0))
		err = -ESRCH;
	if (err)
		goto out;
	if (length < 0) {
		record.kind = EVENT_DESCRIPTOR_CLOSED;
		snprintf(text, sizeof(text), "not open");
	} else {
		proc_parse_link(link_text, &link);
		record.kind = link.kind;
		if (link.kind == EVENT_DESCRIPTOR_PIPE)
			describe_pipe(dir, fd, link_text, text);
		else if (link.kind == EVENT_DESCRIPTOR_SOCKET)
			proc_socket_describe(dir, link.inode, text);
		else if (link.name)
			describe_anonymous(dir, fd, &link, text);
		else
			memcpy(text, link_text, (size_t)length + 1);
	}
	const char *strings[] = { text };
	err = event_write(sink, &record, sizeof(record), strings, 1, NULL, 0);
out:
	close(dir);
	return err;
}
