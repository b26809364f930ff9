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

struct snapshot_settings {
	event_u32 mode; /* enum snapshot_mode */
	event_u32 pass;
	event_u32 tgid; /* only this process; 0: see `filter` */
	event_u32 filter; /* 1: only processes (for SNAPSHOT_STACKS: threads) in the map `chosen` */
	event_u32 self_tgid; /* holdup itself: visited for the clock, not reported */
	event_u32 stack_bytes; /* of each sample, at most EVENT_STACK_MAX_BYTES */
};

/* Written by the program; reset by the user side before each pass. */
struct snapshot_counters {
	event_u64 threads_visited;
	event_u64 processes_visited;
	event_u64 records;
	event_u64 ring_full;
	event_u64 unreadable_words;
	event_u64 stacks_lost;
	event_u64 self_arrival_ns; /* sched_info.last_arrival of the thread that reads the iterator */
};

#endif
