/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pure parsers of what /proc prints. They take memory with its length, need no NUL and touch nothing
 * else, so that tests and fuzzers call them with anything. Names and paths inside come from the watched
 * program: outputs are bounded and terminated, never cleaned (sinks do that).
 *
 * Formats: proc(5) and, where that is silent, fs/proc/array.c, fs/proc/task_mmu.c, fs/proc/base.c,
 * kernel/cgroup/cgroup.c, net/ipv4/tcp_ipv4.c and net/unix/af_unix.c of Linux.
 */
#ifndef HOLDUP_PROC_PARSE_H
#define HOLDUP_PROC_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"

enum {
	/* Longest path that is kept, with its NUL (PATH_MAX). */
	PROC_PATH_BYTES = 4096,
	/* A container's name or id with its NUL. */
	PROC_CONTAINER_BYTES = 128,
	/* Longest text proc_socket_text() writes, with its NUL. */
	PROC_SOCKET_TEXT_BYTES = 160,
	/* A unix socket's name with a NUL (UNIX_PATH_MAX is 108). */
	PROC_UNIX_NAME_BYTES = 112,
};

/* /proc/PID/stat. */
struct proc_stat {
	char comm[EVENT_COMM_BYTES];
	char state; /* as printed: 'R', 'S', 'D', 'T', 't', 'Z', 'X', 'I' ... */
	uint64_t kernel_flags; /* PF_* of include/linux/sched.h */
	uint32_t thread_count;
	uint64_t start_ticks; /* since boot, in units of sysconf(_SC_CLK_TCK) */
};

enum {
	PROC_PF_EXITING = 0x4,
	PROC_PF_KTHREAD = 0x200000,
};

/* 0 or -EPROTO. The name ends at the last ')': it may contain parentheses, blanks and newlines. */
int proc_parse_stat(const char *text, size_t length, struct proc_stat *ret_stat);

/* The kernel's state letter as a record's state. */
enum event_thread_state proc_thread_state(char letter);

/* The lines of /proc/PID/status that holdup needs. */
struct proc_status {
	uint32_t tgid;
	uint32_t ns_tgid, ns_tid; /* in the innermost pid namespace; 0: not told */
	uint32_t uid; /* effective */
	uint64_t switch_count; /* voluntary + involuntary */
	unsigned found; /* PROC_STATUS_* */
};

enum {
	PROC_STATUS_TGID = 1 << 0,
	PROC_STATUS_UID = 1 << 1,
	PROC_STATUS_VOLUNTARY = 1 << 2,
	PROC_STATUS_INVOLUNTARY = 1 << 3,
};

/* Takes up one line; lines it doesn't know are ignored. Start with a zeroed status. */
void proc_parse_status_line(const char *line, size_t length, struct proc_status *status);

/* /proc/PID/syscall. */
struct proc_syscall {
	bool running; /* not blocked: nothing below is known */
	int64_t number; /* -1: blocked outside any system call */
	uint64_t args[6];
	uint64_t sp, ip;
};

/* 0 or -EPROTO. */
int proc_parse_syscall(const char *text, size_t length, struct proc_syscall *ret_syscall);

/*
 * One line of /proc/PID/maps: flags, range, offset, device and inode of *ret_mapping (the header and tgid
 * are the caller's); ret_path gets the path with "\012" turned back into a newline and without
 * " (deleted)", cut at PROC_PATH_BYTES. 0 or -EPROTO.
 */
int proc_parse_mapping(const char *line, size_t length, struct event_mapping *ret_mapping,
		       char ret_path[static PROC_PATH_BYTES]);

/*
 * Cuts one " (deleted)", which the kernel appends to the path of an unlinked file, off a path that starts
 * with '/'. Returns whether it was there. (A file whose own name ends so can't be told from it.)
 */
bool proc_strip_deleted(char *path);

/* Does an auxiliary vector (/proc/PID/auxv) belong to a program of the native word size? */
bool proc_auxv_is_native(const void *bytes, size_t length, uint64_t page_bytes);

/* Which of a process's cgroup paths tells most; filled line by line from /proc/PID/cgroup. */
struct proc_cgroup {
	char path[PROC_PATH_BYTES]; /* "" when no line was usable */
	char container[PROC_CONTAINER_BYTES]; /* "" when it looks like none */
	int path_rank, container_rank;
};

/*
 * Prefers the unified hierarchy unless its path is "/", then name=systemd, memory, pids; "/" if there is
 * nothing better. Start with a zeroed structure.
 */
void proc_parse_cgroup_line(const char *line, size_t length, struct proc_cgroup *cgroup);

/*
 * The container that a cgroup path names: the innermost 64-digit hexadecimal id (docker, containerd, podman,
 * CRI-O; not that of a conmon monitor), else the name of an LXC or systemd-nspawn container. False if none.
 */
bool proc_container_of_path(const char *path, char ret_container[static PROC_CONTAINER_BYTES]);

/* What the text of a /proc/PID/fd link says. */
struct proc_link {
	enum event_descriptor_kind kind;
	uint64_t inode; /* of a pipe or socket */
	const char *name; /* of an anonymous inode ("eventfd"), else NULL; points to static text */
};
void proc_parse_link(const char *link, struct proc_link *ret_link);

/* `flags:` and, of a pidfd, `Pid:` of /proc/PID/fdinfo/N, and the number of lines an epoll instance has. */
struct proc_fdinfo {
	unsigned open_flags; /* O_* */
	bool has_flags;
	int64_t pidfd_pid; /* 0: not a pidfd, or not told; -1: that process is gone */
	uint64_t epoll_count; /* descriptors watched */
};
void proc_parse_fdinfo_line(const char *line, size_t length, struct proc_fdinfo *fdinfo);

struct proc_address {
	uint8_t bytes[16]; /* network order; IPv4 uses the first 4 */
	uint16_t port;
	bool v6; /* an IPv4 address mapped into IPv6 counts as IPv4 */
};

/* One row of /proc/PID/net/{tcp,tcp6,udp,udp6}. */
struct proc_socket {
	struct proc_address local, remote;
	unsigned state; /* TCP_ESTABLISHED ... */
	uint64_t inode;
};

/* 0, or -EPROTO (also for the heading). */
int proc_parse_socket(const char *line, size_t length, bool v6, struct proc_socket *ret_socket);
bool proc_address_equal(const struct proc_address *a, const struct proc_address *b);
/* "tcp 127.0.0.1:5432 -> 127.0.0.1:40112 (ESTABLISHED)"; protocol is "tcp" or "udp". */
void proc_socket_text(const char *protocol, const struct proc_socket *socket,
		      char ret_text[static PROC_SOCKET_TEXT_BYTES]);

/* One row of /proc/PID/net/unix. */
struct proc_unix_socket {
	uint64_t inode;
	bool listens;
	char name[PROC_UNIX_NAME_BYTES]; /* "" for none; an abstract name starts with '@' */
};

/*
 * 0, or -EPROTO (also for the heading). The kernel prints names as they are: one with a newline can fake a
 * row, so a better source is to be preferred where there is one (socket diagnostics).
 */
int proc_parse_unix_socket(const char *line, size_t length, struct proc_unix_socket *ret_socket);

#endif
