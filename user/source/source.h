/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A source turns a live machine (or memory, in tests) into records. Backends: "bpf" (sleepable task
 * iterator), "procfs" (/proc alone), "memory". All emit the same records; what one can't
 * tell it leaves out and flags (bpf/events.h).
 *
 * Sources only ever read. None stops a thread, sends a signal or attaches with ptrace.
 */
#ifndef HOLDUP_SOURCE_H
#define HOLDUP_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/event.h"

struct source;

enum source_scope {
	SOURCE_WAITERS, /* threads asleep in a futex-family call (others may be left out) */
	SOURCE_THREADS, /* every thread of the chosen processes */
};

struct source_scan {
	uint32_t pass; /* 1, 2, 3: see SCAN_BEGIN */
	enum source_scope scope;
	/* Process ids to look at; count 0 means every process of the machine. */
	const uint32_t *tgids;
	size_t tgid_count;
};

struct source_ops {
	const char *name; /* "bpf", "procfs", "memory" */
	/* One pass: SCAN_BEGIN, THREAD and MEMORY records, LOST if any, SCAN_END. */
	int (*scan)(struct source *source, const struct source_scan *scan, const struct event_sink *sink);
	/* STACK records of these threads (of those that sleep); LOST for the others. */
	int (*sample_stacks)(struct source *source, const uint32_t *tids, size_t tid_count,
			     const struct event_sink *sink);
	/* Frees everything. Takes a half-built source. */
	void (*destroy)(struct source *source);
};

/* The common head of every backend's own structure. */
struct source {
	const struct source_ops *ops;
};

/* Both return 0 or a negative errno. */
int source_scan(struct source *source, const struct source_scan *scan, const struct event_sink *sink);
int source_sample_stacks(struct source *source, const uint32_t *tids, size_t tid_count,
			 const struct event_sink *sink);
/* Takes NULL; returns NULL. */
struct source *source_free(struct source *source);

/* Why a backend could not be opened, for people: what failed, why, what to do. */
struct source_error {
	char text[512];
};

/*
 * The task iterator. -EPERM, -EOPNOTSUPP (kernel lacks the iterator, the ring buffer or BTF) or another
 * negative errno with ret_error filled.
 */
int source_open_bpf(struct source **ret_source, struct source_error *ret_error);
/* /proc. Works without root on the caller's own processes. */
int source_open_procfs(struct source **ret_source, struct source_error *ret_error);
/* Plays a list back: pass n gives the records between the nth SCAN_BEGIN and its SCAN_END. */
int source_open_memory(const struct event_list *list, struct source **ret_source);

/*
 * What /proc tells of one process, whichever backend scans: the same for all live sources, so plain
 * functions. All return 0, -ESRCH when the process is gone, -EACCES, or another negative errno.
 */
/* A PROCESS record. */
int proc_describe_process(uint32_t tgid, const struct event_sink *sink);
/*
 * MAPPING records, the first flagged EVENT_MAPPING_FIRST. At most `limit` lines. -ETIMEDOUT when the address
 * space is locked.
 */
int proc_describe_mappings(uint32_t tgid, size_t limit, const struct event_sink *sink);
/* A DESCRIPTOR record: what file, socket or pipe an fd is, and its other end where it can be known. */
int proc_describe_descriptor(uint32_t tgid, int fd, const struct event_sink *sink);
/*
 * Reads the target's memory, never waiting for a fault handler of its own. Returns bytes read (maybe fewer) or
 * a negative errno; -ETIMEDOUT when the address space is locked.
 */
ssize_t proc_read_memory(uint32_t tgid, uint64_t address, void *buffer, size_t length);
/*
 * Opens the file behind a mapping read-only for the symbolizer: through map_files (right for deleted,
 * replaced and other-namespace files), else through /proc/PID/root and the path if device and inode agree;
 * for a process that has ended, by the path on this host, likewise. Regular files only. Returns the descriptor or a negative errno.
 */
int proc_open_mapping(uint32_t tgid, const struct event_mapping *mapping, const char *path);
/* Opens /proc/PID/exe. Returns the descriptor or a negative errno. */
int proc_open_exe(uint32_t tgid);
/*
 * Opens the perf map of a process (/tmp/perf-NSPID.map inside its own root; owned by the process's user,
 * regular file). Returns the descriptor or a negative errno.
 */
int proc_open_perf_map(uint32_t tgid);
/*
 * Opens separate debug information on this host: /usr/lib/debug/.build-id/xx/rest.debug, then `debuglink`
 * (a bare file name) beside module_path, in .debug beside it, and under /usr/lib/debug. Inside the target's
 * root first, then the host's. Regular files only. Returns the descriptor or a negative errno.
 */
int proc_open_debug_file(uint32_t tgid, const char *module_path, const uint8_t *build_id,
			 size_t build_id_bytes, const char *debuglink);

#endif
