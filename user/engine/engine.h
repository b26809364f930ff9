/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine joins a source, the model, the detectors and the symbolizer into answers. Verbs call it and
 * render what it returns.
 */
#ifndef HOLDUP_ENGINE_H
#define HOLDUP_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "detect/finding.h"
#include "event/event.h"
#include "source/source.h"

struct engine;

struct engine_options {
	bool no_symbols; /* addresses only; starts no symbolizer */
	uint64_t min_wait_ns; /* a lock wait at least this long is a stalled waiter */
	/* Also gets every record, before it is decoded (a recorder); take NULL for none. */
	struct event_sink tap;
};

/* What a call cost and lost: the last JSON object of every verb. */
struct engine_totals {
	uint64_t process_count, thread_count; /* looked at */
	uint64_t waiter_count; /* threads asleep in a futex call */
	uint64_t lost[EVENT_LOST_CAUSE_COUNT];
	uint64_t cpu_ns; /* holdup's own, user and system, symbolizer included, since the engine was opened */
	uint64_t peak_rss_kb; /* of the root process */
	uint64_t scan_ns; /* wall time of the passes over threads */
	uint64_t wall_ns; /* wall time of the whole answer */
};

struct diagnosis {
	ARRAY(struct process_report *) reports; /* engine_explain() only */
	struct finding_list findings; /* worst first */
	struct engine_totals totals;
	ARRAY(char *) notes; /* reduced service, losses: for stderr or the summary */
};

/* Takes over `source`, also on failure. Returns 0 or a negative errno. */
int engine_open(struct source *source, const struct engine_options *options, struct engine **ret_engine);
/* Takes NULL; returns NULL. */
struct engine *engine_close(struct engine *engine);

/* `why`: everything about one process. -ESRCH when there is no such process, -EACCES, -ENOMEM ... */
int engine_explain(struct engine *engine, uint32_t tgid, struct diagnosis *ret_diagnosis);

/* `scan`, and one period of `watch`: findings of every process (or of the chosen ones). */
int engine_scan(struct engine *engine, const uint32_t *tgids, size_t tgid_count,
		struct diagnosis *ret_diagnosis);

void diagnosis_release(struct diagnosis *diagnosis);

/* The name of the backend in use: "bpf", "procfs". */
const char *engine_source_name(const struct engine *engine);

#endif
