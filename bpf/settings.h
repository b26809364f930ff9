/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Settings that the user side writes into the snapshot program before each pass.
 */
#ifndef HOLDUP_SETTINGS_H
#define HOLDUP_SETTINGS_H

#include "events.h"

enum snapshot_mode {
	/* Futex waiters only: tokens, registers and lock words. */
	SNAPSHOT_WAITERS = 0,
	/* Every thread, and lock words of the futex waiters. */
	SNAPSHOT_THREADS = 1,
	/* Stack samples of the chosen threads. */
	SNAPSHOT_STACKS = 2,
};

enum {
	/* The ring between a pass and its reader, a power of two. */
	SNAPSHOT_RING_BYTES = 1 << 22,
	/* One bit for each id up to the kernel's PID_MAX_LIMIT (4 Mi). */
	SNAPSHOT_CHOSEN_WORDS = (1 << 22) / 64,
};

struct snapshot_settings {
	event_u32 mode; /* enum snapshot_mode */
	event_u32 pass;
	event_u32 tgid; /* only this process; 0: see `filter` */
	event_u32 filter; /* 1: only processes (for SNAPSHOT_STACKS: threads) whose bit in `chosen` is set */
	event_u32 self_tgid; /* holdup itself: left out unless asked for by id */
	event_u32 reserved;
};

/* The program's own notes about the process that the pass is in. */
struct process_facts {
	event_u32 tgid; /* as the kernel numbers it; 0: none */
	event_u32 level; /* depth of its pid namespace */
	event_u64 start_ns;
	char comm[EVENT_COMM_BYTES];
};

/* Written by the program; reset by the user side before each pass. */
struct snapshot_counters {
	event_u64 threads_visited;
	event_u64 processes_visited;
	event_u64 records;
	event_u64 ring_full;
	event_u64 unreadable_words;
	event_u64 stacks_lost;
	event_u64 self_arrival_ns; /* when the thread that reads the iterator last got a CPU, scheduler clock */
	event_s64 clock_offset_ns; /* CLOCK_MONOTONIC minus scheduler clock, an upper bound close to the truth */
	event_u64 clock_is_calibrated;
};

/* The order program (bpf/order.bpf.c). */
enum {
	/* A record takes 10 KiB of it; a program that starts sends hundreds while its files are read. */
	ORDER_RING_BYTES = 1 << 24,
	/* Ways of taking a lock that are told apart, all targets together. */
	ORDER_SEEN_MAX = 1 << 16,
	/* Locks whose re-initialisation is noticed, all targets together. */
	ORDER_LOCK_MAX = 1 << 17,
	ORDER_TARGET_MAX = 4096, /* 12 bits of a cookie */
	/* Threads told of for each way of taking a lock. */
	ORDER_TOLD_MAX = 8,
	ORDER_STACK_BYTES = 8192,
};

/*
 * An attach cookie: which function was hit, how far the return address lies from the stack pointer, the slot of
 * the target, and which window of its probing this is.
 */
#define ORDER_COOKIE(function, return_offset, slot, window)                          \
	((event_u64)(function) | (event_u64)(return_offset) << 8 | (event_u64)(slot) << 24 | \
	 (event_u64)(window) << 36)
#define ORDER_COOKIE_FUNCTION(cookie) ((cookie) & 0xff)
#define ORDER_COOKIE_RETURN(cookie) ((cookie) >> 8 & 0xffff)
#define ORDER_COOKIE_SLOT(cookie) ((cookie) >> 24 & (ORDER_TARGET_MAX - 1))
#define ORDER_COOKIE_WINDOW(cookie) ((cookie) >> 36 & 0x7ffffff)
/* The kernel single-steps the probed instruction. */
#define ORDER_COOKIE_STEPPED ((event_u64)1 << 63)

/* Written by the order program, never reset. */
struct order_counters {
	event_u64 resets;
	event_u64 ring_full;
	event_u64 seen_full;
	event_u64 locks_full;
	event_u64 held_full;
	event_u64 targets_full;
	event_u64 no_storage;
};

#endif
