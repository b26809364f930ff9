/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the /proc side of the sources shares: bounded reads below a process's directory. Not for others.
 *
 * A process is held by a descriptor of its /proc directory, which belongs to the process itself and not to
 * its number: once that process is gone every read below it fails, also when the number was given out
 * again. All descriptors are close-on-exec.
 */
#ifndef HOLDUP_PROC_INTERNAL_H
#define HOLDUP_PROC_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/event.h"
#include "source/proc_parse.h"

/* A /proc error as source.h states them: what isn't there any more is -ESRCH, what may not be read -EACCES. */
int proc_error(int error_number);

/* /proc/ID of a process or (though not listed there) of a thread. A descriptor, -ESRCH or a negative errno. */
int proc_open_dir(uint32_t id);

/*
 * As proc_open_dir(), of a thread of the process that still has its memory and files: the leader, or any
 * other thread when the leader has exited before them.
 */
int proc_open_live_dir(uint32_t tgid);

/*
 * Reads a file below a directory up to the buffer's size less one and adds a NUL. Returns the length or a
 * negative errno of proc_error().
 */
ssize_t proc_read(int dir, const char *name, char *buffer, size_t buffer_bytes);

/* Where a link below a directory leads, with a NUL, cut at the buffer. Returns the length or a negative errno. */
ssize_t proc_read_link(int dir, const char *name, char *buffer, size_t buffer_bytes);

/* Of a thread's directory. Of a process's it is slow: the kernel adds up the times of all threads. */
int proc_read_stat(int dir, struct proc_stat *ret_stat);
/* Of a process's leader, without that sum. */
int proc_read_leader_stat(int dir, uint32_t tgid, struct proc_stat *ret_stat);
int proc_read_status(int dir, struct proc_status *ret_status);
int proc_read_syscall(int dir, struct proc_syscall *ret_syscall);

/* The inode of a namespace ("ns/pid"), 0 when it can't be told. */
uint32_t proc_read_namespace(int dir, const char *name);

/* Is it a program of another word size, whose system calls holdup doesn't know? */
bool proc_is_compat(int dir);

/* Ticks of /proc as nanoseconds. */
uint64_t proc_ticks_ns(uint64_t ticks);

enum {
	/* A line of maps with the longest path, every character of it an escaped newline. */
	PROC_LINE_BYTES = 4 * PROC_PATH_BYTES + 256,
};

/* Reads a file line by line in bounded memory. */
struct proc_lines {
	int fd;
	size_t start, end; /* of what is unread in the buffer */
	uint64_t left_bytes; /* of the limit */
	bool cut; /* the limit was reached before the end of the file */
	bool guarded; /* a read may never return: proc_guarded_read() */
	char buffer[PROC_LINE_BYTES];
};

/* Reads at most limit_bytes of the file. 0 or a negative errno of proc_error(). */
int proc_lines_open(struct proc_lines *lines, int dir, const char *name, uint64_t limit_bytes);
/*
 * The next line, without its newline and without a NUL; longer ones come cut. Returns 1, 0 at the end of the
 * file or of the limit (a line that the limit cuts is not given), or a negative errno.
 */
int proc_lines_next(struct proc_lines *lines, const char **ret_line, size_t *ret_length);
void proc_lines_close(struct proc_lines *lines);

/* A directory whose entries are numbers: processes, threads, descriptors. */
struct proc_numbers {
	void *stream; /* DIR *, NULL after a failed open: then there are none */
};

/* 0 or a negative errno of proc_error(). `dir` stays open. */
int proc_numbers_open(struct proc_numbers *numbers, int dir, const char *name);
bool proc_numbers_next(struct proc_numbers *numbers, uint32_t *ret_number);
void proc_numbers_close(struct proc_numbers *numbers);

/* A LOST record; nothing when count is 0. */
int proc_emit_lost(const struct event_sink *sink, enum event_lost_cause cause, uint32_t tgid, uint64_t count);

/*
 * As proc_read_memory(), of the process that any thread id belongs to, and no search for another thread
 * when that one has exited.
 */
ssize_t proc_read_task_memory(uint32_t tid, uint64_t address, void *buffer, size_t length);

struct pending_read;
/*
 * Is the address space that a task lives in locked, so that no reader of its memory or maps would return?
 * Then *ret_pending is a read that will return when that ends (source/proc_guard.h). One that can't be
 * opened isn't.
 */
bool proc_memory_is_locked(uint32_t tid, struct pending_read **ret_pending);

/* A process that holds an open file. */
struct proc_holder {
	uint32_t tgid;
	char comm[EVENT_COMM_BYTES];
};

enum { PROC_HOLDERS_MAX = 3 };

struct proc_holders {
	struct proc_holder items[PROC_HOLDERS_MAX];
	uint32_t count; /* of all found, also of those that had no room in items */
	bool complete; /* every process was looked at */
};

/* Which descriptors of a pipe count. */
enum proc_access {
	PROC_ACCESS_ANY,
	PROC_ACCESS_READ, /* open for reading, or for both */
	PROC_ACCESS_WRITE,
};

/*
 * The processes that have a file open whose /proc/PID/fd link reads `link`. The work is bounded: on a machine
 * with very many descriptors the search gives up and is not complete.
 */
void proc_find_holders(const char *link, enum proc_access access, struct proc_holders *ret_holders);

/* Describes a socket as one line for people, PROC_PATH_BYTES at most. */
void proc_socket_describe(int dir, uint64_t inode, char ret_text[static PROC_PATH_BYTES]);

/* Appends ", other end: cat (123) and sh (7)", or nothing when no holder is known. */
void proc_holders_text(const struct proc_holders *holders, char *text, size_t text_bytes);

struct proc_unix_peer {
	char name[PROC_UNIX_NAME_BYTES]; /* of the socket itself */
	bool listens;
	uint64_t peer_inode; /* 0: none */
};

/*
 * Asks the kernel's socket diagnostics about a unix socket of the caller's own network namespace. 0, -ENOENT
 * or another negative errno (also of kernels built without them).
 */
int proc_unix_diagnose(uint64_t inode, struct proc_unix_peer *ret_peer);

#endif
