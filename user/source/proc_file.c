/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "source/proc_guard.h"
#include "source/proc_internal.h"
#include "source/scanner.h"

int proc_error(int error_number)
{
	switch (error_number) {
	case ENOENT:
	case ESRCH:
		return -ESRCH;
	case EPERM:
	case EACCES:
		return -EACCES;
	default:
		return -error_number;
	}
}

int proc_open_dir(uint32_t id)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/%u", id);
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? proc_error(errno) : fd;
}

ssize_t proc_read(int dir, const char *name, char *buffer, size_t buffer_bytes)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return proc_error(errno);
	size_t length = 0;
	ssize_t got;
	do {
		got = read(fd, buffer + length, buffer_bytes - 1 - length);
		if (got > 0)
			length += (size_t)got;
	} while (got > 0 && length < buffer_bytes - 1);
	int err = got < 0 ? proc_error(errno) : 0;
	close(fd);
	buffer[length] = '\0';
	return err ? err : (ssize_t)length;
}

ssize_t proc_read_link(int dir, const char *name, char *buffer, size_t buffer_bytes)
{
	ssize_t length = readlinkat(dir, name, buffer, buffer_bytes - 1);
	if (length < 0)
		return proc_error(errno);
	buffer[length] = '\0';
	return length;
}

static int read_stat(int dir, const char *name, struct proc_stat *ret_stat)
{
	char text[1024];
	ssize_t length = proc_read(dir, name, text, sizeof(text));
	return length < 0 ? (int)length : proc_parse_stat(text, (size_t)length, ret_stat);
}

int proc_read_stat(int dir, struct proc_stat *ret_stat)
{
	return read_stat(dir, "stat", ret_stat);
}

int proc_read_leader_stat(int dir, uint32_t tgid, struct proc_stat *ret_stat)
{
	char name[32];
	snprintf(name, sizeof(name), "task/%u/stat", tgid);
	return read_stat(dir, name, ret_stat);
}

int proc_read_status(int dir, struct proc_status *ret_status)
{
	/* Only the line of supplementary groups can be long: 65,536 of them at most. */
	enum { STATUS_LIMIT_BYTES = 1 << 20 };
	struct proc_status status = { 0 };
	struct proc_lines lines;
	const char *line;
	size_t length;
	int err = proc_lines_open(&lines, dir, "status", STATUS_LIMIT_BYTES);
	if (err)
		return err;
	while ((err = proc_lines_next(&lines, &line, &length)) > 0)
		proc_parse_status_line(line, length, &status);
	proc_lines_close(&lines);
	if (err)
		return err;
	*ret_status = status;
	return 0;
}

int proc_read_syscall(int dir, struct proc_syscall *ret_syscall)
{
	char text[256];
	ssize_t length = proc_read(dir, "syscall", text, sizeof(text));
	return length < 0 ? (int)length : proc_parse_syscall(text, (size_t)length, ret_syscall);
}

uint32_t proc_read_namespace(int dir, const char *name)
{
	char link[64];
	ssize_t length = proc_read_link(dir, name, link, sizeof(link));
	const char *bracket = length < 0 ? NULL : strchr(link, '[');
	if (!bracket)
		return 0;
	struct scanner scanner = scanner_of(bracket + 1, strlen(bracket + 1));
	uint64_t inode;
	return scanner_number(&scanner, 10, &inode) && inode <= UINT32_MAX ? (uint32_t)inode : 0;
}

bool proc_is_compat(int dir)
{
	char vector[1024];
	ssize_t length = proc_read(dir, "auxv", vector, sizeof(vector));
	/* No vector, no memory: no thread of it can wait for anything. */
	return length > 0 && !proc_auxv_is_native(vector, (size_t)length, (uint64_t)sysconf(_SC_PAGESIZE));
}

uint64_t proc_ticks_ns(uint64_t ticks)
{
	uint64_t ns;
	return __builtin_mul_overflow(ticks, UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK), &ns)
		       ? UINT64_MAX
		       : ns;
}

int proc_open_live_dir(uint32_t tgid)
{
	int dir = proc_open_dir(tgid);
	struct proc_stat stat;
	if (dir < 0)
		return dir;
	int err = proc_read_leader_stat(dir, tgid, &stat);
	if (!err && proc_thread_state(stat.state) != EVENT_STATE_DEAD)
		return dir;

	struct proc_numbers threads;
	uint32_t tid;
	if (!err)
		err = proc_numbers_open(&threads, dir, "task");
	if (err)
		goto out;
	err = -ESRCH;
	while (err && proc_numbers_next(&threads, &tid)) {
		char name[32];
		snprintf(name, sizeof(name), "task/%u", tid);
		int thread = tid == tgid ? -1 : proc_open_dir(tid);
		if (thread < 0)
			continue;
		/* The number still names a thread of this process: it did so when its directory was opened. */
		if (!proc_read_stat(thread, &stat) && proc_thread_state(stat.state) != EVENT_STATE_DEAD &&
		    !faccessat(dir, name, F_OK, 0)) {
			close(dir);
			dir = thread;
			err = 0;
		} else {
			close(thread);
		}
	}
	proc_numbers_close(&threads);
out:
	if (err) {
		close(dir);
		return err;
	}
	return dir;
}

