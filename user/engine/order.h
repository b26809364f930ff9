/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lock-order tracing of chosen processes: joins the order source, the symbolizer, the lock-order graph and
 * its detector. Verbs add targets, poll, and take findings.
 */
#ifndef HOLDUP_ENGINE_ORDER_H
#define HOLDUP_ENGINE_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "detect/lock_order.h"
#include "engine/engine.h"
#include "source/order.h"

struct order_engine;

/* What tracing cost and lost so far. */
struct order_totals {
	uint64_t hit_count; /* probe hits in the targets */
	size_t probe_count; /* attached now */
	uint64_t process_count; /* traced so far */
	struct order_stats graph;
	uint64_t lost[EVENT_LOST_CAUSE_COUNT];
	uint64_t suppressed_count; /* findings that a suppression kept back */
	uint64_t hit_cost_ns; /* of one hit, as measured at the start */
	uint32_t probed_ppm; /* share of the time that the targets were probed; the least of all targets */
	uint64_t cpu_ns; /* holdup's own, symbolizer included */
};

/*
 * Takes over `source`, also on failure. `options` (with its callbacks) is copied; its clock offsets are
 * filled in here. `budget_ppm`: what the probes may cost each target, of its own CPU time; 0: no limit.
 * Returns 0 or a negative errno.
 */
int order_engine_open(struct order_source *source, const struct lock_order_options *options,
		      uint32_t budget_ppm, struct order_engine **ret_engine);
/* Detaches all probes. Takes NULL; returns NULL. */
struct order_engine *order_engine_close(struct order_engine *engine);

/*
 * Traces a process from now on, and the processes it forks or becomes. ret_probe_count is how many of its lock
 * functions are probed: 0 is no error (a stripped static program has no functions that could be found).
 * Returns 0, -ESRCH, -EACCES or another negative errno.
 */
int order_engine_add(struct order_engine *engine, uint32_t tgid, size_t *ret_probe_count);

/*
 * Probes a process that is about to run another program, where its lock functions will most likely be: in
 * the C library that holdup itself uses. From its exec on it is traced like one that was added.
 */
int order_engine_expect(struct order_engine *engine, uint32_t tgid);

/*
 * Waits at most timeout_ms for news, takes them in and judges them; appends inversions not told before.
 * Returns 0, -EINTR or another negative errno.
 */
int order_engine_poll(struct order_engine *engine, int timeout_ms, struct finding_list *findings);

void order_engine_get_totals(const struct order_engine *engine, struct order_totals *ret_totals);

#endif
