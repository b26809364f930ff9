/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The model: what the records of the last scan say about processes, threads and lock words.
 *
 * The model takes records and nothing else: it never reads /proc and never asks for the time. "Now" is the
 * time of the last SCAN_BEGIN, SCAN_END or TICK. A scan is the passes 1, 2 and 3 (bpf/events.h); a
 * SCAN_BEGIN of pass 1 starts a new one. Of older scans the model remembers only what a later one needs:
 * when a restarted wait began, stacks of threads that have not run since, locks that were handed over.
 *
 * The scan that the verdicts rely on:
 *	pass 1	SOURCE_WAITERS (all processes) or SOURCE_THREADS (chosen ones): tokens of the waiters
 *	pass 2	SOURCE_THREADS of the suspects (world_suspects()): lock words
 *	pass 3	SOURCE_THREADS of the same: tokens again
 * Passes 2 and 3 must show every thread of a process: a lock owner that neither shows is taken for dead.
 *
 * Everything is bounded by struct world_limits. What doesn't fit is dropped, counted as
 * EVENT_LOST_TABLE_FULL and marks the process as lossy.
 */
#ifndef HOLDUP_WORLD_H
#define HOLDUP_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "base/hash_table.h"
#include "event/event.h"

struct world_limits {
	uint32_t process_count;
	uint32_t thread_count;
	uint32_t window_count; /* memory windows, per pass, all processes together */
	uint32_t mappings_per_process;
	uint32_t mapping_count; /* all processes together */
	uint32_t frames_per_thread;
	uint32_t frame_count; /* all threads together */
	uint32_t symbol_count;
	uint32_t descriptor_count;
	uint32_t handed_lock_count;
	size_t string_bytes;
};

/* Below 256 MiB in all, whatever the records say. */
struct world_limits world_default_limits(void);

enum {
	WORLD_PASS_COUNT = 3,
	/* Passes whose lock words are kept: 1 and 2. */
	WORLD_WORD_PASS_COUNT = 2,
	WORLD_WINDOW_BYTES = 128,
};

/* A stack frame, symbolized. Strings belong to the world. */
struct frame {
	uint64_t ip, offset;
	uint32_t line, column; /* 0: not known */
	uint16_t flags; /* enum event_frame_flags */
	uint16_t language; /* enum event_language */
	const char *function, *file, *module, *build_id; /* "" if not known */
};

/* What one pass saw of a thread. */
struct sight {
	bool seen;
	bool asleep; /* sleeps or is stopped inside a system call, registers are good */
	uint64_t token; /* run_count, or switch_count where there is none: the same means it did not run */
	int64_t syscall; /* -1: none */
	uint64_t wait_address; /* futex address, 0: in no futex call */
};

struct thread {
	struct process *process;
	struct event_thread record; /* as the latest pass that saw it tells */
	struct sight sights[WORLD_PASS_COUNT];
	/*
	 * Moment the present sleep began, CLOCK_MONOTONIC; 0 when it isn't asleep. A timed wait that is
	 * taken up again on the same word at every scan is one wait and keeps its first moment.
	 */
	uint64_t sleep_began_ns;
	bool sleep_began_earlier; /* the backend can't tell when; it was asleep at that moment already */
	struct frame *frames; /* innermost first; of this very sleep, else none */
	size_t frame_count;
	uint32_t frames_end; /* enum event_frames_end */
	bool has_frames; /* an answer has come, maybe an empty one */
	/* For the model's own use. */
	uint64_t scan_number, frames_token, first_asleep_ns, first_asleep_token;
	struct {
		uint64_t address, token, owner_token;
		uint32_t owner_ns_tid;
	} watched; /* the mutex it waited for when the last scan ended, and its owner's token */
};

struct mapping {
	uint64_t start, end, offset, inode;
	uint32_t device_major, device_minor;
	uint32_t flags; /* enum event_mapping_flags */
	const char *path;
};

struct memory_window {
	uint64_t address;
	uint32_t length;
	uint8_t bytes[WORLD_WINDOW_BYTES];
};