int proc_lines_open(struct proc_lines *lines, int dir, const char *name, uint64_t limit_bytes)
{
	lines->fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	lines->start = lines->end = 0;
	lines->left_bytes = limit_bytes;
	lines->cut = false;
	lines->guarded = false;
	return lines->fd < 0 ? proc_error(errno) : 0;
}

/* Reads on into the free part of the buffer. Bytes read, 0 at the end or the limit, or a negative errno. */
static ssize_t fill(struct proc_lines *lines)
{
	size_t room = sizeof(lines->buffer) - lines->end;
	if (!lines->left_bytes) {
		lines->cut = true;
		return 0;
	}
	if (room > lines->left_bytes)
		room = (size_t)lines->left_bytes;
	ssize_t got = lines->guarded
			      ? proc_guarded_read(lines->fd, lines->buffer + lines->end, room, -1, NULL)
			      : read(lines->fd, lines->buffer + lines->end, room);
	if (got < 0)
		return proc_error(lines->guarded ? (int)-got : errno);
	lines->end += (size_t)got;
	lines->left_bytes -= (uint64_t)got;
	return got;
}

/* Drops the rest of a line that is longer than the buffer. */
static ssize_t skip_rest(struct proc_lines *lines)
{
	ssize_t got = 0;
	const char *newline = NULL;
	lines->start = lines->end = 0;
	while (!newline && (got = fill(lines)) > 0) {
		newline = memchr(lines->buffer, '\n', lines->end);
		lines->start = newline ? (size_t)(newline + 1 - lines->buffer) : 0;
		if (!newline)
			lines->end = 0;
	}
	return newline ? 0 : got;
}

int proc_lines_next(struct proc_lines *lines, const char **ret_line, size_t *ret_length)
{
	/* A whole buffer without a newline was handed out as a line; what follows it belongs to that line. */
	if (!lines->start && lines->end == sizeof(lines->buffer)) {
		ssize_t err = skip_rest(lines);
		if (err < 0)
			return (int)err;
	}
	for (;;) {
		const char *line = lines->buffer + lines->start;
		const char *newline =
			lines->end > lines->start ? memchr(line, '\n', lines->end - lines->start) : NULL;
		if (newline) {
			*ret_line = line;
			*ret_length = (size_t)(newline - line);
			lines->start += *ret_length + 1;
			return 1;
		}
		if (lines->start) {
			memmove(lines->buffer, line, lines->end - lines->start);
			lines->end -= lines->start;
			lines->start = 0;
		}
		ssize_t got = lines->end < sizeof(lines->buffer) ? fill(lines) : 0;
		if (got < 0)
			return (int)got;
		if (!got && lines->cut)
			return 0;
		if (!got) {
			*ret_line = lines->buffer;
			*ret_length = lines->end;
			if (lines->end < sizeof(lines->buffer))
				lines->start = lines->end;
			return *ret_length > 0;
		}
	}
}

void proc_lines_close(struct proc_lines *lines)
{
	close(lines->fd);
}

int proc_numbers_open(struct proc_numbers *numbers, int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	numbers->stream = NULL;
	if (fd < 0)
		return proc_error(errno);
	numbers->stream = fdopendir(fd);
	if (!numbers->stream) {
		int err = -errno;
		close(fd);
		return err;
	}
	return 0;
}

bool proc_numbers_next(struct proc_numbers *numbers, uint32_t *ret_number)
{
	struct dirent *entry;
	while (numbers->stream && (entry = readdir(numbers->stream))) {
		struct scanner scanner = scanner_of(entry->d_name, strlen(entry->d_name));
		uint64_t number;
		if (scanner_number(&scanner, 10, &number) && !scanner_left(&scanner) && number <= INT32_MAX) {
			*ret_number = (uint32_t)number;
			return true;
		}
	}
	return false;
}

void proc_numbers_close(struct proc_numbers *numbers)
{
	if (numbers->stream)
		closedir(numbers->stream);
}

int proc_emit_lost(const struct event_sink *sink, enum event_lost_cause cause, uint32_t tgid, uint64_t count)
{
	struct event_lost lost = {
		.header.type = EVENT_LOST,
		.cause = cause,
		.tgid = tgid,
		.count = count,
	};
	return count ? event_write(sink, &lost, sizeof(lost), NULL, 0, NULL, 0) : 0;
}
