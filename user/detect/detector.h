/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Detectors: pure functions from the model to findings. Adding one is a file and a row of the table in
 * detect.c. The rules and their sources are in each detector's own file, stated before the code.
 */
#ifndef HOLDUP_DETECTOR_H
#define HOLDUP_DETECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "detect/finding.h"
#include "model/world.h"

struct wait_graph;

struct detect_options {
	uint64_t min_wait_ns; /* a lock wait at least this long is a stalled waiter; 0: any */
	uint32_t tgid; /* only findings about this process; 0: all */
	/*
	 * Also report processes all of whose threads sleep where only they themselves could wake each other,
	 * when that may be by design: a single thread, or a language's run-time that keeps idle threads.
	 */
	bool show_idle;
};

/* What a detector may look at; alive during the call only. */
struct detect_context {
	const struct world *world;
	const struct wait_graph *graph;
	const struct detect_options *options;
	/*
	 * One for each node of the graph: a finding tells already why this thread waits. Detectors set it;
	 * a later one doesn't repeat what an earlier one explains.
	 */
	bool *explained;
};

struct detector {
	const char *name;
	/* Appends to *findings. Returns 0 or -ENOMEM; what it appended stays valid either way. */
	int (*run)(const struct detect_context *context, struct finding_list *findings);
};

extern const struct detector deadlock_detector;
extern const struct detector orphaned_lock_detector;
extern const struct detector stalled_waiter_detector;
extern const struct detector process_stall_detector;

/*
 * Runs all detectors. Findings come worst first: by certainty, then kind, then how long. One finding a
 * cycle, orphaned lock, root blocker or stalled process. Returns 0 or -ENOMEM; the caller releases the
 * list in both cases.
 */
int detect_all(const struct world *world, const struct detect_options *options,
	       struct finding_list *ret_findings);

/*
 * Every thread of one process, for `why`: those that findings talk about first (members of cycles, owners,
 * victims), then waiters, then the others; threads of the same stack and the same wait grouped. Pass the
 * findings of detect_all(), for the order and the verdict. Returns 0, -ESRCH when the process is not in
 * the world, or -ENOMEM. The caller frees the report.
 */
int detect_report(const struct world *world, uint32_t tgid, const struct detect_options *options,
		  const struct finding_list *findings, struct process_report **ret_report);

#endif