struct process {
	uint32_t tgid, ns_tgid; /* ns_tgid 0: not known */
	uint32_t pid_ns; /* inode, 0: not known */
	uint64_t start_ns; /* CLOCK_BOOTTIME */
	uint64_t cgroup_id;
	char comm[EVENT_COMM_BYTES];
	/* From a PROCESS record, when is_described. */
	bool is_described;
	const char *exe, *cgroup, *container;
	uint32_t uid, flags, described_thread_count;
	/* From a LIBC record, when has_libc. */
	bool has_libc;
	uint32_t libc_kind, libc_major, libc_minor;
	ARRAY(struct thread *) threads; /* seen in this scan; in no particular order */
	ARRAY(struct mapping) mappings; /* by address; empty: not known */
	ARRAY(struct memory_window) windows[WORLD_WORD_PASS_COUNT]; /* by address, once the pass is over */
	uint32_t pass_mask; /* bit n-1: seen in pass n of this scan */
	uint32_t seen_in_last_pass_count; /* threads seen in pass 3 */
	bool lossy; /* records of this process were lost in this scan */
	/* For the model's own use. */
	uint64_t described_scan_number;
	uint32_t owned_thread_count; /* of older scans, too */
	bool has_handed_locks;
	struct hash_table symbols, descriptors;
};

struct descriptor {
	uint32_t kind; /* enum event_descriptor_kind */
	const char *text;
};

struct symbol {
	uint64_t start, bytes; /* start 0: no symbol contains the address */
	const char *name, *module;
};

struct world;

/* An empty world, or NULL when out of memory. `limits` NULL: the default ones. */
struct world *world_new(const struct world_limits *limits);
/* Takes NULL; returns NULL. */
struct world *world_free(struct world *world);

/*
 * Takes in one decoded record. STACK records are ignored (they are the symbolizer's). A FRAMES record whose
 * thread has run since its sample is dropped. Returns 0 or -ENOMEM (the world stays usable).
 */
int world_apply(struct world *world, const struct event *event);

/* Decodes the record, then world_apply(); a malformed one is counted. A sink for sources. */
struct event_sink world_sink(struct world *world);

/* CLOCK_MONOTONIC and CLOCK_REALTIME of the last SCAN_BEGIN, SCAN_END or TICK; 0 before the first. */
uint64_t world_monotonic_ns(const struct world *world);
uint64_t world_realtime_ns(const struct world *world);
/* CLOCK_REALTIME of a CLOCK_BOOTTIME moment, by the last SCAN_BEGIN. */
uint64_t world_realtime_of_boottime(const struct world *world, uint64_t boottime_ns);
/* CLOCK_MONOTONIC of a CLOCK_BOOTTIME moment (0 when it lies before the boot). */
uint64_t world_monotonic_of_boottime(const struct world *world, uint64_t boottime_ns);
/* enum event_backend of the last SCAN_BEGIN; 0 before the first. */
uint32_t world_backend(const struct world *world);

/* What was lost since world_new(), by cause; and in this scan without being tied to a process. */
const uint64_t *world_lost(const struct world *world);
bool world_scan_is_lossy(const struct world *world);
/* From the SCAN_END records: what pass 1 of this scan visited, and time spent in all passes of this scan. */
uint64_t world_visited_thread_count(const struct world *world);
uint64_t world_visited_process_count(const struct world *world);
uint64_t world_kernel_ns(const struct world *world);

/* NULL when not known. Ids are those of holdup's own namespace. */
const struct process *world_process(const struct world *world, uint32_t tgid);
const struct thread *world_thread(const struct world *world, uint32_t tid);
/*
 * The thread that a lock word of `process` names: words hold ids of the process's own pid namespace.
 * Private locks: a thread of that process; shared ones: any thread of its pid namespace.
 */
const struct thread *world_thread_by_ns(const struct world *world, const struct process *process,
					uint32_t ns_tid, bool shared);

/* The thread of `process` whose clear_child_tid points to `address`, or NULL; one of several (musl). */
const struct thread *world_thread_by_tid_word(const struct world *world, const struct process *process,
					      uint64_t address);

/* Iterates over the processes, ordered by id: start with *position = 0. NULL at the end. */
const struct process *world_next_process(const struct world *world, size_t *position);

