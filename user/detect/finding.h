/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A finding: what a detector says, as values. Nothing in it points into the model; strings belong to the
 * finding's own arena, so a finding outlives the process it is about. Sinks render it and ask nothing
 * else.
 */
#ifndef HOLDUP_FINDING_H
#define HOLDUP_FINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "event/lock_type.h"

enum finding_kind {
	FINDING_DEADLOCK,
	FINDING_ORPHANED_LOCK,
	FINDING_STALLED_WAITER,
	FINDING_PROCESS_STALL,
	FINDING_SPIN_STALL,
	FINDING_LOCK_ORDER_INVERSION,
	FINDING_CONTENTION,
	FINDING_KIND_COUNT,
};

enum certainty {
	CERTAINTY_POSSIBLE,
	CERTAINTY_PROBABLE,
	CERTAINTY_CERTAIN,
};

/* Names as JSON prints them: "orphaned_lock", "certain", "robust_mutex", "exclusive". Never NULL. */
const char *finding_kind_name(enum finding_kind kind);
const char *certainty_name(enum certainty certainty);
const char *lock_type_name(enum lock_type type);
const char *wait_mode_name(enum wait_mode mode);

struct finding_frame {
	uint64_t ip, offset;
	uint32_t line, column; /* 0: not known */
	bool inlined;
	bool guessed; /* found by searching the stack; it need not be true */
	const char *function; /* "" if not known; then offset counts from the module's start */
	const char *file; /* "" if not known */
	const char *module; /* "" for anonymous memory */
	const char *build_id; /* hex, "" if none */
	const char *language; /* "c", "c++", "rust", "jit" or "" */
};

struct finding_stack {
	struct finding_frame *frames; /* innermost first */
	size_t frame_count;
	const char *incomplete; /* why the stack ends early, "" when it is complete */
};

/* One thread of a finding (or of a process report). Locks are named by index into the finding's locks. */
struct finding_thread {
	uint32_t tid, ns_tid;
	const char *comm;
	const char *state; /* "sleeping", "running", "stopped", "dead", "uninterruptible", "traced" */
	const char *syscall; /* name, "" when in none */
	/*
	 * What it does, for people: "runs on a CPU", "waits for mutex m1", "reads from tcp 127.0.0.1:...",
	 * "sleeps until a timeout", "idle in epoll_wait".
	 */
	const char *activity;
	int waits_for; /* index of a lock, -1: for no lock */
	enum wait_mode mode;
	bool timed; /* the wait has a timeout */
	bool since_is_lower_bound; /* the wait may be older than since_ns says */
	uint64_t since_ns; /* length of the wait (of the sleep, when waits_for is -1); 0 when it runs */
	ARRAY(int) holds; /* indices of locks */
	struct finding_stack stack;
	/* The tid of an earlier thread of the list with the same stack and the same wait; 0: none. */
	uint32_t same_as;
	uint32_t same_count; /* on the first of a group: how many threads it stands for, itself included; else 1 */
	ARRAY(uint32_t) same_tids; /* on the first of a group: the first ids (at most 8) */
	bool in_cycle; /* a member of the cycle; else a victim, an owner or a bystander */
};

struct finding_lock {
	char id[16]; /* "L1" */
	uint64_t address;
	enum lock_type type;
	const char *name; /* "m1", "stats+0x28", or "" */
	const char *mapping; /* where it lives when it has no name: "[heap]", a file's path, "" */
	uint32_t owner_tid; /* 0: none, or not known */
	const char *owner_comm; /* "" when not known */
	bool owner_dead; /* owner_tid names a thread that is gone */
	uint32_t reader_count; /* rwlock held shared: how many, readers are anonymous */
	uint32_t waiter_count;
	uint32_t words[4]; /* of the lock's memory, as an operator would see them in a debugger */
	uint32_t word_count;
};

struct finding_cycle_step {
	uint32_t tid;
	int waits_for; /* index of a lock; -1: none */
	uint32_t held_by; /* tid of the next step; 0: an anonymous reader */
};

/* Who was seen to want one lock while holding another, and from where. */
struct finding_witness {
	uint32_t tid;
	const char *comm;
	struct finding_stack stack_from; /* where it took the lock that it held */
	struct finding_stack stack_to; /* where it wanted the other one */
	const char *site; /* the application's function in it, "refund (bank.c:58)"; "" if not known */
	ARRAY(int) guards; /* indices of other locks that it held */
	uint32_t more_guards; /* beyond those listed */
};

/* An order of two locks: one edge of an inversion's cycle. */
struct finding_edge {
	int from, to; /* indices of locks: held, wanted */
	bool from_shared; /* held for reading */
	enum wait_mode mode; /* of the wanted one */
	uint32_t witness_count; /* threads, or ways, seen in all; one of them is listed */
	ARRAY(struct finding_witness) witnesses;
};

struct finding_process {
	uint32_t pid, ns_pid;
	const char *comm, *exe, *build_id, *cgroup;
	const char *container; /* "" when in none */
	uint64_t start_realtime_ns;
	bool exe_deleted;
};

/* Threads and locks of one process, as values: the common body of findings and process reports. */
struct evidence {
	struct finding_process process;
	/* In a finding: members of the cycle first, in order, then owners, then victims. */
	ARRAY(struct finding_thread) threads;
	uint32_t more_threads; /* victims beyond those listed */
	ARRAY(struct finding_lock) locks;
	ARRAY(const char *) notes; /* reasons for less than certain, losses that touch it */
	ARRAY(char *) strings; /* the arena: every string in here that isn't a literal */
};

struct finding {
	enum finding_kind kind;
	enum certainty certainty;
	uint64_t fingerprint;
	uint64_t time_realtime_ns;
	/* How long the whole has been stuck: the shortest wait of a cycle; the longest of a stall. */
	uint64_t stuck_ns;
	const char *summary; /* one sentence */
	const char *advice; /* what to do, one or two sentences */
	struct evidence evidence;
	ARRAY(struct finding_cycle_step) cycle;
	ARRAY(struct finding_edge) edges; /* of inversions: edges[i].to is edges[i + 1].from */
};

/* What `why` prints before the findings: every thread of one process. */
struct process_report {
	const char *verdict; /* "no deadlock: 3 of 12 threads wait for locks, all owners run" */
	uint64_t time_realtime_ns;
	struct evidence evidence;
};

/* Copies a string into the arena. Returns "" when out of memory; NULL gives "". */
const char *evidence_keep(struct evidence *evidence, const char *text);
/* Same, formatted. */
const char *evidence_keepf(struct evidence *evidence, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Adds a note (copied). The same note twice is one. */
void evidence_note(struct evidence *evidence, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Frees what it owns and leaves a valid empty one. */
void evidence_release(struct evidence *evidence);

/* An empty finding, or NULL when out of memory. */
struct finding *finding_new(void);
/* Frees a finding and all it owns; takes NULL; returns NULL. */
struct finding *finding_free(struct finding *finding);

struct process_report *process_report_new(void);
struct process_report *process_report_free(struct process_report *report);

struct finding_list {
	ARRAY(struct finding *) items;
};
void finding_list_release(struct finding_list *list);

#endif
