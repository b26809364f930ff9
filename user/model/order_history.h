/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which work of which threads can overlap: by thread creation and join alone. A thread's life is cut into
 * segments by the creations and joins it does. What a parent did before it created a thread precedes all of
 * that thread; all of a thread precedes what its joiner does afterwards. Locks and condition variables order
 * nothing here: another run may take them the other way round.
 */
#ifndef HOLDUP_ORDER_HISTORY_H
#define HOLDUP_ORDER_HISTORY_H

#include "base/array.h"
#include "base/hash_table.h"
#include "event/event.h"
#include "model/order_table.h"

/* ---- guard sets: what else a thread held, as values that many witnesses share ---- */

enum { ORDER_NO_GUARDS = 0 };

/* A lock's address and whether it was held shared. Addresses of user space leave the top bits free. */
#define ORDER_GUARD(address, shared) ((uint64_t)(address) << 1 | (shared))
#define ORDER_GUARD_ADDRESS(guard) ((guard) >> 1)
#define ORDER_GUARD_SHARED(guard) ((guard)&1)

struct order_guard_set {
	struct hash_key key;
	uint64_t *guards; /* ascending, one a lock */
	uint32_t count, uses;
	uint32_t next_free;
};

struct order_guard_sets {
	ORDER_TABLE(struct order_guard_set) sets; /* the first one is the empty set */
	struct hash_table by_key;
	uint64_t guard_count, guard_limit;
	uint64_t dropped_count;
};

int order_guard_sets_init(struct order_guard_sets *sets, uint32_t guard_limit);
void order_guard_sets_release(struct order_guard_sets *sets);
/*
 * Takes a use of the set with these guards, which it sorts: where a lock is listed in two modes the
 * exclusive one counts. When there is no room the answer is the empty set, and counted.
 */
uint32_t order_guard_sets_take(struct order_guard_sets *sets, uint64_t *guards, uint32_t count);
void order_guard_sets_give(struct order_guard_sets *sets, uint32_t set);
/* All of `few` are in `many`, in the same mode or a weaker one. */
bool order_guards_are_subset(const struct order_guard_sets *sets, uint32_t few, uint32_t many);

/* ---- threads ---- */

enum { ORDER_THREADS_RECENT = 64 };

enum order_thread_flags {
	ORDER_THREAD_EXITED = 1 << 0,
	ORDER_THREAD_JOINED = 1 << 1, /* by any thread */
	ORDER_THREAD_JOINED_BY_PARENT = 1 << 2,
	ORDER_THREAD_COMPLETE = 1 << 3, /* its creation was seen, so its history is known */
};

struct order_thread {
	uint64_t start_ns; /* CLOCK_BOOTTIME; 0: not known yet */
	uint64_t created_serial; /* of the acquisition before its creation */
	uint32_t process, tid;
	uint32_t flags; /* enum order_thread_flags */
	uint32_t segment; /* the current one */
	uint32_t position; /* of the current segment, ORDER_NONE: no witness yet */
	uint32_t parent, parent_segment; /* ORDER_NONE: not known */
	uint32_t uses; /* positions, children and joins that name it */
	uint32_t first_join;
	uint32_t guards_at_creation, guards_at_join; /* what its parent held; guard sets */
	uint32_t mark, mark_segment; /* of the search at hand */
	uint32_t next_free;
	char comm[EVENT_COMM_BYTES];
};

struct order_join {
	uint32_t thread; /* that was joined */
	uint32_t segment; /* of the joiner: this one and the later ones come after it */
	uint32_t next; /* of the same joiner; of a free slot: the next free one */
};

/* A segment of a thread in which something was witnessed. */
struct order_position {
	uint32_t thread, segment;
	uint32_t uses, next_free;
};

struct order_history {
	ORDER_TABLE(struct order_thread) threads;
	ORDER_TABLE(struct order_join) joins;
	ORDER_TABLE(struct order_position) positions;
	struct order_guard_sets guards;
	uint32_t recent
		[ORDER_THREADS_RECENT]; /* by the low bits of the tid: index + 1 of the last one asked for */
	struct hash_table by_tid; /* (process, tid) -> index + 1 of the living thread */
	struct hash_table by_page; /* (process, page of clear_child_tid) -> index + 1 */
	ARRAY(struct order_position) walk; /* workspace */
	ARRAY(uint32_t)
	unused; /* threads to be freed: a list, since they may hang together in a long chain */
	uint32_t mark;
	uint64_t dropped_threads;
	bool guards_shrank; /* a lock that seemed to guard children doesn't: judge anew */
};

int order_history_init(struct order_history *history, uint32_t thread_limit, uint32_t guard_limit);
void order_history_release(struct order_history *history);

/*
 * The living thread of that id, made when it isn't known. Another start time (0: not known) is another
 * thread. ORDER_NONE: no room, counted. `comm` may be NULL.
 */
uint32_t order_history_thread(struct order_history *history, uint32_t process, uint32_t tid,
			      uint64_t start_ns, const char *comm);
/* TASK events; `held` are the locks that `tid` holds at a CREATE or JOIN. */
void order_history_create(struct order_history *history, uint32_t process, const struct event_task *task,
			  uint64_t serial, uint32_t held_guards);
void order_history_exit(struct order_history *history, uint32_t process, uint32_t tid, uint64_t handle);
void order_history_join(struct order_history *history, uint32_t process, uint32_t tid, uint64_t handle,
			uint32_t held_guards);
/* Drops all threads of a process that nothing names any more; call when its witnesses are gone. */
void order_history_forget_process(struct order_history *history, uint32_t process);

/* Takes a use of the thread's current position; ORDER_NONE without room. */
uint32_t order_history_take_position(struct order_history *history, uint32_t thread);
void order_history_give_position(struct order_history *history, uint32_t position);

/*
 * Can what was witnessed at two positions of different threads not overlap? ret_cut is set when the history
 * was too long to tell; then the answer is false.
 */
bool order_history_are_ordered(struct order_history *history, uint32_t a, uint32_t b, bool *ret_cut);

/*
 * A lock that the parent holds from a thread's creation to its join guards the thread (from others than the
 * parent and its other children). Calls `visit` for each such lock of a thread, its parents' included, with
 * the thread that holds it, until that returns true; returns whether it did. Before the join what was held at
 * the creation counts, unless `released` says that the holder has let it go since.
 */
typedef bool order_released_fn(const void *context, uint32_t process, uint64_t address, uint32_t holder,
			       uint64_t since_serial);
typedef bool order_inherited_fn(void *context, uint64_t guard, uint32_t holder);
bool order_history_inherited(const struct order_history *history, uint32_t thread,
			     order_released_fn *released, const void *released_context,
			     order_inherited_fn *visit, void *visit_context);

#endif