/* Reads a lock word: pass 2 first. ret_pass is the pass it was read in. False: not known. */
bool process_word(const struct process *process, uint64_t address, uint32_t *ret_word, uint32_t *ret_pass);
/* Reads the word as one pass saw it. */
bool process_word_in_pass(const struct process *process, uint64_t address, uint32_t pass, uint32_t *ret_word);

/* The mapping that contains an address, or NULL. */
const struct mapping *process_mapping(const struct process *process, uint64_t address);
/* True if the address is known to lie in memory that other processes can share. */
bool process_address_is_shared(const struct process *process, uint64_t address);

/* NULL: not known. */
const struct descriptor *world_descriptor(const struct world *world, uint32_t tgid, int fd);
const struct symbol *world_symbol(const struct world *world, uint32_t tgid, uint64_t address);

/*
 * Stability (DESIGN.md, tier 1): in passes 1 and 3 the thread was asleep in the same call on the same
 * address and did not run in between. Only then does what pass 2 read of its lock belong to its wait.
 */
bool thread_is_stable(const struct thread *thread);
/* Same token in the first and the last pass that saw it, asleep in both: also for other system calls. */
bool thread_is_still(const struct thread *thread);
/* Its registers and stack hold still: asleep in a system call, or stopped, wherever that was. */
bool thread_has_stack(const struct thread *thread);
/* Not gone by the last pass, not a zombie, not on its way out. */
bool thread_is_alive(const struct thread *thread);
/* How long it has slept, 0 when it runs. */
uint64_t thread_asleep_ns(const struct world *world, const struct thread *thread);
/* True if passes 2 and 3 showed all threads of the process and nothing of it was lost. */
bool process_is_complete(const struct world *world, const struct process *process);
/*
 * True if the mutex at this address was seen to be unlocked by another thread than its owner: a thread
 * that waited for a lock whose owner word named itself went on later. Its owner word means nothing.
 */
bool world_lock_was_handed_over(const struct world *world, const struct process *process, uint64_t address);

/*
 * Planning. After pass 1: process ids that deserve passes 2 and 3, ascending:
 *   - some thread waits untimed for what may be a lock (mutex, rwlock, PI, robust), or waits for it with a
 *     timeout for at least min_wait_ns, restarts included;
 *   - a thread joins a thread that itself waits for a lock or a join;
 *   - the main thread and all others that pass 1 showed wait without timeout, min_wait_ns or longer;
 *   - the owner of a shared lock that one of those waits for: its process, or its thread id where pass 1
 *     did not show it (the same for the main thread; harmless when it is no process id).
 * Linear in the number of threads. Returns 0 or -ENOMEM; the caller releases *ret_tgids.
 */
typedef ARRAY(uint32_t) id_array;
int world_suspects(const struct world *world, uint64_t min_wait_ns, id_array *ret_tgids);

struct want_options {
	uint32_t tgid; /* everything about this process (`why`); 0: what the findings of a scan need */
	uint64_t min_wait_ns;
};

struct descriptor_want {
	uint32_t tgid;
	int fd;
};

struct symbol_want {
	uint32_t tgid;
	uint64_t address;
};

/* What the model still lacks to judge and to explain. A zeroed one is valid and empty. */
struct wants {
	id_array process_tgids; /* PROCESS, MAPPING and LIBC records */
	id_array stack_tids; /* FRAMES; all of sleeping threads */
	ARRAY(struct descriptor_want) descriptors; /* DESCRIPTOR */
	ARRAY(struct symbol_want) symbols; /* SYMBOL: lock addresses */
};

/*
 * After pass 3: what to ask for before the detectors run. What has been answered is not asked again, so
 * the engine calls it until everything is empty, at most WORLD_WANT_ROUNDS times (stacks tell what a
 * lock is, and so which address to name): what was asked twice in vain won't come.
 * For a scan: only processes with a stable wait that may become a finding; of their stacks at most 32 per
 * (process, futex word), the owners and the members of cycles.
 * Returns 0 or -ENOMEM. Fills an empty or used *ret_wants anew.
 */
enum { WORLD_WANT_ROUNDS = 3 };
int world_wants(const struct world *world, const struct want_options *options, struct wants *ret_wants);
void wants_release(struct wants *wants);

#endif
