/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sink renders what holdup found: as text, as JSON; later to hooks, metrics and the incident store.
 * Sinks get values and ask nothing else, neither /proc nor the clock.
 */
#ifndef HOLDUP_SINK_H
#define HOLDUP_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "detect/finding.h"

/* A finding that was there and no longer is. */
struct sink_resolution {
	enum finding_kind kind;
	uint64_t fingerprint;
	uint32_t pid;
	char comm[16];
	uint64_t time_realtime_ns; /* of the look that missed it */
	uint64_t open_ns; /* since holdup first saw it */
	bool process_gone;
};

struct sink_loss {
	const char *cause; /* "ring_full", as in event_lost_cause_name() */
	uint64_t count;
};

/* What a verb looked at, lost and cost: its last word. */
struct sink_totals {
	uint64_t finding_count;
	uint64_t process_count, thread_count, waiter_count; /* of the last scan */
	uint64_t scan_count; /* how often everything was looked at; 1 for a single answer */
	const struct sink_loss *losses; /* all causes, also those with count 0 */
	size_t loss_count;
	uint64_t cpu_ns; /* holdup's own, user and system */
	uint64_t peak_rss_kb;
	uint64_t scan_ns; /* wall time of the passes over threads, of the last scan */
	uint64_t wall_ns; /* wall time of the last whole answer */
	const char *source; /* "bpf", "procfs" */
	const char *const *notes; /* reduced service */
	size_t note_count;
};

struct sink;

/*
 * All return 0 or a negative errno (-EPIPE: the reader went away; -ENOSPC ...), after which the sink may
 * only be freed.
 */
struct sink_ops {
	/* One process in full, and its findings. Either may be missing. */
	int (*explain)(struct sink *sink, const struct process_report *report,
		       const struct finding_list *findings);
	int (*finding)(struct sink *sink, const struct finding *finding);
	int (*resolved)(struct sink *sink, const struct sink_resolution *resolution);
	int (*totals)(struct sink *sink, const struct sink_totals *totals);
	/* Frees everything; what was accepted is written by then. */
	void (*destroy)(struct sink *sink);
};

/* The common head of every sink's own structure. */
struct sink {
	const struct sink_ops *ops;
};

/* Takes NULL; returns NULL. */
struct sink *sink_free(struct sink *sink);

/* One object a line, as the command contract says. `out` is borrowed. NULL when out of memory. */
struct sink *json_sink_new(FILE *out);

struct text_sink_options {
	bool color;
	/* Also offsets, modules' paths, lock words; nothing is shortened. */
	bool verbose;
	/* Findings and resolutions carry the time of day: for output that goes on. */
	bool timed;
	/* Columns to stay within; 0: 80. */
	unsigned width;
};

/* For people. `out` is borrowed. NULL when out of memory. */
struct sink *text_sink_new(FILE *out, const struct text_sink_options *options);

#endif
