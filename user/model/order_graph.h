/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lock-order graph: which locks were wanted while which others were held, by whom, and the cycles of
 * it that could deadlock some day.
 *
 * Nodes are locks {process, address, generation}; an edge "held -> wanted" has the modes of both ends and up
 * to ORDER_WITNESS_MAX witnesses: a thread, its create/join position, what else it held (guards), and the
 * two acquisitions whose stacks tell the story. Cycles are found as edges come (Pearce and Kelly's
 * incremental order on the condensed graph, capped, with Tarjan's batch pass behind it), then judged: a
 * cycle counts if some choice of witnesses could meet. What is found is kept as values in `struct
 * order_cycle` until the process ends, whether or not its locks still exist.
 *
 * Everything is bounded by struct order_limits, and what didn't fit is counted in struct order_stats.
 */
#ifndef HOLDUP_ORDER_GRAPH_H
#define HOLDUP_ORDER_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "event/event.h"

enum {
	ORDER_WITNESS_MAX = 8,
	/* Longer cycles are not searched for. */
	ORDER_CYCLE_MAX = 12,
	/* Guards of a witness that a cycle lists; all count when it is judged. */
	ORDER_GUARDS_SHOWN = 8,
	/* Cycles of different locks through the same call sites that are kept; more are only counted. */
	ORDER_CYCLES_PER_SITES = 16,
};

struct order_limits {
	uint32_t process_count;
	uint32_t thread_count; /* kept after their end as long as a witness needs them */
	uint32_t node_count;
	uint32_t edge_count;
	uint32_t witness_count; /* beyond the first of each edge */
	uint32_t guard_count; /* locks in all distinct guard sets together */
	uint32_t stack_count, frame_count; /* symbolized stacks, and frames of all together */
	uint32_t symbol_count;
	uint32_t cycle_count;
	size_t string_bytes;
	uint32_t insert_visits; /* of one incremental insertion, before it is left to the batch pass */
	uint32_t search_visits; /* of one search for cycles through an edge */
};

/* Below 128 MiB in all. */
struct order_limits order_default_limits(void);

struct order_stats {
	uint64_t nodes, edges, witnesses, threads, processes; /* now */
	uint64_t cyclic_nodes; /* nodes in strongly connected components of two or more, now */
	uint64_t bytes; /* memory held */
	uint64_t insert_visits; /* edges looked at by incremental insertions, since the start */
	uint64_t deferred_edges; /* insertions that reached the cap */
	uint64_t batch_passes;
	uint64_t repeats; /* acquisitions that told nothing new */
	uint64_t search_visits;
	uint64_t search_cuts; /* searches that reached their cap: a longer cycle may have been missed */
	/* Not kept, because a table was full or memory out. */
	uint64_t dropped_processes, dropped_threads, dropped_nodes, dropped_edges, dropped_witnesses,
		dropped_guards;
	uint64_t dropped_stacks, dropped_symbols, dropped_cycles;
};

/* Modes of an edge. */
enum order_mode {
	ORDER_HELD_SHARED = 1 << 0,
	ORDER_WANTED_SHARED = 1 << 1,
	ORDER_WANTED_RECURSIVE_READ = 1 << 2, /* passes waiting writers */
};

/* Why a cycle is silent. */
enum order_silence {
	ORDER_COUNTS, /* it is not */
	ORDER_SILENT_SINGLE_THREAD, /* all of it (or two edges) only ever seen in one thread */
	ORDER_SILENT_GUARDED, /* a lock held over it keeps its threads apart */
	ORDER_SILENT_CREATE_JOIN, /* thread creation or join keeps them apart */
	ORDER_SILENT_READERS, /* readers that don't block each other */
	ORDER_SILENT_MIXED, /* more than one of these */
};

struct order_lock {
	uint64_t address;
	uint32_t generation;
	uint32_t kind; /* enum event_lock_kind */
	bool reset_seen; /* its initialisation or destruction was seen: the address can't be reused unnoticed */
};

struct order_guard {
	uint64_t address;
	bool shared;
};

/* One edge of a cycle, with the witness that was chosen for it. */
struct order_step {
	struct order_lock held, wanted;
	uint32_t mode; /* enum order_mode */
	uint32_t witness_count; /* of the edge */
	uint32_t tid;
	uint64_t thread_start_ns; /* CLOCK_BOOTTIME */
	char comm[EVENT_COMM_BYTES];
	uint64_t held_acquisition, wanted_acquisition; /* name the stacks; 0: not known */
	uint64_t site; /* return address of the call that wanted the lock; 0: not known */
	uint32_t guard_count; /* of all guards; the first ORDER_GUARDS_SHOWN are listed */
	struct order_guard guards[ORDER_GUARDS_SHOWN];
};

struct order_cycle {
	uint64_t serial; /* counts cycles as they were found */
	uint32_t process; /* for order_graph_process(), order_graph_stack(), order_graph_symbol() */
	uint32_t tgid;
	uint64_t time_ns; /* CLOCK_MONOTONIC of the acquisition that closed it */
	enum order_silence silence;
	uint64_t guard; /* ORDER_SILENT_GUARDED: address of the lock */
	bool coexisted; /* its edges were seen in times that overlap */
	bool order_uncertain; /* the create/join history was too long to be looked through, or incomplete */
	uint64_t site_key; /* the same for cycles through the same call sites in the same modes */
	uint64_t instance_count; /* this one, and those through the same call sites that were only counted */
	uint32_t step_count;
	struct order_step steps[ORDER_CYCLE_MAX]; /* steps[i].wanted is steps[i + 1].held */
};

struct order_process {
	uint32_t tgid, ns_tgid;
	uint64_t start_ns; /* CLOCK_BOOTTIME */
	const char *comm, *exe, *cgroup, *container; /* "" if not known */
	bool exe_deleted;
	bool ended; /* exited, or runs another program by now */
	bool held_cut; /* a thread of it held more locks than the tracer follows */
};

struct order_frame {
	uint64_t ip, offset;
	uint32_t line, column;
	uint16_t flags; /* enum event_frame_flags */
	uint16_t language; /* enum event_language */
	const char *function, *file, *module, *build_id; /* "" if not known */
};

struct order_stack {
	const struct order_frame *frames; /* innermost first */
	size_t frame_count;
	uint32_t end; /* enum event_frames_end */
};

struct order_symbol {
	uint64_t start; /* 0: no symbol contains the address */
	const char *name, *module;
};

struct order_graph;

/* An empty graph, or NULL when out of memory. `limits` NULL: the default ones. */
struct order_graph *order_graph_new(const struct order_limits *limits);
/* Takes NULL; returns NULL. */
struct order_graph *order_graph_free(struct order_graph *graph);

/*
 * Takes in one decoded record: ACQUIRE, LOCK_RESET, TASK, PROCESS, SYMBOL, and FRAMES whose run_token is an
 * acquisition (never those of the snapshot tier). Others are ignored. Returns 0 or -ENOMEM (the graph stays
 * usable, the loss is counted).
 */
int order_graph_apply(struct order_graph *graph, const struct event *event);

/*
 * Judges what is new since the last call. `all_orders`: also keep cycles that are silent. Call it every
 * so often, and before you read cycles; deletions that would lose an unjudged cycle do it themselves.
 * Returns 0 or -ENOMEM.
 */
int order_graph_search(struct order_graph *graph, bool all_orders);

/* The cycles kept, in the order of their finding; of the same locks, call sites and silence there is one. */
size_t order_graph_cycle_count(const struct order_graph *graph);
const struct order_cycle *order_graph_cycle(const struct order_graph *graph, size_t index);

/* What the cycles kept still lack to be told: stacks and lock names that never came. Zeroed is empty. */
struct order_want {
	uint32_t tgid;
	uint64_t value; /* an acquisition; a lock's address */
};
struct order_wants {
	ARRAY(struct order_want) stacks, symbols;
};
/* Fills an empty or used *ret_wants anew; only of processes that have not ended. Returns 0 or -ENOMEM. */
int order_graph_wants(const struct order_graph *graph, struct order_wants *ret_wants);
void order_wants_release(struct order_wants *wants);

/* By order_cycle.process. Never NULL. */
const struct order_process *order_graph_process(const struct order_graph *graph, uint32_t process);
/* False: it never came. */
bool order_graph_stack(const struct order_graph *graph, uint32_t process, uint64_t acquisition,
		       struct order_stack *ret_stack);
bool order_graph_symbol(const struct order_graph *graph, uint32_t process, uint64_t address,
			struct order_symbol *ret_symbol);

/*
 * Forgets processes that have ended, with their locks, cycles, stacks. The caller has read the cycles; the
 * indices of the others change.
 */
void order_graph_forget_ended(struct order_graph *graph);

void order_graph_stats(const struct order_graph *graph, struct order_stats *ret_stats);

/* Iterates over all edges, for the picture of the graph: start with *position = 0. False at the end. */
struct order_edge_view {
	uint32_t process, tgid;
	struct order_lock held, wanted;
	uint32_t mode, witness_count;
	bool cyclic;
};
bool order_graph_next_edge(const struct order_graph *graph, size_t *position,
			   struct order_edge_view *ret_edge);

#endif
