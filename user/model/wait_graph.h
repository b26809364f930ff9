/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The wait-for graph of one scan: who holds whom back. Nodes are the threads that wait on a futex and
 * those that hold them back; an edge leads from a waiter to its blocker, through a lock.
 *
 * Three kinds of wait (SEMANTICS.md, 3):
 *   one blocker	mutexes, a rwlock held for writing, join; a later writer or a refused reader, behind the
 *		rwlock's first writer (a soft edge). At most one edge leaves a waiter.
 *   all of them	a writer behind readers waits until every one of them has gone. glibc doesn't record who
 *		they are, so there is no edge; who it may be is wait_graph_may_hold().
 *   any of them	condvar, semaphore, barrier, once, waitv: anybody may end it. No edge: only when nobody is left
 *		who could, is that a stall.
 */
#ifndef HOLDUP_MODEL_WAIT_GRAPH_H
#define HOLDUP_MODEL_WAIT_GRAPH_H

#include "base/array.h"
#include "base/hash_table.h"
#include "model/wait.h"

enum blocker {
	BLOCKER_NONE, /* it doesn't wait on a futex */
	BLOCKER_THREAD, /* `blocker_node` */
	BLOCKER_READERS, /* the anonymous readers of its lock */
	BLOCKER_DEAD, /* the owner that the lock names is gone */
	BLOCKER_UNKNOWN, /* somebody holds the lock, it can't be told who */
	BLOCKER_EVENT, /* anybody may wake it */
	BLOCKER_REFUSED, /* the kernel refused the PI lock: nobody will ever wake it */
};

struct graph_node {
	const struct thread *thread;
	struct wait wait;
	int lock; /* what it waits for: index of a lock, -1: none */
	enum blocker blocker;
	int blocker_node; /* -1 unless BLOCKER_THREAD */
	bool is_soft; /* the blocker itself only waits for the lock: a pending writer */
	/* Lists, by index, -1 at the end. */
	int first_behind, next_behind; /* whom this node blocks */
	int next_waiter; /* the next waiter of the same lock */
	int first_held; /* locks that name this thread as owner */
	/*
	 * Where the chain of blockers that starts here ends: a node that waits for no thread, or whose wait
	 * isn't stable, or one member of a cycle.
	 */
	int root;
	bool leads_to_cycle;
	bool in_cycle;
};

struct graph_lock {
	const struct process *process; /* of the first waiter */
	uint64_t address;
	struct lock_view view; /* of the waiter whose words tell most */
	bool is_evidence; /* its words were read in pass 2 */
	bool is_shared;
	bool was_handed_over; /* its owner word means nothing: other threads unlock it */
	bool is_moving; /* its owner changed between passes 1 and 2 */
	bool owner_is_reused; /* the owner's id belongs to a thread younger than every wait for it */
	int owner_node; /* -1: none, unknown or dead */
	int first_writer; /* rwlock: the writer that waits for the readers to go; -1: none known */
	int first_waiter;
	uint32_t waiter_count; /* stable or not */
	int next_held;
};

struct wait_graph {
	const struct world *world;
	ARRAY(struct graph_node) nodes;
	ARRAY(struct graph_lock) locks;
	struct hash_table node_of_tid; /* index + 1 */
	struct hash_table lock_of_key;
	struct hash_table freedom_of_process; /* by tgid: enum thread_freedom + 1 */
};

/* The graph of the processes that pass 3 showed. Returns 0 or -ENOMEM. */
int wait_graph_build(const struct world *world, struct wait_graph **ret_graph);
/* Takes NULL; returns NULL. */
struct wait_graph *wait_graph_free(struct wait_graph *graph);

/* Index of a thread's node, -1: it has none. */
int wait_graph_node(const struct wait_graph *graph, const struct thread *thread);

/* A wait that can be part of a deadlock: stable, without a timeout, for something that one blocker ends. */
bool wait_graph_is_firm(const struct wait_graph *graph, int node);

/*
 * What a thread can still do for others in its process:
 *   THREAD_STUCK		sleeps on a private futex without a timeout: only this process can wake it
 *   THREAD_AWAITS_SIGNAL	sleeps until a signal comes (pause, sigwait) or a child exits
 *   THREAD_AT_REST	sleeps where event loops and pools rest, and hardly with a lock in hand: epoll, accept, a
 *			condvar with a timeout; the outside can wake it
 *   THREAD_IDLE		sleeps elsewhere until the outside or a timeout wakes it: read, poll, nanosleep ...
 *   THREAD_BUSY		runs, or moved during the scan
 */
enum thread_freedom { THREAD_STUCK, THREAD_AWAITS_SIGNAL, THREAD_AT_REST, THREAD_IDLE, THREAD_BUSY };
enum thread_freedom thread_freedom(const struct wait_graph *graph, const struct thread *thread);
/* The freest of a process's living threads; THREAD_BUSY when not all its threads are known. */
enum thread_freedom process_freedom(const struct wait_graph *graph, const struct process *process);

#endif
