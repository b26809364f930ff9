/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The symbolizer's client: the root side's half of a conversation with an unprivileged worker process
 * that alone parses ELF, DWARF, .eh_frame and perf maps, all of them written by the watched program.
 *
 * The worker runs as "nobody", without capabilities, under seccomp and rlimits; it gets read-only file
 * descriptors over a socket and opens nothing itself. When it dies, or hangs beyond a deadline, the
 * client restarts it; what was asked is answered with addresses only and end EVENT_FRAMES_NO_SYMBOLIZER.
 * Replies are hostile input too (the worker may have been taken over): every one is checked.
 */
#ifndef HOLDUP_SYMBOLIZE_CLIENT_H
#define HOLDUP_SYMBOLIZE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/event.h"

struct symbolizer;

/* How the client gets at the target's files: all run in the root process and only open or read. */
struct symbolizer_host {
	/* The file behind a mapping; a descriptor (the client closes it) or a negative errno. */
	int (*open_mapping)(void *context, uint32_t tgid, const struct event_mapping *mapping,
			    const char *path);
	int (*open_debug_file)(void *context, uint32_t tgid, const char *module_path, const uint8_t *build_id,
			       size_t build_id_bytes, const char *debuglink);
	int (*open_perf_map)(void *context, uint32_t tgid);
	/* More of the stack than the sample has, and the vdso. Bytes read or a negative errno. */
	ssize_t (*read_memory)(void *context, uint32_t tgid, uint64_t address, void *buffer, size_t length);
	void *context;
};

struct symbolizer_options {
	bool no_lines; /* no line numbers, no inlined frames */
	uint32_t max_frames; /* 0: 256 */
	uint64_t deadline_ns; /* per request; 0: 5 s */
};

struct symbolizer_stats {
	uint64_t request_count;
	uint64_t restart_count; /* worker deaths survived */
	uint64_t failed_count; /* requests answered without the worker */
	pid_t worker_pid; /* 0: not running */
};

/*
 * Starts the worker (fork before threads and BPF objects exist: it inherits nothing but the socket).
 * Returns 0 or a negative errno.
 */
int symbolizer_start(const struct symbolizer_host *host, const struct symbolizer_options *options,
		     struct symbolizer **ret_symbolizer);

/* Ends the worker. Takes NULL; returns NULL. */
struct symbolizer *symbolizer_stop(struct symbolizer *symbolizer);

/*
 * Tells the memory map of a process; records as decoded MAPPING events. A fresh list (EVENT_MAPPING_FIRST)
 * replaces the old one; what the worker knows of a file (by device, inode, build-id) is kept and shared
 * between processes.
 */
int symbolizer_add_mapping(struct symbolizer *symbolizer, const struct event *mapping);

/* Forgets a process. Files seen in several processes stay cached up to a bound. */
void symbolizer_forget_process(struct symbolizer *symbolizer, uint32_t tgid);

/*
 * Unwinds and symbolizes stack samples (decoded STACK events) and gives one FRAMES record for each to the
 * sink, in order. Many samples in one call are pipelined. Returns 0 or a negative errno of the sink; the
 * worker's failures are not errors (see EVENT_FRAMES_NO_SYMBOLIZER).
 */
int symbolizer_unwind(struct symbolizer *symbolizer, const struct event *samples, size_t sample_count,
		      const struct event_sink *sink);

/* A LIBC record: which C library the process maps or has linked in. */
int symbolizer_identify_libc(struct symbolizer *symbolizer, uint32_t tgid, const struct event_sink *sink);

/* A SYMBOL record for each address: the data symbol (object or TLS-free bss) that contains it. */
int symbolizer_name_addresses(struct symbolizer *symbolizer, uint32_t tgid, const uint64_t *addresses,
			      size_t address_count, const struct event_sink *sink);

/*
 * PROBE_SITE records: for each lock function that the process maps (in its C library, in itself when it is
 * static, in libraries that bring their own) the cheapest sound instruction to probe, each (file, offset)
 * once. Functions not found are left out. The entry of some can't be probed at all (glibc's pthread_spin_lock
 * begins with a locked instruction, which no uprobe may replace): never probe what wasn't told.
 * LOST records follow for functions beyond a table's bound (TABLE_FULL), or stand alone when the worker failed
 * (SYMBOLIZER). That a place is executable memory of that file is checked; that an instruction begins there is
 * the worker's word.
 */
int symbolizer_find_probe_sites(struct symbolizer *symbolizer, uint32_t tgid, const struct event_sink *sink);

void symbolizer_get_stats(const struct symbolizer *symbolizer, struct symbolizer_stats *ret_stats);

#endif
